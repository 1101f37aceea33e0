//! What stands in an image: superblock, inodes, directory entries; little endian (`fs/erofs/erofs_fs.h`).

use crate::crc32c;

/// Bytes of a block.
pub(super) const BLOCK: u64 = 4096;
/// Binary logarithm of [`BLOCK`].
const BLOCK_BITS: u8 = 12;
/// Where the superblock lies in the first block.
const SUPER_OFFSET: usize = 1024;
/// Inodes lie at multiples of so many bytes; their number counts them.
pub(super) const SLOT: u64 = 32;
/// Bytes of a directory entry without its name.
pub(super) const ENTRY_LEN: usize = 12;
/// Number of the first block of an inode without blocks.
pub(super) const NO_BLOCK: u32 = u32::MAX;

/// First bytes of a superblock.
const MAGIC: u32 = 0xe0f5_e1e2;
/// Features that a reader need not know: a checksum of the superblock, times that are those of modification.
const COMPATIBLE: u32 = 1 | 1 << 1;
/// Layouts of data: in full blocks, or with the tail behind the inode.
const FLAT_PLAIN: u16 = 0;
const FLAT_INLINE: u16 = 2;

/// What the superblock tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Superblock {
    pub(super) root: u16,
    pub(super) inodes: u64,
    /// Time of all inodes that are compact.
    pub(super) time: i64,
    pub(super) blocks: u32,
    pub(super) uuid: [u8; 16],
}

impl Superblock {
    /// The first block.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; SUPER_OFFSET];
        bytes.extend(MAGIC.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(COMPATIBLE.to_le_bytes());
        bytes.extend([BLOCK_BITS, 0]);
        bytes.extend(self.root.to_le_bytes());
        bytes.extend(self.inodes.to_le_bytes());
        bytes.extend(self.time.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.blocks.to_le_bytes());
        // Inodes and shared attributes are counted from the image's start.
        bytes.extend([0; 8]);
        bytes.extend(self.uuid);
        bytes.resize(BLOCK as usize, 0);
        // From the superblock to the end of the block, with zero for itself, and without the usual inversion at the end.
        let checksum = crc32c::register(&bytes[SUPER_OFFSET..]);
        bytes[SUPER_OFFSET + 4..][..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }
}

/// An inode's fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct InodeFields {
    /// Whether the large form is needed: see [`InodeFields::is_compact`].
    pub(super) is_extended: bool,
    /// Whether the tail of the data follows.
    pub(super) is_inline: bool,
    /// What [`super::xattrs::count`] says.
    pub(super) xattrs: u16,
    pub(super) mode: u16,
    pub(super) links: u32,
    pub(super) size: u64,
    /// First block, or the number of a device.
    pub(super) place: u32,
    /// Number for callers of `stat` that know 32 bits only.
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) time: i64,
}

/// Bytes of an inode.
pub(super) fn inode_len(is_extended: bool) -> usize {
    if is_extended { 64 } else { 32 }
}

impl InodeFields {
    pub(super) fn encode(&self) -> Vec<u8> {
        let layout = if self.is_inline { FLAT_INLINE } else { FLAT_PLAIN };
        let mut bytes = Vec::with_capacity(inode_len(self.is_extended));
        bytes.extend((layout << 1 | u16::from(self.is_extended)).to_le_bytes());
        bytes.extend(self.xattrs.to_le_bytes());
        bytes.extend(self.mode.to_le_bytes());
        if self.is_extended {
            bytes.extend([0; 2]);
            bytes.extend(self.size.to_le_bytes());
            bytes.extend([self.place, self.number, self.uid, self.gid].map(u32::to_le_bytes).concat());
            bytes.extend(self.time.to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend(self.links.to_le_bytes());
        } else {
            bytes.extend((self.links as u16).to_le_bytes());
            bytes.extend((self.size as u32).to_le_bytes());
            bytes.extend([0; 4]);
            bytes.extend([self.place, self.number].map(u32::to_le_bytes).concat());
            bytes.extend([self.uid as u16, self.gid as u16].map(u16::to_le_bytes).concat());
        }
        bytes.resize(inode_len(self.is_extended), 0);
        bytes
    }
}

/// A device's number as the kernel packs it (`new_encode_dev`).
pub(super) fn device(major: u32, minor: u32) -> u32 {
    minor & 0xff | major << 8 | (minor & !0xff) << 12
}

/// Types of directory entries, as they are in `struct dirent` too, but counted on.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum FileType {
    File = 1,
    Directory = 2,
    Char = 3,
    Block = 4,
    Fifo = 5,
    Symlink = 7,
}

/// A directory entry without its name, which lies at that offset in the block.
pub(super) fn entry(nid: u64, name_offset: usize, kind: FileType) -> [u8; ENTRY_LEN] {
    let mut bytes = [0; ENTRY_LEN];
    bytes[..8].copy_from_slice(&nid.to_le_bytes());
    bytes[8..10].copy_from_slice(&(name_offset as u16).to_le_bytes());
    bytes[10] = kind as u8;
    bytes
}
