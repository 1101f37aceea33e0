//! OVA (DMTF DSP0243 1.1): a tar of an OVF descriptor, a manifest of digests, and the disk as VMDK.
//!
//! Descriptor and manifest come first and hold the disk's size and digest, so the disk is written to a spool file before:
//! deflating it twice would cost more than reading it back.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::num::NonZero;

use bootwright_oci::{Digest, Hasher, Task};

use super::DiskKind;
use super::ovf::{Disk, descriptor};
use crate::tar::{self, Entry, EntryKind};
use crate::{GENERATED_MTIME, RawImage};

/// The virtual machine around the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appliance {
    /// Its name, and what the files in the OVA are called.
    pub name: String,
    /// MiB of memory.
    pub memory_mib: u64,
    /// Processors.
    pub cpus: u32,
    /// Whether EFI firmware boots it, instead of BIOS.
    pub efi: bool,
    /// What the disk is attached to.
    pub controller: Controller,
    /// What the network is attached to.
    pub network: Network,
}

/// A disk controller that the machine's kernel has a driver for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controller {
    /// LSI Logic Parallel SCSI, LinuxKit's (`CONFIG_FUSION_SPI`).
    #[default]
    LsiLogic,
    /// VMware's own (`CONFIG_VMWARE_PVSCSI`); VirtualBox has none.
    ParaVirtual,
}

/// A network card that the machine's kernel has a driver for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// Intel's 82545EM (`CONFIG_E1000`).
    #[default]
    E1000,
    /// VMware's own (`CONFIG_VMXNET3`); VirtualBox has none.
    VmxNet3,
}

/// Writes an OVA; the image is laid out with the size that [`DiskKind::Vmdk`] wants.
///
/// `spool` is an empty file to write and read, such as one of `tempfile::tempfile_in`.
///
/// # Errors
///
/// Those of [`DiskKind::write`], and of the spool.
pub fn write(
    image: &RawImage,
    appliance: &Appliance,
    mut spool: File,
    workers: NonZero<usize>,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> io::Result<()> {
    let mut hasher = Hasher::new(BufWriter::with_capacity(256 << 10, &mut spool));
    DiskKind::Vmdk.write(image, workers, &mut hasher, progress)?;
    let (mut buffered, digest, size) = hasher.finish();
    buffered.flush()?;
    drop(buffered);
    spool.rewind()?;

    let (ovf_name, disk_name) = (format!("{}.ovf", appliance.name), format!("{}-disk1.vmdk", appliance.name));
    let disk = Disk { name: &disk_name, size, capacity: DiskKind::Vmdk.disk_size(image.size()) };
    let ovf = descriptor(appliance, &disk);
    let manifest =
        format!("SHA256({ovf_name})= {}\nSHA256({disk_name})= {}\n", Digest::of(ovf.as_bytes()).hex(), digest.hex());

    let mut tar = tar::Writer::new(out);
    for (name, text) in [(ovf_name, ovf), (format!("{}.mf", appliance.name), manifest)] {
        tar.entry(&entry(&name, text.len() as u64))?;
        tar.write_all(text.as_bytes())?;
    }
    tar.entry(&entry(&disk_name, size))?;
    io::copy(&mut spool, &mut tar)?;
    tar.finish()?;
    Ok(())
}

fn entry(name: &str, size: u64) -> Entry<'_> {
    Entry {
        name: name.as_bytes(),
        kind: EntryKind::File(size),
        mode: 0o644,
        mtime: GENERATED_MTIME.into(),
        ..Entry::default()
    }
}
