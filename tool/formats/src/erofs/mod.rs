//! EROFS: a read-only root that the kernel maps without unpacking anything.
//!
//! Specification: the kernel's `Documentation/filesystems/erofs.rst` and `fs/erofs/erofs_fs.h`. Blocks of 4096 bytes; the
//! superblock lies at byte 1024. An inode is found by its number: byte `32 * nid`. Behind it are its extended attributes and,
//! where all of that fits into a block, the tail of its data; full blocks lie elsewhere in one run. Directories are sorted by
//! name.
//!
//! What we write is plain: no compression, no chunks, no shared attributes, so that every kernel since 5.4 reads it. Files of the
//! same content share their blocks. Sizes and places are computed first, then everything is streamed in order.

mod format;
mod layout;
mod writer;
mod xattrs;

use bootwright_oci::Kind;
use bootwright_rootfs::Machine;

pub use writer::Erofs;

use crate::cpio::NAME_MAX;
use crate::error::Misfit;
use crate::limits;

/// Most bytes of all files: a block's number has 32 bits, and one part in 64 is left for everything else.
const FILES_MAX: u64 = (u32::MAX as u64) * format::BLOCK / 64 * 63;

/// Every node that such an image cannot hold.
#[must_use]
pub fn misfits(machine: &Machine) -> Vec<Misfit> {
    let mut total: u64 = 0;
    limits::misfits(machine, |path, placed| {
        if let Kind::File(content) = &placed.node.kind {
            total = total.saturating_add(content.size().next_multiple_of(format::BLOCK));
            if total > FILES_MAX {
                return Some(format!("{total} bytes together with the files before it, {FILES_MAX} at most"));
            }
        }
        xattrs::exceeded(&placed.node.meta.xattrs).or_else(|| limits::exceeded(path, placed, NAME_MAX))
    })
}

/// The nodes with extended attributes that get lost, for people: EROFS has those of the kernel's name spaces only.
#[must_use]
pub fn lost_xattrs(machine: &Machine) -> Vec<String> {
    limits::lost_xattrs(machine, |name| xattrs::split(name).is_some())
}
