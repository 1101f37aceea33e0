//! What the formats of a build share, each made when it is first asked for: the kernel, the root image, the initrds and the
//! command lines that go with them.

use std::collections::BTreeMap;
use std::io::{self, Seek, SeekFrom, Write};
use std::sync::Arc;

use bootwright_bundle::{CORRUPTION_ARGUMENT, Corruption, MEMORY_ARGUMENT, ROOT_ARGUMENT, ROOT_IMAGE, VERITY_ARGUMENT};
use bootwright_oci::{Content, Derived, Digest, Hasher, ReadContent, Reporter};
use bootwright_rootfs::{Machine, Reach};
use bootwright_spec::RootKind;

use super::disks::{BootFiles, no_loader};
use super::{Options, root};
use crate::content::{self, Owner};
use crate::error::{Fault, LayoutError};
use crate::format::Named;
use crate::initrd::{self, Packed, Stored};
use crate::kernel::Kernel;
use crate::squashfs::pack_squashfs;
use crate::uki::{Uki, UkiContent, os_release};
use crate::{Error, RawImage, RootImage, memory};

/// Largest EFI stub; systemd's have 0.1 MB.
const STUB_MOST: u64 = 4 << 20;

/// The parts, and what was found on the way.
pub(super) struct Parts<'a> {
    pub(super) machine: &'a Machine,
    pub(super) options: &'a Options,
    pub(super) read: &'a dyn ReadContent,
    pub(super) derived: &'a Derived,
    pub(super) reporter: &'a dyn Reporter,
    /// The build's name.
    pub(super) name: &'a str,
    /// The kernel as formats write it.
    pub(super) kernel: Option<Arc<Kernel>>,
    root: Option<RootImage>,
    kernel_image: Option<RawImage>,
    started: BTreeMap<Reach, Arc<Started>>,
    ukis: BTreeMap<Reach, Uki>,
    /// By whether UEFI boots them.
    pub(super) boot_files: BTreeMap<(bool, Reach), BootFiles>,
    /// Component, packed bytes, whether they came from the cache.
    pub(super) packed: Vec<(usize, u64, bool)>,
    /// The most that any of the formats needs.
    pub(super) memory_mib: Option<u64>,
    /// What the user should know.
    pub(super) warnings: Vec<String>,
}

/// What a boot loader gives to the kernel.
#[derive(Debug)]
pub(super) struct Started {
    /// The initrd without microcode.
    pub(super) initrd: RawImage,
    /// The same with it.
    pub(super) with_ucode: RawImage,
    /// The command line.
    pub(super) cmdline: String,
    /// MiB of memory that a machine started so needs.
    pub(super) memory_mib: u64,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        machine: &'a Machine,
        options: &'a Options,
        read: &'a dyn ReadContent,
        derived: &'a Derived,
        reporter: &'a dyn Reporter,
        name: &'a str,
    ) -> Result<Self, Error> {
        let kernel = match &machine.boot.kernel {
            Some(kernel) if options.decompress_kernel => Some(Kernel::decompressed(kernel, read, derived, reporter)?),
            kernel => kernel.clone().map(Kernel::AsIs),
        };
        let kernel = kernel.map(Arc::new);
        let mut parts = Self {
            machine,
            options,
            read,
            derived,
            reporter,
            name,
            kernel,
            root: None,
            kernel_image: None,
            started: BTreeMap::new(),
            ukis: BTreeMap::new(),
            boot_files: BTreeMap::new(),
            packed: Vec::new(),
            memory_mib: None,
            warnings: Vec::new(),
        };
        parts.check_ucode()?;
        Ok(parts)
    }

    /// The kernel looks for microcode at the initrd's very start, in a plain archive; nothing else would ever be said.
    fn check_ucode(&mut self) -> Result<(), Error> {
        let Some(ucode) = &self.machine.boot.ucode else { return Ok(()) };
        let head = content::head(ucode, Owner::Boot("boot/ucode.cpio"), self.read, 6)?;
        if head != crate::cpio::MAGIC {
            self.warnings.push("the microcode is not a plain cpio archive: the kernel will not find it".to_owned());
        }
        Ok(())
    }

    /// A machine of this format needs so much memory.
    pub(super) fn needs_mib(&mut self, mib: u64) {
        self.memory_mib = self.memory_mib.max(Some(mib));
    }

    /// The kernel's bytes.
    pub(super) fn kernel_image(&mut self) -> Result<RawImage, Error> {
        if self.kernel_image.is_none() {
            let image = match &self.kernel {
                Some(kernel) => self.spool("kernel", kernel.size(), |out| {
                    let mut task = self.reporter.start("reading the kernel", Some(kernel.size()));
                    kernel.copy_to(self.read, out, &mut *task)
                })?,
                None => RawImage::default(),
            };
            self.kernel_image = Some(image);
        }
        Ok(self.kernel_image.clone().unwrap_or_default())
    }

    /// Bytes that are written once and read by several formats, in a file without a name.
    pub(super) fn spool(
        &self,
        what: &str,
        size: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Fault>,
    ) -> Result<RawImage, Error> {
        let failed = |source| Error::Cache { what: what.to_owned(), path: self.derived.root().to_owned(), source };
        let mut file = self.derived.scratch().map_err(failed)?;
        let mut out = io::BufWriter::with_capacity(256 << 10, &mut file);
        write(&mut out).map_err(|fault| match fault {
            Fault::Sink(source) => failed(source),
            Fault::Other(error) => error,
        })?;
        out.flush().map_err(failed)?;
        drop(out);
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        let mut image = RawImage::new(size);
        image.put_file(0, &Arc::new(file), 0, size);
        Ok(image)
    }

    /// All of a small content.
    pub(super) fn small(&self, content: &Content, what: &'static str, most: u64) -> Result<Vec<u8>, Error> {
        content::head(content, Owner::Boot(what), self.read, most)
    }

    /// The root as a squashfs with its mark, and its hash tree if dm-verity checks it.
    pub(super) fn root_image(&mut self) -> Result<RootImage, Error> {
        if self.root.is_none() {
            let options = crate::squashfs::SquashfsOptions { threads: self.options.threads, ..self.options.squashfs };
            let squashfs = pack_squashfs(self.machine, &options, self.read, self.derived, self.reporter)?;
            self.warnings.extend_from_slice(&squashfs.warnings);
            self.packed.extend(squashfs.components.iter().map(|c| (c.component, c.packed, c.cached)));
            self.root = Some(self.mark(&squashfs.image, root::verity(self.machine, self.options))?);
        }
        Ok(self.root.clone().unwrap_or_else(|| unreachable!("it was just made")))
    }

    /// A root image around a filesystem.
    pub(super) fn mark(&self, filesystem: &RawImage, verity: bool) -> Result<RootImage, Error> {
        let mut task = self.reporter.start("hashing the root", Some(filesystem.size()));
        RootImage::new(filesystem, verity, self.options.threads(), &mut *task).map_err(|source| Error::Read {
            path: "root image".to_owned(),
            component: "a packed segment in the cache".to_owned(),
            source,
        })
    }

    /// What a boot loader gives to the kernel, where the root is in the initrd or on a disk. An initrd root is in the initrd
    /// wherever that lies.
    pub(super) fn started(&mut self, reach: Reach) -> Result<Arc<Started>, Error> {
        let kind = root::kind(self.machine, self.options)?;
        let reach = if kind == RootKind::Initrd { Reach::Initrd } else { reach };
        if let Some(started) = self.started.get(&reach) {
            return Ok(Arc::clone(started));
        }
        let started = Arc::new(match kind {
            RootKind::Initrd => {
                let packed = self.pack(self.machine, None)?;
                self.packed.extend_from_slice(&packed.sizes);
                self.with(packed, self.machine.boot.cmdline.clone())?
            }
            RootKind::Squashfs => {
                let root = self.root_image()?;
                self.started_with(&root, reach)?
            }
        });
        self.started.insert(reach, Arc::clone(&started));
        Ok(started)
    }

    /// The small initrd that mounts a root image, which is in it or on a disk.
    pub(super) fn started_with(&mut self, image: &RootImage, reach: Reach) -> Result<Started, Error> {
        let early = self.machine.early(reach, self.read).map_err(|source| Error::Read {
            path: "lib/modules".to_owned(),
            component: "kernel".to_owned(),
            source,
        })?;
        let mut early = early.unwrap_or_else(|| unreachable!("the root's kind was checked"));
        let mut words = self.words(image);
        let stored = match reach {
            Reach::Initrd => {
                // A ramfs has no limit of its own; a tmpfs would take no more than half of the memory.
                if !memory::is_ramfs(&early.boot.cmdline) {
                    words.push("rootfstype=ramfs".to_owned());
                }
                Some(Stored { path: ROOT_IMAGE, image: image.image.clone() })
            }
            Reach::Disk => {
                words.insert(0, format!("{ROOT_ARGUMENT}={}", image.id));
                None
            }
        };
        early.boot.cmdline = joined(&words, &self.machine.boot.cmdline);
        let packed = self.pack(&early, stored.as_ref())?;
        words.push(format!("{MEMORY_ARGUMENT}={}", packed.memory_mib));
        self.with(packed, joined(&words, &self.machine.boot.cmdline))
    }

    fn pack(&mut self, machine: &Machine, stored: Option<&Stored>) -> Result<Packed, Error> {
        let packed = initrd::pack(machine, stored, self.options, self.read, self.derived, self.reporter)?;
        self.warnings.extend_from_slice(&packed.warnings);
        self.needs_mib(packed.memory_mib);
        Ok(packed)
    }

    fn with(&self, packed: Packed, cmdline: String) -> Result<Started, Error> {
        let (initrd, memory_mib) = (packed.image, packed.memory_mib);
        let with_ucode = match &self.machine.boot.ucode {
            None => initrd.clone(),
            Some(ucode) => {
                let plain = self.spool("microcode", ucode.size(), |out| {
                    let mut task = self.reporter.start("reading the microcode", Some(ucode.size()));
                    content::copy(ucode, Owner::Boot("boot/ucode.cpio"), self.read, out, &mut *task)
                })?;
                let begin = plain.size().next_multiple_of(4);
                let mut image = RawImage::new(begin + initrd.size());
                image.put_image(0, &plain);
                image.put_image(begin, &initrd);
                image
            }
        };
        Ok(Started { initrd, with_ucode, cmdline, memory_mib })
    }

    /// What early is told of a root image on the command line.
    pub(super) fn words(&self, image: &RootImage) -> Vec<String> {
        let mut words = Vec::new();
        if let Some(hash) = &image.verity {
            let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            words.push(format!("{VERITY_ARGUMENT}={hash}"));
            if self.machine.root.corruption == Corruption::Restart {
                words.push(format!("{CORRUPTION_ARGUMENT}={}", Corruption::Restart.name()));
            }
        }
        words
    }

    /// The UKI of what a boot loader gives to the kernel, signed if there is a signer.
    pub(super) fn uki(&mut self, named: &Named, reach: Reach) -> Result<Uki, Error> {
        if let Some(uki) = self.ukis.get(&reach) {
            return Ok(uki.clone());
        }
        let format = named.format;
        let layout = |source: LayoutError| Error::Layout { format, source };
        let stub = self.machine.boot.loader.stub.as_ref().ok_or_else(|| no_loader(self.machine, format, "EFI stub"))?;
        let stub = self.small(stub, "the EFI stub", STUB_MOST)?;
        let started = self.started(reach)?;
        let kernel = self.kernel_image()?;
        let content = UkiContent {
            os_release: &os_release(self.name, None),
            cmdline: &started.cmdline,
            uname: None,
            initrd: &started.with_ucode,
            kernel: &kernel,
        };
        let mut uki = Uki::plan(&stub, &self.machine.platform, &content).map_err(|e| layout(e.into()))?;
        if let Some(signer) = &self.options.signer {
            let mut task = self.reporter.start("signing", Some(uki.image.size()));
            uki.image = signer.sign(&uki.image, &mut *task).map_err(|e| layout(e.into()))?;
        }
        self.ukis.insert(reach, uki.clone());
        Ok(uki)
    }
}

/// Our words before the spec's: what follows a `--` is for init.
pub(super) fn joined(words: &[String], cmdline: &str) -> String {
    let all = words.iter().map(String::as_str).chain([cmdline]).filter(|word| !word.is_empty());
    all.collect::<Vec<_>>().join(" ")
}

/// Digest of an image's bytes.
pub(super) fn digest(image: &RawImage) -> io::Result<Digest> {
    let mut hasher = Hasher::new(io::sink());
    image.write_to(&mut hasher, &mut *bootwright_oci::Silent.start("", None))?;
    Ok(hasher.finish().1)
}
