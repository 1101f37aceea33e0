//! A file of a container, or of the machine: the part that reads it, which is a process of its own.
//!
//! Nothing of the container is executed, so that it needs no `cat`. The path is the container's, and so are its links. Only
//! regular files are opened (opening a device or a FIFO does something), and none is read beyond a bound.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;

use bootwright_bundle::control::FILE;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::sys;

/// The exit code when there is no such file.
const ABSENT: u8 = 1;
/// The exit code when it is not read.
const REFUSED: u8 = 2;

/// Reads it to standard output: of the root of which process, and which path.
pub fn run(process: &str, path: &str) -> ExitCode {
    sys::default_signals();
    match read(&Path::new("/proc").join(process), path) {
        Ok(Some(bytes)) if std::io::stdout().write_all(&bytes).is_ok() => ExitCode::SUCCESS,
        Ok(Some(_)) => ExitCode::from(REFUSED),
        Ok(None) => ExitCode::from(ABSENT),
        Err(why) => {
            eprint!("{why}");
            ExitCode::from(REFUSED)
        }
    }
}

fn read(process: &Path, path: &str) -> Result<Option<Vec<u8>>, String> {
    let found = match open_in_root(process, path) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let status = rustix::fs::fstat(&found).map_err(|error| error.to_string())?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err("it is a directory".to_owned()),
        _ => return Err("it is not a regular file".to_owned()),
    }
    // What was found is what is opened, whatever the path leads to by now.
    let file = File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(FILE + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE {
        return Err(format!("it is larger than {} MiB", FILE >> 20));
    }
    Ok(Some(bytes))
}

/// A path of the root of a process (`/proc/PID`), not opened for anything. Links are that root's, and lead nowhere else.
pub fn open_in_root(process: &Path, path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, process.join("root"), flags | OFlags::DIRECTORY, Mode::empty())?;
    rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regular_files_are_read_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let process = dir.path();
        let root = process.join("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/name"), "web\n").unwrap();
        std::fs::write(root.join("large"), vec![0; FILE as usize + 1]).unwrap();
        std::fs::write(root.join("just"), vec![0; FILE as usize]).unwrap();
        // Links are the container's: both lead to its own file, not to one of this machine.
        for (link, target) in [("link", "/etc/name"), ("up", "../../../etc/name")] {
            std::os::unix::fs::symlink(target, root.join(link)).unwrap();
        }
        for path in ["/etc/name", "etc/name", "/link", "/up", "/../etc/name"] {
            assert_eq!(read(process, path), Ok(Some(b"web\n".to_vec())), "{path}");
        }
        assert_eq!(read(process, "/just").unwrap().unwrap().len(), FILE as usize);
        for path in ["/none", "/etc/name/below"] {
            assert_eq!(read(process, path), Ok(None), "{path}");
        }
        for (path, why) in [("/etc", "directory"), ("/large", "1 MiB")] {
            assert!(read(process, path).unwrap_err().contains(why), "{path}");
        }
    }
}
