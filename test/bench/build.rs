//! Builds: wall, CPU seconds and peak memory of a cold, a warm and a one-line-changed build.
//!
//! The images come from OCI archives, so that a cold build means an empty store and no package building, as the peers'
//! figures mean a registry at hand. Each build is a grandchild: the helper in between is small, and reads what its
//! children used in all.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use bootwright_test::{repository, tool};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value, json};

use crate::median;

/// The argument that makes this program the helper.
pub(crate) const MEASURE: &str = "measure";

/// Runs a command and prints what it used, as JSON.
pub(crate) fn measure(command: Vec<OsString>) -> ExitCode {
    let [program, arguments @ ..] = command.as_slice() else { return ExitCode::FAILURE };
    let begin = Instant::now();
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).status();
    let wall = begin.elapsed().as_secs_f64();
    let (Ok(status), Ok(usage)) = (status, getrusage(UsageWho::RUSAGE_CHILDREN)) else { return ExitCode::FAILURE };
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    let cpu = seconds(usage.user_time()) + seconds(usage.system_time());
    println!("{}", json!({"wall": wall, "cpu": cpu, "mib": usage.max_rss() as f64 / 1024.0}));
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What runs of a command took.
#[derive(Default)]
pub(crate) struct Costs {
    pub(crate) wall: Vec<f64>,
    pub(crate) cpu: Vec<f64>,
    mib: Vec<f64>,
}

/// CPU seconds and peak memory, as two cells of a table.
impl fmt::Display for Costs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {}", median(self.cpu.clone()), median(self.mib.clone()))
    }
}

impl Costs {
    /// Builds `spec` with this store.
    fn build(&mut self, spec: &Path, store: &Path, out: &Path) {
        let mut command = Command::new(tool());
        self.add(command.arg("build").arg("--dir").arg(out).arg(spec).env("BOOTWRIGHT_CACHE", store));
    }

    /// Runs a command, with its environment, as a child of the helper.
    pub(crate) fn add(&mut self, command: &Command) {
        let helper = std::env::current_exe().unwrap_or_else(|e| panic!("{e}"));
        let mut measured = Command::new(helper);
        measured.arg(MEASURE).arg(command.get_program()).args(command.get_args()).stderr(Stdio::inherit());
        measured.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = measured.output().unwrap_or_else(|e| panic!("{e}"));
        assert!(output.status.success(), "{command:?} failed");
        let cost: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}"));
        for (name, into) in [("wall", &mut self.wall), ("cpu", &mut self.cpu), ("mib", &mut self.mib)] {
            into.push(cost[name].as_f64().unwrap_or_default());
        }
    }

    fn print(&self, name: &str) {
        println!("| {name} | {} | {self} |", median(self.wall.clone()));
    }
}

pub(crate) fn costs(runs: usize) {
    let dir = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let archives = archives(dir.path());
    let example = repository().join("examples/minimal.yml");
    let text = fs::read_to_string(&example).unwrap_or_else(|e| panic!("{e}"));
    let spec = dir.path().join("minimal.yml");
    let text = with_archives(&text, &archives);
    let write = |text: &str| fs::write(&spec, text).unwrap_or_else(|e| panic!("{e}"));

    let (mut cold, mut warm, mut changed) = (Costs::default(), Costs::default(), Costs::default());
    for run in 0..runs {
        let store = dir.path().join(format!("store-{run}"));
        write(&text);
        cold.build(&spec, &store, dir.path());
        warm.build(&spec, &store, dir.path());
        let other = text.replace("echo hello from", &format!("echo hello {run} from"));
        assert_ne!(other, text, "the line that is to be changed is not in {}", example.display());
        write(&other);
        changed.build(&spec, &store, dir.path());
        fs::remove_dir_all(&store).unwrap_or_else(|e| panic!("{e}"));
    }
    println!("## Builds of examples/minimal.yml, images from OCI archives ({runs} runs)\n");
    println!("| | wall s | cpu s | peak MiB |\n|---|---|---|---|");
    cold.print("cold (empty store)");
    warm.print("warm");
    changed.print("one line changed");
    println!();
}

/// Builds the example's packages into OCI archives.
fn archives(dir: &Path) -> Vec<PathBuf> {
    let repository = repository();
    let packages = ["pkg/init", "pkg/sysctl", "pkg/busybox", "kernel/debian/cloud"].map(|p| repository.join(p));
    let archives = dir.join("archives");
    fs::create_dir(&archives).unwrap_or_else(|e| panic!("{e}"));
    let status = Command::new(tool())
        .args(["pkg", "build", "--archive"])
        .arg(&archives)
        .args(packages)
        .env("BOOTWRIGHT_CACHE", bootwright_test::store())
        .stdout(Stdio::null())
        .status();
    assert!(status.is_ok_and(|s| s.success()), "the packages could not be built");
    let entries = fs::read_dir(&archives).unwrap_or_else(|e| panic!("{e}"));
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// The spec with each `@pkg:` reference replaced by the archive of the package.
fn with_archives(text: &str, archives: &[PathBuf]) -> String {
    let mut text = text.to_owned();
    for (package, image) in [
        ("../pkg/init", "init"),
        ("../pkg/sysctl", "sysctl"),
        ("../pkg/busybox", "busybox"),
        ("../kernel/debian/cloud", "kernel-debian-cloud"),
    ] {
        let named = |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().contains(image));
        let archive = archives.iter().find(named).unwrap_or_else(|| panic!("no archive of {image} in {archives:?}"));
        text = text.replace(&format!("@pkg:{package}"), &format!("oci-archive:{}", archive.display()));
    }
    text
}
