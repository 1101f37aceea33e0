//! GRUB's core image for a PC BIOS, put together without GRUB's programs.
//!
//! What `grub-mkimage -O i386-pc` does with the files of `grub-pc-bin` (GRUB 2.06, `util/mkimage.c`): the kernel's one loaded
//! segment, behind it a list of objects (modules in the order of what they need, the embedded configuration, the prefix), all of
//! it packed with LZMA behind a small program that unpacks it. What `grub-bios-setup` does is writing three numbers into the
//! first sectors. The configuration names kernel and initrd by their places, so GRUB needs no filesystem: its stage 2 is a run of
//! the disk, as ours is.

mod config;
mod image;

use super::format::{BOOT_CODE, CD_IMAGE, UNIT};
use super::{BiosError, Extent, Parameters};
use image::Core;

/// In `boot.img` and `diskboot.img`: u64, where the next part begins.
const BOOT_NEXT: usize = 0x5c;
/// In `boot.img`: the drive, 0xff for the one that the BIOS says.
const BOOT_DRIVE: usize = 0x64;
/// In `boot.img`: a jump over the check for BIOSes that say a wrong drive, which two `nop`s switch on.
const BOOT_DRIVE_CHECK: usize = 0x66;
/// In `diskboot.img`: u64 where the rest begins, u16 sectors, u16 segment that they are loaded to.
const REST: usize = UNIT as usize - 12;
/// The segment for that: the core image without `diskboot.img`.
const REST_SEGMENT: u16 = 0x820;
/// In `cdboot.img`: the boot information table (`mkisofs -boot-info-table`), of which GRUB reads u32 the sector before what it
/// loads, and u32 bytes.
const CD_FILE: usize = 12;
/// Bytes more that another place of an extent may make of the packed core.
const SLACK: usize = 64;

/// GRUB, as the component holds it.
#[derive(Clone, Debug)]
pub(super) struct Grub {
    boot: [u8; BOOT_CODE],
    cd_boot: [u8; CD_IMAGE],
    disk_boot: [u8; UNIT as usize],
    core: Core,
}

impl Grub {
    pub(super) fn new(mut file: impl FnMut(&str) -> Option<Vec<u8>>) -> Result<Self, BiosError> {
        let mut file = |name: &str| file(name).ok_or_else(|| BiosError::Missing(name.to_owned()));
        let boot = file("boot.img")?;
        Ok(Self {
            boot: *boot.first_chunk().ok_or(BiosError::Stage("boot.img"))?,
            cd_boot: file("cdboot.img")?.try_into().map_err(|_| BiosError::Stage("cdboot.img"))?,
            disk_boot: file("diskboot.img")?.try_into().map_err(|_| BiosError::Stage("diskboot.img"))?,
            core: Core::new(file)?,
        })
    }

    /// Bytes of the command line as GRUB gives it to the kernel.
    pub(super) fn cmdline_bytes(cmdline: &str) -> Result<usize, BiosError> {
        config::cmdline_bytes(cmdline)
    }

    pub(super) fn stage2_sectors(&self, initrds: usize, cmdline: &str) -> Result<u16, BiosError> {
        // The longest numbers that there are, and what they may pack to if they are no longer all the same.
        let extent = Extent { lba: u64::MAX, bytes: u32::MAX };
        let parameters = Parameters { kernel: extent, initrds: vec![extent; initrds], cmdline: cmdline.to_owned() };
        let size = self.core.pack(&config::text(&parameters)?)?.len() + SLACK * (1 + initrds);
        let sectors = 1 + size.div_ceil(UNIT as usize);
        u16::try_from(sectors).map_err(|_| BiosError::Stage("kernel.img"))
    }

    pub(super) fn stage2(&self, stage2_lba: u64, parameters: &Parameters) -> Result<Vec<u8>, BiosError> {
        let sectors = self.stage2_sectors(parameters.initrds.len(), &parameters.cmdline)?;
        let mut out = self.disk_boot.to_vec();
        out[REST..REST + 8].copy_from_slice(&(stage2_lba + 1).to_le_bytes());
        out[REST + 8..REST + 10].copy_from_slice(&(sectors - 1).to_le_bytes());
        out[REST + 10..].copy_from_slice(&REST_SEGMENT.to_le_bytes());
        out.extend(self.core.pack(&config::text(parameters)?)?);
        let size = usize::from(sectors) * UNIT as usize;
        assert!(out.len() <= size, "a core image of {} bytes was thought to have {size} at most", out.len());
        out.resize(size, 0);
        Ok(out)
    }

    pub(super) fn boot_code(&self, stage2_lba: u64) -> [u8; BOOT_CODE] {
        let mut code = self.boot;
        code[BOOT_NEXT..BOOT_NEXT + 8].copy_from_slice(&stage2_lba.to_le_bytes());
        code[BOOT_DRIVE] = 0xff;
        code[BOOT_DRIVE_CHECK..BOOT_DRIVE_CHECK + 2].fill(0x90);
        code
    }

    pub(super) fn cd_boot_image(&self, stage2_lba: u64, stage2_sectors: u16) -> [u8; CD_IMAGE] {
        let sector = stage2_lba / 4;
        assert!(stage2_lba.is_multiple_of(4) && sector > 0, "on a CD, stage 2 begins with a sector");
        let before = u32::try_from(sector - 1).expect("an ISO has less than 2^32 sectors");
        let mut image = self.cd_boot;
        image[CD_FILE..CD_FILE + 4].copy_from_slice(&before.to_le_bytes());
        image[CD_FILE + 4..CD_FILE + 8].copy_from_slice(&(u32::from(stage2_sectors) * UNIT as u32).to_le_bytes());
        image
    }
}
