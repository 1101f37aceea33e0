//! The boot report: when what happened, from the firmware to the last service.
//!
//! Times before the kernel come from ACPI's Firmware Performance Data Table (ACPI 6.5, section 5.2.24; Linux shows it below
//! `/sys/firmware/acpi/fpdt`) or from the variables of the Boot Loader Interface (`LoaderTimeInitUSec`, `LoaderTimeExecUSec`), and
//! where neither is there they are not known.

use std::fs;
use std::path::Path;

use bootwright_bundle::control::{Phase, Report, UnitReport};

use crate::journal;

/// Spans of each kind that are kept at most.
const SPANS: usize = 64;
/// The Boot Loader Interface's variables, with the vendor that it gives them.
const LOADER_TIMES: [&str; 2] = ["LoaderTimeInitUSec", "LoaderTimeExecUSec"];
const LOADER_VENDOR: &str = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// What has been noted so far.
#[derive(Debug, Default)]
pub struct BootReport {
    kernel: f64,
    ready: Option<f64>,
    phases: Vec<Phase>,
    modules: Vec<Phase>,
    units: Vec<Course>,
}

/// What became of a container.
#[derive(Clone, Debug, Default)]
struct Course {
    /// How often it was started.
    starts: u64,
    /// Its cgroup, below the mount point.
    cgroup: Option<String>,
    /// When its last lines were kept last.
    kept: Option<f64>,
    /// Its first run.
    first: UnitReport,
}

/// Milliseconds since the kernel started.
pub fn now() -> f64 {
    milliseconds(journal::now().1)
}

fn milliseconds(microseconds: u64) -> f64 {
    // Exact up to 285 years.
    microseconds as f64 / 1000.0
}

impl BootReport {
    /// Init begins now.
    pub fn begin() -> Self {
        Self { kernel: now(), ..Self::default() }
    }

    /// What init has been doing since the last phase, or since it began, is over.
    pub fn phase(&mut self, name: &str) {
        let start = self.phases.last().map_or(self.kernel, |last| last.end);
        note(&mut self.phases, Phase { name: name.to_owned(), start, end: now() });
    }

    /// Modules were loaded, from one time to another in microseconds.
    pub fn modules(&mut self, name: String, start: u64, end: u64) {
        note(&mut self.modules, Phase { name, start: milliseconds(start), end: milliseconds(end) });
    }

    /// There are so many containers.
    pub fn expect(&mut self, units: usize) {
        self.units.resize_with(units, Course::default);
    }

    /// A container is being created.
    pub fn start(&mut self, unit: usize) {
        if let Some(course) = self.units.get_mut(unit) {
            course.starts += 1;
            if course.starts == 1 {
                course.first.start = now();
            }
        }
    }

    /// A container's process runs, in a cgroup.
    pub fn started(&mut self, unit: usize, cgroup: Option<&str>) {
        if let Some(course) = self.units.get_mut(unit) {
            course.cgroup = cgroup.map(str::to_owned);
            course.first.started.get_or_insert_with(now);
        }
    }

    /// A container is ready.
    pub fn unit_ready(&mut self, unit: usize) {
        if let Some(course) = self.units.get_mut(unit) {
            course.first.ready.get_or_insert_with(now);
        }
    }

    /// A container has ended, whose cgroup is still there.
    pub fn ended(&mut self, unit: usize) {
        if let Some(course) = self.units.get_mut(unit)
            && course.starts == 1
        {
            course.first.ended = Some(now());
            course.first.cpu = course.cgroup.as_deref().and_then(cpu_time);
        }
    }

    /// Whether a container's last lines have not been kept for so many milliseconds; then they are now.
    pub fn seldom(&mut self, unit: usize, milliseconds: f64) -> bool {
        let Some(course) = self.units.get_mut(unit) else { return false };
        let seldom = course.kept.is_none_or(|kept| now() - kept >= milliseconds);
        if seldom {
            course.kept = Some(now());
        }
        seldom
    }

    /// All services are there.
    pub fn ready(&mut self) {
        self.ready = Some(now());
    }

    /// The report, with the containers' kinds and names.
    pub fn document<'a>(&self, units: impl Iterator<Item = (&'a str, &'a str)>) -> Report {
        let (firmware, loader) = before_the_kernel(Path::new("/sys"));
        let courses = units.zip(&self.units).filter(|(_, course)| course.starts > 0);
        Report {
            firmware,
            loader,
            kernel: Some(self.kernel),
            ready: self.ready,
            phases: self.phases.clone(),
            modules: self.modules.clone(),
            units: courses
                .map(|((kind, name), course)| {
                    let cpu = course.first.cpu.or_else(|| course.cgroup.as_deref().and_then(cpu_time));
                    UnitReport { name: name.to_owned(), kind: kind.to_owned(), cpu, ..course.first.clone() }
                })
                .collect(),
        }
    }
}

fn note(spans: &mut Vec<Phase>, span: Phase) {
    if spans.len() < SPANS {
        spans.push(span);
    }
}

/// Milliseconds of processor time that a cgroup has had.
fn cpu_time(cgroup: &str) -> Option<f64> {
    let stat = fs::read_to_string(cgroup_file(cgroup, "cpu.stat")).ok()?;
    usage(&stat).map(milliseconds)
}

fn usage(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
}

/// A file of a cgroup.
pub fn cgroup_file(cgroup: &str, name: &str) -> std::path::PathBuf {
    Path::new("/sys/fs/cgroup").join(cgroup.trim_start_matches('/')).join(name)
}

/// Milliseconds in the firmware and in the boot loader.
fn before_the_kernel(sys: &Path) -> (Option<f64>, Option<f64>) {
    let acpi = |name: &str| -> Option<u64> {
        let text = fs::read_to_string(sys.join("firmware/acpi/fpdt/boot").join(name)).ok()?;
        text.trim().parse().ok().filter(|nanoseconds| *nanoseconds > 0)
    };
    let efi = LOADER_TIMES.map(|name| {
        let path = sys.join("firmware/efi/efivars").join(format!("{name}-{LOADER_VENDOR}"));
        fs::read(path).ok().and_then(|bytes| loader_time(&bytes))
    });
    // Since the machine was powered on: when the firmware called the loader, and when the loader left the firmware.
    let (called, left) = (acpi("bootloader_launch_ns"), acpi("exitbootservice_end_ns"));
    let nanoseconds = |ns: u64| ns as f64 / 1e6;
    let firmware = called.map(nanoseconds).or(efi[0].map(milliseconds));
    let loader = match (called.zip(left), efi) {
        (Some((called, left)), _) => Some(nanoseconds(left.saturating_sub(called))),
        (None, [Some(begun), Some(ended)]) => Some(milliseconds(ended.saturating_sub(begun))),
        (None, _) => None,
    };
    (firmware, loader)
}

/// Microseconds, as a loader leaves them: four bytes of attributes, then a number in UTF-16.
fn loader_time(variable: &[u8]) -> Option<u64> {
    let text = variable.get(4..)?.chunks_exact(2).map(|pair| pair.iter().fold(0, |all, byte| all.max(*byte)));
    let digits: String = text.take_while(|byte| *byte != 0).map(char::from).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_firmware_and_loader_tell() {
        let dir = tempfile::tempdir().unwrap();
        let sys = dir.path();
        assert_eq!(before_the_kernel(sys), (None, None));
        let efi = sys.join("firmware/efi/efivars");
        fs::create_dir_all(&efi).unwrap();
        for (name, text) in [(LOADER_TIMES[0], "1500000"), (LOADER_TIMES[1], "1750000")] {
            let mut bytes = vec![6, 0, 0, 0];
            bytes.extend(text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes));
            fs::write(efi.join(format!("{name}-{LOADER_VENDOR}")), bytes).unwrap();
        }
        assert_eq!(before_the_kernel(sys), (Some(1500.0), Some(250.0)));
        let acpi = sys.join("firmware/acpi/fpdt/boot");
        fs::create_dir_all(&acpi).unwrap();
        fs::write(acpi.join("bootloader_launch_ns"), "2000000000\n").unwrap();
        fs::write(acpi.join("exitbootservice_end_ns"), "2100000000\n").unwrap();
        assert_eq!(before_the_kernel(sys), (Some(2000.0), Some(100.0)));
        // A firmware that fills in zeros does not know.
        fs::write(acpi.join("bootloader_launch_ns"), "0\n").unwrap();
        assert_eq!(before_the_kernel(sys), (Some(1500.0), Some(250.0)));
    }

    #[test]
    fn the_first_run_is_told_and_all_are_counted() {
        let mut report = BootReport::begin();
        report.expect(3);
        report.phase("root");
        report.start(0);
        report.started(0, Some("/services/web"));
        report.ended(0);
        report.start(0);
        report.start(1);
        report.ready();
        let units = [("service", "web"), ("service", "db"), ("onshutdown", "bye")];
        let document = report.document(units.into_iter());
        assert_eq!(document.units.iter().map(|u| u.name.as_str()).collect::<Vec<_>>(), ["web", "db"]);
        let web = &document.units[0];
        assert!(web.start <= web.started.unwrap() && web.started <= web.ended);
        assert_eq!(report.units[0].starts, 2);
        assert_eq!(document.units[1].started, None);
        assert!(document.kernel <= Some(document.phases[0].start) && document.ready.is_some());
        for _ in 0..1000 {
            report.phase("more");
        }
        assert_eq!(report.phases.len(), SPANS);
    }

    #[test]
    fn processor_time_is_a_line_of_cpu_stat() {
        assert_eq!(usage("usage_usec 1234\nuser_usec 1000\n"), Some(1234));
        assert_eq!(usage("nr_periods 0\n"), None);
    }
}
