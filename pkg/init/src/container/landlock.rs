//! Landlock: the only files that a container may use (`landlock` in `bootwright.json`; the kernel's
//! Documentation/userspace-api/landlock.rst).
//!
//! The bound is laid by the container's own process, as the last thing before it waits to be started: by then it has its
//! root, its user and its capabilities, and everything that it executes inherits the bound. What fails keeps the container
//! from starting.

use std::fs::File;
use std::io;
use std::path::Path;

use bootwright_bundle::Landlock;
use rustix::fs::{CWD, FileType, Mode, OFlags};

use crate::sys;

/// Rights on files and directories (linux/landlock.h).
const EXECUTE: u64 = 1;
const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
const READ: u64 = READ_FILE | READ_DIR;
/// Those that a file can have.
const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

/// Whether the kernel has Landlock.
pub fn is_supported() -> bool {
    sys::landlock_version().is_ok()
}

/// Bounds this process for ever.
pub fn restrict(landlock: &Landlock) -> Result<(), String> {
    let all = sys::landlock_version().map(known_rights).map_err(|error| format!("landlock: {error}"))?;
    let rules = sys::landlock_rules(all).map_err(|error| format!("landlock: {error}"))?;
    let write = all & !EXECUTE;
    for (paths, rights) in [(&landlock.read, READ), (&landlock.write, write), (&landlock.execute, READ | EXECUTE)] {
        for path in paths {
            allow(&rules, Path::new(path), rights).map_err(|error| format!("landlock: `{path}`: {error}"))?;
        }
    }
    sys::landlock_restrict(rules).map_err(|error| format!("landlock: {error}"))
}

fn allow(rules: impl std::os::fd::AsFd, path: &Path, rights: u64) -> io::Result<()> {
    let place = File::from(rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?);
    let directory = FileType::from_raw_mode(rustix::fs::fstat(&place)?.st_mode) == FileType::Directory;
    sys::landlock_allow(rules, place, if directory { rights } else { rights & OF_FILES })
}

/// The rights that a version of Landlock knows. Those that it does not know it does not take.
fn known_rights(version: u32) -> u64 {
    let count = match version {
        0 | 1 => 13,
        // LANDLOCK_ACCESS_FS_REFER
        2 => 14,
        3 | 4 => 15,
        _ => 16,
    };
    (1 << count) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_those_of_the_version() {
        for (version, last) in
            [(1, 1 << 12), (2, 1 << 13), (3, TRUNCATE), (4, TRUNCATE), (5, IOCTL_DEV), (9, IOCTL_DEV)]
        {
            assert_eq!(known_rights(version), last * 2 - 1, "{version}");
        }
    }
}
