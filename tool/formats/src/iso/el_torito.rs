//! Booting from the medium: the boot record and the boot catalog (El Torito 1.0; UEFI 2.10, 13.3.2).
//!
//! The boot record is the second descriptor and tells where the catalog is. The catalog names images that lie in the volume: for a
//! BIOS some sectors to load and to jump to, for UEFI a FAT file system.

use super::format::{SECTOR, descriptor};

/// Platform of an entry.
const BIOS: u8 = 0;
const EFI: u8 = 0xef;
/// First byte of an entry that can be booted.
const BOOTABLE: u8 = 0x88;
/// First byte of the last section's header.
const LAST_SECTION: u8 = 0x91;
/// Bytes of an entry.
const ENTRY: usize = 32;

/// What a BIOS loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BiosEntry {
    /// Index of the file that is loaded.
    pub file: usize,
    /// Real mode segment where it is loaded and started; 0 is the usual 0x7c0.
    pub segment: u16,
    /// Sectors of 512 bytes that are loaded. Not every BIOS loads more than four.
    pub sectors: u16,
}

/// An image in the volume.
#[derive(Clone, Copy, Debug)]
pub(super) struct Image {
    /// First sector.
    pub(super) extent: u32,
    /// Sectors of 512 bytes.
    pub(super) sectors: u16,
    pub(super) segment: u16,
}

/// The boot record (El Torito, figure 7).
pub(super) fn boot_record(catalog: u32) -> Vec<u8> {
    let mut bytes = descriptor(0);
    bytes.extend(b"EL TORITO SPECIFICATION");
    bytes.resize(71, 0);
    bytes.extend(catalog.to_le_bytes());
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// The boot catalog, one sector.
pub(super) fn catalog(bios: Option<Image>, efi: Option<Image>) -> Vec<u8> {
    let platform = if bios.is_some() { BIOS } else { EFI };
    let mut bytes = validation(platform);
    bytes.extend(bios.or(efi).map_or([0; ENTRY], entry));
    if let (Some(_), Some(efi)) = (bios, efi) {
        let mut header = [0; ENTRY];
        header[..4].copy_from_slice(&[LAST_SECTION, EFI, 1, 0]);
        bytes.extend(header);
        bytes.extend(entry(efi));
    }
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// The entry that says that this is a catalog; its 16-bit words add up to zero.
fn validation(platform: u8) -> Vec<u8> {
    let mut bytes = vec![0; ENTRY];
    bytes[..2].copy_from_slice(&[1, platform]);
    bytes[30..].copy_from_slice(&[0x55, 0xaa]);
    let words = bytes.chunks_exact(2).map(|word| u16::from_le_bytes([word[0], word[1]]));
    let sum = words.fold(0, u16::wrapping_add);
    bytes[28..30].copy_from_slice(&sum.wrapping_neg().to_le_bytes());
    bytes
}

/// An entry without emulation of another medium.
fn entry(image: Image) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[0] = BOOTABLE;
    bytes[2..4].copy_from_slice(&image.segment.to_le_bytes());
    bytes[6..8].copy_from_slice(&image.sectors.to_le_bytes());
    bytes[8..12].copy_from_slice(&image.extent.to_le_bytes());
    bytes
}
