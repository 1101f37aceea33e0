//! Our own loader's stages, with what belongs into them.

use super::format::{
    BLOCK_VERSION, BOOT_CODE, CD_IMAGE, CD_SECTOR, STAGE1_FIELDS, STAGE1_MAGIC, STAGE2_FIELDS, STAGE2_MAGIC,
    STAGE2_MOST, UNIT,
};
use super::{BiosError, Parameters};

/// The two stages, as the component holds them.
#[derive(Clone, Debug)]
pub(super) struct Stages {
    stage1: [u8; BOOT_CODE],
    stage2: Vec<u8>,
}

impl Stages {
    /// Checks that these are stages that we know how to write into.
    pub(super) fn new(stage1: &[u8], stage2: Vec<u8>) -> Result<Self, BiosError> {
        let wrong = BiosError::Stage;
        let stage1: [u8; BOOT_CODE] = stage1.try_into().map_err(|_| wrong("stage 1"))?;
        if !stage1[STAGE1_FIELDS..].starts_with(STAGE1_MAGIC) {
            return Err(wrong("stage 1"));
        }
        let fields = stage2.get(STAGE2_FIELDS..).and_then(|rest| rest.strip_prefix(STAGE2_MAGIC));
        let Some([v0, v1, s0, s1]) = fields.and_then(|rest| rest.first_chunk().copied()) else {
            return Err(wrong("stage 2"));
        };
        let size = usize::from(u16::from_le_bytes([s0, s1]));
        if u16::from_le_bytes([v0, v1]) != BLOCK_VERSION || size != stage2.len() || size > STAGE2_MOST {
            return Err(wrong("stage 2"));
        }
        Ok(Self { stage1, stage2 })
    }

    pub(super) fn stage2_sectors(&self, initrds: usize, cmdline: &str) -> Result<u16, BiosError> {
        let size = self.stage2.len() + Parameters::block_size(initrds, cmdline);
        if size > STAGE2_MOST {
            let most = (STAGE2_MOST + cmdline.len()).saturating_sub(size);
            return Err(BiosError::LoaderCmdline { got: cmdline.len(), most });
        }
        Ok(u16::try_from(size.div_ceil(UNIT as usize)).expect("32 KiB are 64 units"))
    }

    pub(super) fn stage2(&self, parameters: &Parameters) -> Result<Vec<u8>, BiosError> {
        let sectors = self.stage2_sectors(parameters.initrds.len(), &parameters.cmdline)?;
        let mut out = self.stage2.clone();
        out.extend(parameters.encode()?);
        out.resize(usize::from(sectors) * UNIT as usize, 0);
        Ok(out)
    }

    pub(super) fn boot_code(&self, stage2_lba: u64, stage2_sectors: u16) -> [u8; BOOT_CODE] {
        self.stage1_with(stage2_lba, stage2_sectors, 0)
    }

    pub(super) fn cd_boot_image(&self, stage2_lba: u64, stage2_sectors: u16) -> [u8; CD_IMAGE] {
        let mut image = [0; CD_IMAGE];
        image[..BOOT_CODE].copy_from_slice(&self.stage1_with(stage2_lba, stage2_sectors, CD_SECTOR));
        // Some BIOSes want it in CDs too.
        image[510..512].copy_from_slice(&[0x55, 0xaa]);
        image
    }

    fn stage1_with(&self, stage2_lba: u64, stage2_sectors: u16, sector_size: u16) -> [u8; BOOT_CODE] {
        let mut code = self.stage1;
        let fields = &mut code[STAGE1_FIELDS + STAGE1_MAGIC.len()..];
        fields[..8].copy_from_slice(&stage2_lba.to_le_bytes());
        fields[8..10].copy_from_slice(&stage2_sectors.to_le_bytes());
        fields[10..12].copy_from_slice(&sector_size.to_le_bytes());
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bios::Extent;

    fn stages() -> ([u8; BOOT_CODE], Vec<u8>) {
        let mut stage1 = [1; BOOT_CODE];
        stage1[424..428].copy_from_slice(b"BwS1");
        let mut stage2 = vec![2; 2000];
        stage2[4..8].copy_from_slice(b"BwS2");
        stage2[8..12].copy_from_slice(&[1, 0, 0xd0, 7]);
        (stage1, stage2)
    }

    fn ours() -> Stages {
        let (stage1, stage2) = stages();
        Stages::new(&stage1, stage2).unwrap()
    }

    #[test]
    fn only_our_stages_are_written_into() {
        let (stage1, stage2) = stages();
        let stage1_of = |bytes: &[u8]| Stages::new(bytes, stage2.clone()).map(drop);
        let stage2_of = |bytes: &[u8]| Stages::new(&stage1, bytes.to_vec()).map(drop);
        let wrong = |n| Err(BiosError::Stage(n));
        assert_eq!(stage1_of(&stage1[..439]), wrong("stage 1"));
        assert_eq!(stage1_of(&[0; 440]), wrong("stage 1"));
        assert_eq!(stage2_of(b""), wrong("stage 2"));
        assert_eq!(stage2_of(&stage2[..1999]), wrong("stage 2"));
        for at in [4, 8, 10] {
            let mut other = stage2.clone();
            other[at] += 1;
            assert_eq!(stage2_of(&other), wrong("stage 2"), "{at}");
        }
    }

    #[test]
    fn stage_1_learns_where_stage_2_is() {
        let code = ours().boot_code(0x1_0000_0022, 5);
        assert_eq!(code[..428], stages().0[..428]);
        assert_eq!(code[428..], [0x22, 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0]);
        let image = ours().cd_boot_image(0x88, 5);
        assert_eq!(image[..428], code[..428]);
        assert_eq!(image[428..440], [0x88, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 8]);
        assert_eq!(image[510..512], [0x55, 0xaa]);
        assert!(image[440..510].iter().chain(&image[512..]).all(|byte| *byte == 0));
    }

    #[test]
    fn stage_2_is_as_large_as_was_said() {
        let extent = Extent { lba: 9, bytes: 9 };
        for (initrds, length, sectors) in [(0, 0, 4), (0, 7, 4), (0, 8, 5), (1, 2047, 9), (8, 30_000, 63)] {
            let parameters = Parameters { kernel: extent, initrds: vec![extent; initrds], cmdline: "x".repeat(length) };
            assert_eq!(ours().stage2_sectors(initrds, &parameters.cmdline), Ok(sectors), "{initrds} {length}");
            let bytes = ours().stage2(&parameters).unwrap();
            assert_eq!(bytes.len(), usize::from(sectors) * 512);
            assert!(bytes[2000..].starts_with(b"BwPB"));
        }
        let most = 0x8000 - 2000 - 24 - 32 - 1;
        let error = ours().stage2_sectors(1, &"x".repeat(most + 1)).unwrap_err();
        assert_eq!(error, BiosError::LoaderCmdline { got: most + 1, most });
        assert!(ours().stage2_sectors(1, &"x".repeat(most)).is_ok());
    }
}
