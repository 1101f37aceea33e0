//! Disks that firmware boots.
//!
//! One layout for all: a place for the BIOS loader, a FAT partition with what boots, the root image. Where UEFI boots the
//! disk, the FAT partition is an ESP with a UKI, and the BIOS loader reads kernel and initrd out of that very file by their
//! sectors, so nothing is on the disk twice.

use bootwright_oci::{Digest, Task};
use bootwright_rootfs::{BiosLoader, Machine, Reach};
use bootwright_spec::RootKind;

use super::parts::{Parts, digest};
use super::root;
use crate::bios::{self, Extent, KernelHeader, Parameters, UNIT};
use crate::disk::{Blob, DiskPlan, FatFile, FatPlan, Kind, Partition, Table};
use crate::error::LayoutError;
use crate::format::{Container, Firmware, Made, Named};
use crate::output::Stage;
use crate::vdisk::DiskKind;
use crate::vdisk::ova::{self, Appliance, Controller, Network};
use crate::{Error, Format, RawImage};

/// Largest stage of a BIOS loader.
const STAGE_MOST: u64 = 64 << 10;
/// Largest file of GRUB's.
const GRUB_MOST: u64 = 1 << 20;

/// Refuses a machine that the format's firmware cannot boot, or that brings no loader for it.
pub(super) fn check(machine: &Machine, format: Format) -> Result<(), Error> {
    let (Made::Disk(firmware, _) | Made::Iso(firmware)) = format.made() else {
        let stub = format.made() != Made::Uki || machine.boot.loader.stub.is_some();
        return if stub { Ok(()) } else { Err(no_loader(machine, format, "EFI stub")) };
    };
    let firmware = firmware_of(machine, firmware);
    let architecture = &machine.platform.architecture;
    if firmware.bios() && architecture != "amd64" {
        return Err(Error::NoBios { format, architecture: architecture.clone() });
    }
    let loader = &machine.boot.loader;
    if firmware.bios() && loader.bios.is_none() {
        return Err(no_loader(machine, format, "BIOS loader"));
    }
    if firmware.efi() && loader.stub.is_none() {
        return Err(no_loader(machine, format, "EFI stub"));
    }
    Ok(())
}

/// The part of a boot loader that the spec's image lacks, or that no image was named for.
pub(super) fn no_loader(machine: &Machine, format: Format, part: &'static str) -> Error {
    Error::NoLoader { format, part, image: machine.boot.loader.image.clone() }
}

/// Only PCs have a BIOS.
pub(super) fn firmware_of(machine: &Machine, firmware: Firmware) -> Firmware {
    if firmware == Firmware::Both && machine.platform.architecture != "amd64" { Firmware::Efi } else { firmware }
}

/// Where in a FAT filesystem the files lie that boot, for those who count sectors.
#[derive(Clone, Debug)]
pub(super) struct BootFiles {
    /// The filesystem.
    pub(super) fat: Blob,
    /// Kernel and initrd, as sectors from the filesystem's first and bytes.
    pub(super) kernel: (u64, u64),
    pub(super) initrd: (u64, u64),
}

impl Parts<'_> {
    pub(super) fn disk(
        &mut self,
        named: &Named,
        firmware: Firmware,
        container: Container,
        stage: &mut Stage<'_>,
    ) -> Result<(), Error> {
        let format = named.format;
        let layout = |source: LayoutError| Error::Layout { format, source };
        let firmware = firmware_of(self.machine, firmware);
        self.warn_of_drivers(named, container);
        let root = match root::kind(self.machine, self.options)? {
            RootKind::Squashfs => Some(self.root_image()?),
            RootKind::Initrd => None,
        };
        let started = self.started(Reach::Disk)?;
        let files = self.boot_files(named, firmware, Reach::Disk)?;
        let loader = firmware.bios().then(|| self.bios_loader(named)).transpose()?;

        let sectors = match &loader {
            Some(loader) => loader.stage2_sectors(1, &started.cmdline).map_err(|e| layout(e.into()))?,
            None => 0,
        };
        let fat_kind = if firmware.efi() { Kind::Esp } else { Kind::Boot };
        let stage2 = loader.as_ref().map(|_| Partition { kind: Kind::BiosBoot, size: u64::from(sectors) * UNIT });
        let fat = Partition { kind: fat_kind, size: files.fat.image.size() };
        let root_part = root
            .as_ref()
            .map(|root| Partition { kind: Kind::root(&self.machine.platform.architecture), size: root.image.size() });
        let partitions: Vec<Partition> = stage2.into_iter().chain([fat]).chain(root_part).collect();
        let table = if firmware.efi() { Table::Gpt } else { Table::Mbr };
        let plan = |size| DiskPlan::new(table, &partitions, size).map_err(|e| layout(e.into()));
        let kind = disk_kind(container);
        let plan = plan(Some(kind.disk_size(plan(self.options.size)?.size())))?;

        let places = plan.sectors();
        let fat_at = places[usize::from(stage2.is_some())];
        let mut contents = Vec::new();
        let mut boot_code = None;
        if let Some(loader) = &loader {
            let stage2 = loader.stage2(
                places[0],
                &Parameters {
                    kernel: extent(fat_at, files.kernel, format)?,
                    initrds: vec![extent(fat_at, files.initrd, format)?],
                    cmdline: started.cmdline.clone(),
                },
            );
            contents.push(Blob::of(&stage2.map_err(|e| layout(e.into()))?));
            boot_code = Some(loader.boot_code(places[0], sectors));
        }
        contents.push(files.fat);
        contents.extend(root.map(|root| {
            let all = [&root.id.0[..], root.verity.as_ref().map_or(&[][..], |hash| &hash[..])].concat();
            Blob { digest: Digest::of(&all), image: root.image }
        }));
        let image = plan.image(boot_code.as_ref(), &contents);
        let threads = self.options.threads();
        self.artefact(stage, named, 0, image.size(), |out, progress: &mut dyn Task| {
            match container {
                Container::Ova => {
                    let appliance = self.appliance(firmware, started.memory_mib);
                    let spool = self.derived.scratch()?;
                    ova::write(&image, &appliance, spool, threads, out, progress)?;
                }
                _ => kind.write(&image, threads, out, progress)?,
            }
            Ok(())
        })
    }

    /// The FAT filesystem: a UKI where UEFI boots it, else kernel and initrd.
    pub(super) fn boot_files(&mut self, named: &Named, firmware: Firmware, reach: Reach) -> Result<BootFiles, Error> {
        let format = named.format;
        let layout = |source: LayoutError| Error::Layout { format, source };
        let read = |source| Error::Read { path: "kernel and initrd".into(), component: "the cache".into(), source };
        let started = self.started(reach)?;
        let kernel = self.kernel_image()?;
        if firmware.bios() {
            let mut head = vec![0; KernelHeader::BYTES.min(kernel.size() as usize)];
            kernel.read_at(0, &mut head).map_err(read)?;
            let header = KernelHeader::read(&head).map_err(|e| layout(e.into()))?;
            let initrd = started.with_ucode.size();
            let loader = self.bios_loader(named)?;
            loader.check(&header, kernel.size(), &started.cmdline, initrd).map_err(|e| layout(e.into()))?;
        }
        if let Some(files) = self.boot_files.get(&(firmware.efi(), reach)) {
            return Ok(files.clone());
        }
        let blob =
            |image: RawImage| -> Result<Blob, Error> { Ok(Blob { digest: digest(&image).map_err(read)?, image }) };
        let (names, contents, kernel, initrd) = if firmware.efi() {
            let uki = self.uki(named, reach)?;
            let spans = [uki.linux, uki.initrd].map(|span| (0, span.at, span.len));
            (vec![efi_path(self.machine)], vec![blob(uki.image)?], spans[0], spans[1])
        } else {
            let (kernel_len, initrd_len) = (kernel.size(), started.with_ucode.size());
            let contents = vec![blob(kernel)?, blob(started.with_ucode.clone())?];
            (vec!["kernel", "initrd.img"], contents, (0, 0, kernel_len), (1, 0, initrd_len))
        };
        let fat: Vec<FatFile<'_>> =
            names.iter().zip(&contents).map(|(path, blob)| FatFile { path, len: blob.image.size() }).collect();
        let plan = FatPlan::new(&fat, "BOOT", 0).map_err(|e| layout(e.into()))?;
        let sectors = plan.sectors();
        let place = |(file, at, len): (usize, u64, u64)| (sectors[file].unwrap_or_default() + at / UNIT, len);
        let files = BootFiles { fat: plan.image(&contents), kernel: place(kernel), initrd: place(initrd) };
        self.boot_files.insert((firmware.efi(), reach), files.clone());
        Ok(files)
    }

    /// The BIOS loader of the spec's boot image.
    pub(super) fn bios_loader(&self, named: &Named) -> Result<bios::Loader, Error> {
        let format = named.format;
        let loader = match &self.machine.boot.loader.bios {
            None => return Err(no_loader(self.machine, format, "BIOS loader")),
            Some(BiosLoader::Ours { stage1, stage2 }) => {
                let stage1 = self.small(stage1, "the BIOS loader's first stage", STAGE_MOST)?;
                let stage2 = self.small(stage2, "the BIOS loader's second stage", STAGE_MOST)?;
                bios::Loader::ours(&stage1, stage2)
            }
            Some(BiosLoader::Grub(files)) => {
                // A file that cannot be read is as one that is missing, which GRUB's composer names.
                bios::Loader::grub(|name| self.small(files.get(name)?, "a file of GRUB", GRUB_MOST).ok())
            }
        };
        loader.map_err(|e| Error::Layout { format, source: e.into() })
    }

    /// The virtual machine of an OVA: controllers that the kernel has drivers for, LinuxKit's if it has several.
    fn appliance(&self, firmware: Firmware, memory_mib: u64) -> Appliance {
        let has = |symbol| self.machine.has_driver(symbol).unwrap_or(false);
        Appliance {
            name: self.name.to_owned(),
            memory_mib: memory_mib.next_multiple_of(256),
            cpus: 1,
            efi: !firmware.bios(),
            controller: match has("VMWARE_PVSCSI") && !has("FUSION_SPI") {
                true => Controller::ParaVirtual,
                false => Controller::LsiLogic,
            },
            network: if has("VMXNET3") && !has("E1000") { Network::VmxNet3 } else { Network::E1000 },
        }
    }

    /// Says where a disk goes whose controllers or networks the kernel has no driver for.
    fn warn_of_drivers(&mut self, named: &Named, container: Container) {
        let (place, disks, networks) = drivers(named.format, container);
        for (what, symbols) in [("disk", disks), ("network", networks)] {
            let known: Vec<bool> = symbols.iter().filter_map(|symbol| self.machine.has_driver(symbol)).collect();
            if !symbols.is_empty() && known.len() == symbols.len() && !known.contains(&true) {
                let names = symbols.iter().map(|s| format!("CONFIG_{s}")).collect::<Vec<_>>().join(", ");
                self.warnings.push(format!(
                    "`{}` goes to {place}, and the machine's kernel has no {what} driver for it: none of {names} is built \
                     in or among its modules (`kernel.modules: [cloud]` keeps those that there are)",
                    named.format
                ));
            }
        }
    }
}

/// A run of sectors on a disk, from a filesystem's first sector.
pub(super) fn extent(first: u64, (sector, bytes): (u64, u64), format: Format) -> Result<Extent, Error> {
    let bytes = u32::try_from(bytes).map_err(|_| Error::Layout { format, source: LayoutError::Large(bytes) })?;
    Ok(Extent { lba: first + sector, bytes })
}

/// Where firmware looks on a disk that it has never booted (UEFI 2.10, 3.5.1.1).
fn efi_path(machine: &Machine) -> &'static str {
    match machine.platform.architecture.as_str() {
        "arm64" => "EFI/BOOT/BOOTAA64.EFI",
        _ => "EFI/BOOT/BOOTX64.EFI",
    }
}

fn disk_kind(container: Container) -> DiskKind {
    match container {
        Container::Raw => DiskKind::Raw,
        Container::Qcow2 => DiskKind::Qcow2,
        Container::Vhd | Container::Azure => DiskKind::FixedVhd,
        Container::DynamicVhd => DiskKind::DynamicVhd,
        Container::Vhdx => DiskKind::Vhdx,
        Container::Vmdk | Container::Ova => DiskKind::Vmdk,
        Container::Gcp => DiskKind::Gcp,
    }
}

/// Where a disk goes, and the drivers of which that place needs one each: symbols of Kconfig.
fn drivers(format: Format, container: Container) -> (&'static str, &'static [&'static str], &'static [&'static str]) {
    match (format, container) {
        (Format::Aws, _) => {
            ("EC2", &["BLK_DEV_NVME", "XEN_BLKDEV_FRONTEND"], &["ENA_ETHERNET", "IXGBEVF", "XEN_NETDEV_FRONTEND"])
        }
        (_, Container::Gcp) => ("Compute Engine", &["SCSI_VIRTIO", "BLK_DEV_NVME"], &["VIRTIO_NET", "GVE"]),
        (_, Container::Azure | Container::Vhd | Container::DynamicVhd | Container::Vhdx) => {
            ("Hyper-V", &["HYPERV_STORAGE"], &["HYPERV_NET"])
        }
        (_, Container::Vmdk | Container::Ova) => (
            "VMware and VirtualBox",
            &["FUSION_SPI", "VMWARE_PVSCSI", "SATA_AHCI", "BLK_DEV_NVME"],
            &["E1000", "E1000E", "VMXNET3"],
        ),
        // Raw disks and qcow2 go anywhere.
        _ => ("any machine", &[], &[]),
    }
}
