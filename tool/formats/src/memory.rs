//! How much memory a machine needs to unpack its root, in one place.
//!
//! The root is a tmpfs, whose size is half of the memory that the kernel manages when it mounts it; the packed initrd and
//! the kernel's own reservations are not managed yet. So with T the unpacked tree (in pages), P the packed initrd, and R
//! what the kernel reserves for itself, memory M must satisfy `T <= (M - P - R) / 2`. A small tree is bound by the kernel
//! instead, which must still run beside tree and initrd: `M >= T + P + floor`. Neither part is padded: init refuses a machine
//! with less, so a number that is too large would turn away machines that work.
//!
//! A root image of S in the initrd, whose root is a ramfs then, is there twice while it is unpacked, packed (it is stored as it
//! is) and as a file; so with T and P of the small initrd around it `M >= T + S + P + floor`, P including S. Later there is the
//! file and what init reads of it: `M >= S + INIT + floor`. An image on a disk is read by pages that the kernel can drop again,
//! so there it is the small initrd that decides. Measured, each of them: `docs/formats.md`.

use bootwright_oci::Kind;
use bootwright_rootfs::Machine;

/// Bytes of a page.
const PAGE: u64 = 4096;
/// Memory beside its pages of an inode with its name (shmem inode 700, dentry 192).
const INODE: u64 = 1 << 10;
/// What init takes to start the first container from a root image: its pages and the image's tables.
const INIT: u64 = 6 << 20;
/// One MiB.
const MIB: u64 = 1 << 20;

/// MiB of memory that a machine needs to unpack an initrd of so many bytes and start its init.
#[must_use]
pub fn memory_mib(machine: &Machine, packed_bytes: u64) -> u64 {
    let (tree, inodes) = unpacked(machine);
    need(machine, tree, inodes, packed_bytes)
}

/// Bytes of a tree's files in whole pages, and what its inodes take beside them.
fn unpacked(machine: &Machine) -> (u64, u64) {
    let files = machine.tree.values().filter_map(|placed| match &placed.node.kind {
        Kind::File(content) => Some(content.size().div_ceil(PAGE) * PAGE),
        _ => None,
    });
    (files.sum(), machine.tree.len() as u64 * INODE)
}

fn need(machine: &Machine, tree: u64, inodes: u64, packed_bytes: u64) -> u64 {
    let floor = machine.kernel_floor_mib * MIB;
    // Of what a kernel needs to reach init, about two thirds are its image and page structures, which are never managed
    // (Debian's 6.1 for clouds: 46 of 72 MiB; a tiny one: 25 of 40).
    let reserved = floor / 3 * 2;
    let to_unpack = if is_ramfs(&machine.boot.cmdline) { 0 } else { 2 * tree + packed_bytes + reserved };
    let to_run = tree + inodes + packed_bytes + floor;
    to_unpack.max(to_run).div_ceil(MIB)
}

/// MiB of memory that a machine needs whose root is a root image: the initrd that mounts it is unpacked as any other, and the
/// image in it, if it is in it, stays; then init runs from the image, page by page.
#[must_use]
pub(crate) fn with_root_image(early: &Machine, packed_bytes: u64, stored_bytes: u64) -> u64 {
    let (tree, inodes) = unpacked(early);
    let stored = stored_bytes.div_ceil(PAGE) * PAGE;
    need(early, tree + stored, inodes, packed_bytes).max(need(early, stored + INIT, 0, 0))
}

/// MiB of memory that a machine needs whose kernel mounts the root by itself.
#[must_use]
pub(crate) fn beside(machine: &Machine) -> u64 {
    need(machine, INIT, 0, 0)
}

/// Whether the kernel makes its root a ramfs, which has no limit (`init_is_rootfs_tmpfs` in `init/do_mounts.c`).
pub(crate) fn is_ramfs(cmdline: &str) -> bool {
    let mut words = cmdline.split_ascii_whitespace();
    words.any(|word| {
        word.starts_with("root=") || word.strip_prefix("rootfstype=").is_some_and(|types| !types.contains("tmpfs"))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bootwright_oci::{Content, Digest, Metadata, Node, Platform, TreePath};
    use bootwright_rootfs::{Boot, Placed, Root};

    use super::*;

    fn machine(floor: u64, tree_mib: u64, cmdline: &str) -> Machine {
        let content = Content::Host { path: "/x".into(), size: tree_mib << 20, digest: Digest::of(b"") };
        let node = Node { meta: Metadata::default(), kind: Kind::File(content) };
        Machine {
            platform: Platform::linux("amd64"),
            components: Vec::new(),
            tree: BTreeMap::from([(TreePath::default(), Placed { node, component: 0 })]),
            boot: Boot { cmdline: cmdline.to_owned(), ..Boot::default() },
            native_init: true,
            early: None,
            root: Root::default(),
            kernel_floor_mib: floor,
        }
    }

    /// Booted with a tool that asked for 1 MiB: the smallest `-m` at which the service spoke, three times. Never less than
    /// that, and at most a quarter more.
    #[test]
    fn the_need_is_the_floor_and_at_most_a_quarter() {
        // Nothing but the service; 20 MiB that do not compress; 60 MiB that compress to 22 MiB.
        let (initrd, early) = (machine(74, 1, ""), machine(74, 1, "rootfstype=ramfs"));
        let cases = [
            ("image", with_root_image(&early, 4_036_320, 3_534_848), 76),
            ("image, noise", with_root_image(&early, 25_003_748, 24_502_272), 116),
            // The same small initrd for each of the three.
            ("disk, noise", need(&initrd, 1_855_488, 34 * INODE, 576_168), 74),
        ];
        for (name, need, booted) in cases {
            assert!(booted <= need && 4 * need <= 5 * booted, "{name}: {need} MiB for a floor of {booted}");
        }
    }

    /// Booted: the largest `-m` that was too little and the smallest that was enough.
    #[test]
    fn the_need_lies_between_what_failed_and_what_booted() {
        let cases = [
            // Debian's 6.1 for clouds, zstd segments.
            (70, 1, 0, "", 68, 72),
            (70, 6, 4, "", 80, 84),
            (70, 20, 12, "", 96, 104),
            (70, 60, 34, "", 192, 208),
            // A tiny kernel (`kernel-boot.md`, section 4).
            (40, 57, 21, "", 160, 192),
            (40, 57, 21, "rootfstype=ramfs", 112, 128),
        ];
        for (floor, tree, packed, cmdline, failed, booted) in cases {
            let need = memory_mib(&machine(floor, tree, cmdline), packed << 20);
            assert!(failed < need && need <= booted, "{tree} MiB: {need} is not within {failed}..={booted}");
        }
    }
}
