//! The parameter block: what stage 2 is told.

use flate2::Crc;

use super::BiosError;
use super::cmdline::{memory_limit, video_mode};
use super::format::{BLOCK_CHECKSUM, BLOCK_HEAD, BLOCK_MAGIC, BLOCK_VERSION, EXTENT, Extent, INITRDS_MOST};

/// What stage 2 boots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// The kernel, a bzImage.
    pub kernel: Extent,
    /// What makes up the initrd, in order, each on a multiple of four bytes in memory: microcode and initrd.
    pub initrds: Vec<Extent>,
    /// The kernel's command line.
    pub cmdline: String,
}

impl Parameters {
    /// Bytes of a block, which depend on nothing but these.
    pub(super) fn block_size(initrds: usize, cmdline: &str) -> usize {
        BLOCK_HEAD + EXTENT * (1 + initrds) + cmdline.len() + 1
    }

    /// The block, which [`super::Loader::stage2_sectors`] has found room for.
    pub(super) fn encode(&self) -> Result<Vec<u8>, BiosError> {
        if self.initrds.len() > INITRDS_MOST {
            return Err(BiosError::Pieces { got: self.initrds.len(), most: INITRDS_MOST });
        }
        if let Some(at) = self.cmdline.bytes().position(|byte| byte == 0) {
            return Err(BiosError::Nul(at));
        }
        let u16_of = |n: usize| u16::try_from(n).expect("the block fits into 32 KiB").to_le_bytes();
        let size = Self::block_size(self.initrds.len(), &self.cmdline);
        let mut block = Vec::with_capacity(size);
        block.extend(BLOCK_MAGIC);
        block.extend(BLOCK_VERSION.to_le_bytes());
        block.extend(u16_of(size));
        block.extend([0; 4]);
        block.extend(video_mode(&self.cmdline)?.to_le_bytes());
        block.extend(u16_of(self.initrds.len()));
        block.extend(memory_limit(&self.cmdline).to_le_bytes());
        block.extend(u16_of(size - self.cmdline.len() - 1));
        block.extend([0; 2]);
        for extent in [&self.kernel].into_iter().chain(&self.initrds) {
            block.extend(extent.lba.to_le_bytes());
            block.extend(extent.bytes.to_le_bytes());
            block.extend([0; 4]);
        }
        block.extend(self.cmdline.as_bytes());
        block.push(0);
        let mut checksum = Crc::new();
        checksum.update(&block);
        block[BLOCK_CHECKSUM..BLOCK_CHECKSUM + 4].copy_from_slice(&checksum.sum().to_le_bytes());
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_as_stage_2_reads_it() {
        let initrds = vec![Extent { lba: 0x1_0000_0002, bytes: 5 }];
        let cmdline = "vga=ext mem=16M".to_owned();
        let parameters = Parameters { kernel: Extent { lba: 100, bytes: 0x0123_4567 }, initrds, cmdline };
        let block = parameters.encode().unwrap();
        let mut want = b"BwPB\x01\0\x48\0".to_vec();
        // Python: zlib.crc32 of the block with zeros here.
        want.extend(0x85e4_19d0_u32.to_le_bytes());
        want.extend([0xfe, 0xff, 1, 0, 0, 0, 0, 1, 56, 0, 0, 0]);
        want.extend([100, 0, 0, 0, 0, 0, 0, 0, 0x67, 0x45, 0x23, 1, 0, 0, 0, 0]);
        want.extend([2, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        want.extend(b"vga=ext mem=16M\0");
        assert_eq!(block, want);
    }

    #[test]
    fn what_a_block_cannot_hold_is_refused() {
        let extent = Extent { lba: 1, bytes: 1 };
        let nine = Parameters { kernel: extent, initrds: vec![extent; 9], cmdline: String::new() };
        assert_eq!(nine.encode(), Err(BiosError::Pieces { got: 9, most: 8 }));
        let cut = Parameters { kernel: extent, initrds: Vec::new(), cmdline: "a\0b".to_owned() };
        assert_eq!(cut.encode(), Err(BiosError::Nul(1)));
    }
}
