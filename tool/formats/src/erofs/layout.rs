//! Laying out: superblock and inodes first, then blocks of directories and long links, then blocks of files.

use std::collections::{BTreeMap, BTreeSet};

use bootwright_oci::Digest;
use bootwright_rootfs::Machine;

use super::format::{BLOCK, ENTRY_LEN, NO_BLOCK, SLOT, inode_len};
use super::xattrs;
use crate::inodes::{Directory, Inode, InodeKind, Inodes};

/// Longest file whose tail lies behind its inode. Such a file is read twice, once for the tail; a larger one loses at most a
/// block in sixteen.
const INLINE_MAX: u64 = 16 * BLOCK;

/// Places of everything.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of each inode.
    pub(super) inodes: Vec<Place>,
    /// Inodes in the order in which they lie.
    pub(super) order: Vec<usize>,
    /// Blocks up to the end of the inodes, the superblock's included.
    pub(super) inode_blocks: u64,
    /// Time of compact inodes.
    pub(super) time: i64,
    /// Blocks of the image.
    pub(super) blocks: u64,
    /// The files that own blocks, in the order of these.
    pub(super) owners: Vec<usize>,
}

/// Where an inode and its data lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Byte of the inode.
    pub(super) at: u64,
    /// Bytes of data.
    pub(super) size: u64,
    pub(super) is_extended: bool,
    /// Whether the tail lies behind the inode.
    pub(super) is_inline: bool,
    /// First block of the data; [`NO_BLOCK`] if all of it lies behind the inode.
    pub(super) block: u32,
}

impl Place {
    pub(super) fn nid(&self) -> u64 {
        self.at / SLOT
    }

    /// Bytes of data that do not lie behind the inode.
    pub(super) fn in_blocks(&self) -> u64 {
        if self.is_inline { self.size - self.size % BLOCK } else { self.size }
    }

    /// Bytes of data that do.
    pub(super) fn tail(&self) -> u64 {
        self.size - self.in_blocks()
    }
}

impl Layout {
    pub(super) fn of(inodes: &Inodes<'_>, machine: &Machine) -> Self {
        let time = usual_time(inodes);
        let mut slots = Slots::new();
        let places: Vec<_> = inodes.iter().map(|(index, inode)| place(index, inode, time, &mut slots)).collect();
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_unstable_by_key(|inode| places[*inode].at);
        let blocks = slots.blocks;
        let mut layout = Self { inodes: places, order, inode_blocks: blocks, time, blocks, owners: Vec::new() };
        for (index, inode) in inodes.iter() {
            if !matches!(inode.kind, InodeKind::File(_)) {
                layout.take(index);
            }
        }
        // Of files with the same content the first owns the blocks. With a tail in them they are others than without.
        let mut owners: BTreeMap<(Digest, bool), u32> = BTreeMap::new();
        for (index, inode) in inodes.iter() {
            let Some((content, _)) = inode.content(machine).filter(|_| layout.inodes[index].in_blocks() > 0) else {
                continue;
            };
            let key = (content.digest(), layout.inodes[index].is_inline);
            if let Some(block) = owners.get(&key) {
                layout.inodes[index].block = *block;
            } else {
                layout.take(index);
                owners.insert(key, layout.inodes[index].block);
                layout.owners.push(index);
            }
        }
        layout
    }

    /// Gives an inode's data the next blocks.
    fn take(&mut self, index: usize) {
        let place = &mut self.inodes[index];
        let blocks = place.in_blocks().div_ceil(BLOCK);
        if blocks > 0 {
            place.block = u32::try_from(self.blocks).unwrap_or(NO_BLOCK);
            self.blocks += blocks;
        }
    }
}

/// The time that most inodes have; the superblock tells it, and they may be compact.
fn usual_time(inodes: &Inodes<'_>) -> i64 {
    let mut counts: BTreeMap<i64, usize> = BTreeMap::new();
    for (_, inode) in inodes.iter() {
        *counts.entry(inode.meta.mtime).or_default() += 1;
    }
    counts.iter().max_by_key(|(_, count)| **count).map_or(0, |(time, _)| *time)
}

fn place(index: usize, inode: &Inode<'_>, time: i64, slots: &mut Slots) -> Place {
    let size = match &inode.kind {
        InodeKind::Directory(directory) => blocks(directory, index).size,
        InodeKind::File(size) => *size,
        InodeKind::Symlink(target) => target.len() as u64,
        InodeKind::Char(..) | InodeKind::Block(..) | InodeKind::Fifo => 0,
    };
    let meta = inode.meta;
    let is_compact = meta.mtime == time
        && [meta.uid, meta.gid, inode.links].iter().all(|value| *value <= u16::MAX.into())
        && size <= u32::MAX.into();
    let head = (inode_len(!is_compact) + xattrs::encode(&meta.xattrs).len()) as u64;
    let tail = size % BLOCK;
    let is_file = matches!(inode.kind, InodeKind::File(_));
    let is_inline = tail > 0 && head + tail <= BLOCK && (!is_file || size <= INLINE_MAX);
    let at = slots.take(if is_inline { head + tail } else { head });
    Place { at, size, is_extended: !is_compact, is_inline, block: NO_BLOCK }
}

/// The blocks of inodes. An inode lies in one block if it is not longer, and always in the block where it leaves the least room.
#[derive(Debug)]
struct Slots {
    /// Bytes left in a block, and the block.
    rooms: BTreeSet<(u64, u64)>,
    blocks: u64,
}

impl Slots {
    /// The first block is the superblock's alone: its checksum covers all of the block.
    fn new() -> Self {
        Self { rooms: BTreeSet::new(), blocks: 1 }
    }

    /// Gives a place for so many bytes.
    fn take(&mut self, len: u64) -> u64 {
        let len = len.next_multiple_of(SLOT);
        if let Some((room, block)) = self.rooms.range((len, 0)..).next().copied() {
            self.rooms.remove(&(room, block));
            self.leave(block, room - len);
            return (block + 1) * BLOCK - room;
        }
        let first = self.blocks;
        self.blocks += len.div_ceil(BLOCK);
        self.leave(self.blocks - 1, self.blocks * BLOCK - first * BLOCK - len);
        first * BLOCK
    }

    fn leave(&mut self, block: u64, room: u64) {
        if room > 0 {
            self.rooms.insert((room, block));
        }
    }
}

/// How a directory's entries fall into blocks.
#[derive(Debug)]
pub(super) struct DirectoryBlocks<'m> {
    /// Names and inodes of each block.
    pub(super) blocks: Vec<Vec<(&'m [u8], usize)>>,
    /// Bytes: full blocks, and what is used of the last.
    pub(super) size: u64,
}

/// Sorts a directory's entries, itself and its parent among them, into blocks.
pub(super) fn blocks<'m>(directory: &Directory<'m>, inode: usize) -> DirectoryBlocks<'m> {
    let mut entries = directory.entries.clone();
    for dots in [(&b"."[..], inode), (b"..", directory.parent)] {
        entries.insert(entries.partition_point(|(name, _)| *name < dots.0), dots);
    }
    let mut blocks = vec![Vec::new()];
    let mut used = 0;
    for entry in entries {
        let len = ENTRY_LEN + entry.0.len();
        if used + len > BLOCK as usize {
            blocks.push(Vec::new());
            used = 0;
        }
        used += len;
        if let Some(block) = blocks.last_mut() {
            block.push(entry);
        }
    }
    let size = (blocks.len() as u64 - 1) * BLOCK + used as u64;
    DirectoryBlocks { blocks, size }
}
