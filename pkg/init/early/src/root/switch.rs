//! From the initramfs into the root: what is mounted moves along, the initramfs gives its memory back.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::RootError;
use crate::mounts::in_memory;

/// Moves into what is mounted at `root`. Of the initramfs only `kept` is left.
pub fn into_root(root: &Path, kept: &Path) -> Result<(), RootError> {
    let step = |what| move |error: io::Error| RootError::Step { what, error };
    for (what, from) in [
        ("moving /proc into the root", "/proc"),
        ("moving /sys into the root", "/sys"),
        ("moving /dev into the root", "/dev"),
    ] {
        let to = root.join(from.trim_start_matches('/'));
        rustix::mount::mount_move(from, to).map_err(io::Error::from).map_err(step(what))?;
    }
    let top = Path::new("/");
    if in_memory(top) {
        let device = fs::metadata(top).map_err(step("looking at the initramfs"))?.dev();
        delete(top, device, kept);
    }
    rustix::process::chdir(root)
        .and_then(|()| rustix::mount::mount_move(".", "/"))
        .and_then(|()| rustix::process::chroot("."))
        .and_then(|()| rustix::process::chdir("/"))
        .map_err(io::Error::from)
        .map_err(step("switching to the root"))
}

/// Deletes what lies below a directory on its own device, but for one file. What cannot be deleted stays.
fn delete(directory: &Path, device: u64, kept: &Path) {
    let entries: Vec<PathBuf> = fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path()).collect();
    for path in entries {
        let Ok(data) = fs::symlink_metadata(&path) else { continue };
        if data.dev() != device || path == kept {
            continue;
        }
        if data.is_dir() {
            delete(&path, device, kept);
            let _ = fs::remove_dir(&path);
        } else {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Executes the root's init with the arguments that the kernel gave this program. Returns when that fails.
pub fn execute(init: &Path) -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from(init));
    Command::new(init).arg0(name).args(arguments).exec()
}

/// Reads all of a file, so that what cannot be read is known before it is executed.
pub fn read_whole(file: &mut File) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    while io::Read::read(file, &mut buffer)? > 0 {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_one_file_and_its_parents_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let outside = directory.path().join("outside");
        let top = directory.path().join("top");
        fs::create_dir_all(top.join("usr/lib/bootwright")).unwrap();
        fs::create_dir_all(top.join("lib/modules/6.1")).unwrap();
        fs::write(&outside, "").unwrap();
        std::os::unix::fs::symlink(directory.path(), top.join("link")).unwrap();
        let kept = top.join("usr/lib/bootwright/root.img");
        for path in ["init", "usr/lib/bootwright/root.img", "usr/lib/bootwright/manifest.json", "lib/modules/6.1/x.ko"]
        {
            fs::write(top.join(path), "").unwrap();
        }
        let device = fs::metadata(&top).unwrap().dev();
        delete(&top, device + 1, &kept);
        assert!(top.join("init").exists(), "another device is not ours");
        delete(&top, device, &kept);
        assert!(kept.exists() && outside.exists());
        for gone in ["init", "lib", "link", "usr/lib/bootwright/manifest.json"] {
            assert!(fs::symlink_metadata(top.join(gone)).is_err(), "{gone}");
        }
    }
}
