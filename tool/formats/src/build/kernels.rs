//! Formats whose kernel somebody else loads: `kernel+initrd`, `netboot`, `tar-kernel-initrd`, and those with the root beside
//! the kernel.

use std::io::Write;
use std::sync::Arc;

use bootwright_bundle::MEMORY_ARGUMENT;
use bootwright_rootfs::Reach;

use super::parts::{Parts, joined};
use super::root;
use crate::content::{self, Owner};
use crate::erofs::{self, Erofs};
use crate::firecracker::{Drive, MicroVm};
use crate::format::{Beside, Named};
use crate::ipxe::ipxe_script;
use crate::iso::{self, MachineIso};
use crate::kernel::Kernel;
use crate::output::Stage;
use crate::tar::{self, Entry, EntryKind};
use crate::{Error, Format, GENERATED_MTIME, RawImage, memory};

/// The first virtio disk, where the one who starts the machine puts the root. The kernel knows nothing better of a disk without
/// partitions.
const FIRST_DISK: &str = "/dev/vda";

impl Parts<'_> {
    pub(super) fn kernel_and_initrd(&mut self, named: &Named, stage: &mut Stage<'_>) -> Result<(), Error> {
        let started = self.started(Reach::Initrd)?;
        let Some(kernel) = &self.kernel else { return Err(Error::NoKernel { format: named.format }) };
        let (read, cmdline) = (self.read, &started.cmdline);
        if named.format == Format::TarKernelInitrd {
            let entry = |name: &'static str, size| Entry {
                name: name.as_bytes(),
                kind: EntryKind::File(size),
                mode: 0o644,
                mtime: GENERATED_MTIME.into(),
                ..Entry::default()
            };
            let size = kernel.size() + started.initrd.size();
            return self.artefact(stage, named, 0, size, |out, progress| {
                let mut tar = tar::Writer::new(out);
                tar.entry(&entry("kernel", kernel.size()))?;
                kernel.copy_to(read, &mut tar, progress)?;
                tar.entry(&entry("initrd.img", started.initrd.size()))?;
                started.initrd.write_to(&mut tar, progress)?;
                tar.entry(&entry("cmdline", cmdline.len() as u64))?;
                tar.write_all(cmdline.as_bytes())?;
                if let Some(ucode) = &self.machine.boot.ucode {
                    tar.entry(&entry("ucode.cpio", ucode.size()))?;
                    content::copy(ucode, Owner::Boot("boot/ucode.cpio"), read, &mut tar, progress)?;
                }
                tar.finish()?;
                Ok(())
            });
        }
        self.artefact(stage, named, 0, kernel.size(), |out, progress| kernel.copy_to(read, out, progress))?;
        let initrd = &started.with_ucode;
        self.artefact(stage, named, 1, initrd.size(), |out, progress| Ok(initrd.write_to(out, progress)?))?;
        let text = match named.format {
            Format::Netboot => {
                let (format, files) = (named.format, named.files());
                ipxe_script(&files[0], &files[1], cmdline)
                    .map_err(|source| Error::Layout { format, source: source.into() })?
            }
            _ => cmdline.clone(),
        };
        self.text(stage, named, 2, &text)
    }

    fn text(&self, stage: &mut Stage<'_>, named: &Named, file: usize, text: &str) -> Result<(), Error> {
        self.artefact(stage, named, file, text.len() as u64, |out, _| Ok(out.write_all(text.as_bytes())?))
    }

    /// A kernel, and the root that it mounts, or that a small initrd mounts where the kernel cannot.
    pub(super) fn beside(&mut self, named: &Named, beside: Beside, stage: &mut Stage<'_>) -> Result<(), Error> {
        let reach = root::reach(self.machine, named.format, beside, self.options)?;
        let verity = root::verity(self.machine, self.options);
        let (root, kind) = match beside {
            Beside::Squashfs | Beside::Firecracker => (Some(self.root_image()?), "squashfs"),
            Beside::Erofs => {
                let filesystem = self.erofs()?;
                (Some(self.mark(&filesystem, verity)?), "erofs")
            }
            Beside::Iso => (None, "iso9660"),
        };
        let mut initrd = None;
        let (cmdline, memory_mib) = match (&root, reach) {
            (Some(root), Some(reach)) => {
                let started = self.started_with(root, reach)?;
                initrd = Some(started.with_ucode);
                (started.cmdline, started.memory_mib)
            }
            (root, _) => {
                let device = root.as_ref().and_then(|r| r.device_argument(FIRST_DISK, self.machine.root.corruption));
                let disk = if device.is_some() { "/dev/dm-0" } else { FIRST_DISK };
                let mib = memory::beside(self.machine);
                self.needs_mib(mib);
                let theirs = &self.machine.boot.cmdline;
                let mut words: Vec<String> = device.into_iter().collect();
                if !theirs.split_ascii_whitespace().any(|word| word.starts_with("root=")) {
                    words.extend([format!("root={disk}"), "ro".to_owned(), format!("rootfstype={kind}")]);
                }
                words.extend(["init=/init".to_owned(), format!("{MEMORY_ARGUMENT}={mib}")]);
                (joined(&words, theirs), mib)
            }
        };
        let read = self.read;
        let kernel = match beside {
            Beside::Firecracker => Arc::new(self.vmlinux()?),
            _ => self.kernel.clone().ok_or(Error::NoKernel { format: named.format })?,
        };
        self.artefact(stage, named, 0, kernel.size(), |out, progress| kernel.copy_to(read, out, progress))?;
        let root_file = if beside == Beside::Firecracker { 1 } else { 2 };
        match &root {
            Some(root) => {
                let image = &root.image;
                self.artefact(stage, named, root_file, image.size(), |out, progress| {
                    Ok(image.write_to(out, progress)?)
                })?;
            }
            None => {
                let lost = iso::lost_xattrs(self.machine);
                if !lost.is_empty() {
                    self.warnings.push(format!("an ISO has no extended attributes; lost are {}", lost.join(", ")));
                }
                let iso = MachineIso::plan(self.machine, self.name)?;
                self.artefact(stage, named, root_file, iso.size(), |out, progress| iso.write(read, out, progress))?;
            }
        }
        if let Some(initrd) = &initrd {
            let file = format!("{}{}", named.name, initrd_name(beside));
            self.file(stage, named, &file, initrd.size(), |out, progress| Ok(initrd.write_to(out, progress)?))?;
        }
        let text = match beside {
            Beside::Firecracker => {
                let files = named.files();
                let initrd = initrd.is_some().then(|| format!("{}{}", named.name, initrd_name(beside)));
                let drive = Drive { id: "root", path: &files[1], is_root: true, is_read_only: true };
                let vm = MicroVm {
                    kernel: &files[0],
                    initrd: initrd.as_deref(),
                    cmdline: &cmdline,
                    drives: &[drive],
                    cpus: 1,
                    memory_mib: memory_mib.next_multiple_of(64).max(128),
                };
                vm.config()
            }
            _ => cmdline,
        };
        self.text(stage, named, if beside == Beside::Firecracker { 2 } else { 1 }, &text)
    }

    /// The tree as EROFS.
    fn erofs(&mut self) -> Result<RawImage, Error> {
        let lost = erofs::lost_xattrs(self.machine);
        if !lost.is_empty() {
            self.warnings.push(format!("EROFS has no such extended attributes; lost are {}", lost.join(", ")));
        }
        let erofs = Erofs::plan(self.machine)?;
        self.spool("the EROFS root", erofs.size(), |out| {
            let mut task = self.reporter.start("packing the EROFS root", Some(erofs.size()));
            erofs.write(self.read, out, &mut *task)
        })
    }

    /// The kernel as an ELF file, which Firecracker wants.
    fn vmlinux(&self) -> Result<Kernel, Error> {
        match (&self.machine.boot.vmlinux, &self.machine.boot.kernel) {
            (Some(vmlinux), _) => Ok(Kernel::AsIs(vmlinux.clone())),
            (None, Some(kernel)) => Kernel::decompressed(kernel, self.read, self.derived, self.reporter),
            (None, None) => Err(Error::NoKernel { format: Format::Firecracker }),
        }
    }
}

/// What the small initrd beside a root is called.
fn initrd_name(beside: Beside) -> String {
    let root = match beside {
        Beside::Squashfs => "squashfs",
        Beside::Erofs => "erofs",
        Beside::Iso => "iso",
        Beside::Firecracker => "firecracker",
    };
    format!("-{root}-initrd.img")
}
