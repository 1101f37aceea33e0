//! What a container may have that nobody has planned for: memory that no other wants at the moment.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{PARENT, Processes, directory, make, meminfo, processes, read};

/// How long processes that were killed may take to be gone.
const GONE: Duration = Duration::from_secs(5);

/// Half of the memory that is free now, in bytes.
pub fn spare() -> Option<u64> {
    let file = |name| read(&directory(PARENT).join(name).to_string_lossy());
    half_of_free(&read("/proc/meminfo"), &file("memory.max"), &file("memory.current"), &file("memory.stat"))
}

/// Free is what the machine has available and what the bound of all containers leaves; there, too, files that are only cached count
/// as free.
fn half_of_free(machine: &str, max: &str, current: &str, stat: &str) -> Option<u64> {
    let number = |text: &str| text.trim().parse::<u64>().ok();
    let cached = |name: &str| stat.lines().find_map(|line| number(line.strip_prefix(name)?)).unwrap_or(0);
    let containers = number(max).map(|max| {
        let used = number(current).unwrap_or(0).saturating_sub(cached("active_file ") + cached("inactive_file "));
        max.saturating_sub(used)
    });
    Some(meminfo(machine, "MemAvailable:")?.min(containers.unwrap_or(u64::MAX)) / 2)
}

/// Makes a cgroup with so many bytes of memory, which may use every device.
pub fn make_spare(path: &str, memory: &str) -> io::Result<()> {
    make(path)?;
    let own = directory(path);
    fs::write(own.join("memory.max"), memory)?;
    // What is not there has been said at boot.
    let _ = fs::write(own.join("memory.oom.group"), "1");
    if let Some(total) = processes() {
        let _ = fs::write(own.join("pids.max"), Processes::of(total).each.to_string());
    }
    Ok(())
}

/// Kills what is in a cgroup, and removes it, and the one above it if nothing else is there.
pub fn remove(path: &str) {
    super::kill(path);
    let own = directory(path);
    let deadline = Instant::now() + GONE;
    // The kernel wakes those who wait for this file when the last process is gone (cgroup-v2.rst).
    while let Ok(mut events) = File::open(own.join("cgroup.events")) {
        let mut text = String::new();
        let populated = events.read_to_string(&mut text).is_ok() && text.contains("populated 1");
        let left = deadline.saturating_duration_since(Instant::now());
        if !populated || left.is_zero() {
            break;
        }
        let left = Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(0), tv_nsec: left.subsec_nanos().into() };
        let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&left));
    }
    let _ = fs::remove_dir(&own);
    let _ = own.parent().filter(|above| *above != Path::new(super::ROOT)).map(fs::remove_dir);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_half_of_what_machine_and_containers_both_have() {
        let machine = "MemTotal: 900 kB\nMemAvailable: 400 kB\n";
        let stat = "anon 1\nactive_file 2048\ninactive_file 1024\n";
        for (max, current, kib) in [
            ("max\n", "0\n", 200),
            ("307200\n", "3072\n", 150),
            ("307200\n", "105472\n", 100),
            ("10", "9000", 0),
            ("", "", 200),
        ] {
            assert_eq!(half_of_free(machine, max, current, stat), Some(kib * 1024), "{max} {current}");
        }
        assert_eq!(half_of_free("", "max", "0", ""), None);
    }
}
