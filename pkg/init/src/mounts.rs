//! Mounting: options as fstab and OCI write them, and what is mounted below a directory.
//!
//! mount(2) does one thing per call, so an entry becomes up to three: the mount itself, a remount that makes a bind mount
//! read-only and the like, and a change of propagation.

use std::ffi::CString;
use std::io;
use std::path::Path;

use bootwright_early::{modules, mounts::points};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

/// Options, sorted by what they are for.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// Flags of the filesystem or mount.
    pub flags: MountFlags,
    /// Propagation to set afterwards.
    pub propagation: MountPropagationFlags,
    /// A bind mount; with its submounts or without.
    pub bind: Option<bool>,
    /// A change of an existing mount.
    pub remount: bool,
    /// What is left for the filesystem.
    pub data: String,
}

impl Options {
    /// Sorts options.
    pub fn parse<S: AsRef<str>>(options: &[S]) -> Self {
        let mut sorted = Self {
            flags: MountFlags::empty(),
            propagation: MountPropagationFlags::empty(),
            bind: None,
            remount: false,
            data: String::new(),
        };
        for option in options.iter().flat_map(|o| o.as_ref().split(',')).filter(|o| !o.is_empty()) {
            sorted.take(option);
        }
        sorted
    }

    fn take(&mut self, option: &str) {
        if let Some((on, flag)) = flag(option) {
            self.flags.set(flag, on);
            return;
        }
        if let Some(propagation) = propagation(option) {
            self.propagation = propagation;
            return;
        }
        match option {
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "remount" => self.remount = true,
            // They are for mount(8), not for the kernel.
            "defaults" | "auto" | "noauto" | "user" | "nouser" | "_netdev" | "nofail" => {}
            _ => {
                if !self.data.is_empty() {
                    self.data.push(',');
                }
                self.data.push_str(option);
            }
        }
    }
}

fn flag(option: &str) -> Option<(bool, MountFlags)> {
    let flag = match option {
        "ro" => (true, MountFlags::RDONLY),
        "rw" => (false, MountFlags::RDONLY),
        "nosuid" => (true, MountFlags::NOSUID),
        "suid" => (false, MountFlags::NOSUID),
        "nodev" => (true, MountFlags::NODEV),
        "dev" => (false, MountFlags::NODEV),
        "noexec" => (true, MountFlags::NOEXEC),
        "exec" => (false, MountFlags::NOEXEC),
        "sync" => (true, MountFlags::SYNCHRONOUS),
        "async" => (false, MountFlags::SYNCHRONOUS),
        "dirsync" => (true, MountFlags::DIRSYNC),
        "noatime" => (true, MountFlags::NOATIME),
        "atime" => (false, MountFlags::NOATIME),
        "nodiratime" => (true, MountFlags::NODIRATIME),
        "diratime" => (false, MountFlags::NODIRATIME),
        "relatime" => (true, MountFlags::RELATIME),
        "norelatime" => (false, MountFlags::RELATIME),
        "strictatime" => (true, MountFlags::STRICTATIME),
        "nostrictatime" => (false, MountFlags::STRICTATIME),
        "lazytime" => (true, MountFlags::LAZYTIME),
        "mand" => (true, MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
        "nomand" => (false, MountFlags::PERMIT_MANDATORY_FILE_LOCKING),
        "silent" => (true, MountFlags::SILENT),
        "loud" => (false, MountFlags::SILENT),
        _ => return None,
    };
    Some(flag)
}

fn propagation(option: &str) -> Option<MountPropagationFlags> {
    let (recursive, kind) = option.strip_prefix('r').map_or((false, option), |kind| (true, kind));
    let flags = match kind {
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "private" => MountPropagationFlags::PRIVATE,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => return None,
    };
    Some(if recursive { flags | MountPropagationFlags::REC } else { flags })
}

/// Mounts as an entry of `runtime.json` says. The kernel module of the filesystem is loaded first, if it is one.
pub fn mount(source: &str, target: &Path, kind: &str, options: &Options) -> io::Result<()> {
    let data = CString::new(options.data.as_str())?;
    let bind = options.bind.or((kind == "bind" || kind == "rbind").then_some(kind == "rbind"));
    if options.remount {
        let plain = options.flags.is_empty() && options.data.is_empty() && bind.is_none();
        // `remount,private` is how LinuxKit writes a change of propagation alone.
        if !plain || options.propagation.is_empty() {
            remount(target, bind.is_some(), options.flags, &data)?;
        }
    } else if let Some(recursive) = bind {
        if recursive {
            rustix::mount::mount_bind_recursive(source, target)?;
        } else {
            rustix::mount::mount_bind(source, target)?;
        }
        if !options.flags.is_empty() {
            remount(target, true, options.flags, &data)?;
        }
    } else if !kind.is_empty() || options.propagation.is_empty() {
        modules::want_filesystem(kind);
        let source = if source.is_empty() { kind } else { source };
        rustix::mount::mount(source, target, kind, options.flags, data.as_c_str())?;
    }
    if !options.propagation.is_empty() {
        rustix::mount::mount_change(target, options.propagation)?;
    }
    Ok(())
}

fn remount(target: &Path, bind: bool, flags: MountFlags, data: &CString) -> io::Result<()> {
    let flags = if bind { flags | MountFlags::BIND } else { flags };
    Ok(rustix::mount::mount_remount(target, flags, data.as_c_str())?)
}

/// Unmounts everything at and below a directory, last mounted first, at once or as soon as it is not in use any more.
pub fn unmount_below(directory: &Path) {
    let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
    for point in points(&String::from_utf8_lossy(&table)).iter().rev().filter(|p| p.starts_with(directory)) {
        let _ = rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted() {
        let options = Options::parse(&["rbind", "ro", "nosuid", "rw", "rshared", "size=1m", "lowerdir=/a:/b"]);
        assert_eq!(
            options,
            Options {
                flags: MountFlags::NOSUID,
                propagation: MountPropagationFlags::SHARED | MountPropagationFlags::REC,
                bind: Some(true),
                remount: false,
                data: "size=1m,lowerdir=/a:/b".to_owned(),
            }
        );
        let linuxkit = Options::parse(&["remount,private"]);
        assert!(linuxkit.remount && linuxkit.flags.is_empty());
        assert_eq!(linuxkit.propagation, MountPropagationFlags::PRIVATE);
        assert_eq!(Options::parse(&["rbind", "bind"]).bind, Some(true), "the recursive one wins");
        assert_eq!(Options::parse::<&str>(&[]).data, "");
    }

    #[test]
    fn propagation_words() {
        for (word, flags) in [
            ("rprivate", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC),
            ("slave", MountPropagationFlags::DOWNSTREAM),
            ("runbindable", MountPropagationFlags::UNBINDABLE | MountPropagationFlags::REC),
        ] {
            assert_eq!(propagation(word), Some(flags), "{word}");
        }
        assert_eq!(propagation("relatime"), None);
        assert_eq!(propagation("ro"), None);
    }
}
