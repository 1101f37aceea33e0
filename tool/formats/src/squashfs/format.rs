//! The on-disk types of squashfs 4.0 (`Documentation/filesystems/squashfs.rst`, `fs/squashfs/squashfs_fs.h`): everything
//! little-endian, nothing aligned.
//!
//! An inode is *basic*, or *extended* when a basic one cannot say it: more than one name, extended attributes, holes, large
//! numbers, an index. Which of the two follows from the values alone.

/// First four bytes, `hsqs`.
const MAGIC: u32 = 0x7371_7368;
/// Major and minor version.
const VERSION: [u16; 2] = [4, 0];
/// Bytes of the superblock.
pub(super) const SUPERBLOCK_LEN: usize = 96;
/// Bytes of a metadata block, uncompressed; only the last of a table is shorter.
pub(super) const METADATA_LEN: usize = 8192;
/// In the 16-bit header of a metadata block: it is not compressed.
pub(super) const METADATA_STORED: u16 = 1 << 15;
/// In the 32-bit size of a data or fragment block: it is not compressed. A data block of size 0 is a hole.
pub(super) const BLOCK_STORED: u32 = 1 << 24;
/// The image is padded to so many bytes.
pub(super) const IMAGE_ALIGNMENT: u64 = 4096;
/// Entries behind one header of a directory's listing, at most.
pub(super) const RUN_MAX: usize = 256;
/// Bytes of a listing's header, and of an entry without its name.
pub(super) const HEADER_LEN: usize = 12;
pub(super) const ENTRY_LEN: usize = 8;
/// A directory's size counts `.` and `..` with so many bytes.
pub(super) const LISTING_EXTRA: u32 = 3;
/// No fragment, no extended attributes.
const NONE: u32 = u32::MAX;
/// No table of extended attributes.
pub(super) const NO_TABLE: u64 = u64::MAX;

/// Flag of the superblock: equal files are stored once.
pub(super) const FLAG_DUPLICATES: u16 = 1 << 6;
/// There is an export table.
pub(super) const FLAG_EXPORTABLE: u16 = 1 << 7;
/// There is no table of extended attributes.
pub(super) const FLAG_NO_XATTRS: u16 = 1 << 9;
/// A metadata block with the compressor's options follows the superblock.
pub(super) const FLAG_OPTIONS: u16 = 1 << 10;

/// Types of nodes, as listings name them; an extended inode's type is [`EXTENDED`] more.
pub(super) mod kind {
    pub(in crate::squashfs) const DIRECTORY: u16 = 1;
    pub(in crate::squashfs) const FILE: u16 = 2;
    pub(in crate::squashfs) const SYMLINK: u16 = 3;
    pub(in crate::squashfs) const BLOCK: u16 = 4;
    pub(in crate::squashfs) const CHAR: u16 = 5;
    pub(in crate::squashfs) const FIFO: u16 = 6;
}
/// What an extended inode's type is more than the basic one's.
const EXTENDED: u16 = 7;

/// The first bytes of an image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Superblock {
    pub(super) inodes: u32,
    /// Seconds since 1970.
    pub(super) mtime: u32,
    pub(super) block_size: u32,
    pub(super) fragments: u32,
    pub(super) compression: u16,
    pub(super) flags: u16,
    pub(super) ids: u16,
    pub(super) root: u64,
    /// Bytes of the file system, without the padding.
    pub(super) bytes_used: u64,
    pub(super) id_table: u64,
    pub(super) xattr_table: u64,
    pub(super) inode_table: u64,
    pub(super) directory_table: u64,
    pub(super) fragment_table: u64,
    pub(super) export_table: u64,
}

impl Superblock {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SUPERBLOCK_LEN);
        for value in [MAGIC, self.inodes, self.mtime, self.block_size, self.fragments] {
            out.extend(value.to_le_bytes());
        }
        let log = self.block_size.trailing_zeros() as u16;
        for value in [self.compression, log, self.flags, self.ids, VERSION[0], VERSION[1]] {
            out.extend(value.to_le_bytes());
        }
        let tables = [self.inode_table, self.directory_table, self.fragment_table, self.export_table];
        for value in [self.root, self.bytes_used, self.id_table, self.xattr_table].into_iter().chain(tables) {
            out.extend(value.to_le_bytes());
        }
        debug_assert_eq!(out.len(), SUPERBLOCK_LEN);
        out
    }
}

/// Where something lies in a run of metadata blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Of the block, packed, from the start of its table.
    pub(super) block: u64,
    /// In the block, unpacked.
    pub(super) offset: u16,
}

impl Position {
    /// As superblock and tables say it.
    pub(super) fn reference(self) -> u64 {
        self.block << 16 | u64::from(self.offset)
    }
}

/// What every inode begins with, but for its type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    /// Permissions.
    pub(super) mode: u16,
    /// Owner and group, as indices into the table of ids.
    pub(super) uid: u16,
    pub(super) gid: u16,
    pub(super) mtime: u32,
    pub(super) number: u32,
}

/// The rest of an inode.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    Directory { listing: &'a Listing, parent: u32 },
    File { start: u64, size: u64, sparse: u64, fragment: Option<Fragment>, blocks: &'a [u32] },
    Symlink { target: &'a [u8] },
    Device { kind: u16, major: u32, minor: u32 },
    Fifo,
}

/// A file's place in a fragment block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Index into the fragment table.
    pub(super) index: u32,
    /// Of the file's first byte in the block, unpacked.
    pub(super) offset: u32,
}

/// What a directory's inode says of its listing.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) at: Position,
    /// Bytes, unpacked.
    pub(super) size: u32,
    pub(super) subdirectories: u32,
    /// The first header in each further metadata block.
    pub(super) index: Vec<IndexEntry>,
}

/// Where in a long listing some names are.
#[derive(Clone, Debug)]
pub(super) struct IndexEntry {
    /// Of a header, from the start of the listing.
    pub(super) offset: u32,
    /// Of that header's metadata block, packed, from the start of the table.
    pub(super) block: u32,
    /// The first name behind that header.
    pub(super) name: Vec<u8>,
}

/// Encodes an inode. `xattrs` is an index into the table of extended attributes.
pub(super) fn inode(head: Head, nlink: u32, body: Body<'_>, xattrs: Option<u32>) -> Vec<u8> {
    let (kind, large) = match body {
        Body::Directory { listing, .. } => {
            (kind::DIRECTORY, !listing.index.is_empty() || u16::try_from(listing.size + LISTING_EXTRA).is_err())
        }
        Body::File { start, size, sparse, .. } => {
            (kind::FILE, nlink > 1 || sparse > 0 || u32::try_from(start).is_err() || u32::try_from(size).is_err())
        }
        Body::Symlink { .. } => (kind::SYMLINK, false),
        Body::Device { kind, .. } => (kind, false),
        Body::Fifo => (kind::FIFO, false),
    };
    let extended = large || xattrs.is_some();
    let xattrs = xattrs.unwrap_or(NONE);
    let mut out = Vec::with_capacity(64);
    for value in [if extended { kind + EXTENDED } else { kind }, head.mode, head.uid, head.gid] {
        out.extend(value.to_le_bytes());
    }
    out.extend(head.mtime.to_le_bytes());
    out.extend(head.number.to_le_bytes());
    let mut words = |words: &[u32]| words.iter().for_each(|word| out.extend(word.to_le_bytes()));
    match body {
        Body::Directory { listing, parent } => {
            // `limits` keeps the table below 4 GiB. The index may end early: the rest is found by reading on.
            let (block, size) = (listing.at.block as u32, listing.size + LISTING_EXTRA);
            let index = &listing.index[..listing.index.len().min(usize::from(u16::MAX))];
            if extended {
                words(&[nlink, size, block, parent, u32::from(listing.at.offset) << 16 | index.len() as u32, xattrs]);
            } else {
                words(&[block, nlink, u32::from(listing.at.offset) << 16 | size, parent]);
            }
            for IndexEntry { offset, block, name } in index {
                for value in [*offset, *block, name.len() as u32 - 1] {
                    out.extend(value.to_le_bytes());
                }
                out.extend(name);
            }
        }
        Body::File { start, size, sparse, fragment, blocks } => {
            let Fragment { index, offset } = fragment.unwrap_or(Fragment { index: NONE, offset: 0 });
            let low_high = |value: u64| [value as u32, (value >> 32) as u32];
            if extended {
                words(&[low_high(start), low_high(size), low_high(sparse)].concat());
                words(&[nlink, index, offset, xattrs]);
            } else {
                words(&[start as u32, index, offset, size as u32]);
            }
            words(blocks);
        }
        Body::Symlink { target } => {
            words(&[nlink, target.len() as u32]);
            out.extend(target);
            if extended {
                out.extend(xattrs.to_le_bytes());
            }
        }
        Body::Device { major, minor, .. } => {
            // The kernel's `new_encode_dev`.
            words(&[nlink, minor & 0xff | major << 8 | (minor & !0xff) << 12]);
            if extended {
                words(&[xattrs]);
            }
        }
        Body::Fifo => {
            words(&[nlink]);
            if extended {
                words(&[xattrs]);
            }
        }
    }
    out
}
