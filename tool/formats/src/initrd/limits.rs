//! What newc and the kernel's unpacker cannot hold. The kernel skips most of it without a word, so it is refused here.

use bootwright_oci::{Kind, TreePath};
use bootwright_rootfs::{Machine, Placed};

use crate::content::component_name;
use crate::cpio::{NAME_MAX, PATH_MAX, TRAILER};
use crate::error::Misfit;

/// Majors and minors as the kernel packs them into 32 bits (`new_encode_dev`).
const MAJOR_MAX: u32 = (1 << 12) - 1;
const MINOR_MAX: u32 = (1 << 20) - 1;

/// Every node that an initrd cannot hold.
pub(crate) fn misfits(machine: &Machine) -> Vec<Misfit> {
    let misfit = |(path, placed): (&TreePath, &Placed)| {
        let what = what(path, placed)?;
        Some(Misfit { path: path.to_string(), component: component_name(machine, placed.component), what })
    };
    machine.tree.iter().filter_map(misfit).collect()
}

fn what(path: &TreePath, placed: &Placed) -> Option<String> {
    let name = path.as_bytes();
    if name.len() >= PATH_MAX {
        return Some(format!("a path of {} bytes, {} at most", name.len(), PATH_MAX - 1));
    }
    if let Some(part) = name.split(|b| *b == b'/').find(|part| part.len() > NAME_MAX) {
        return Some(format!("a name of {} bytes, {NAME_MAX} at most", part.len()));
    }
    if name == TRAILER {
        return Some("a name that ends cpio archives".to_owned());
    }
    match &placed.node.kind {
        Kind::File(content) if content.size() > u64::from(u32::MAX) => {
            Some(format!("{} bytes, 4 GiB - 1 byte at most", content.size()))
        }
        Kind::Symlink(target) if target.len() >= PATH_MAX => {
            Some(format!("a symbolic link's target of {} bytes, {} at most", target.len(), PATH_MAX - 1))
        }
        Kind::Symlink(target) if target.is_empty() => Some("a symbolic link to nothing".to_owned()),
        Kind::CharDevice { major, minor } | Kind::BlockDevice { major, minor }
            if *major > MAJOR_MAX || *minor > MINOR_MAX =>
        {
            Some(format!("device {major}:{minor}, {MAJOR_MAX}:{MINOR_MAX} at most"))
        }
        _ => None,
    }
}
