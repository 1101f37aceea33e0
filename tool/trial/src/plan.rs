//! What is planned before anything is booted: one machine, and what must hold in it.

use std::fs;
use std::io;
use std::time::Duration;

use bootwright_machine::{Accelerator, Artefact, Disk, MachineConfig, Publish};
use bootwright_spec::{Expectation, Test, TestCheck};

/// MiB of a machine whose test does not say: as `bootwright run` gives it.
const MEMORY_MIB: u64 = 1024;
/// How long a machine may take whose test does not say. Emulation is several times slower.
const TIMEOUT: (Duration, Duration) = (Duration::from_secs(120), Duration::from_secs(300));

/// A machine to be booted.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What was built, for people: the spec's name, or the artefact's.
    pub target: String,
    /// Name of the test.
    pub test: String,
    /// The format that is booted, or the file.
    pub format: String,
    /// What is booted.
    pub artefact: Artefact,
    /// Bytes of its files.
    pub size: u64,
    /// Whether the spec says that the port of the control channel is not served; none where no spec is known.
    pub closed: Option<bool>,
    /// Bytes that the files may have.
    pub size_limit: Option<u64>,
    /// Text of the console line that says that the machine is up; none: our init's.
    pub ready: Option<String>,
    /// What must hold then, in order.
    pub checks: Vec<TestCheck>,
    memory_mib: u64,
    cpus: u32,
    disks: Vec<u64>,
    uefi: bool,
    timeout: Option<Duration>,
}

impl Trial {
    /// A trial of an artefact by a test; without one it only has to come up and to power off.
    ///
    /// # Errors
    ///
    /// A file of the artefact is not there.
    pub fn new(target: &str, format: &str, artefact: Artefact, test: Option<&Test>) -> io::Result<Self> {
        let sizes = artefact.files().into_iter().map(|path| fs::metadata(path).map(|file| file.len()));
        let size = sizes.sum::<io::Result<u64>>()?;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Ok(Self {
            target: target.to_owned(),
            test: test.map_or("boots", |test| &test.name).to_owned(),
            format: format.to_owned(),
            artefact,
            size,
            closed: None,
            size_limit: test.and_then(|test| test.size),
            ready: test.and_then(|test| test.ready.clone()),
            checks: test.map(|test| test.checks.clone()).unwrap_or_default(),
            memory_mib: test.and_then(|test| test.memory).map_or(MEMORY_MIB, mib),
            cpus: test.and_then(|test| test.cpus).unwrap_or(1),
            disks: test.map(|test| test.disks.iter().copied().map(mib).collect()).unwrap_or_default(),
            uefi: test.is_some_and(|test| test.uefi),
            timeout: test.and_then(|test| test.timeout),
        })
    }

    /// Its name in reports.
    #[must_use]
    pub fn title(&self) -> String {
        format!("{}: {} ({})", self.target, self.test, self.format)
    }

    /// Its name as that of a file, without an ending.
    #[must_use]
    pub fn file_name(&self) -> String {
        let name = [&self.target, &self.test, &self.format].map(String::as_str).join("-");
        name.chars().map(|c| if c.is_alphanumeric() || "._+-".contains(c) { c } else { '-' }).collect()
    }

    /// Its CPUs.
    #[must_use]
    pub fn cpus(&self) -> u32 {
        self.cpus
    }

    /// The ports that checks from outside want, sorted.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let ports = self.checks.iter().filter_map(|check| match check.what {
            Expectation::Http { port, .. } | Expectation::Tcp { port, .. } => Some(port),
            _ => None,
        });
        let mut ports: Vec<u16> = ports.collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// How long it may take.
    pub(crate) fn timeout(&self, accelerator: Accelerator) -> Duration {
        self.timeout.unwrap_or(if accelerator == Accelerator::Kvm { TIMEOUT.0 } else { TIMEOUT.1 })
    }

    /// The machine, as far as it is the trial's.
    pub(crate) fn config(&self) -> MachineConfig {
        MachineConfig {
            memory_mib: self.memory_mib,
            cpus: self.cpus,
            disks: self.disks.iter().map(|mib| Disk { size_mib: Some(*mib), ..Disk::default() }).collect(),
            uefi: self.uefi,
            control: self.closed != Some(true),
            ..MachineConfig::new(self.artefact.clone())
        }
    }
}

/// Ports of the machine, each with the host's port.
pub(crate) fn published(ports: &[(u16, u16)]) -> Vec<Publish> {
    ports.iter().map(|(guest, host)| Publish::tcp(*host, *guest)).collect()
}

/// What reports call a check.
pub(crate) fn title(check: &TestCheck) -> String {
    if let Some(name) = &check.name {
        return name.clone();
    }
    match &check.what {
        Expectation::Exec { service, command, .. } => format!("exec {}: {}", service.value, command.join(" ")),
        Expectation::Http { port, path, .. } => format!("http :{port}{path}"),
        Expectation::Tcp { port, .. } => format!("tcp :{port}"),
        Expectation::Console(line) => format!("console `{line}`"),
        Expectation::File { service: Some(service), path, .. } => format!("file {}:{path}", service.value),
        Expectation::File { service: None, path, .. } => format!("file {path}"),
        Expectation::Service { name, state, .. } => format!("service {} is {state}", name.value),
        Expectation::Reboot => "reboots".to_owned(),
    }
}
