//! Footer and header.

use crate::GENERATED_MTIME;
use crate::vdisk::SECTOR;

/// Bytes of a dynamic disk's block: the specification's default.
pub(super) const BLOCK: u64 = 2 << 20;
/// Bytes of the bitmap before each block, one bit per sector: one sector.
pub(super) const BITMAP: u64 = BLOCK / SECTOR / 8;
/// Bytes of the footer.
pub(super) const FOOTER: u64 = 512;
/// Bytes of a dynamic disk's header.
pub(super) const HEADER: u64 = 1024;
/// In the block allocation table: no such block.
pub(super) const UNUSED: u32 = u32::MAX;

/// 2000-01-01 00:00:00 UTC, from which VHD counts seconds.
const EPOCH: u32 = 946_684_800;
/// Not "none", but "reserved, always set".
const FEATURES: u32 = 2;
const VERSION: u32 = 0x0001_0000;
/// Hyper-V: of its disks, and of others with this name, readers (QEMU's `block/vpc.c`) take the size from the footer and do
/// not make it of the geometry, which cannot express most sizes.
const CREATOR: &[u8; 4] = b"win ";
const CREATOR_VERSION: u32 = 0x000a_0000;
const CREATOR_HOST: &[u8; 4] = b"Wi2k";
const NOWHERE: u64 = u64::MAX;

/// What kind of disk a footer is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Fixed = 2,
    Dynamic = 3,
}

pub(super) fn footer(kind: Kind, size: u64, uuid: [u8; 16]) -> [u8; FOOTER as usize] {
    let (cylinders, heads, sectors) = geometry(size / SECTOR);
    let header = match kind {
        Kind::Fixed => NOWHERE,
        Kind::Dynamic => FOOTER,
    };
    let mut out = [0; FOOTER as usize];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"conectix");
    put(8, &FEATURES.to_be_bytes());
    put(12, &VERSION.to_be_bytes());
    put(16, &header.to_be_bytes());
    put(24, &(GENERATED_MTIME - EPOCH).to_be_bytes());
    put(28, CREATOR);
    put(32, &CREATOR_VERSION.to_be_bytes());
    put(36, CREATOR_HOST);
    // The original and the current size.
    put(40, &size.to_be_bytes());
    put(48, &size.to_be_bytes());
    put(56, &cylinders.to_be_bytes());
    put(58, &[heads, sectors]);
    put(60, &(kind as u32).to_be_bytes());
    put(68, &uuid);
    let sum = checksum(&out);
    out[64..68].copy_from_slice(&sum);
    out
}

/// The header of a dynamic disk, whose table comes right behind it.
pub(super) fn header(blocks: u32) -> [u8; HEADER as usize] {
    let mut out = [0; HEADER as usize];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"cxsparse");
    put(8, &NOWHERE.to_be_bytes());
    put(16, &(FOOTER + HEADER).to_be_bytes());
    put(24, &VERSION.to_be_bytes());
    put(28, &blocks.to_be_bytes());
    put(32, &(BLOCK as u32).to_be_bytes());
    let sum = checksum(&out);
    out[36..40].copy_from_slice(&sum);
    out
}

/// The complement of the sum of all bytes, the checksum's own being zero.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    (!sum).to_be_bytes()
}

/// Cylinders, heads and sectors of so many sectors: the specification's appendix. Rounded down, and at most 127 GiB.
fn geometry(total: u64) -> (u16, u8, u8) {
    let total = u32::try_from(total).unwrap_or(u32::MAX).min(65535 * 16 * 255);
    let (heads, sectors) = if total >= 65535 * 16 * 63 {
        (16, 255)
    } else {
        let heads = (total / 17).div_ceil(1024).max(4);
        let too_many = |heads: u32, sectors: u32| heads > 16 || total / sectors >= heads * 1024;
        if !too_many(heads, 17) {
            (heads, 17)
        } else if !too_many(16, 31) {
            (16, 31)
        } else {
            (16, 63)
        }
    };
    ((total / sectors / heads) as u16, heads as u8, sectors as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out by hand from the appendix's text, for each of its branches.
    #[test]
    fn geometry_is_the_appendixs() {
        for (mib, want) in [
            (1, (30, 4, 17)),
            (100, (1003, 12, 17)),
            (200, (825, 16, 31)),
            (1024, (2080, 16, 63)),
            (1024 * 31, (64_495, 16, 63)),
            (1024 * 60, (30_840, 16, 255)),
            (1024 * 1024, (65_535, 16, 255)),
        ] {
            assert_eq!(geometry(mib << 11), want, "{mib} MiB");
        }
    }
}
