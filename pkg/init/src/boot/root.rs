//! The root and the machine's own mounts (parity table, 5.3; `kernel-boot.md`, section 10).
//!
//! The kernel's initial rootfs cannot be left by `pivot_root`, which container runtimes want to do. A bind mount of `/`
//! that is moved over `/` can: same files, nothing copied.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::Path;

use bootwright_early::modules::{self, be_modprobe, no_modprobe};
use bootwright_early::mounts::{in_memory, make};
use rustix::fs::StatVfsMountFlags;
use rustix::mount::{MountFlags, MountPropagationFlags};

/// Makes a mount that can be pivoted away from out of the initial rootfs.
pub fn own_root() -> Vec<String> {
    // A root image or a disk has been mounted over the kernel's rootfs already, by early or by the kernel.
    if !in_memory(Path::new("/")) {
        return Vec::new();
    }
    // `/dev` is in every initramfs, and nothing is mounted on it yet.
    let _ = fs::create_dir_all("/dev");
    let moved = rustix::mount::mount_bind("/", "/dev")
        .and_then(|()| rustix::process::chdir("/dev"))
        .and_then(|()| rustix::mount::mount_move(".", "/"))
        .and_then(|()| rustix::process::chroot("."))
        .and_then(|()| rustix::process::chdir("/"));
    moved.err().map(|error| format!("making an own root: {error}")).into_iter().collect()
}

/// Mounts everything else: what containers expect, and what the kernel has on offer.
pub fn mount_the_rest() -> Vec<String> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let data = MountFlags::NOSUID | MountFlags::NODEV;
    let mut troubles: Vec<String> = [
        ("devpts", "/dev/pts", MountFlags::NOSUID | MountFlags::NOEXEC, "gid=5,mode=0620,ptmxmode=0666"),
        ("tmpfs", "/dev/shm", quiet, "mode=1777"),
        ("mqueue", "/dev/mqueue", quiet, ""),
        ("tmpfs", "/run", quiet | MountFlags::RELATIME, "size=10%,mode=0755"),
        // What creating a container takes: a full `/run` must not keep the next one from starting.
        ("tmpfs", "/run/bootwright", quiet | MountFlags::RELATIME, "size=10%,mode=0755"),
        ("tmpfs", "/tmp", quiet | MountFlags::RELATIME, "size=10%,mode=1777"),
        // Not noexec: applications that are bind-mounted from here have to run.
        ("tmpfs", "/var", data | MountFlags::RELATIME, "size=50%,mode=0755"),
        ("cgroup2", "/sys/fs/cgroup", quiet, "nsdelegate"),
    ]
    .into_iter()
    .filter_map(|(kind, target, flags, data)| make(kind, target, flags, data).err())
    .collect();
    // Mounting bpf asks for the module `bpf_preload`, which nobody misses: it would be a process for nothing.
    no_modprobe();
    // Best effort: which of them there are is the kernel's matter.
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    for (kind, target) in [
        ("securityfs", "/sys/kernel/security"),
        ("debugfs", "/sys/kernel/debug"),
        ("configfs", "/sys/kernel/config"),
        ("fusectl", "/sys/fs/fuse/connections"),
        ("selinuxfs", "/sys/fs/selinux"),
        ("pstore", "/sys/fs/pstore"),
        ("bpf", "/sys/fs/bpf"),
        ("efivarfs", "/sys/firmware/efi/efivars"),
        ("binfmt_misc", "/proc/sys/fs/binfmt_misc"),
    ] {
        if known.lines().any(|l| l.split_ascii_whitespace().last() == Some(kind)) && Path::new(target).is_dir() {
            let _ = rustix::mount::mount(kind, target, kind, quiet, c"");
        }
    }
    troubles.extend(links_and_directories());
    troubles.extend(be_modprobe());
    troubles
}

fn links_and_directories() -> Vec<String> {
    let mut troubles = Vec::new();
    for directory in ["cache", "empty", "lib", "local", "lock", "log", "opt", "spool", "tmp"] {
        if let Err(error) = fs::DirBuilder::new().mode(0o755).recursive(true).create(Path::new("/var").join(directory))
        {
            troubles.push(format!("making /var/{directory}: {error}"));
        }
    }
    let _ = fs::set_permissions("/var/tmp", fs::Permissions::from_mode(0o1777));
    for (target, link) in [
        ("/run", "/var/run"),
        ("/proc/self/fd", "/dev/fd"),
        ("/proc/self/fd/0", "/dev/stdin"),
        ("/proc/self/fd/1", "/dev/stdout"),
        ("/proc/self/fd/2", "/dev/stderr"),
        ("/proc/kcore", "/dev/core"),
    ] {
        match symlink(target, link) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                troubles.push(format!("linking {link}: {error}"));
            }
            _ => {}
        }
    }
    troubles
}

/// Makes the root read-only, where it can be, and shared, so that mounts made in containers that ask for it come back.
pub fn seal_root() -> Vec<String> {
    // Without it the first onboot would need a process to load it, and every container needs it.
    modules::want_filesystem("overlay");
    let mut troubles = Vec::new();
    let read_only = rustix::fs::statvfs("/").is_ok_and(|s| s.f_flag.contains(StatVfsMountFlags::RDONLY));
    if !read_only && let Err(error) = rustix::mount::mount_remount("/", MountFlags::BIND | MountFlags::RDONLY, c"") {
        troubles.push(format!("making the root read-only: {error}"));
    }
    let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    if let Err(error) = rustix::mount::mount_change("/", shared) {
        troubles.push(format!("making the root shared: {error}"));
    }
    troubles
}
