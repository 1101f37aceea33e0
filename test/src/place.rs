//! Where things are: the repository, the tool under test, the store that all stories share, and the locks between them.

use std::env;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;

use tempfile::TempDir;

/// Debian's static busybox, of which test images are made.
pub const BUSYBOX: &str = "/bin/busybox";

/// How many machines run at a time on this host.
pub(crate) const GUESTS: usize = 2;

/// The repository.
pub fn repository() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().expect("the crate lies in the repository").to_owned()
}

/// The `bootwright` under test: `BOOTWRIGHT`, else the target directory's.
pub fn tool() -> PathBuf {
    if let Some(path) = env::var_os("BOOTWRIGHT") {
        return path.into();
    }
    let looked = ["release", "debug"].map(|profile| target().join(profile).join("bootwright"));
    let found = looked.iter().find(|path| path.is_file());
    found
        .cloned()
        .unwrap_or_else(|| panic!("no `bootwright`: neither $BOOTWRIGHT nor {looked:?}; `make tool` makes it"))
}

/// Cargo's target directory: the test binary lies in `TARGET/PROFILE/deps`, other binaries in `TARGET/PROFILE`.
fn target() -> PathBuf {
    let program = env::current_exe().expect("/proc is mounted");
    let profile = program.ancestors().find(|dir| dir.file_name().is_some_and(|n| n == "debug" || n == "release"));
    profile.and_then(Path::parent).map_or_else(|| repository().join("target"), Path::to_owned)
}

/// Everything that outlives one story; `BOOTWRIGHT_TEST_DIR`, else below the target directory.
fn shared() -> PathBuf {
    let dir = env::var_os("BOOTWRIGHT_TEST_DIR").map_or_else(|| target().join("boot-tests"), PathBuf::from);
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot make {}: {e}", dir.display()));
    dir
}

/// The store of this test run, apart from the user's.
pub fn store() -> PathBuf {
    shared().join("store")
}

/// A store with the images and packages of this test run's, and nothing that was made of them.
pub fn unpacked_store() -> TempDir {
    let _lock = build_lock();
    let dir = TempDir::with_prefix_in("store-", shared()).expect("the directory is ours");
    // Blobs are never written again, so links to them will do.
    let script = "cp -al \"$0/blobs\" \"$0/packages\" \"$1\" && cp \"$0/index.json\" \"$0/oci-layout\" \"$1\"";
    let status = Command::new("sh").args(["-c", script]).arg(store()).arg(dir.path()).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot copy {}", store().display());
    dir
}

/// Held while something is built: two tests that need the same package would both make it.
pub(crate) fn build_lock() -> File {
    let lock = lock_file("build");
    lock.lock().expect("a lock on a local file");
    lock
}

/// Held while a machine runs. The kernel gives it back however the test ends. A story holds one at a time: two that each
/// hold one and want another would wait for ever.
pub(crate) fn guest_slot() -> File {
    let slots: Vec<File> = (0..GUESTS).map(|n| lock_file(&format!("guest-{n}"))).collect();
    for slot in &slots {
        match slot.try_lock() {
            Ok(()) => return slot.try_clone().expect("a file descriptor is left"),
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => panic!("cannot lock: {e}"),
        }
    }
    // All are taken: wait for whichever is free first. A slot that comes too late is dropped, and so free again.
    let (sender, first) = mpsc::channel();
    for slot in slots {
        let sender = sender.clone();
        thread::spawn(move || {
            slot.lock().expect("a lock on a local file");
            let _ = sender.send(slot);
        });
    }
    first.recv().expect("a thread that has a slot sends it")
}

fn lock_file(name: &str) -> File {
    let path = shared().join(format!("{name}.lock"));
    File::create(&path).unwrap_or_else(|e| panic!("cannot make {}: {e}", path.display()))
}
