//! How much memory a machine needs to unpack its root, in one place.
//!
//! The root is a tmpfs, whose size is half of the memory that the kernel manages when it mounts it; the packed initrd and
//! the kernel's own reservations are not managed yet. So with T the unpacked tree (in pages), P the packed initrd, and R
//! what the kernel reserves for itself, memory M must satisfy `T <= (M - P - R) / 2`. Measured (`docs/formats.md`): trees of
//! 60 and 200 MB need 192 and 512 MB, which this gives. A small tree is bound by the kernel instead, which must still
//! run beside tree and initrd: `M >= T + P + floor`.

use bootwright_oci::Kind;
use bootwright_rootfs::Machine;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Memory beside its pages of an inode with its name (shmem inode 700, dentry 192).
const INODE: u64 = 1 << 10;
/// One MiB.
const MIB: u64 = 1 << 20;

/// MiB of memory that a machine needs to unpack an initrd of so many bytes and start its init.
#[must_use]
pub fn memory_mib(machine: &Machine, packed_bytes: u64) -> u64 {
    let files = machine.tree.values().filter_map(|placed| match &placed.node.kind {
        Kind::File(content) => Some(content.size().div_ceil(PAGE) * PAGE),
        _ => None,
    });
    let tree: u64 = files.sum();
    let inodes = machine.tree.len() as u64 * INODE;
    let floor = machine.kernel_floor_mib * MIB;
    // Of what a kernel needs to reach init, about half is its image and page structures, which are never managed.
    let reserved = floor / 2;
    let to_unpack = 2 * tree + packed_bytes + reserved;
    let to_run = tree + inodes + packed_bytes + floor;
    to_unpack.max(to_run).div_ceil(MIB)
}
