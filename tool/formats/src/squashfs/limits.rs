//! What a squashfs, or the kernel's reader of it, cannot hold.

use std::collections::BTreeSet;

use bootwright_oci::{Kind, TreePath};
use bootwright_rootfs::{Machine, Placed};

use super::format::{ENTRY_LEN, HEADER_LEN};
use super::xattrs;
use crate::content::component_name;
use crate::error::Misfit;
use crate::limits;

/// Longest name in a listing. Linux opens names of 255 bytes only, but lists the longer ones.
const NAME_MAX: usize = 256;
/// Longest name and value of an extended attribute in Linux (`XATTR_NAME_MAX`, `XATTR_SIZE_MAX`).
const XATTR_NAME_MAX: usize = 255;
const XATTR_VALUE_MAX: usize = 64 << 10;
/// Distinct owners and groups: their number has 16 bits in the superblock.
const IDS_MAX: usize = 0xffff;
/// Bytes of inodes and of listings: positions in their tables have 32 bits, and stored blocks take a little more than they hold.
/// Also what keeps a sparse file of exbibytes from filling the builder's memory with its block list.
const TABLE_MAX: u64 = 2 << 30;
/// An inode without block list, target and index.
const INODE_MAX: u64 = 64;

/// Every node that a squashfs cannot hold.
pub(crate) fn misfits(machine: &Machine, block_size: u32) -> Vec<Misfit> {
    let mut ids = BTreeSet::new();
    let mut table = 0;
    let mut misfits = Vec::new();
    for (path, placed) in &machine.tree {
        let full = |max: u64| table <= max && table + weight(path, placed, block_size) > max;
        let meta = &placed.node.meta;
        let known = ids.len();
        ids.extend([meta.uid, meta.gid]);
        let what = if known <= IDS_MAX && ids.len() > IDS_MAX {
            Some(format!("one more owner or group than the {IDS_MAX} different ones that an image has at most"))
        } else if full(TABLE_MAX) {
            Some("from here on more names and blocks than an image has at most (2 GiB of tables)".to_owned())
        } else {
            what(path, placed)
        };
        table += weight(path, placed, block_size);
        misfits.extend(what.map(|what| Misfit {
            path: path.to_string(),
            component: component_name(machine, placed.component),
            what,
        }));
    }
    misfits
}

/// What a node takes in the tables, at most.
fn weight(path: &TreePath, placed: &Placed, block_size: u32) -> u64 {
    let own = match &placed.node.kind {
        Kind::File(content) => content.size() / u64::from(block_size) * 4 + 4,
        Kind::Symlink(target) => target.len() as u64,
        _ => 0,
    };
    // Its name may be repeated in an index.
    own + INODE_MAX + 2 * (HEADER_LEN + ENTRY_LEN + path.file_name().len()) as u64
}

fn what(path: &TreePath, placed: &Placed) -> Option<String> {
    let name = path.file_name();
    if name.len() > NAME_MAX {
        return Some(format!("a name of {} bytes, {NAME_MAX} at most", name.len()));
    }
    for (name, value) in &placed.node.meta.xattrs {
        let shown = String::from_utf8_lossy(name);
        if xattrs::split(name).is_some() && name.len() > XATTR_NAME_MAX {
            return Some(format!("an extended attribute's name of {} bytes, {XATTR_NAME_MAX} at most", name.len()));
        }
        if value.len() > XATTR_VALUE_MAX {
            return Some(format!("extended attribute `{shown}` of {} bytes, {XATTR_VALUE_MAX} at most", value.len()));
        }
    }
    limits::kind_exceeded(&placed.node.kind)
}
