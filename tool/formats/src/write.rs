//! One build: everything is checked, then what formats share is made once, then each format is written.

use std::io::Write;
use std::num::NonZero;

use bootwright_oci::{Derived, ReadContent, Reporter, Task, TreePath};
use bootwright_rootfs::Machine;

use crate::content::{self, Owner};
use crate::error::Fault;
use crate::format::check_formats;
use crate::initrd::{self, Packed};
use crate::kernel::Kernel;
use crate::output::{Sink, Stage};
use crate::report::{Report, weigh};
use crate::tar::{self, Entry, EntryKind, Extra};
use crate::{Compression, Error, Format, GENERATED_MTIME, Output};

/// How to build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Compression of an initrd's segments.
    pub compression: Compression,
    /// Its level; none for the compression's default.
    pub level: Option<i32>,
    /// Whether the kernel is written decompressed.
    pub decompress_kernel: bool,
    /// Threads that compress; none for as many as there are processors. The bytes do not depend on it.
    pub threads: Option<NonZero<usize>>,
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
    let build = Build {
        machine,
        read,
        reporter,
        kernel: match &machine.boot.kernel {
            Some(kernel) if options.decompress_kernel => Some(Kernel::decompressed(kernel, read, derived, reporter)?),
            kernel => kernel.clone().map(Kernel::AsIs),
        },
    };
    let mut warnings = build.ucode_warning()?;
    let initrd = match formats.iter().any(|f| f.has_initrd()) {
        true => Some(initrd::pack(machine, None, options, read, derived, reporter)?),
        false => None,
    };
    let mut components = weigh(machine);
    if let Some(initrd) = &initrd {
        warnings.extend_from_slice(&initrd.warnings);
        for (component, packed, cached) in &initrd.sizes {
            if let Some(size) = components.get_mut(*component) {
                (size.packed, size.cached) = (Some(*packed), Some(*cached));
            }
        }
    }
    if formats.contains(&Format::Docker) && !(has(machine, "bin/rc.init") || has(machine, "init")) {
        warnings
            .push("the machine has neither `/bin/rc.init` nor `/init`: a container of it will not start".to_owned());
    }
    warnings.iter().for_each(|warning| reporter.warn(warning));

    let mut stage = Stage::new(output);
    for format in &formats {
        let files = format.files(output.name());
        match (format, &initrd, &build.kernel) {
            (Format::KernelInitrd, Some(initrd), Some(kernel)) => {
                build.kernel_initrd(&mut stage, &files, initrd, kernel)?
            }
            (Format::TarKernelInitrd, Some(initrd), Some(kernel)) => {
                build.tar_kernel_initrd(&mut stage, &files[0], initrd, kernel)?;
            }
            (Format::Docker, ..) => build.tar(&mut stage, Format::Docker, &files[0], docker_files(machine))?,
            (Format::Tar, ..) => build.tar(&mut stage, Format::Tar, &files[0], &[])?,
            _ => return Err(Error::NotBuilt { format: *format }),
        }
    }
    let artefacts = stage.commit()?;
    Ok(Report { artefacts, components, memory_mib: initrd.map(|initrd| initrd.memory_mib), warnings })
}

/// Refuses what cannot be built, before anything is; gives the formats, each once.
///
/// # Errors
///
/// Those of [`write()`] that are known beforehand.
pub fn check(machine: &Machine, formats: &[Format], output: &Output, options: &Options) -> Result<Vec<Format>, Error> {
    let formats = check_request(formats, output, options)?;
    for format in &formats {
        match format {
            format if format.has_initrd() => {
                if machine.boot.kernel.is_none() {
                    return Err(Error::NoKernel { format: *format });
                }
                initrd::check(machine)?;
                let misfits = initrd::misfits(machine);
                if !misfits.is_empty() {
                    return Err(Error::Misfit { format: *format, misfits });
                }
            }
            Format::Docker => tar::check(machine, docker_files(machine))?,
            _ => tar::check(machine, &[])?,
        }
    }
    Ok(formats)
}

/// The part of [`check`] that needs no machine.
///
/// # Errors
///
/// Formats that are not built or clash, a level that there is not, an output that cannot be.
pub fn check_request(formats: &[Format], output: &Output, options: &Options) -> Result<Vec<Format>, Error> {
    let formats = check_formats(formats, output.name())?;
    if formats.is_empty() {
        return Err(Error::NoFormat);
    }
    options.compression.level(options.level)?;
    output.check(&formats)?;
    Ok(formats)
}

fn has(machine: &Machine, path: &str) -> bool {
    TreePath::new(path).is_ok_and(|path| machine.tree.contains_key(&path))
}

/// A Dockerfile, and what keeps it out of the image that it builds.
fn docker_files(machine: &Machine) -> &'static [Extra] {
    const IGNORE: Extra = Extra { name: ".dockerignore", content: "Dockerfile\n.dockerignore\n" };
    const RC_INIT: &[Extra] =
        &[Extra { name: "Dockerfile", content: "FROM scratch\nCOPY . /\nENTRYPOINT [\"/bin/rc.init\"]\n" }, IGNORE];
    const INIT: &[Extra] =
        &[Extra { name: "Dockerfile", content: "FROM scratch\nCOPY . /\nENTRYPOINT [\"/init\"]\n" }, IGNORE];
    if has(machine, "bin/rc.init") { RC_INIT } else { INIT }
}

/// What the formats of a build share.
struct Build<'a> {
    machine: &'a Machine,
    read: &'a dyn ReadContent,
    reporter: &'a dyn Reporter,
    kernel: Option<Kernel>,
}

impl Build<'_> {
    /// The kernel looks for microcode at the initrd's very start, in a plain archive; nothing else would ever be said.
    fn ucode_warning(&self) -> Result<Vec<String>, Error> {
        let Some(ucode) = &self.machine.boot.ucode else { return Ok(Vec::new()) };
        let head = content::head(ucode, Owner::Boot("boot/ucode.cpio"), self.read, 6)?;
        let plain = head == crate::cpio::MAGIC;
        let warning = "the microcode is not a plain cpio archive: the kernel will not find it".to_owned();
        Ok(if plain { Vec::new() } else { vec![warning] })
    }

    fn start(&self, sink: &Sink, size: u64) -> Box<dyn Task> {
        self.reporter.start(&format!("writing {}", sink.label), Some(size))
    }

    fn kernel_initrd(
        &self,
        stage: &mut Stage<'_>,
        files: &[String],
        initrd: &Packed,
        kernel: &Kernel,
    ) -> Result<(), Error> {
        let [kernel_file, initrd_file, cmdline_file] = files else {
            unreachable!("the table of formats has three files for this one")
        };
        let mut sink = stage.create(Format::KernelInitrd, kernel_file)?;
        let mut progress = self.start(&sink, kernel.size());
        kernel.copy_to(self.read, &mut sink, &mut *progress).map_err(|e| e.at(&sink.label))?;
        stage.keep(sink)?;

        let mut sink = stage.create(Format::KernelInitrd, initrd_file)?;
        let mut progress = self.start(&sink, initrd.image.size());
        let mut write = || -> Result<(), Fault> {
            if let Some(ucode) = &self.machine.boot.ucode {
                content::copy(ucode, Owner::Boot("boot/ucode.cpio"), self.read, &mut sink, &mut *progress)?;
                sink.write_all(&[0; 4][..(4 - (ucode.size() % 4) as usize) % 4])?;
            }
            Ok(initrd.image.write_to(&mut sink, &mut *progress)?)
        };
        write().map_err(|e| e.at(&sink.label))?;
        stage.keep(sink)?;

        let mut sink = stage.create(Format::KernelInitrd, cmdline_file)?;
        let result = sink.write_all(self.machine.boot.cmdline.as_bytes());
        result.map_err(|e| Fault::from(e).at(&sink.label))?;
        stage.keep(sink)
    }

    fn tar_kernel_initrd(
        &self,
        stage: &mut Stage<'_>,
        file: &str,
        initrd: &Packed,
        kernel: &Kernel,
    ) -> Result<(), Error> {
        let mut sink = stage.create(Format::TarKernelInitrd, file)?;
        let mut progress = self.start(&sink, kernel.size() + initrd.image.size());
        let entry = |name: &'static str, size| Entry {
            name: name.as_bytes(),
            kind: EntryKind::File(size),
            mode: 0o644,
            mtime: GENERATED_MTIME.into(),
            ..Entry::default()
        };
        let mut write = || -> Result<(), Fault> {
            let mut tar = tar::Writer::new(&mut sink);
            tar.entry(&entry("kernel", kernel.size()))?;
            kernel.copy_to(self.read, &mut tar, &mut *progress)?;
            tar.entry(&entry("initrd.img", initrd.image.size()))?;
            initrd.image.write_to(&mut tar, &mut *progress)?;
            tar.entry(&entry("cmdline", self.machine.boot.cmdline.len() as u64))?;
            tar.write_all(self.machine.boot.cmdline.as_bytes())?;
            if let Some(ucode) = &self.machine.boot.ucode {
                tar.entry(&entry("ucode.cpio", ucode.size()))?;
                content::copy(ucode, Owner::Boot("boot/ucode.cpio"), self.read, &mut tar, &mut *progress)?;
            }
            tar.finish()?;
            Ok(())
        };
        write().map_err(|e| e.at(&sink.label))?;
        stage.keep(sink)
    }

    fn tar(&self, stage: &mut Stage<'_>, format: Format, file: &str, extras: &[Extra]) -> Result<(), Error> {
        let mut sink = stage.create(format, file)?;
        let size =
            weigh(self.machine).iter().map(|c| c.unpacked).sum::<u64>() + self.kernel.as_ref().map_or(0, Kernel::size);
        let mut progress = self.start(&sink, size);
        tar::write(self.machine, self.kernel.as_ref(), extras, self.read, &mut sink, &mut *progress)
            .map_err(|e| e.at(&sink.label))?;
        stage.keep(sink)
    }
}
