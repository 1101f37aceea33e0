//! Content into a sink: exactly as many bytes as were announced, and each failure with its file's name.

use std::io::{self, Read, Write};

use bootwright_oci::{Content, ReadContent, Task, TreePath};
use bootwright_rootfs::Machine;

use crate::Error;
use crate::error::Fault;

/// Bytes that are copied at a time.
const BUFFER: usize = 128 << 10;

/// Copies all of a file's bytes.
pub(crate) fn copy(
    content: &Content,
    owner: Owner<'_>,
    read: &dyn ReadContent,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> Result<(), Fault> {
    if let Content::Inline(bytes) = content {
        out.write_all(bytes)?;
        progress.advance(bytes.len() as u64);
        return Ok(());
    }
    let size = content.size();
    let mut input = read.open(content).map_err(|e| owner.error(e))?;
    let mut buffer = vec![0; BUFFER.min(usize::try_from(size).unwrap_or(BUFFER)).max(1)];
    let mut done = 0;
    loop {
        let n = match input.read(&mut buffer) {
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(owner.error(error).into()),
        };
        done += n as u64;
        if done > size || (n == 0 && done < size) {
            let message = format!("{size} bytes were announced, {} came", if n == 0 { "fewer" } else { "more" });
            return Err(owner.error(io::Error::new(io::ErrorKind::InvalidData, message)).into());
        }
        if n == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..n])?;
        progress.advance(n as u64);
    }
}

/// Copies so many bytes of an open file of the cache.
pub(crate) fn copy_cached(
    input: &mut dyn Read,
    size: u64,
    failed: impl Fn(io::Error) -> Error,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> Result<(), Fault> {
    let mut buffer = vec![0; BUFFER];
    let mut left = size;
    while left > 0 {
        let most = BUFFER.min(usize::try_from(left).unwrap_or(BUFFER));
        input.read_exact(&mut buffer[..most]).map_err(&failed)?;
        out.write_all(&buffer[..most])?;
        progress.advance(most as u64);
        left -= most as u64;
    }
    Ok(())
}

/// Passes bytes on and counts them for the progress.
pub(crate) struct Counted<'a> {
    pub(crate) out: &'a mut dyn Write,
    pub(crate) progress: &'a mut dyn Task,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.progress.advance(n as u64);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Whose content it is, for messages.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Owner<'a> {
    /// A node of the machine's tree.
    Node(&'a Machine, &'a TreePath, usize),
    /// One of the kernel image's files that are not in the tree.
    Boot(&'static str),
}

impl Owner<'_> {
    fn error(self, source: io::Error) -> Error {
        match self {
            Self::Node(machine, path, component) => {
                Error::Read { path: path.to_string(), component: component_name(machine, component), source }
            }
            Self::Boot(path) => Error::Read { path: path.to_owned(), component: "kernel".to_owned(), source },
        }
    }
}

/// A component's name for people.
pub(crate) fn component_name(machine: &Machine, component: usize) -> String {
    machine.components.get(component).map_or_else(|| format!("component {component}"), |c| c.name.clone())
}

/// Reads content that is known to be small.
pub(crate) fn head(content: &Content, owner: Owner<'_>, read: &dyn ReadContent, len: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    read.open(content).and_then(|input| input.take(len).read_to_end(&mut bytes)).map_err(|e| owner.error(e))?;
    Ok(bytes)
}
