//! One build: everything is checked, then what formats share is made once ([`Parts`]), then each format is laid out and
//! written.

mod disks;
mod isos;
mod kernels;
mod parts;
mod root;
mod streams;

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use bootwright_oci::{Derived, ReadContent, Reporter, Task};
use bootwright_rootfs::Machine;
use bootwright_spec::RootKind;

use crate::authenticode::Signer;
use crate::error::Fault;
use crate::format::{Beside, Made, Named, Stream, check_formats};
use crate::output::Stage;
use crate::report::{Report, weigh};
use crate::squashfs::{SquashfsOptions, check_squashfs};
use crate::{Compression, Error, Format, Output, erofs, initrd, iso, tar};
use parts::Parts;
use streams::docker_files;

/// How to build.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Compression of an initrd's segments.
    pub compression: Compression,
    /// Its level; none for the compression's default.
    pub level: Option<i32>,
    /// Whether the kernel is written decompressed.
    pub decompress_kernel: bool,
    /// Threads that compress; none for as many as there are processors. The bytes do not depend on it.
    pub threads: Option<NonZero<usize>>,
    /// What the root is, over what the spec says.
    pub root: Option<RootKind>,
    /// Whether dm-verity checks the root, also where the spec does not say so.
    pub verity: bool,
    /// How the root's squashfs is packed.
    pub squashfs: SquashfsOptions,
    /// Bytes that a disk has at least.
    pub size: Option<u64>,
    /// Who signs UKIs.
    pub signer: Option<Arc<Signer>>,
}

impl Options {
    pub(crate) fn threads(&self) -> NonZero<usize> {
        self.threads.or_else(|| thread::available_parallelism().ok()).unwrap_or(NonZero::<usize>::MIN)
    }
}

/// Writes a machine in all of the formats; either all of their files are there afterwards, or none is new.
///
/// # Errors
///
/// See [`Error`]. What can be known from the machine and the options is refused before anything is read or written.
pub fn write(
    machine: &Machine,
    formats: &[Format],
    output: &Output,
    options: &Options,
    read: &dyn ReadContent,
    derived: &Derived,
    reporter: &dyn Reporter,
) -> Result<Report, Error> {
    let formats = check(machine, formats, output, options)?;
    let mut parts = Parts::new(machine, options, read, derived, reporter, output.name())?;
    parts.warnings.extend(formats.iter().filter_map(|named| named.renamed(output.name())));
    let mut stage = Stage::new(output);
    for named in &formats {
        parts.write(named, &mut stage)?;
    }
    let mut components = weigh(machine);
    for (component, packed, cached) in &parts.packed {
        if let Some(size) = components.get_mut(*component) {
            (size.packed, size.cached) = (Some(*packed), Some(*cached));
        }
    }
    parts.warnings.sort();
    parts.warnings.dedup();
    parts.warnings.iter().for_each(|warning| reporter.warn(warning));
    let artefacts = stage.commit()?;
    Ok(Report { artefacts, components, memory_mib: parts.memory_mib, warnings: parts.warnings })
}

/// Refuses what cannot be built, before anything is; gives the formats, each once.
///
/// # Errors
///
/// Those of [`write()`] that are known beforehand.
pub fn check(machine: &Machine, formats: &[Format], output: &Output, options: &Options) -> Result<Vec<Named>, Error> {
    let formats = check_request(formats, output, options)?;
    for Named { format, .. } in &formats {
        let format = *format;
        let made = format.made();
        if !matches!(made, Made::Tree(_)) && machine.boot.kernel.is_none() {
            return Err(Error::NoKernel { format });
        }
        match made {
            Made::Tree(Stream::Tar | Stream::DockerArchive | Stream::Oci) => tar::check(machine, &[])?,
            Made::Tree(Stream::DockerContext) => tar::check(machine, docker_files(machine))?,
            Made::Beside(beside) => {
                let misfits = match beside {
                    Beside::Squashfs | Beside::Firecracker => {
                        squashfs(machine, format, options)?;
                        Vec::new()
                    }
                    Beside::Erofs => erofs::misfits(machine),
                    Beside::Iso => iso::misfits(machine),
                };
                if !misfits.is_empty() {
                    return Err(Error::Misfit { format, misfits });
                }
                root::reach(machine, format, beside, options)?;
            }
            Made::Kernel | Made::Uki | Made::Disk(..) | Made::Iso(_) => {
                if root::kind(machine, options)? == RootKind::Squashfs {
                    squashfs(machine, format, options)?;
                } else {
                    initrd::check(machine)?;
                    let misfits = initrd::misfits(machine);
                    if !misfits.is_empty() {
                        return Err(Error::Misfit { format, misfits });
                    }
                }
                disks::check(machine, format)?;
            }
            Made::Nothing => return Err(Error::NotBuilt { format }),
        }
    }
    Ok(formats)
}

/// Refuses what the format's squashfs cannot hold.
fn squashfs(machine: &Machine, format: Format, options: &Options) -> Result<(), Error> {
    check_squashfs(machine, &options.squashfs).map_err(|error| match error {
        Error::Misfit { misfits, .. } => Error::Misfit { format, misfits },
        error => error,
    })
}

/// The part of [`check`] that needs no machine.
///
/// # Errors
///
/// Formats that are not built, a level that there is not, an output that cannot be.
pub fn check_request(formats: &[Format], output: &Output, options: &Options) -> Result<Vec<Named>, Error> {
    let formats = check_formats(formats, output.name())?;
    options.compression.level(options.level)?;
    output.check(&formats)?;
    Ok(formats)
}

impl Parts<'_> {
    /// Makes one format.
    fn write(&mut self, named: &Named, stage: &mut Stage<'_>) -> Result<(), Error> {
        match named.format.made() {
            Made::Tree(stream) => self.stream(named, stream, stage),
            Made::Kernel => self.kernel_and_initrd(named, stage),
            Made::Beside(beside) => self.beside(named, beside, stage),
            Made::Uki => {
                let uki = self.uki(named, bootwright_rootfs::Reach::Initrd)?;
                self.artefact(stage, named, 0, uki.image.size(), |out, progress| {
                    Ok(uki.image.write_to(out, progress)?)
                })
            }
            Made::Disk(firmware, container) => self.disk(named, firmware, container, stage),
            Made::Iso(firmware) => self.iso(named, firmware, stage),
            Made::Nothing => Err(Error::NotBuilt { format: named.format }),
        }
    }

    /// Writes one of a format's files.
    fn artefact(
        &self,
        stage: &mut Stage<'_>,
        named: &Named,
        file: usize,
        size: u64,
        write: impl FnOnce(&mut dyn io::Write, &mut dyn Task) -> Result<(), Fault>,
    ) -> Result<(), Error> {
        self.file(stage, named, &named.files()[file], size, write)
    }

    /// Writes a file of this name.
    fn file(
        &self,
        stage: &mut Stage<'_>,
        named: &Named,
        file: &str,
        size: u64,
        write: impl FnOnce(&mut dyn io::Write, &mut dyn Task) -> Result<(), Fault>,
    ) -> Result<(), Error> {
        let mut sink = stage.create(named.format, file)?;
        let mut progress = self.reporter.start(&format!("writing {}", sink.label), Some(size));
        write(&mut sink, &mut *progress).map_err(|fault| fault.at(&sink.label))?;
        stage.keep(sink)
    }
}
