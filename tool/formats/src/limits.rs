//! What Linux itself cannot name, whatever the format; each format's own limits come on top.

use bootwright_oci::{Kind, TreePath};
use bootwright_rootfs::{Machine, Placed};

use crate::content::component_name;
use crate::cpio::PATH_MAX;
use crate::error::Misfit;

/// Majors and minors as the kernel packs them into 32 bits (`new_encode_dev`).
const MAJOR_MAX: u32 = (1 << 12) - 1;
const MINOR_MAX: u32 = (1 << 20) - 1;

/// Why a node is too much for every format of names of that length; none if it is not.
pub(crate) fn exceeded(path: &TreePath, placed: &Placed, name_max: usize) -> Option<String> {
    let name = path.as_bytes();
    if name.len() >= PATH_MAX {
        return Some(format!("a path of {} bytes, {} at most", name.len(), PATH_MAX - 1));
    }
    if let Some(part) = name.split(|b| *b == b'/').find(|part| part.len() > name_max) {
        return Some(format!("a name of {} bytes, {name_max} at most", part.len()));
    }
    kind_exceeded(&placed.node.kind)
}

/// Why a link's target or a device's number is too much for every format; none if it is not.
pub(crate) fn kind_exceeded(kind: &Kind) -> Option<String> {
    match kind {
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

/// Every node of a machine that a format refuses, each with the reason.
pub(crate) fn misfits(machine: &Machine, mut refuse: impl FnMut(&TreePath, &Placed) -> Option<String>) -> Vec<Misfit> {
    let misfit = |(path, placed): (&TreePath, &Placed)| {
        let what = refuse(path, placed)?;
        Some(Misfit { path: path.to_string(), component: component_name(machine, placed.component), what })
    };
    machine.tree.iter().filter_map(misfit).collect()
}

/// The nodes with extended attributes that a format cannot keep, with the attributes' names, for people. Further names of a file
/// share its attributes and are not listed.
pub(crate) fn lost_xattrs(machine: &Machine, kept: impl Fn(&[u8]) -> bool) -> Vec<String> {
    let lost = |(path, placed): (&TreePath, &Placed)| {
        let names = placed.node.meta.xattrs.keys().filter(|name| !kept(name));
        let names: Vec<_> = names.map(|name| String::from_utf8_lossy(name)).collect();
        let is_link = matches!(placed.node.kind, Kind::HardLink(_));
        (!names.is_empty() && !is_link).then(|| format!("`/{path}` ({})", names.join(", ")))
    };
    machine.tree.iter().filter_map(lost).collect()
}
