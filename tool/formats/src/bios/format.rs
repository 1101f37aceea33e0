//! What the loader's stages agree with us about: `pkg/boot/bios/stage1.S` and `stage2.S` hold the same in assembly.

/// Bytes of a unit, in which every place on the disk is given, whatever the disk's sectors are.
pub const UNIT: u64 = 512;
/// Bytes of stage 1: what an MBR has before the disk's signature and the partition table.
pub const BOOT_CODE: usize = 440;
/// Bytes of the boot image that a CD's boot catalog points to.
pub const CD_IMAGE: usize = 2048;
/// The catalog's load segment: 0 stands for 0x7c0, which is the only one that every BIOS honours.
pub const CD_LOAD_SEGMENT: u16 = 0;
/// The catalog's sector count, of 512 bytes: all of the boot image. More is more than some BIOSes load.
pub const CD_LOAD_SECTORS: u16 = 4;
/// Bytes of a CD's sector.
pub(super) const CD_SECTOR: u16 = 2048;

/// Where stage 1 has its [`STAGE1_MAGIC`]. Behind it are u64 first unit of stage 2, u16 units of stage 2, and u16 bytes of a
/// sector, 0 for what the BIOS says.
pub(super) const STAGE1_FIELDS: usize = BOOT_CODE - 16;
pub(super) const STAGE1_MAGIC: &[u8; 4] = b"BwS1";
/// Where stage 2 has its [`STAGE2_MAGIC`]. Behind it are u16 version of the parameter block and u16 bytes of stage 2.
pub(super) const STAGE2_FIELDS: usize = 4;
pub(super) const STAGE2_MAGIC: &[u8; 4] = b"BwS2";
/// Bytes of stage 2 with its parameter block at most: from 0x8000 to the end of the first 64 KiB.
pub(super) const STAGE2_MOST: usize = 0x8000;

pub(super) const BLOCK_MAGIC: &[u8; 4] = b"BwPB";
pub(super) const BLOCK_VERSION: u16 = 1;
/// Where the block has its CRC-32.
pub(super) const BLOCK_CHECKSUM: usize = 8;
/// Bytes of the block before its extents.
pub(super) const BLOCK_HEAD: usize = 24;
/// Bytes of an extent.
pub(super) const EXTENT: usize = 16;
/// Extents of initrds at most.
pub(super) const INITRDS_MOST: usize = 8;

/// A contiguous run of the disk, which may lie within a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First [`UNIT`].
    pub lba: u64,
    /// Length in bytes.
    pub bytes: u32,
}
