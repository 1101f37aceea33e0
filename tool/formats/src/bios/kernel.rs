//! What a bzImage says about how it wants to be booted (`Documentation/arch/x86/boot.rst`, "The Real-Mode Kernel Header").

use super::BiosError;

/// The first protocol that says how much memory the kernel takes while it unpacks itself (`init_size`).
const OLDEST: u16 = 0x20a;
/// Sectors of setup code at most: boot.rst leaves 32 KiB.
const SETUP_SECTORS_MOST: u8 = 64;
/// In `loadflags`: the kernel goes to 1 MiB or above.
const LOADED_HIGH: u8 = 1;
/// Where memory begins that an initrd may lie in.
const HIGH: u64 = 1 << 20;

/// The header of a bzImage that our BIOS loader boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelHeader {
    /// Version of the boot protocol, 2.15 as 0x20f.
    pub protocol: u16,
    /// Sectors of setup code behind the boot sector.
    pub setup_sectors: u8,
    /// Bytes of the boot sector, the setup code and the kernel behind it. A file may have more: a signature.
    pub size: u64,
    /// Whether it runs elsewhere than at its preferred address.
    pub relocatable: bool,
    /// Where it prefers to run.
    pub preferred_address: u64,
    /// What it runs on a multiple of.
    pub alignment: u32,
    /// Bytes that it takes from where it runs, until it knows the memory map.
    pub init_size: u32,
    /// Bytes of a command line at most, without a NUL.
    pub cmdline_size: u32,
    /// Highest address of an initrd's last byte.
    pub initrd_address_max: u32,
}

impl KernelHeader {
    /// How much of a kernel [`Self::read`] looks at.
    pub const BYTES: usize = 0x264;

    /// Reads it from the kernel's first [`Self::BYTES`].
    ///
    /// # Errors
    ///
    /// It is no bzImage, or an old one.
    pub fn read(head: &[u8]) -> Result<Self, BiosError> {
        let head: &[u8; Self::BYTES] = head.first_chunk().ok_or(BiosError::NotBzImage)?;
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        if u16_at(0x1fe) != 0xaa55 || &head[0x202..0x206] != b"HdrS" {
            return Err(BiosError::NotBzImage);
        }
        let protocol = u16_at(0x206);
        if protocol < OLDEST {
            return Err(BiosError::Protocol(protocol));
        }
        let setup_sectors = match head[0x1f1] {
            // For old times' sake.
            0 => 4,
            sectors => sectors,
        };
        if setup_sectors > SETUP_SECTORS_MOST || head[0x211] & LOADED_HIGH == 0 {
            return Err(BiosError::NotBzImage);
        }
        Ok(Self {
            protocol,
            setup_sectors,
            size: (u64::from(setup_sectors) + 1) * 512 + u64::from(u32_at(0x1f4)) * 16,
            relocatable: head[0x234] != 0,
            preferred_address: u64::from(u32_at(0x258)) | u64::from(u32_at(0x25c)) << 32,
            alignment: u32_at(0x230),
            init_size: u32_at(0x260),
            cmdline_size: u32_at(0x238),
            initrd_address_max: u32_at(0x22c),
        })
    }

    /// Looks whether this kernel, of so many bytes, takes such a command line and initrd; for [`super::Loader::check`].
    pub(super) fn check(&self, kernel_bytes: u64, cmdline_bytes: usize, initrd_bytes: u64) -> Result<(), BiosError> {
        // `syssize` counts 16 bytes, and the last of them need not be there.
        if kernel_bytes + 15 < self.size {
            return Err(BiosError::Truncated { got: kernel_bytes, want: self.size });
        }
        let most = usize::try_from(self.cmdline_size).unwrap_or(usize::MAX);
        if cmdline_bytes > most {
            return Err(BiosError::Cmdline { got: cmdline_bytes, most });
        }
        // Kernel and initrd share what is below that address.
        let above = self.preferred_address.max(HIGH) + u64::from(self.init_size);
        let most = (u64::from(self.initrd_address_max) + 1).saturating_sub(above);
        if initrd_bytes > most {
            return Err(BiosError::Initrd { got: initrd_bytes.div_ceil(1 << 20), most: most >> 20 });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The header of Debian's 6.1.192 for clouds.
    pub(crate) fn debian() -> Vec<u8> {
        let mut head = vec![0; KernelHeader::BYTES];
        head[0x1f1] = 39;
        head[0x1f4..0x1f8].copy_from_slice(&0xd_82c0_u32.to_le_bytes());
        head[0x1fe..0x200].copy_from_slice(&0xaa55_u16.to_le_bytes());
        head[0x202..0x206].copy_from_slice(b"HdrS");
        head[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
        head[0x211] = 1;
        head[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
        head[0x230..0x234].copy_from_slice(&0x20_0000_u32.to_le_bytes());
        head[0x234] = 1;
        head[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
        head[0x258..0x25c].copy_from_slice(&0x100_0000_u32.to_le_bytes());
        head[0x260..0x264].copy_from_slice(&0x337_8000_u32.to_le_bytes());
        head
    }

    #[test]
    fn a_header_is_read() {
        let header = KernelHeader::read(&debian()).unwrap();
        assert_eq!((header.protocol, header.setup_sectors, header.cmdline_size), (0x20f, 39, 2047));
        assert_eq!((header.preferred_address, header.alignment), (16 << 20, 2 << 20));
        assert_eq!((header.init_size, header.initrd_address_max), (0x337_8000, 0x7fff_ffff));
        assert_eq!(header.size, 40 * 512 + 0xd8_2c00);
        assert!(header.relocatable);
        let mut old = debian();
        old[0x1f1] = 0;
        assert_eq!(KernelHeader::read(&old).unwrap().setup_sectors, 4);
    }

    #[test]
    fn what_is_no_bzimage_or_too_old_is_refused() {
        assert_eq!(KernelHeader::read(b"\x7fELF"), Err(BiosError::NotBzImage));
        assert_eq!(KernelHeader::read(&[0; 4096]), Err(BiosError::NotBzImage));
        for (at, value) in [(0x1fe, 0), (0x202, 0), (0x211, 0), (0x1f1, 65)] {
            let mut head = debian();
            head[at] = value;
            assert_eq!(KernelHeader::read(&head), Err(BiosError::NotBzImage), "{at:#x}");
        }
        let mut head = debian();
        head[0x206] = 9;
        let error = KernelHeader::read(&head).unwrap_err();
        assert_eq!(error.to_string(), "the kernel's boot protocol is 2.09, and the BIOS loader needs 2.10 or later");
    }

    #[test]
    fn what_the_kernel_cannot_take_is_refused_with_both_figures() {
        let header = KernelHeader::read(&debian()).unwrap();
        assert_eq!(header.check(header.size, 2047, 1 << 30), Ok(()));
        assert_eq!(header.check(header.size - 15, 0, 0), Ok(()));
        for (bytes, cmdline, initrd, want) in [
            (header.size - 16, 0, 0, "the kernel has 14187504 bytes, and its header says 14187520"),
            (header.size, 2048, 0, "the command line has 2048 bytes, and this kernel takes 2047"),
            (header.size, 0, 2 << 30, "the initrd has 2048 MiB, and this kernel takes 1980 when it is booted by BIOS"),
        ] {
            assert_eq!(header.check(bytes, cmdline, initrd).unwrap_err().to_string(), want);
        }
    }
}
