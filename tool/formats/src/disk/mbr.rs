//! The first sector of a disk: boot code, disk signature and four partition entries (UEFI 2.10, section 5.2).

use super::SECTOR;

/// Bytes that a BIOS's boot code may have in the first sector; the disk signature follows.
pub const BOOT_CODE: usize = 440;

/// Type of a partition: FAT32, addressed by sector number.
pub(super) const FAT32: u8 = 0x0c;
/// Type of a partition: Linux filesystem.
pub(super) const LINUX: u8 = 0x83;
/// Type of a partition: whatever a GPT says.
const PROTECTIVE: u8 = 0xee;
/// Type of a partition: EFI system partition.
pub(super) const ESP: u8 = 0xef;

/// A partition, as the first sector describes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Whether it is the one to boot from.
    pub(super) active: bool,
    pub(super) kind: u8,
    /// Its first sector.
    pub(super) first: u32,
    pub(super) sectors: u32,
}

impl Entry {
    /// The entry that keeps programs without an idea of GPT away from a disk of so many sectors.
    pub(super) fn protective(sectors: u64) -> Self {
        // Not active, says the specification; some firmware takes an active one for a disk without GPT.
        Self { active: false, kind: PROTECTIVE, first: 1, sectors: u32::try_from(sectors - 1).unwrap_or(u32::MAX) }
    }

    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[0] = if self.active { 0x80 } else { 0 };
        bytes[1..4].copy_from_slice(&self.chs(self.first.into()));
        bytes[4] = self.kind;
        bytes[5..8].copy_from_slice(&self.chs(u64::from(self.first) + u64::from(self.sectors) - 1));
        bytes[8..12].copy_from_slice(&self.first.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.sectors.to_le_bytes());
        bytes
    }

    /// A sector as head, sector and cylinder of the geometry that everybody assumes, 255 heads of 63 sectors.
    fn chs(self, lba: u64) -> [u8; 3] {
        let (cylinder, head, sector) = (lba / (255 * 63), lba / 63 % 255, lba % 63 + 1);
        match cylinder {
            0..1024 => [head as u8, (cylinder >> 2 & 0xc0 | sector) as u8, cylinder as u8],
            // What cannot be said: as UEFI wants it in a protective entry, as fdisk writes it in others.
            _ if self.kind == PROTECTIVE => [0xff, 0xff, 0xff],
            _ => [0xfe, 0xff, 0xff],
        }
    }
}

/// The sector's bytes.
pub(super) fn sector(boot_code: Option<&[u8; BOOT_CODE]>, signature: u32, entries: &[Entry]) -> [u8; SECTOR as usize] {
    assert!(entries.len() <= 4, "an MBR has four entries");
    let mut bytes = [0; SECTOR as usize];
    if let Some(code) = boot_code {
        bytes[..BOOT_CODE].copy_from_slice(code);
    }
    bytes[440..444].copy_from_slice(&signature.to_le_bytes());
    for (entry, slot) in entries.iter().zip(bytes[446..510].chunks_exact_mut(16)) {
        slot.copy_from_slice(&entry.to_bytes());
    }
    bytes[510..].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_told_as_cylinders_while_that_can_be() {
        let entry = |kind, sectors| Entry { active: false, kind, first: 2048, sectors }.to_bytes();
        // 2048 is head 32, sector 33 of cylinder 0; the last cylinder that can be told is 1023.
        let last = 1024 * 255 * 63 - 1;
        assert_eq!(entry(FAT32, last - 2047)[1..8], [32, 33, 0, FAT32, 0xfe, 0xff, 0xff]);
        assert_eq!(entry(FAT32, last - 2047 - 63)[5..8], [0xfd, 0xff, 0xff]);
        assert_eq!(entry(FAT32, u32::MAX)[5..8], [0xfe, 0xff, 0xff]);
        let whole = Entry::protective(1 << 40).to_bytes();
        assert_eq!(whole, [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    }
}
