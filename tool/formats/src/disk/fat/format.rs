//! On-disk structures of FAT32: boot sector, free space summary, table entries, directory entries.

use crate::disk::SECTOR;

/// Reserved sectors at least: what every formatter leaves.
pub(super) const RESERVED: u64 = 32;
/// Where the copy of the boot sector and of the summary lies.
pub(super) const BACKUP: u64 = 6;
/// Table entries of a sector.
pub(super) const ENTRIES_PER_SECTOR: u64 = SECTOR / 4;
/// First cluster that there is.
pub(super) const FIRST_CLUSTER: u32 = 2;
/// Clusters at least. A FAT32 has 65,525 or more; the specification advises to keep 16 away from that, because drivers err there.
pub(super) const MIN_CLUSTERS: u64 = 65_525 + 16;
/// Directory entries that a directory may have.
pub(super) const MAX_DIRECTORY: u64 = 65_536;
/// Bytes of a directory entry.
pub(super) const DIRECTORY_ENTRY: u64 = 32;
/// UTF-16 units of a long name that a directory entry holds.
pub(super) const LONG_UNITS: usize = 13;
/// Entry of the last cluster of a file.
pub(super) const END_OF_FILE: u32 = 0x0fff_ffff;
/// The two entries before those of clusters: the media, and that the volume was left clean.
pub(super) const TABLE_HEAD: [u32; 2] = [0x0fff_ff00 | MEDIA as u32, END_OF_FILE];
/// A disk that is not removable.
const MEDIA: u8 = 0xf8;
/// 1980-01-01: years from there, month, day.
const DATE: u16 = 1 << 5 | 1;

/// What a directory entry is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    /// The volume's label.
    Label = 0x08,
    /// A piece of a long name.
    Long = 0x0f,
    Directory = 0x10,
    /// A file (that no backup has seen).
    File = 0x20,
}

/// Sizes of a volume's parts, in sectors unless said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) cluster: u64,
    pub(super) reserved: u64,
    /// Sectors of one of the two tables.
    pub(super) table: u64,
    /// Number of clusters.
    pub(super) clusters: u64,
}

impl Geometry {
    pub(super) fn new(cluster: u64, clusters: u64) -> Self {
        let table = (clusters + u64::from(FIRST_CLUSTER)).div_ceil(ENTRIES_PER_SECTOR);
        // Clusters begin at a multiple of 4096 bytes, for disks that have no smaller sectors inside.
        let reserved = (RESERVED + 2 * table).next_multiple_of(8) - 2 * table;
        Self { cluster, reserved, table, clusters }
    }

    /// All of it.
    pub(super) fn sectors(&self) -> u64 {
        self.sector_of(FIRST_CLUSTER) + self.clusters * self.cluster
    }

    /// Bytes of a cluster.
    pub(super) fn cluster_len(&self) -> u64 {
        self.cluster * SECTOR
    }

    /// The first sector of a cluster.
    pub(super) fn sector_of(&self, cluster: u32) -> u64 {
        self.reserved + 2 * self.table + u64::from(cluster - FIRST_CLUSTER) * self.cluster
    }
}

/// The boot sector. The sizes are checked to fit.
pub(super) fn boot_sector(geometry: &Geometry, root: u32, id: u32, label: &[u8; 11]) -> [u8; SECTOR as usize] {
    let mut bytes = [0; SECTOR as usize];
    bytes[0..3].copy_from_slice(&[0xeb, 0x58, 0x90]);
    // The name that the specification recommends, because some drivers look at it.
    bytes[3..11].copy_from_slice(b"MSWIN4.1");
    bytes[11..13].copy_from_slice(&(SECTOR as u16).to_le_bytes());
    bytes[13] = geometry.cluster as u8;
    bytes[14..16].copy_from_slice(&(geometry.reserved as u16).to_le_bytes());
    bytes[16] = 2;
    bytes[21] = MEDIA;
    // 63 sectors, 255 heads: the geometry of the partition table.
    bytes[24..26].copy_from_slice(&63_u16.to_le_bytes());
    bytes[26..28].copy_from_slice(&255_u16.to_le_bytes());
    bytes[32..36].copy_from_slice(&(geometry.sectors() as u32).to_le_bytes());
    bytes[36..40].copy_from_slice(&(geometry.table as u32).to_le_bytes());
    bytes[44..48].copy_from_slice(&root.to_le_bytes());
    bytes[48..50].copy_from_slice(&1_u16.to_le_bytes());
    bytes[50..52].copy_from_slice(&(BACKUP as u16).to_le_bytes());
    bytes[64] = 0x80;
    bytes[66] = 0x29;
    bytes[67..71].copy_from_slice(&id.to_le_bytes());
    bytes[71..82].copy_from_slice(label);
    bytes[82..90].copy_from_slice(b"FAT32   ");
    // Whoever jumps here is told that this does not boot: `int 0x18`, and stop.
    bytes[90..95].copy_from_slice(&[0xcd, 0x18, 0xf4, 0xeb, 0xfd]);
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

/// The free space summary: how many clusters are free, and the first of them; all behind it are.
pub(super) fn summary(free: u32, next: u32) -> [u8; SECTOR as usize] {
    let mut bytes = [0; SECTOR as usize];
    bytes[0..4].copy_from_slice(&0x4161_5252_u32.to_le_bytes());
    bytes[484..488].copy_from_slice(&0x6141_7272_u32.to_le_bytes());
    bytes[488..492].copy_from_slice(&free.to_le_bytes());
    bytes[492..496].copy_from_slice(&next.to_le_bytes());
    bytes[508..512].copy_from_slice(&0xaa55_0000_u32.to_le_bytes());
    bytes
}

/// A directory entry with a short name.
pub(super) fn short_entry(name: &[u8; 11], attribute: Attribute, cluster: u32, len: u32) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[0..11].copy_from_slice(name);
    bytes[11] = attribute as u8;
    // Created, last read, last written; the times of day are zero.
    for at in [16, 18, 24] {
        bytes[at..at + 2].copy_from_slice(&DATE.to_le_bytes());
    }
    let cluster = cluster.to_le_bytes();
    bytes[20..22].copy_from_slice(&cluster[2..]);
    bytes[26..28].copy_from_slice(&cluster[..2]);
    bytes[28..32].copy_from_slice(&len.to_le_bytes());
    bytes
}

/// The directory entries of a long name, in the order in which they precede that of its short name: the name's end comes first.
pub(super) fn long_entries(name: &[u16], short: &[u8; 11]) -> Vec<[u8; 32]> {
    let checksum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let pieces = name.chunks(LONG_UNITS).enumerate().map(|(i, piece)| {
        let last = (i + 1) * LONG_UNITS >= name.len();
        let mut bytes = [0xff; 32];
        bytes[0] = (i + 1) as u8 | if last { 0x40 } else { 0 };
        bytes[11..14].copy_from_slice(&[Attribute::Long as u8, 0, checksum]);
        bytes[26..28].fill(0);
        // One NUL ends a name that does not fill its entry.
        let units = piece.iter().copied().chain([0]);
        for (unit, at) in units.zip((1..11).chain(14..26).chain(28..32).step_by(2)) {
            bytes[at..at + 2].copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    });
    let mut entries: Vec<_> = pieces.collect();
    entries.reverse();
    entries
}
