//! The kernel's own filesystems, and what is mounted.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::mount::MountFlags;

/// Magic numbers of ramfs and tmpfs, one of which an initramfs is.
const IN_MEMORY: [i128; 2] = [0x8584_58f6, 0x0102_1994];

/// Whether what is mounted there is memory, as the kernel's initial rootfs is.
pub fn in_memory(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|s| IN_MEMORY.contains(&i128::from(s.f_type)))
}

/// Mounts proc, sysfs and devtmpfs, without which nothing can be said.
pub fn mount_kernel_filesystems() -> Vec<String> {
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    [
        ("proc", "/proc", quiet, ""),
        ("sysfs", "/sys", quiet, ""),
        ("devtmpfs", "/dev", MountFlags::NOSUID | MountFlags::NOEXEC, "mode=0755"),
    ]
    .into_iter()
    .filter_map(|(kind, target, flags, data)| make(kind, target, flags, data).err())
    .collect()
}

/// Makes the directory, where it can be, and mounts a filesystem on it, unless the same one is there.
pub fn make(kind: &str, target: &str, flags: MountFlags, data: &str) -> Result<(), String> {
    let done = fs::create_dir_all(target).and_then(|()| {
        let data = CString::new(data)?;
        Ok(rustix::mount::mount(kind, target, kind, flags, data.as_c_str())?)
    });
    match done {
        // Mounted by the kernel (CONFIG_DEVTMPFS_MOUNT).
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
        other => other.map_err(|error| format!("mounting {kind} on {target}: {error}")),
    }
}

/// Mount points of a mountinfo table (proc(5)), in the order of mounting.
pub fn points(table: &str) -> Vec<PathBuf> {
    table.lines().filter_map(|line| line.split(' ').nth(4)).map(|point| PathBuf::from(unescape(point))).collect()
}

/// Octal escapes of mountinfo: space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        let byte = escape.get(1..4).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        plain.push(byte.map_or('\\', char::from));
        rest = escape.get(if byte.is_some() { 4 } else { 1 }..).unwrap_or_default();
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_unescaped_and_keep_their_order() {
        let table = "22 1 0:20 / / rw - rootfs none rw\n23 22 0:21 / /a\\040b\\134 rw shared:2 - tmpfs t rw\nshort\n";
        assert_eq!(points(table), [Path::new("/"), Path::new("/a b\\")]);
    }
}
