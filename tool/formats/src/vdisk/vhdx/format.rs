//! Structures of the header section, the metadata region, and entries of the block allocation table.

use crate::crc32c::crc32c;
use crate::vdisk::{KIB, MIB};

/// Bytes of a payload block, the least there can be: nothing that is zero is stored for longer than needed. Microsoft's advice
/// for Linux guests as well.
pub(super) const BLOCK: u64 = MIB;
/// Payload blocks between two entries for sector bitmaps, which only differencing disks have: 2^23 sectors.
pub(super) const CHUNK: u64 = (1 << 23) * LOGICAL_SECTOR / BLOCK;
const LOGICAL_SECTOR: u64 = 512;
const PHYSICAL_SECTOR: u64 = 4096;

/// Places in the file.
pub(super) const LOG: u64 = MIB;
pub(super) const METADATA: u64 = 2 * MIB;
pub(super) const TABLE: u64 = 3 * MIB;

/// Places in the header section.
pub(super) const HEADERS: [u64; 2] = [64 * KIB, 128 * KIB];
pub(super) const REGION_TABLES: [u64; 2] = [192 * KIB, 256 * KIB];

/// A payload block that reads as zeros.
pub(super) const ZERO: u64 = 2;
/// A payload block that is at an offset, which stands in the bits from 20 on, in MiB: so the offset itself, in bytes.
pub(super) const fn present(offset: u64) -> u64 {
    6 | offset
}

pub(super) type Guid = [u8; 16];

const REGION_TABLE_OF_BLOCKS: Guid = guid(0x2dc2_7766, 0xf623, 0x4200, 0x9d64_115e_9bfd_4a08);
const REGION_METADATA: Guid = guid(0x8b7c_a206, 0x4790, 0x4b9a, 0xb8fe_575f_050f_886e);
const FILE_PARAMETERS: Guid = guid(0xcaa1_6737, 0xfa36, 0x4d43, 0xb3b6_33f0_aa44_e76b);
const VIRTUAL_DISK_SIZE: Guid = guid(0x2fa5_4224, 0xcd1b, 0x4876, 0xb211_5dbe_d83b_f4b8);
const VIRTUAL_DISK_ID: Guid = guid(0xbeca_12ab, 0xb2e6, 0x4523, 0x93ef_c309_e000_c746);
const LOGICAL_SECTOR_SIZE: Guid = guid(0x8141_bf1d, 0xa96f, 0x4709, 0xba47_f233_a8fa_ab5f);
const PHYSICAL_SECTOR_SIZE: Guid = guid(0xcda3_48c7, 0x445d, 0x4471, 0x9cc9_e988_5251_c556);

/// A GUID from its five groups as they are written, the last two as one.
const fn guid(a: u32, b: u16, c: u16, d: u64) -> Guid {
    from_uuid((((a as u128) << 96) | ((b as u128) << 80) | ((c as u128) << 64) | d as u128).to_be_bytes())
}

/// A GUID from a UUID's bytes.
pub(super) const fn from_uuid(uuid: [u8; 16]) -> Guid {
    let [a, b, c, d, e, f, g, h, rest @ ..] = uuid;
    let [i, j, k, l, m, n, o, p] = rest;
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// The file type identifier: signature, and a creator in UTF-16.
pub(super) fn identifier() -> Vec<u8> {
    let creator = "bootwright".encode_utf16().flat_map(u16::to_le_bytes);
    b"vhdxfile".iter().copied().chain(creator).collect()
}

/// One of the two headers; the one with the higher sequence number counts.
pub(super) fn header(sequence: u64, file_write: Guid, data_write: Guid) -> Vec<u8> {
    let mut out = vec![0; 4 * KIB as usize];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"head");
    put(8, &sequence.to_le_bytes());
    put(16, &file_write);
    put(32, &data_write);
    // The log's GUID (48) is zero: there is nothing to replay. Its version (64) is zero too; the format's is one.
    put(66, &1u16.to_le_bytes());
    put(68, &(MIB as u32).to_le_bytes());
    put(72, &LOG.to_le_bytes());
    checked(out)
}

/// The region table: where the block allocation table, of so many bytes, and the metadata are.
pub(super) fn regions(table_len: u64) -> Vec<u8> {
    let mut out = vec![0; 64 * KIB as usize];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"regi");
    put(8, &2u32.to_le_bytes());
    let entries = [(REGION_TABLE_OF_BLOCKS, TABLE, table_len), (REGION_METADATA, METADATA, MIB)];
    for (at, (guid, offset, len)) in (16..).step_by(32).zip(entries) {
        put(at, &guid);
        put(at + 16, &offset.to_le_bytes());
        put(at + 24, &(len as u32).to_le_bytes());
        // A reader must know it.
        put(at + 28, &1u32.to_le_bytes());
    }
    checked(out)
}

/// The metadata region: its table, and 64 KiB on its items.
pub(super) fn metadata(size: u64, id: Guid) -> Vec<u8> {
    /// Flags: of the disk and not of the file; a reader must know it.
    const DISK: u32 = 2;
    const REQUIRED: u32 = 4;
    // Block size, and flags: neither fixed nor with a parent.
    let parameters = [(BLOCK as u32).to_le_bytes(), [0; 4]].concat();
    let items = [
        (FILE_PARAMETERS, REQUIRED, parameters),
        (VIRTUAL_DISK_SIZE, REQUIRED | DISK, size.to_le_bytes().to_vec()),
        (LOGICAL_SECTOR_SIZE, REQUIRED | DISK, (LOGICAL_SECTOR as u32).to_le_bytes().to_vec()),
        (PHYSICAL_SECTOR_SIZE, REQUIRED | DISK, (PHYSICAL_SECTOR as u32).to_le_bytes().to_vec()),
        (VIRTUAL_DISK_ID, REQUIRED | DISK, id.to_vec()),
    ];
    let mut table = vec![0; 64 * KIB as usize];
    let mut values = Vec::new();
    table[..8].copy_from_slice(b"metadata");
    table[10..12].copy_from_slice(&(items.len() as u16).to_le_bytes());
    for (at, (guid, flags, value)) in (32..).step_by(32).zip(items) {
        let place = (table.len() + values.len()) as u32;
        let numbers = [place, value.len() as u32, flags].map(u32::to_le_bytes).concat();
        table[at..at + 28].copy_from_slice(&[&guid[..], &numbers].concat());
        values.extend(value);
    }
    table.extend(values);
    table
}

/// Fills in the checksum, CRC-32C, which counts its own field as zero.
fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    let sum = crc32c(&bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guids_are_mixed_endian() {
        let want = [0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08];
        assert_eq!(REGION_TABLE_OF_BLOCKS, want);
    }
}
