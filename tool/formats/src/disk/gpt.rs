//! The GUID partition table (UEFI 2.10, section 5.3): a header and 128 entries after the first sector, and again, mirrored, at the
//! disk's end. The protective MBR before it is `mbr.rs`'s.

use crate::RawImage;

use super::{Guid, SECTOR};

/// Entries of a table, which is what the specification wants room for.
pub(super) const ENTRIES: usize = 128;
/// Bytes of an entry.
const ENTRY_LEN: usize = 128;
/// Bytes of a header that count.
const HEADER_LEN: usize = 92;
/// Sectors of the entries.
const TABLE: u64 = (ENTRIES * ENTRY_LEN) as u64 / SECTOR;
/// Sectors at the end of a disk that the second table takes.
pub(super) const TAIL: u64 = TABLE + 1;

/// [`Entry::attributes`]: partitions of this type are mounted read-only (Discoverable Partitions Specification).
pub(super) const READ_ONLY: u64 = 1 << 60;

/// A partition, as the table describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) kind: Guid,
    pub(super) guid: Guid,
    /// Its first sector.
    pub(super) first: u64,
    pub(super) sectors: u64,
    pub(super) attributes: u64,
    /// At most 36 characters.
    pub(super) name: &'static str,
}

impl Entry {
    fn to_bytes(self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        bytes[..16].copy_from_slice(&self.kind.to_bytes());
        bytes[16..32].copy_from_slice(&self.guid.to_bytes());
        bytes[32..40].copy_from_slice(&self.first.to_le_bytes());
        bytes[40..48].copy_from_slice(&(self.first + self.sectors - 1).to_le_bytes());
        bytes[48..56].copy_from_slice(&self.attributes.to_le_bytes());
        for (unit, out) in self.name.encode_utf16().zip(bytes[56..].chunks_exact_mut(2)) {
            out.copy_from_slice(&unit.to_le_bytes());
        }
        bytes
    }
}

/// Puts both tables onto a disk.
pub(super) fn put(image: &mut RawImage, disk: Guid, entries: &[Entry]) {
    assert!(entries.len() <= ENTRIES, "a GPT has {ENTRIES} entries");
    let mut table = vec![0; ENTRIES * ENTRY_LEN];
    for (entry, slot) in entries.iter().zip(table.chunks_exact_mut(ENTRY_LEN)) {
        slot.copy_from_slice(&entry.to_bytes());
    }
    let last = image.size() / SECTOR - 1;
    let header = |here: u64, other: u64, table_at: u64| {
        let mut bytes = [0; SECTOR as usize];
        bytes[..8].copy_from_slice(b"EFI PART");
        bytes[8..12].copy_from_slice(&0x0001_0000_u32.to_le_bytes());
        bytes[12..16].copy_from_slice(&(HEADER_LEN as u32).to_le_bytes());
        bytes[24..32].copy_from_slice(&here.to_le_bytes());
        bytes[32..40].copy_from_slice(&other.to_le_bytes());
        bytes[40..48].copy_from_slice(&(2 + TABLE).to_le_bytes());
        bytes[48..56].copy_from_slice(&(last - TAIL).to_le_bytes());
        bytes[56..72].copy_from_slice(&disk.to_bytes());
        bytes[72..80].copy_from_slice(&table_at.to_le_bytes());
        bytes[80..84].copy_from_slice(&(ENTRIES as u32).to_le_bytes());
        bytes[84..88].copy_from_slice(&(ENTRY_LEN as u32).to_le_bytes());
        bytes[88..92].copy_from_slice(&crc32fast::hash(&table).to_le_bytes());
        // Over the header with zeros where this goes.
        let checksum = crc32fast::hash(&bytes[..HEADER_LEN]);
        bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
        bytes
    };
    let second = last - TABLE;
    image.put(SECTOR, header(1, last, 2));
    image.put(last * SECTOR, header(last, 1, second));
    image.put(2 * SECTOR, &table[..]);
    image.put(second * SECTOR, table);
}
