//! The two loaders as one: what a layout asks them for.

use super::format::{BOOT_CODE, CD_IMAGE};
use super::grub::Grub;
use super::stages::Stages;
use super::{BiosError, KernelHeader, Parameters};

/// A BIOS loader, of one of the two kinds.
#[derive(Clone, Debug)]
pub struct Loader(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Ours(Box<Stages>),
    Grub(Box<Grub>),
}

impl Loader {
    /// Our own loader, of its two stages.
    ///
    /// # Errors
    ///
    /// They are not what we know how to write into.
    pub fn ours(stage1: &[u8], stage2: Vec<u8>) -> Result<Self, BiosError> {
        Ok(Self(Kind::Ours(Box::new(Stages::new(stage1, stage2)?))))
    }

    /// GRUB, of the files of its directory, which are asked for by their names.
    ///
    /// # Errors
    ///
    /// A file is missing, or not what it should be.
    pub fn grub(file: impl FnMut(&str) -> Option<Vec<u8>>) -> Result<Self, BiosError> {
        Ok(Self(Kind::Grub(Box::new(Grub::new(file)?))))
    }

    /// Looks whether a machine can be booted by BIOS with this loader: a kernel of so many bytes, its command line, and the
    /// bytes of all its initrds.
    ///
    /// # Errors
    ///
    /// The kernel is cut, or takes no such command line or initrd; or the loader does not.
    pub fn check(
        &self,
        kernel: &KernelHeader,
        kernel_bytes: u64,
        cmdline: &str,
        initrd_bytes: u64,
    ) -> Result<(), BiosError> {
        if let Some(at) = cmdline.bytes().position(|byte| byte == 0) {
            return Err(BiosError::Nul(at));
        }
        let given = match &self.0 {
            Kind::Ours(_) => cmdline.len(),
            Kind::Grub(_) => Grub::cmdline_bytes(cmdline)?,
        };
        kernel.check(kernel_bytes, given, initrd_bytes)
    }

    /// Units that stage 2 takes on the disk, known before anything has its place.
    ///
    /// # Errors
    ///
    /// The command line is longer than stage 2 has room for, or not one for GRUB.
    pub fn stage2_sectors(&self, initrds: usize, cmdline: &str) -> Result<u16, BiosError> {
        match &self.0 {
            Kind::Ours(stages) => stages.stage2_sectors(initrds, cmdline),
            Kind::Grub(grub) => grub.stage2_sectors(initrds, cmdline),
        }
    }

    /// Stage 2, which lies at this unit, and what it shall boot; in whole units.
    ///
    /// # Errors
    ///
    /// As [`Self::stage2_sectors`]; or there is more to boot than a loader is told at most.
    pub fn stage2(&self, stage2_lba: u64, parameters: &Parameters) -> Result<Vec<u8>, BiosError> {
        match &self.0 {
            Kind::Ours(stages) => stages.stage2(parameters),
            Kind::Grub(grub) => grub.stage2(stage2_lba, parameters),
        }
    }

    /// What a disk begins with, before its signature and partition table; `0x55 0xaa` at byte 510 is the layout's.
    #[must_use]
    pub fn boot_code(&self, stage2_lba: u64, stage2_sectors: u16) -> [u8; BOOT_CODE] {
        match &self.0 {
            Kind::Ours(stages) => stages.boot_code(stage2_lba, stage2_sectors),
            Kind::Grub(grub) => grub.boot_code(stage2_lba),
        }
    }

    /// The boot image of a CD, which its boot catalog names with media type 0 (no emulation), [`super::CD_LOAD_SEGMENT`] and
    /// [`super::CD_LOAD_SECTORS`]. Stage 2's place is given in units here too; on a CD it begins with a sector.
    #[must_use]
    pub fn cd_boot_image(&self, stage2_lba: u64, stage2_sectors: u16) -> [u8; CD_IMAGE] {
        match &self.0 {
            Kind::Ours(stages) => stages.cd_boot_image(stage2_lba, stage2_sectors),
            Kind::Grub(grub) => grub.cd_boot_image(stage2_lba, stage2_sectors),
        }
    }
}
