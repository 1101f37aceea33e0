//! The header and the entries of the tables.

/// Bits of an offset in a cluster, and bytes of a cluster: QEMU's default, and one unit of a survey.
pub(super) const CLUSTER_BITS: u32 = 16;
pub(super) const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of an L1 table, an L2 table or the refcount table in a cluster: eight bytes each.
pub(super) const ENTRIES: u64 = CLUSTER / 8;
/// Bytes of the disk behind one L2 table.
pub(super) const L2_SPAN: u64 = ENTRIES * CLUSTER;
/// Entries of a refcount block: two bytes each.
pub(super) const REFCOUNTS: u64 = CLUSTER / 2;
/// log2 of a refcount's bits.
const REFCOUNT_ORDER: u32 = 4;
/// What the size of a deflated cluster is counted in.
const COMPRESSED_SECTOR: u64 = 512;

/// In L1 and L2 entries: the refcount is exactly one, so a writer need not look.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

const MAGIC: &[u8; 4] = b"QFI\xfb";
const VERSION: u32 = 3;
/// Without the compression type, which is deflate where it is missing.
const HEADER_LEN: u32 = 104;

/// What differs between images.
#[derive(Debug)]
pub(super) struct Header {
    /// Bytes of the disk.
    pub(super) size: u64,
    pub(super) l1_entries: u32,
    pub(super) l1_offset: u64,
    pub(super) refcount_table_offset: u64,
    pub(super) refcount_table_clusters: u32,
}

impl Header {
    /// The header. What is not set is not there: a backing file, encryption, snapshots, features; zeros behind it are the end
    /// of the header extensions.
    pub(super) fn bytes(&self) -> [u8; HEADER_LEN as usize] {
        let mut out = [0; HEADER_LEN as usize];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, MAGIC);
        put(4, &VERSION.to_be_bytes());
        put(20, &CLUSTER_BITS.to_be_bytes());
        put(24, &self.size.to_be_bytes());
        put(36, &self.l1_entries.to_be_bytes());
        put(40, &self.l1_offset.to_be_bytes());
        put(48, &self.refcount_table_offset.to_be_bytes());
        put(56, &self.refcount_table_clusters.to_be_bytes());
        put(96, &REFCOUNT_ORDER.to_be_bytes());
        put(100, &HEADER_LEN.to_be_bytes());
        out
    }
}

/// An entry of the L1 or an L2 table: a table or a cluster as it is.
pub(super) fn entry(offset: u64) -> u64 {
    COPIED | offset
}

/// An entry of an L2 table: a deflated cluster of so many bytes, at any offset. Its size is counted in sectors, from the one
/// that it begins in, which itself is not counted.
pub(super) fn compressed_entry(offset: u64, len: u64) -> u64 {
    let more = (last_sector(offset, len) - offset / COMPRESSED_SECTOR * COMPRESSED_SECTOR) / COMPRESSED_SECTOR;
    let bits = 62 - (CLUSTER_BITS - 8);
    COMPRESSED | more << bits | offset
}

/// Where the last sector of a deflated cluster begins. Every cluster of the file that it has a sector in counts a reference.
pub(super) fn last_sector(offset: u64, len: u64) -> u64 {
    (offset + len - 1) / COMPRESSED_SECTOR * COMPRESSED_SECTOR
}
