//! Which program this process is.
//!
//! PID 1 is init. The kernel calls `/init -q -- NAME` when it wants a module (its modprobe). Init calls itself as
//! `container KIND DIR`, `mount-dev FILE ROOT`, `probe WHICH KIND DIR PID`, `shell TTY`, `abort-parent`, `serve`, `exec …`,
//! `read PID FILE`, `debug …`, `debug-inside …`, `log-files …`, `log-forward …`. People call `poweroff`, `reboot` and `halt`, by link or as first argument, which signal PID 1
//! as busybox's do, and `ctl` and `service`, which speak to the control channel's socket.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitCode};

use bootwright_early::modules;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

use crate::journal::carry;
use crate::{boot, container, control, probe, supervise};

/// Runs the program that pid and arguments name.
pub fn run() -> ExitCode {
    if getpid() == Pid::INIT {
        return boot::run();
    }
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    let program = arguments.first().map_or("", |a| Path::new(a).file_name().and_then(OsStr::to_str).unwrap_or(a));
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    dispatch(program, &words)
}

fn dispatch(program: &str, words: &[&str]) -> ExitCode {
    match (program, words) {
        ("poweroff", _) | (_, ["poweroff"]) => signal_init(Signal::USR2),
        ("reboot", _) | (_, ["reboot"]) => signal_init(Signal::TERM),
        ("halt", _) | (_, ["halt"]) => signal_init(Signal::USR1),
        ("modprobe", [.., name]) | (_, ["-q", "--", name] | ["modprobe", name]) => modules::modprobe(name),
        (_, ["container", kind, directory]) => container::run(kind, directory),
        (_, ["probe", which, kind, directory, process]) => probe::run(which, kind, directory, process),
        (_, ["shell", terminal]) => supervise::shell(terminal),
        (_, ["mount-dev", file, root]) => container::mount_dev(file, root),
        (_, ["abort-parent"]) => abort_parent(),
        (_, ["serve"]) => control::serve(),
        (_, ["exec", kind, directory, console, argv @ ..]) => control::exec(kind, directory, console, argv),
        (_, ["read", process, path]) => control::read(process, path),
        (_, ["debug", process, bound, container]) => control::debug(process, bound, container),
        (_, ["debug-inside", cgroup, process, bound, container]) => {
            control::debug_inside(cgroup, process, bound, container)
        }
        (_, ["log-files", size, count]) => carry::to_files(size, count),
        (_, ["log-forward", to, format]) => carry::forward(to, format),
        ("ctl", words) | (_, ["ctl", words @ ..]) => control::ctl(words),
        ("service", [name, order]) => control::ctl(&[order, name]),
        (_, words @ ["service", ..]) => control::ctl(words),
        _ => {
            eprintln!("usage: poweroff | reboot | halt | ctl ... | service NAME start|stop|restart | modprobe NAME");
            ExitCode::from(2)
        }
    }
}

fn signal_init(signal: Signal) -> ExitCode {
    match kill_process(Pid::INIT, signal) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("signalling PID 1: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The hook of `bootwright.test.abort`: aborts the container-creating child in the middle of its work.
fn abort_parent() -> ExitCode {
    if let Some(parent) = getppid().filter(|p| *p != Pid::INIT) {
        let _ = kill_process(parent, Signal::ABORT);
    }
    ExitCode::SUCCESS
}

/// This binary again, as the program that `words` name.
pub fn again(words: &[&str]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.args(words).current_dir("/");
    command
}
