//! ISOs that firmware boots, from CD and from USB stick, with the root in the initrd, so that no driver is needed.
//!
//! As on disks, a BIOS reads kernel and initrd out of the UKI that UEFI starts: that lies in an ESP, the ESP is a file of the
//! ISO, and the partition table in the ISO's system area points to the same bytes.

use bootwright_oci::TreePath;
use bootwright_rootfs::Reach;

use super::disks::{extent, firmware_of};
use super::parts::Parts;
use crate::bios::{CD_IMAGE, CD_LOAD_SECTORS, CD_LOAD_SEGMENT, Parameters, UNIT};
use crate::disk::{TABLE_TAIL, hybrid_tables};
use crate::error::LayoutError;
use crate::format::{Firmware, Named};
use crate::iso::{BiosEntry, Media, MediaFile};
use crate::output::Stage;
use crate::{Error, RawImage};

/// What a partition's place is a multiple of.
const ALIGNMENT: u64 = 1 << 20;

impl Parts<'_> {
    pub(super) fn iso(&mut self, named: &Named, firmware: Firmware, stage: &mut Stage<'_>) -> Result<(), Error> {
        let format = named.format;
        let layout = |source: LayoutError| Error::Layout { format, source };
        let firmware = firmware_of(self.machine, firmware);
        let started = self.started(Reach::Initrd)?;
        let files = self.boot_files(named, firmware, Reach::Initrd)?;
        let loader = firmware.bios().then(|| self.bios_loader(named)).transpose()?;
        let sectors = match &loader {
            Some(loader) => loader.stage2_sectors(1, &started.cmdline).map_err(|e| layout(e.into()))?,
            None => 0,
        };
        let file =
            |path: &str, size, alignment| MediaFile { path: TreePath::new(path).unwrap_or_default(), size, alignment };
        let fat_name = if firmware.efi() { "boot/esp.img" } else { "boot/boot.img" };
        let mut media = Media {
            volume_id: self.name.to_owned(),
            files: vec![file(fat_name, files.fat.image.size(), ALIGNMENT)],
            bios: None,
            efi: firmware.efi().then_some(0),
            tail: TABLE_TAIL,
        };
        if loader.is_some() {
            media.files.push(file("boot/loader.bin", u64::from(sectors) * UNIT, CD_IMAGE as u64));
            media.files.push(file("boot/eltorito.img", CD_IMAGE as u64, CD_IMAGE as u64));
            media.bios = Some(BiosEntry { file: 2, segment: CD_LOAD_SEGMENT, sectors: CD_LOAD_SECTORS });
        }
        let planned = media.plan();
        let fat_at = planned.offset(0) / UNIT;
        let mut contents = vec![files.fat.image.clone()];
        let mut boot_code = None;
        if let Some(loader) = &loader {
            let stage2_at = planned.offset(1) / UNIT;
            let stage2 = loader.stage2(
                stage2_at,
                &Parameters {
                    kernel: extent(fat_at, files.kernel, format)?,
                    initrds: vec![extent(fat_at, files.initrd, format)?],
                    cmdline: started.cmdline.clone(),
                },
            );
            contents.push(RawImage::of_bytes(stage2.map_err(|e| layout(e.into()))?));
            contents.push(RawImage::of_bytes(loader.cd_boot_image(stage2_at, sectors)));
            boot_code = Some(loader.boot_code(stage2_at, sectors));
        }
        let esp = firmware.efi().then_some((fat_at, files.fat.image.size()));
        let (system_area, tail) = hybrid_tables(planned.size(), esp, boot_code.as_ref(), &files.fat.digest);
        let image = planned.image(&contents, system_area, tail);
        self.artefact(stage, named, 0, image.size(), |out, progress| Ok(image.write_to(out, progress)?))
    }
}
