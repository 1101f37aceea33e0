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

/// How long the kernel waits before it restarts a machine whose PID 1 has failed, in seconds, where nobody has said it.
const RESTART: &str = "30";
/// The kernel's setting for that (`panic=`); it waits for ever with 0.
const PANIC: &str = "/proc/sys/kernel/panic";

/// Makes a panic say on the consoles which program failed, and where, and then what `more` has to say: the kernel panics next, and then
/// the machine ends as `panic=` of its command line says.
pub fn say_panics(program: &'static str, more: fn(&mut Consoles)) {
    std::panic::set_hook(Box::new(move |panic| {
        let sentence = sentence(program, &panic.to_string());
        // Where pstore keeps it, whatever becomes of the consoles.
        let _ = fs::write("/dev/kmsg", format!("<2>bootwright: {sentence}\n"));
        let mut consoles = Consoles::open(&Cmdline::read().consoles);
        consoles.say(&sentence);
        more(&mut consoles);
        consoles.own_line(Ending::Panic.line().as_bytes());
        consoles.drain(Duration::from_secs(1));
        let cmdline = fs::read_to_string("/proc/cmdline").unwrap_or_default();
        let now = fs::read_to_string(PANIC).unwrap_or_default();
        if waits_for_ever(&cmdline, now.trim()) {
            let _ = fs::write(PANIC, RESTART);
        }
    }));
}

/// What failed and where (`panicked at FILE:LINE:COLUMN:` and why), in one line.
fn sentence(program: &str, panic: &str) -> String {
    let words: Vec<&str> = panic.split_whitespace().collect();
    format!("{program} failed: {}", words.join(" "))
}

/// Whether the kernel would wait for ever after its panic, and nobody has asked for that.
fn waits_for_ever(cmdline: &str, now: &str) -> bool {
    now == "0" && !cmdline.split_whitespace().any(|word| word.starts_with("panic="))
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
    fn a_failure_is_one_line_and_says_where() {
        let panic = std::panic::catch_unwind(|| {
            std::panic::set_hook(Box::new(|panic| {
                SAID.with_borrow_mut(|said| *said = sentence("init", &panic.to_string()))
            }));
            [0; 3].get(7).expect("not\nthere");
        });
        drop(std::panic::take_hook());
        panic.unwrap_err();
        let said = SAID.take();
        assert!(said.starts_with("init failed: panicked at ") && said.ends_with(": not there"), "{said}");
        assert!(said.contains("end.rs:"), "{said}");
    }

    thread_local!(static SAID: std::cell::RefCell<String> = std::cell::RefCell::default());

    #[test]
    fn only_a_machine_that_was_told_to_waits_for_ever() {
        for (cmdline, now, expected) in [
            ("console=ttyS0 quiet", "0", true),
            ("console=ttyS0 panic=0", "0", false),
            ("panic=-1 quiet", "-1", false),
            ("quiet", "10", false),
            ("", "", false),
            ("oops=panic", "0", true),
        ] {
            assert_eq!(waits_for_ever(cmdline, now), expected, "{cmdline} {now}");
        }
    }

    #[test]
    fn what_is_unmounted() {
        for (point, expected) in
            [("/", false), ("/proc/sys/fs/binfmt_misc", false), ("/dev", false), ("/development", true), ("/var", true)]
        {
            assert_eq!(goes(Path::new(point)), expected, "{point}");
        }
    }
}
