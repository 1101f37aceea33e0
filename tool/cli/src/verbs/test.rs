//! `bootwright test SPEC|ARTEFACT…`.

use std::ffi::OsString;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};

use bootwright_formats::{Format, Options, Output};
use bootwright_machine::{AccelChoice, Arch, Artefact};
use bootwright_oci::Reporter;
use bootwright_spec::{Severity, Spec, Test};
use bootwright_trial::{Settings, Trial, Tried, Watch, document, junit, summary};
use tempfile::TempDir;

use super::build::{self, Images};
use super::compose::{Composer, Inputs, is_spec};
use super::run;
use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::session::Global;

/// Boot what specs build, or what was built, and see whether the specs' tests hold
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Specs (`.yml`, `-`, URLs), and what was built by its prefix or one of its files
    #[arg(required = true, value_name = "SPEC|ARTEFACT")]
    targets: Vec<String>,
    /// Formats to build and boot, separated by commas or repeated [default: those that the tests name, else kernel+initrd]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    format: Vec<String>,
    /// The spec whose tests are made of artefacts
    #[arg(long, value_name = "SPEC")]
    spec: Option<String>,
    /// Keep what is built, in a directory for each format below this one
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Machines at a time [default: as many as there are processors for]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Write the results as JUnit's XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write what each console says to a file in this directory
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// auto, kvm, tcg, or a list such as kvm:tcg [default: $LINUXKIT_QEMU_ACCEL, else auto]
    #[arg(long)]
    accel: Option<AccelChoice>,
    /// QEMU's binary [default: qemu-system-ARCH on the path]
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
    #[command(flatten)]
    images: Images,
}

const AFTER: &str = "Exit codes: 0 everything holds, 1 something does not, 2 usage, 3 the world (no QEMU, no disk space). \
docs/test.md tells what tests can say.";

impl Args {
    pub fn run(self, global: &Global, printer: &Printer) -> Result<u8, Failure> {
        let kept = match &self.dir {
            Some(_) => None,
            None => Some(TempDir::with_prefix("bootwright-test-")?),
        };
        let place = self.dir.clone().or_else(|| Some(kept.as_ref()?.path().to_owned())).unwrap_or_default();
        let settings = self.settings(global)?;
        let trials = self.plan(global, printer, &place)?;
        let (all, signal) = bootwright_trial::run(&trials, &settings, &Shown(printer))?;
        if let Some(path) = &self.junit {
            write(path, &junit(&all))?;
        }
        if printer.json() || !printer.quiet() {
            printer.result(|| summary(&all), || document(&all));
        }
        Ok(match signal {
            Some(signal) => 128u8.wrapping_add(u8::try_from(signal).unwrap_or_default()),
            None if all.iter().any(Tried::is_error) => Kind::World.exit_code(),
            None => u8::from(!all.iter().all(Tried::holds)),
        })
    }

    fn settings(&self, global: &Global) -> Result<Settings, Failure> {
        // Now: it would be a pity when the machines have run.
        for directory in self.logs.as_deref().into_iter().chain(self.junit.as_deref().and_then(Path::parent)) {
            fs::create_dir_all(directory)
                .map_err(|e| Failure::from(e).context(format!("making `{}`", directory.display())))?;
        }
        Ok(Settings {
            cache: global.cache_directory()?,
            accel: match &self.accel {
                Some(accel) => accel.clone(),
                None => run::accel_from_env()?,
            },
            arch: match &self.images.arch {
                Some(arch) => arch.parse().map_err(Failure::usage)?,
                None => Arch::host(),
            },
            qemu: self.qemu.clone(),
            logs: self.logs.clone(),
            jobs: self.jobs.map(NonZero::get),
        })
    }

    /// Builds what there is to build. The store is free again when machines run.
    fn plan(&self, global: &Global, printer: &Printer, place: &Path) -> Result<Vec<Trial>, Failure> {
        let specs = self.targets.iter().filter(|target| is_spec(target)).count();
        printer.notices(&[
            (specs == 0 && !self.format.is_empty(), "`--format` has no effect: there is nothing to build"),
            (
                specs == self.targets.len() && self.spec.is_some(),
                "`--spec` has no effect: every spec has its own tests",
            ),
        ]);
        let formats = build::formats(&self.format)?;
        if let Some(format) = formats.iter().find(|format| !format.is_bootable()) {
            return Err(Failure::usage(format!("`{format}` is nothing that boots")));
        }
        let of_artefacts = match &self.spec {
            Some(spec) => Some(Inputs::read(std::slice::from_ref(spec), global)?.parse(printer)?),
            None => None,
        };
        let mut trials = Vec::new();
        let mut composer = None;
        for target in &self.targets {
            if is_spec(target) {
                let composer = match &composer {
                    Some(composer) => composer,
                    None => composer.insert(Composer::new(global, &self.images, printer)?),
                };
                build_target(target, composer, &formats, place, &mut trials, global, printer)?;
            } else {
                let artefact = Artefact::find(target)?;
                let name = artefact.prefix.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let format = artefact.kind();
                add(&name, format, &artefact, of_artefacts.as_ref(), |_| true, &mut trials)?;
            }
        }
        Ok(trials)
    }
}

/// Builds a spec in each of the formats, or in those that its tests name.
fn build_target(
    target: &str,
    composer: &Composer<'_>,
    formats: &[Format],
    place: &Path,
    trials: &mut Vec<Trial>,
    global: &Global,
    printer: &Printer,
) -> Result<(), Failure> {
    let (machine, found) = composer.machine(Inputs::read(&[target.to_owned()], global)?, Severity::Warning)?;
    let mut wanted = formats.to_vec();
    if wanted.is_empty() {
        let named = |test: &Test| if test.formats.is_empty() { vec![Format::KernelInitrd] } else { parsed(test) };
        wanted = found.spec.tests.iter().flat_map(named).collect();
        wanted.sort_unstable();
        wanted.dedup();
    }
    if wanted.is_empty() {
        wanted.push(Format::KernelInitrd);
    }
    let name = build::default_name(&[target.to_owned()]);
    let store = composer.store();
    for format in wanted {
        let directory = place.join(format.name());
        fs::create_dir_all(&directory)?;
        let prefix = directory.join(&name);
        let output = Output::Directory { directory, name: name.clone() };
        let options = Options::default();
        let made = bootwright_formats::write(&machine, &[format], &output, &options, store, store.derived(), printer)?;
        let mut paths = made.artefacts.iter().filter_map(|artefact| artefact.path.as_deref());
        // One of the files leads to the others, as with `run`.
        let artefact = match paths.find_map(|path| Artefact::find(&path.to_string_lossy()).ok()) {
            Some(artefact) => artefact,
            None => Artefact::find(&prefix.to_string_lossy())?,
        };
        let is_meant = |test: &Test| test.formats.is_empty() || parsed(test).contains(&format);
        add(&name, format.name(), &artefact, Some(&found.spec), is_meant, trials)?;
    }
    Ok(())
}

/// The formats of a test; that they are known was checked when the spec was read.
fn parsed(test: &Test) -> Vec<Format> {
    test.formats.iter().filter_map(|format| format.parse().ok()).collect()
}

/// Adds the trials of an artefact: those of the tests that are meant for it, or that it boots.
fn add(
    target: &str,
    format: &str,
    artefact: &Artefact,
    spec: Option<&Spec>,
    is_meant: impl Fn(&Test) -> bool,
    trials: &mut Vec<Trial>,
) -> Result<(), Failure> {
    let tests: Vec<&Test> = spec.iter().flat_map(|spec| &spec.tests).filter(|test| is_meant(test)).collect();
    let each = if tests.is_empty() { vec![None] } else { tests.into_iter().map(Some).collect() };
    for test in each {
        let mut trial = Trial::new(target, format, artefact.clone(), test)?;
        trial.closed = spec.map(|spec| spec.control.virtio_serial.as_ref().is_some_and(|flag| !flag.value));
        trials.push(trial);
    }
    Ok(())
}

/// Writes beside the name and renames, so that nobody reads half a document.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let mut beside = OsString::from(path);
    beside.push(".part");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| Failure::from(error).context(format!("writing `{}`", path.display())))
}

/// Says what came of a machine when it has finished.
struct Shown<'a>(&'a Printer);

impl Watch for Shown<'_> {
    fn finished(&self, tried: &Tried) {
        if !(self.0.json() || self.0.quiet() && tried.holds()) {
            self.0.result(|| tried.text(self.0.details()), || serde_json::Value::Null);
        }
    }

    fn notice(&self, line: &str) {
        self.0.note(line);
    }
}
