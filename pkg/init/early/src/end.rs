//! The end of the machine: no process, no mount, nothing unwritten, the last line, `reboot(2)`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bootwright_bundle::Ending;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::WaitOptions;
use rustix::system::RebootCommand;

use crate::{Cmdline, Consoles, mounts, sys};

/// How long processes that belong to no container have to end, and then to die.
const ORPHANS: [(libc::c_int, Duration); 2] =
    [(libc::SIGTERM, Duration::from_secs(2)), (libc::SIGKILL, Duration::from_secs(2))];

/// Makes a panic say on the consoles which program failed: the kernel panics next.
pub fn say_panics(program: &'static str) {
    std::panic::set_hook(Box::new(move |panic| {
        // Where pstore keeps it, whatever becomes of the consoles.
        let _ = fs::write("/dev/kmsg", format!("<2>bootwright: {program} failed: {panic}\n").replace('\n', " "));
        let mut consoles = Consoles::open(&Cmdline::read().consoles);
        consoles.say(&format!("{program} failed: {panic}"));
        consoles.own_line(Ending::Panic.line().as_bytes());
        consoles.drain(Duration::from_secs(1));
    }));
}

/// Ends the machine; `last` is done when nothing is left but to ask the kernel for it.
pub fn end(consoles: &mut Consoles, ending: Ending, last: impl FnOnce()) -> ! {
    end_processes();
    unmount_all();
    rustix::fs::sync();
    consoles.own_line(ending.line().as_bytes());
    consoles.drain(Duration::from_secs(2));
    last();
    let command = match ending {
        Ending::Reboot => RebootCommand::Restart,
        Ending::Halt => RebootCommand::Halt,
        Ending::Poweroff | Ending::OnbootFailed | Ending::Memory | Ending::Root | Ending::Panic => {
            RebootCommand::PowerOff
        }
    };
    let refused = rustix::system::reboot(command);
    consoles.say(&format!("the kernel does not end the machine: {refused:?}"));
    loop {
        // PID 1 must not end, or the kernel panics.
        let _ = rustix::event::poll(&mut [], None);
    }
}

fn end_processes() {
    for (signal, limit) in ORPHANS {
        sys::kill_all(signal);
        let deadline = Instant::now() + limit;
        while let Ok(child) = rustix::process::wait(WaitOptions::NOHANG) {
            if child.is_some() {
                continue;
            }
            if Instant::now() >= deadline {
                break;
            }
            let pause = rustix::time::Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
            let _ = rustix::event::poll(&mut [], Some(&pause));
        }
    }
}

/// Unmounts everything but the kernel's own filesystems, the last mounted first. What is still in use becomes read-only,
/// so that it is clean, and goes when it can.
fn unmount_all() {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    for point in mounts::points(&String::from_utf8_lossy(&table)).iter().rev().filter(|p| goes(p)) {
        if rustix::mount::unmount(point, UnmountFlags::NOFOLLOW).is_err() {
            let _ = rustix::mount::mount_remount(point, MountFlags::RDONLY, c"");
            let _ = rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
        }
    }
}

fn goes(point: &Path) -> bool {
    point != Path::new("/") && !["/proc", "/sys", "/dev"].iter().any(|kept| point.starts_with(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unmounted() {
        for (point, expected) in
            [("/", false), ("/proc/sys/fs/binfmt_misc", false), ("/dev", false), ("/development", true), ("/var", true)]
        {
            assert_eq!(goes(Path::new(point)), expected, "{point}");
        }
    }
}
