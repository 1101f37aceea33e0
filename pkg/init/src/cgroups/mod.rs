//! Cgroups (cgroup v2): all containers below one, which leaves room for init and the kernel, and each with limits of its own.
//!
//! Init stays in the root. What containers take together is bounded by the cgroup [`PARENT`]: one that eats or forks without
//! end meets that bound, and the kernel kills within it. So neither memory nor process numbers run out for init, however
//! many containers there are. Each container dies as a whole (`memory.oom.group`): half a service is worse than none.

mod devices;
mod program;
mod spare;

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use crate::sys;

pub use devices::Rule;
pub use spare::{make_spare, remove, spare};

/// Where cgroups are.
const ROOT: &str = "/sys/fs/cgroup";
/// The cgroup of all containers, as a path below [`ROOT`].
const PARENT: &str = "/containers";
const MIB: u64 = 1 << 20;

/// Hands all controllers down, makes [`PARENT`] and sets its bounds. Sentences about what the kernel cannot do.
pub fn prepare() -> Vec<String> {
    let parent = directory(PARENT);
    enable_controllers(Path::new(ROOT));
    if let Err(error) = fs::create_dir_all(&parent) {
        return vec![format!("making the cgroup `{PARENT}`: {error}")];
    }
    enable_controllers(&parent);
    let mut troubles = Vec::new();
    let memory = memory_for_containers(&read("/proc/meminfo")).map(|bytes| ("memory", "memory.max", bytes));
    let processes = processes().map(|total| ("pids", "pids.max", Processes::of(total).together));
    for (controller, file, bound) in memory.into_iter().chain(processes) {
        if let Err(error) = fs::write(parent.join(file), bound.to_string()) {
            troubles.push(format!("the `{controller}` of containers is not bounded: {file}: {error}"));
        }
    }
    if !program::is_supported() {
        troubles.push(
            "this kernel cannot enforce rules for devices (CONFIG_CGROUP_BPF): containers with CAP_MKNOD or a bound /dev \
             open every device"
                .to_owned(),
        );
    }
    troubles
}

/// Where a container's cgroup is, as a path below the mount point: what its configuration names, below [`PARENT`].
pub fn path(named: &str, default: &str) -> String {
    let inside = |text: &str| -> PathBuf {
        Path::new(text).components().filter(|part| matches!(part, Component::Normal(_))).collect()
    };
    let mut place = inside(named);
    if place.as_os_str().is_empty() {
        place = inside(default);
    }
    format!("{PARENT}/{}", place.display())
}

/// Makes a cgroup and those above it, each of which hands its controllers down.
pub fn make(path: &str) -> io::Result<()> {
    let mut above = PathBuf::from(ROOT);
    let parents = Path::new(path).parent().into_iter().flat_map(Path::components);
    for part in parents.filter(|part| matches!(part, Component::Normal(_))) {
        above.push(part);
        // Another container that is created at the same time may be faster.
        fs::create_dir_all(&above)?;
        enable_controllers(&above);
    }
    fs::create_dir_all(directory(path))
}

/// Makes a container's own cgroup, with the limits that every container has, and the devices it may use. Limits of its
/// configuration come later and count more.
pub fn make_own(path: &str, rules: Vec<Rule>) -> io::Result<()> {
    let own = directory(path);
    // One that could not be removed would bring its limits and its program with it.
    let _ = fs::remove_dir(&own);
    make(path)?;
    // What is not there has been said at boot.
    let _ = fs::write(own.join("memory.oom.group"), "1");
    if let Some(total) = processes() {
        let _ = fs::write(own.join("pids.max"), Processes::of(total).each.to_string());
    }
    match program::compile(&devices::with_usual(rules)) {
        Some(program) => program::attach(&program, &own),
        None => Ok(()),
    }
}

/// Whether a cgroup has a file, which is how a kernel says what it can.
pub fn has(path: &str, file: &str) -> bool {
    directory(path).join(file).exists()
}

/// Kills what is in a cgroup.
pub fn kill(path: &str) {
    let own = directory(path);
    // Since Linux 5.14; older kernels get the slow way.
    if fs::write(own.join("cgroup.kill"), "1").is_err() {
        let processes = fs::read_to_string(own.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines().filter_map(|l| l.parse().ok()).filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// Whether the kernel killed any process of a cgroup for want of memory (`memory.events`, cgroup-v2.rst).
pub fn ran_out_of_memory(path: &str) -> bool {
    let events = fs::read_to_string(directory(path).join("memory.events")).unwrap_or_default();
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")).is_some_and(|count| count != "0")
}

fn directory(path: &str) -> PathBuf {
    Path::new(ROOT).join(path.trim_start_matches('/'))
}

fn enable_controllers(cgroup: &Path) {
    let controllers = fs::read_to_string(cgroup.join("cgroup.controllers")).unwrap_or_default();
    for controller in controllers.split_ascii_whitespace() {
        // One by one: a controller that refuses must not keep the others out.
        let _ = fs::write(cgroup.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// What containers may use together, of `/proc/meminfo` after the boot: what is available then but an eighth, from 8 to 256
/// MiB, which is left for the kernel and for the children of init that create containers. Never less than half of it.
fn memory_for_containers(meminfo: &str) -> Option<u64> {
    let available = self::meminfo(meminfo, "MemAvailable:")?;
    let kept = (available / 8).clamp(8 * MIB, 256 * MIB).min(available / 2);
    Some(available - kept)
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

/// How many processes and threads the kernel has room for. Small machines run out of memory for them (`threads-max`) before
/// they run out of numbers.
fn processes() -> Option<u64> {
    let limit = |path| read(path).trim().parse::<u64>().ok();
    [limit("/proc/sys/kernel/pid_max"), limit("/proc/sys/kernel/threads-max")].into_iter().flatten().min()
}

/// Limits on processes.
#[derive(Debug, PartialEq, Eq)]
struct Processes {
    /// Of all containers.
    together: u64,
    /// Of a container that says nothing else.
    each: u64,
}

impl Processes {
    fn of(total: u64) -> Self {
        let kept = (total / 8).max(256).min(total / 2);
        Self { together: total - kept, each: (total / 4).clamp(1, 4096) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_lie_below_one_and_cannot_leave_it() {
        for (named, expected) in [
            ("", "/containers/services/web"),
            ("/", "/containers/services/web"),
            ("..", "/containers/services/web"),
            ("/mine", "/containers/mine"),
            ("system//reserved/", "/containers/system/reserved"),
            ("/a/../../b", "/containers/a/b"),
        ] {
            assert_eq!(path(named, "/services/web"), expected, "{named}");
        }
    }

    #[test]
    fn memory_is_kept_for_init_in_proportion() {
        let limit = |available: u64| {
            let meminfo = format!("MemTotal: 9 kB\nMemAvailable:   {} kB\n", available / 1024);
            memory_for_containers(&meminfo).unwrap()
        };
        for (available, kept) in [(10, 5), (40, 8), (400, 50), (64 << 10, 256)] {
            assert_eq!(limit(available * MIB), (available - kept) * MIB, "{available}");
        }
        assert_eq!(memory_for_containers(""), None);
    }

    #[test]
    fn processes_are_kept_for_init_and_none_has_more_than_a_quarter() {
        for (total, together, each) in [(32768, 28672, 4096), (3800, 3325, 950), (400, 200, 100), (0, 0, 1)] {
            assert_eq!(Processes::of(total), Processes { together, each }, "{total}");
        }
    }
}
