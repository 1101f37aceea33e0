//! Kernel modules: those that devices, mounts and the kernel ask for, from `/lib/modules/VERSION`, and no others.
//!
//! Devices are asked once for their modaliases, then again until no new ones appear (a bus driver's loading makes its
//! devices), and afterwards by uevent. The kernel asks through its modprobe, which is this binary. A module that the
//! builder left out is named by `modules.left-out`, so that the machine can say what it misses. Modules that do not need each
//! other are loaded side by side where there are processors for it.

mod devices;
mod lanes;
mod pattern;
mod tables;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::fs::{CWD, FileType, Mode};

use crate::{Cmdline, Consoles};

/// Where the kernel is told whom to call for modules; an empty path is nobody.
const MODPROBE: &str = "/proc/sys/kernel/modprobe";
/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2): the kernel unpacks.
const COMPRESSED: i32 = 4;
/// Rounds of asking all devices; buses behind buses behind buses are four.
const ROUNDS: usize = 8;

/// Batches that are remembered, and names in each.
const BATCHES: usize = 32;
const BATCH_NAMES: usize = 32;

/// The modules of the running kernel.
#[derive(Debug)]
pub struct Loader {
    directory: PathBuf,
    parameters: Vec<(String, String)>,
    blacklist: Vec<String>,
    asked: BTreeSet<String>,
    loaded: BTreeSet<String>,
    reported: BTreeSet<String>,
    batches: Vec<Batch>,
}

/// Modules that were loaded together, and from when to when, in microseconds since the kernel started.
#[derive(Debug, Default)]
pub struct Batch {
    /// Their names, the first few of them.
    pub names: Vec<String>,
    /// When it began.
    pub start: u64,
    /// When it ended.
    pub end: u64,
}

/// What loading came to.
#[derive(Debug, Default)]
pub struct Report {
    /// Modules that were loaded.
    pub loaded: usize,
    /// Sentences about what went wrong.
    pub troubles: Vec<String>,
    /// Modules that are not in the image, and what wants them.
    pub left_out: Vec<(String, String)>,
}

impl Loader {
    /// For the running kernel.
    pub fn new(cmdline: &Cmdline) -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self {
            directory: Path::new("/lib/modules").join(release),
            parameters: cmdline.module_parameters.clone(),
            blacklist: cmdline.blacklist.clone(),
            asked: BTreeSet::new(),
            loaded: BTreeSet::new(),
            reported: BTreeSet::new(),
            batches: Vec::new(),
        }
    }

    /// The batches that have been loaded, at most 32 of them.
    pub fn take_batches(&mut self) -> Vec<Batch> {
        std::mem::take(&mut self.batches)
    }

    /// Loads what the devices want that there are.
    pub fn coldplug(&mut self) -> Report {
        let mut report = Report::default();
        let (mut known, mut doubtful) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..ROUNDS {
            let before = report.loaded;
            let aliases = devices::aliases(Path::new("/sys"), &mut known);
            doubtful.append(&mut self.load_wanted(aliases, &mut report));
            if report.loaded == before {
                break;
            }
        }
        self.report_left_out(&doubtful, &mut report);
        report
    }

    /// Loads what one alias or module name wants.
    pub fn want_one(&mut self, name: &str) -> Report {
        self.want(BTreeSet::from([name.to_owned()]))
    }

    /// Loads what aliases or module names want.
    pub fn want(&mut self, wanted: BTreeSet<String>) -> Report {
        let mut report = Report::default();
        let doubtful = self.load_wanted(wanted, &mut report);
        self.report_left_out(&doubtful, &mut report);
        report
    }

    /// Loads what is wanted and was not before. That of it for which something may have been left out.
    fn load_wanted(&mut self, mut wanted: BTreeSet<String>, report: &mut Report) -> BTreeSet<String> {
        wanted.retain(|w| !self.asked.contains(w));
        if wanted.is_empty() {
            return wanted;
        }
        let found = self.table("modules.alias", |table| tables::aliases(table, &wanted));
        let mut names: Vec<String> = found.modules.into_iter().filter(|m| !self.blacklist.contains(m)).collect();
        names.extend(wanted.iter().filter(|w| !w.contains(':')).cloned());
        names.retain(|n| !self.loaded.contains(&tables::normal(n)));
        if !names.is_empty() {
            let modules = tables::Modules::read(self.open("modules.dep"), self.open("modules.softdep"));
            let mut batch = Batch { start: uptime(), ..Batch::default() };
            for wave in modules.plan(names.iter().filter(|n| modules.has(n))) {
                batch.names.append(&mut self.load(wave, report));
            }
            batch.end = uptime();
            batch.names.truncate(BATCH_NAMES);
            if !batch.names.is_empty() && self.batches.len() < BATCHES {
                self.batches.push(batch);
            }
        }
        self.asked.extend(wanted.iter().cloned());
        // A name wants one module. Of those that a device wants, one may be there and another not.
        wanted.retain(|w| w.contains(':') || !found.wanted_by.contains(w));
        wanted
    }

    fn report_left_out(&mut self, wanted: &BTreeSet<String>, report: &mut Report) {
        if wanted.is_empty() {
            return;
        }
        let missing = self.table("modules.left-out", |table| tables::aliases(table, wanted));
        for (module, wanted_by) in missing.modules.into_iter().zip(missing.wanted_by) {
            if !self.loaded.contains(&tables::normal(&module))
                && self.reported.insert(module.clone())
                && first_time(&module)
            {
                report.left_out.push((module, wanted_by));
            }
        }
    }

    /// Loads modules that do not need each other. Names of those that were loaded.
    fn load(&mut self, mut wave: Vec<String>, report: &mut Report) -> Vec<String> {
        wave.retain(|path| {
            let name = tables::name_of(path);
            !self.loaded.contains(&name) && !self.blacklist.contains(&name)
        });
        // Network interfaces are numbered in the order in which their drivers come, which is to be the same on every boot.
        let (network, others): (Vec<String>, Vec<String>) = wave.into_iter().partition(|path| path.contains("/net/"));
        let lanes = others.into_iter().map(|path| vec![path]).chain([network]);
        let inserted = lanes::each(lanes, |path| {
            let name = tables::name_of(path);
            let result = self.insert(path, &name);
            (name, result)
        });
        let mut loaded = Vec::new();
        for (name, result) in inserted {
            match result {
                Ok(()) => loaded.push(name.clone()),
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                // Drivers of devices that are not there say so; that is no trouble.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => report.troubles.push(format!("module `{name}` could not be loaded: {error}")),
            }
            self.loaded.insert(name);
        }
        report.loaded += loaded.len();
        loaded
    }

    fn insert(&self, path: &str, name: &str) -> io::Result<()> {
        let parameters: Vec<&str> =
            self.parameters.iter().filter(|(m, _)| m == name).map(|(_, p)| p.as_str()).collect();
        let file = File::open(self.directory.join(path))?;
        let compressed = Path::new(path).extension().is_some_and(|e| e != "ko");
        let flags = if compressed { COMPRESSED } else { 0 };
        Ok(rustix::system::finit_module(&file, &CString::new(parameters.join(" "))?, flags)?)
    }

    fn open(&self, name: &str) -> BufReader<Box<dyn Read>> {
        let file: Box<dyn Read> = match File::open(self.directory.join(name)) {
            Ok(file) => Box::new(file),
            Err(_) => Box::new(io::empty()),
        };
        BufReader::new(file)
    }

    fn table<T>(&self, name: &str, read: impl FnOnce(BufReader<Box<dyn Read>>) -> T) -> T {
        read(self.open(name))
    }

    /// Makes the device nodes whose opening loads a module, such as `/dev/fuse`.
    pub fn make_nodes(&self) {
        for (name, kind, major, minor) in self.table("modules.devname", tables::device_nodes) {
            let path = Path::new("/dev").join(name);
            if let Some(parent) = path.parent() {
                let _ = fs::create_dir_all(parent);
            }
            let kind = if kind == 'b' { FileType::BlockDevice } else { FileType::CharacterDevice };
            let device = rustix::fs::makedev(major, minor);
            let _ = rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o600), device);
        }
    }
}

impl Report {
    /// Says the troubles.
    pub fn say(&self, consoles: &mut Consoles) {
        for sentence in self.sentences() {
            consoles.say(&sentence);
        }
    }

    fn sentences(&self) -> Vec<String> {
        let mut sentences = self.troubles.clone();
        match self.left_out.as_slice() {
            [] => {}
            [(module, by)] => {
                sentences.push(format!("module `{module}`, wanted by `{by}`, was left out of this image"))
            }
            // At boot there may be many.
            more => {
                let names: Vec<String> = more.iter().map(|(m, by)| format!("{m} ({})", tables::bus(by))).collect();
                sentences.push(format!("modules wanted by devices, left out of this image: {}", names.join(", ")));
            }
        }
        sentences
    }
}

/// Microseconds since the kernel started.
fn uptime() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec / 1000).unwrap_or(0)
}

/// Whether no process of this machine has said yet that a module was left out.
fn first_time(module: &str) -> bool {
    let said = Path::new("/run/bootwright/left-out");
    let _ = fs::create_dir_all(said);
    match File::create_new(said.join(module.replace('/', "_"))) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AlreadyExists,
    }
}

/// Loads the module of a filesystem that the kernel does not know yet. The kernel would ask for it itself; this is
/// without a process.
pub fn want_filesystem(kind: &str) {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !kind.is_empty() && !known.lines().any(|l| l.split_ascii_whitespace().last() == Some(kind)) {
        // `fuse.name` is of type fuse.
        let kind = kind.split_once('.').map_or(kind, |(kind, _)| kind);
        tell_kernel(&Loader::new(&Cmdline::read()).want_one(&format!("fs-{kind}")));
    }
}

/// Makes this binary the program that the kernel calls for modules.
pub fn be_modprobe() -> Option<String> {
    let own = fs::read_link("/proc/self/exe").ok()?;
    // A kernel without modules has nobody to call.
    if !Path::new(MODPROBE).exists() {
        return None;
    }
    fs::write(MODPROBE, own.to_str()?).err().map(|error| format!("becoming modprobe: {error}"))
}

/// The kernel calls nobody for modules from now on, until somebody is its modprobe.
pub fn no_modprobe() {
    let _ = fs::write(MODPROBE, "\n");
}

/// The kernel's modprobe: loads what a name or alias wants.
pub fn modprobe(name: &str) -> ExitCode {
    let report = Loader::new(&Cmdline::read()).want_one(name);
    tell_kernel(&report);
    if report.troubles.is_empty() && report.left_out.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says troubles where every process can: in the kernel's log, with a priority that a quiet boot shows on the consoles.
fn tell_kernel(report: &Report) {
    for sentence in report.sentences() {
        let _ = fs::write("/dev/kmsg", format!("<3>bootwright: {sentence}\n"));
    }
}
