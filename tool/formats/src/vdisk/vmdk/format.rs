//! Header, markers and descriptor.

use crate::vdisk::SECTOR;
use crate::vdisk::survey::UNIT;

/// Bytes of a grain: 64 KiB, as QEMU and VMware write it.
pub(super) const GRAIN: u64 = UNIT;
/// Grains in a table.
pub(super) const GRAINS: u64 = 512;
/// Sectors before the first marker, a grain's worth: header and descriptor.
pub(super) const OVERHEAD: u64 = GRAIN / SECTOR;
/// In the header at the file's beginning: the footer knows where the directory is.
pub(super) const AT_END: u64 = u64::MAX;

const MAGIC: &[u8; 4] = b"KDMV";
/// With deflated grains and markers.
const VERSION: u32 = 3;
/// The bytes that detect a transfer as text are right; grains are deflated; there are markers.
const FLAGS: u32 = 1 | 1 << 16 | 1 << 17;
const DESCRIPTOR_SECTORS: u64 = 20;

/// The header of a disk of so many bytes, also its footer.
pub(super) fn header(size: u64, directory: u64) -> [u8; SECTOR as usize] {
    let mut out = [0; SECTOR as usize];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, MAGIC);
    put(4, &VERSION.to_le_bytes());
    put(8, &FLAGS.to_le_bytes());
    put(12, &(size / SECTOR).to_le_bytes());
    put(20, &(GRAIN / SECTOR).to_le_bytes());
    // The descriptor comes next.
    put(28, &1u64.to_le_bytes());
    put(36, &DESCRIPTOR_SECTORS.to_le_bytes());
    put(44, &(GRAINS as u32).to_le_bytes());
    // No second directory (48).
    put(56, &directory.to_le_bytes());
    put(64, &OVERHEAD.to_le_bytes());
    // Closed properly (72).
    put(73, b"\n \r\n");
    // Deflate.
    put(77, &1u16.to_le_bytes());
    out
}

/// What a marker announces that is not a grain.
#[derive(Clone, Copy, Debug)]
pub(super) enum Marker {
    End = 0,
    Table = 1,
    Directory = 2,
    Footer = 3,
}

/// A marker of something so many sectors long.
pub(super) fn marker(kind: Marker, sectors: u64) -> [u8; SECTOR as usize] {
    let mut out = [0; SECTOR as usize];
    out[..8].copy_from_slice(&sectors.to_le_bytes());
    // Where a grain has its size there is zero (8).
    out[12..16].copy_from_slice(&(kind as u32).to_le_bytes());
    out
}

/// The marker of a grain, which its data follow at once: where on the disk, and how many bytes.
pub(super) fn grain_marker(grain: u64, len: usize) -> [u8; 12] {
    let mut out = [0; 12];
    out[..8].copy_from_slice(&(grain * GRAIN / SECTOR).to_le_bytes());
    out[8..].copy_from_slice(&(len as u32).to_le_bytes());
    out
}

/// The text descriptor. Hardware version 6 and an LSI Logic adapter, as LinuxKit's (`compat6`, `lsilogic`).
pub(super) fn descriptor(size: u64, content_id: u32) -> String {
    /// What VMware gives SCSI disks.
    const HEADS: u64 = 255;
    const SECTORS: u64 = 63;
    let sectors = size / SECTOR;
    let cylinders = (sectors / (HEADS * SECTORS)).clamp(1, 65535);
    // These two values mean "none".
    let content_id = if content_id >= 0xffff_fffe { 1 } else { content_id };
    let text = format!(
        r#"# Disk DescriptorFile
version=1
CID={content_id:08x}
parentCID=ffffffff
createType="streamOptimized"

# Extent description
RDONLY {sectors} SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "6"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "{HEADS}"
ddb.geometry.sectors = "{SECTORS}"
ddb.adapterType = "lsilogic"
"#
    );
    debug_assert!((text.len() as u64) < DESCRIPTOR_SECTORS * SECTOR);
    text
}
