//! From a [`Content`] to its bytes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::KIND_LAYER;
use crate::{Content, Derived, Digest, Extent, Hasher};

/// Opens the bytes of a content for one reading from start to end.
///
/// # Errors
///
/// The unpacked layer or the file is not there. While reading: it is shorter than it must be, or, for a file of this
/// machine, its bytes are no longer those of its digest.
pub fn open(content: &Content, derived: &Derived) -> io::Result<Box<dyn Read + Send>> {
    Ok(match content {
        Content::Inline(bytes) => Box::new(io::Cursor::new(Arc::clone(bytes))),
        Content::Layer { layer, size, extents, .. } => {
            let file = derived.get(KIND_LAYER, layer)?.ok_or_else(|| {
                io::Error::new(io::ErrorKind::NotFound, format!("the unpacked layer `{layer}` is not in the cache"))
            })?;
            Box::new(Runs { file, layer: *layer, size: *size, extents: Arc::clone(extents), next: 0, at: 0 })
        }
        Content::Host { path, size, digest } => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|e| io::Error::new(e.kind(), format!("`{name}`: {e}")))?;
            Box::new(Checked { file, name, size: *size, want: *digest, hash: Some(Hasher::new(io::sink())) })
        }
    })
}

/// The runs of a file in an unpacked layer, with zeros between them.
#[derive(Debug)]
struct Runs {
    file: File,
    layer: Digest,
    size: u64,
    extents: Arc<[Extent]>,
    /// The extent that `at` lies in or before.
    next: usize,
    at: u64,
}

impl Read for Runs {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.extents.get(self.next).is_some_and(|extent| extent.file + extent.len <= self.at) {
            self.next += 1;
        }
        let extent = self.extents.get(self.next);
        let hole_end = extent.map_or(self.size, |extent| extent.file);
        let cap = |left: u64| usize::try_from(left).unwrap_or(usize::MAX);
        let n = if self.at < hole_end {
            let n = buffer.len().min(cap(hole_end - self.at));
            buffer[..n].fill(0);
            n
        } else if let Some(extent) = extent {
            let inside = self.at - extent.file;
            let n = buffer.len().min(cap(extent.len - inside));
            match self.file.read_at(&mut buffer[..n], extent.layer + inside)? {
                0 if n > 0 => {
                    let why = format!("the unpacked layer `{}` is shorter than its index says", self.layer);
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                n => n,
            }
        } else {
            0
        };
        self.at += n as u64;
        Ok(n)
    }
}

/// A file of this machine. The digest is checked before the last bytes are handed out, for who knows the size may
/// never ask for the end.
#[derive(Debug)]
struct Checked {
    file: File,
    name: String,
    size: u64,
    want: Digest,
    /// None once checked.
    hash: Option<Hasher<io::Sink>>,
}

impl Read for Checked {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(hash) = &mut self.hash else { return Ok(0) };
        let changed = |name| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("`{name}` changed while it was used: {}", "its digest is another"),
            )
        };
        if buffer.is_empty() {
            return Ok(0);
        }
        let left = self.size - hash.size();
        let n = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self.file.read(&mut buffer[..n])?;
        hash.write_all(&buffer[..n])?;
        if hash.size() == self.size {
            let digest = self.hash.take().map(|hash| hash.finish().1);
            if digest != Some(self.want) || self.file.read(&mut [0])? != 0 {
                return Err(changed(&self.name));
            }
        } else if n == 0 {
            return Err(changed(&self.name));
        }
        Ok(n)
    }
}
