//! Whether a program can start: found, executable, of the right architecture, its interpreters too.
//!
//! Looks at what execve(2) looks at: the mode, `#!` lines (at most four deep), the ELF header (e_machine, PT_INTERP). What
//! an interpreter would load later is not followed.

use bootwright_oci::{Kind, Node, ReadContent, TreePath};

use crate::inputs::read_head;
use crate::problems::nearest;
use crate::resolve::resolve;

/// How much of a file is looked at; PT_INTERP lies in the first page of every program that there is.
const HEAD: u64 = 64 << 10;

/// Kernel's limit of nested `#!`.
const NESTED: usize = 4;

/// A file tree in which a program is to start.
pub(crate) struct World<'a> {
    pub(crate) lookup: &'a dyn Fn(&TreePath) -> Option<&'a Node>,
    pub(crate) store: &'a dyn ReadContent,
    /// Go's name.
    pub(crate) architecture: &'a str,
    /// Paths that something is mounted over, so that the image says nothing about what is there.
    pub(crate) covered: &'a dyn Fn(&str) -> bool,
}

/// Why a program cannot start, and what may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Failure {
    fn new(message: String) -> Self {
        Self { message, hint: None }
    }
}

impl<'a> World<'a> {
    /// Checks the first word of a command.
    pub(crate) fn check(&self, command: &str, directory: &str, path: &str) -> Result<(), Failure> {
        match self.find(command, directory, path)? {
            Some((file, node)) => self.file(&file, node, path, 0),
            None => Ok(()),
        }
    }

    /// Where a command is; none if that cannot be known.
    fn find(&self, command: &str, directory: &str, path: &str) -> Result<Option<(String, &'a Node)>, Failure> {
        if command.contains('/') {
            let full = if command.starts_with('/') { command.to_owned() } else { format!("{directory}/{command}") };
            if (self.covered)(&full) {
                return Ok(None);
            }
            if let Some(node) = self.node(&full) {
                return Ok(Some((full, node)));
            }
            let hint = self.neighbour(&full);
            return Err(Failure { message: format!("`{command}` does not exist in the image"), hint });
        }
        let mut unknown = false;
        let mut refused = None;
        for place in path.split(':') {
            let full = format!("{}/{command}", if place.is_empty() { directory } else { place });
            unknown |= (self.covered)(&full);
            match self.node(&full) {
                Some(node) if executable(node) => return Ok(Some((full, node))),
                Some(node) if refused.is_none() => refused = Some((full, node)),
                _ => {}
            }
        }
        if unknown {
            return Ok(None);
        }
        if let Some(found) = refused {
            return Ok(Some(found));
        }
        let names: Vec<String> = path.split(':').flat_map(|place| self.names(place)).collect();
        let near = nearest(command, names.iter().map(String::as_str)).map(|n| format!("did you mean `{n}`?"));
        Err(Failure { message: format!("`{command}` is not in the image's PATH ({path})"), hint: near })
    }

    fn file(&self, path: &str, node: &'a Node, search: &str, depth: usize) -> Result<(), Failure> {
        let content = match &node.kind {
            Kind::File(content) => content,
            Kind::Directory => return Err(Failure::new(format!("`{path}` is a directory"))),
            _ => return Err(Failure::new(format!("`{path}` is no regular file"))),
        };
        if !executable(node) {
            let message = format!("`{path}` is not executable (mode {:04o})", node.meta.mode);
            return Err(Failure { message, hint: Some("set its mode in the image: chmod +x".to_owned()) });
        }
        let head = read_head(self.store, content, HEAD)
            .map_err(|error| Failure::new(format!("`{path}` cannot be read: {error}")))?;
        if let Some(line) = head.strip_prefix(b"#!") {
            if depth == NESTED {
                return Err(Failure::new(format!("`{path}` is a script of a script of a script, too deep to start")));
            }
            return self.script(path, line, search, depth);
        }
        let elf = Elf::read(&head).ok_or_else(|| Failure {
            message: format!("`{path}` is neither an ELF program nor a script with a `#!` line"),
            hint: Some("begin a shell script with `#!/bin/sh`".to_owned()),
        })?;
        let wanted = machines(self.architecture);
        if !wanted.is_empty() && !wanted.contains(&elf.machine) {
            let is = name_of(elf.machine);
            return Err(Failure::new(format!("`{path}` is a program for {is}, not for {}", self.architecture)));
        }
        if let Some(interpreter) = elf.interpreter.filter(|i| !(self.covered)(i)) {
            let message = || format!("`{path}` needs the loader `{interpreter}`, which the image lacks");
            self.node(&interpreter).ok_or_else(|| Failure {
                message: message(),
                hint: Some("link it statically, or add the C library that it was linked against".to_owned()),
            })?;
        }
        Ok(())
    }

    fn script(&self, path: &str, line: &[u8], search: &str, depth: usize) -> Result<(), Failure> {
        let end = line.iter().position(|b| *b == b'\n').unwrap_or(line.len().min(254));
        let line = String::from_utf8_lossy(line.get(..end).unwrap_or_default()).into_owned();
        let carriage = line.ends_with('\r');
        let mut words = line.split_ascii_whitespace();
        let Some(interpreter) = words.next() else {
            return Err(Failure::new(format!("`{path}` has an empty `#!` line")));
        };
        if (self.covered)(interpreter) {
            return Ok(());
        }
        let Some(node) = self.node(interpreter) else {
            let message = format!("`{path}` is run by `{interpreter}`, which the image lacks");
            let windows = "the script's lines end as on Windows: save it with Unix line ends";
            return Err(Failure { message, hint: carriage.then(|| windows.to_owned()) });
        };
        self.file(interpreter, node, search, depth + 1)?;
        // `#!/usr/bin/env python3`
        if let (true, Some(program)) = (interpreter.ends_with("/env"), words.next())
            && !program.starts_with('-')
            && !program.contains(['=', '/'])
            && self.find(program, "/", search).is_err()
        {
            return Err(Failure::new(format!("`{path}` is run by `{program}`, which is not in the image's PATH")));
        }
        Ok(())
    }

    /// The node that a path leads to, links followed.
    fn node(&self, path: &str) -> Option<&'a Node> {
        let real = resolve(|p| (self.lookup)(p).map(|n| &n.kind), path.as_bytes(), true).ok()?;
        let node = (self.lookup)(&real)?;
        match &node.kind {
            Kind::HardLink(target) => (self.lookup)(target),
            _ => Some(node),
        }
    }

    /// Whether the same file is somewhere that it might have been meant.
    fn neighbour(&self, path: &str) -> Option<String> {
        let name = path.rsplit('/').next()?;
        ["/bin", "/usr/bin", "/sbin", "/usr/sbin", "/usr/local/bin", ""]
            .iter()
            .map(|place| format!("{place}/{name}"))
            .find(|full| full != path && self.node(full).is_some_and(executable))
            .map(|full| format!("did you mean `{full}`?"))
    }

    /// Programs that are often meant, for the nearest name.
    fn names(&self, place: &str) -> Vec<String> {
        ["sh", "bash", "busybox", "nginx", "redis-server", "python3", "node", "java", "httpd", "sleep", "cat"]
            .iter()
            .filter(|name| self.node(&format!("{place}/{name}")).is_some())
            .map(|name| (*name).to_owned())
            .collect()
    }
}

fn executable(node: &Node) -> bool {
    matches!(node.kind, Kind::File(_)) && node.meta.mode & 0o111 != 0
}

/// What the kernel reads of an ELF file (System V ABI, chapter 4 and 5).
#[derive(Debug, PartialEq, Eq)]
struct Elf {
    machine: u16,
    interpreter: Option<String>,
}

impl Elf {
    fn read(head: &[u8]) -> Option<Self> {
        let [0x7f, b'E', b'L', b'F', class, order, ..] = *head else { return None };
        let (wide, big) = (class == 2, order == 2);
        let number = |at: usize, len: usize| -> Option<u64> {
            let bytes = head.get(at..at.checked_add(len)?)?;
            let fold = |n: u64, b: &u8| (n << 8) | u64::from(*b);
            Some(if big { bytes.iter().fold(0, fold) } else { bytes.iter().rev().fold(0, fold) })
        };
        let machine = u16::try_from(number(18, 2)?).ok()?;
        let (table, size, count) = if wide {
            (number(32, 8)?, number(54, 2)?, number(56, 2)?)
        } else {
            (number(28, 4)?, number(42, 2)?, number(44, 2)?)
        };
        let interpreter = (0..count).find_map(|n| {
            let at = usize::try_from(table.checked_add(n.checked_mul(size)?)?).ok()?;
            (number(at, 4)? == 3).then_some(())?;
            let (offset, len) = if wide {
                (number(at.checked_add(8)?, 8)?, number(at.checked_add(32)?, 8)?)
            } else {
                (number(at.checked_add(4)?, 4)?, number(at.checked_add(16)?, 4)?)
            };
            let from = usize::try_from(offset).ok()?;
            let text = head.get(from..from.checked_add(usize::try_from(len).ok()?)?)?;
            Some(String::from_utf8_lossy(text.split(|b| *b == 0).next()?).into_owned())
        });
        Some(Self { machine, interpreter })
    }
}

/// e_machine of what a Go architecture runs, compatible ones included; empty where we do not know.
fn machines(architecture: &str) -> &'static [u16] {
    match architecture {
        "amd64" => &[62, 3],
        "arm64" => &[183, 40],
        "386" => &[3],
        "arm" => &[40],
        "riscv64" => &[243],
        "s390x" => &[22],
        "ppc64le" => &[21],
        _ => &[],
    }
}

fn name_of(machine: u16) -> String {
    match machine {
        62 => "amd64".to_owned(),
        183 => "arm64".to_owned(),
        3 => "386".to_owned(),
        40 => "arm".to_owned(),
        243 => "riscv64".to_owned(),
        22 => "s390x".to_owned(),
        21 => "ppc64le".to_owned(),
        other => format!("ELF machine {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, tree};
    use bootwright_oci::{Content, Metadata, Tree};

    fn elf(machine: u16, interpreter: Option<&str>) -> Vec<u8> {
        let mut out = vec![0; 64 + 56];
        out[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
        out[18..20].copy_from_slice(&machine.to_le_bytes());
        out[32..40].copy_from_slice(&64_u64.to_le_bytes());
        out[54..56].copy_from_slice(&56_u16.to_le_bytes());
        out[56..58].copy_from_slice(&1_u16.to_le_bytes());
        if let Some(text) = interpreter {
            out[64..68].copy_from_slice(&3_u32.to_le_bytes());
            out[72..80].copy_from_slice(&120_u64.to_le_bytes());
            out[96..104].copy_from_slice(&(text.len() as u64 + 1).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
        out
    }

    fn put(tree: &mut Tree, path: &str, mode: u32, bytes: Vec<u8>) {
        let meta = Metadata { mode, ..Metadata::default() };
        let node = Node { meta, kind: Kind::File(Content::inline(bytes)) };
        tree.nodes_mut().insert(TreePath::new(path).unwrap(), node);
    }

    fn sample() -> Tree {
        let mut tree = tree(&["bin->usr/bin", "usr/bin/sh->busybox", "!usr/bin/hello=>usr/bin/busybox", "data/"]);
        put(&mut tree, "usr/bin/busybox", 0o755, elf(62, None));
        put(&mut tree, "usr/bin/env", 0o755, elf(62, None));
        put(&mut tree, "usr/bin/dynamic", 0o755, elf(62, Some("/lib64/ld-linux-x86-64.so.2")));
        put(&mut tree, "usr/bin/arm", 0o755, elf(183, None));
        put(&mut tree, "usr/bin/plain", 0o644, elf(62, None));
        put(&mut tree, "usr/bin/text", 0o755, b"echo hi\n".to_vec());
        put(&mut tree, "usr/bin/script", 0o755, b"#! /bin/sh -e\n".to_vec());
        put(&mut tree, "usr/bin/windows", 0o755, b"#!/bin/sh\r\n".to_vec());
        put(&mut tree, "usr/bin/bash-script", 0o755, b"#!/bin/bash\n".to_vec());
        put(&mut tree, "usr/bin/python-script", 0o755, b"#!/usr/bin/env python3\n".to_vec());
        put(&mut tree, "usr/bin/self", 0o755, b"#!/usr/bin/self\n".to_vec());
        put(&mut tree, "usr/bin/empty", 0o755, Vec::new());
        tree
    }

    fn outcome(command: &str) -> Result<(), Failure> {
        let (tree, store) = (sample(), Memory::default());
        // The lookup borrows for as long as the world does.
        let lookup = |p: &TreePath| tree.get(p);
        let world =
            World { lookup: &lookup, store: &store, architecture: "amd64", covered: &|path| path.starts_with("/mnt/") };
        world.check(command, "/usr", "/sbin:/bin")
    }

    #[test]
    fn what_execve_would_say_is_said_before() {
        for good in ["sh", "/bin/sh", "hello", "bin/sh", "script", "/mnt/anything"] {
            assert_eq!(outcome(good), Ok(()), "{good}");
        }
        for (bad, message) in [
            ("nosuch", "is not in the image's PATH (/sbin:/bin)"),
            ("/sbin/nosuch", "does not exist"),
            ("/data", "is a directory"),
            ("dynamic", "needs the loader `/lib64/ld-linux-x86-64.so.2`"),
            ("arm", "a program for arm64, not for amd64"),
            ("plain", "is not executable (mode 0644)"),
            ("text", "neither an ELF program nor a script"),
            ("empty", "neither an ELF program nor a script"),
            ("bash-script", "is run by `/bin/bash`, which the image lacks"),
            ("python-script", "is run by `python3`"),
            ("self", "too deep"),
        ] {
            let failure = outcome(bad).expect_err(bad);
            assert!(failure.message.contains(message), "{bad}: {}", failure.message);
        }
        // lk#3110: `/usr/bin/mountie` where the image has it elsewhere.
        assert_eq!(outcome("/sbin/busybox").unwrap_err().hint.unwrap(), "did you mean `/bin/busybox`?");
    }

    #[test]
    fn broken_headers_are_no_programs_and_no_panics() {
        let whole = elf(62, Some("/lib/ld.so"));
        for cut in 0..whole.len() {
            let _ = Elf::read(&whole[..cut]);
        }
        let mut wild = whole;
        wild[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(Elf::read(&wild), Some(Elf { machine: 62, interpreter: None }));
    }
}
