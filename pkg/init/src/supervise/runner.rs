//! One container from the outside: the child that creates it, its process, its output, and what it leaves behind.
//!
//! The child tells through a pipe what it has done (`container`). A container has ended when the child has ended and its
//! process, if there was one, has been reaped. Then whatever is left in its cgroup is killed, what is mounted
//! below its bundle is unmounted, and its memory is given back.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitStatus, kill_process};

use super::unit::Unit;
use crate::output::{Output, Printed};
use crate::{applet, cgroups, container, mounts, report, sys};

/// Bytes that are read from a container's output at a time, so that one that floods leaves room for others.
const SHARE: usize = 32 * 1024;

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an exit code.
    Exited(i32),
    /// By a signal.
    Killed(i32),
    /// By the kernel, because there was no more memory for it.
    OutOfMemory,
    /// It never ran.
    NotStarted(String),
}

impl Outcome {
    /// Whether all is well.
    pub fn is_good(&self) -> bool {
        *self == Self::Exited(0)
    }

    /// From the status of a process.
    fn of(status: WaitStatus) -> Self {
        match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, Some(signal)) => Self::Killed(signal),
            (None, None) => Self::Exited(-1),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::OutOfMemory => f.write_str("signal 9 (SIGKILL), out of memory"),
            Self::Killed(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
            Self::NotStarted(why) => write!(f, "not started: {why}"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        10 => "SIGUSR1",
        11 => "SIGSEGV",
        12 => "SIGUSR2",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// A container that runs, or is about to.
#[derive(Debug)]
pub struct Runner {
    child: Option<Pid>,
    child_outcome: Option<Outcome>,
    process: Option<Pid>,
    outcome: Option<Outcome>,
    cgroup: Option<String>,
    error: Option<String>,
    started: bool,
    /// The signal by which it was asked to end.
    asked: Option<i32>,
    status: Option<File>,
    heard: Vec<u8>,
    /// Its standard output and standard error.
    pipes: [Option<File>; 2],
    /// What it has printed last.
    pub output: Output,
}

impl Runner {
    /// Starts the child for a unit. `abort` makes it abort in the middle.
    pub fn start(unit: &Unit, abort: bool) -> io::Result<Self> {
        let (status, status_end) = pipe()?;
        let ((out, out_end), (err, err_end)) = (pipe()?, pipe()?);
        let mut command = applet::again(&["container", unit.kind.directory(), &unit.directory]);
        command.stdin(Stdio::from(status_end)).stdout(Stdio::from(out_end)).stderr(Stdio::from(err_end));
        command.env_clear();
        if abort {
            command.env(container::ABORT, "1");
        }
        // Not waited for here: the loop reaps it as it reaps everything else.
        let child = command.spawn()?;
        Ok(Self {
            child: i32::try_from(child.id()).ok().and_then(Pid::from_raw),
            child_outcome: None,
            process: None,
            outcome: None,
            cgroup: None,
            error: None,
            started: false,
            asked: None,
            status: Some(File::from(status)),
            heard: Vec::new(),
            pipes: [Some(File::from(out)), Some(File::from(err))],
            output: Output::default(),
        })
    }

    /// The descriptors to listen to: what the child tells, and what the container prints.
    pub fn descriptors(&self) -> (Option<&File>, &[Option<File>; 2]) {
        (self.status.as_ref(), &self.pipes)
    }

    /// Hears what the child tells. True when the container has just started.
    pub fn hear(&mut self) -> bool {
        let before = self.started;
        let mut bytes = [0; 1024];
        while let Some(status) = &mut self.status {
            match status.read(&mut bytes) {
                Ok(0) => self.status = None,
                Ok(count) => self.heard.extend(bytes.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.status = None,
            }
        }
        while let Some(end) = self.heard.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.heard.drain(..=end).collect();
            self.understand(String::from_utf8_lossy(&line).trim_end());
        }
        self.started && !before
    }

    fn understand(&mut self, line: &str) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("cgroup", path) => self.cgroup = Some(path.to_owned()),
            ("pid", number) => {
                self.process = number.parse().ok().and_then(Pid::from_raw);
                // It was asked to end while it was being created.
                if let Some(signal) = self.asked {
                    self.stop(signal);
                }
            }
            ("started", _) => self.started = true,
            ("error", text) => self.error = Some(text.to_owned()),
            _ => {}
        }
    }

    /// Reads a share of what the container prints; each line goes to `each`.
    pub fn read(&mut self, printed: Printed, mut each: impl FnMut(&[u8])) {
        let mut bytes = [0; 4096];
        let mut total = 0;
        let slot = printed.of(&mut self.pipes);
        while let Some(pipe) = slot {
            match pipe.read(&mut bytes) {
                Ok(0) => *slot = None,
                Ok(count) => {
                    self.output.take(printed, bytes.get(..count).unwrap_or_default(), &mut each);
                    total += count;
                    if total >= SHARE {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => *slot = None,
            }
        }
    }

    /// Takes the end of a process, if it is the child or the container's.
    pub fn reaped(&mut self, pid: Pid, status: WaitStatus) -> bool {
        if self.child == Some(pid) {
            self.child = None;
            self.child_outcome = Some(Outcome::of(status));
            if !self.started {
                // A container that was created but not started waits for ever.
                self.kill();
            }
            true
        } else if self.process == Some(pid) {
            self.process = None;
            let outcome = Outcome::of(status);
            let starved =
                outcome == Outcome::Killed(libc::SIGKILL) && self.inside().is_some_and(cgroups::ran_out_of_memory);
            self.outcome = Some(if starved { Outcome::OutOfMemory } else { outcome });
            true
        } else {
            false
        }
    }

    /// How it ended, when it has.
    pub fn ended(&self) -> Option<Outcome> {
        if self.child.is_some() || self.process.is_some() {
            return None;
        }
        let died = self.child_outcome.clone().unwrap_or(Outcome::Exited(0));
        Some(match (&self.outcome, &self.error) {
            (Some(outcome), None) if self.started => outcome.clone(),
            (_, Some(error)) => Outcome::NotStarted(error.clone()),
            (_, None) => Outcome::NotStarted(format!("creating it ended with {died}")),
        })
    }

    /// The container's first process, while it runs.
    pub fn process(&self) -> Option<Pid> {
        self.process
    }

    /// Its cgroup, as a path below the mount point.
    pub fn cgroup(&self) -> Option<&str> {
        self.cgroup.as_deref()
    }

    /// Asks the container to end. True if it is killed instead, as it would not get the signal.
    pub fn stop(&mut self, signal: i32) -> bool {
        self.asked = Some(signal);
        let Some(process) = self.process else { return false };
        let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_nonzero())).unwrap_or_default();
        let in_vain = ignores(&status, signal);
        if in_vain {
            // The kernel would drop the signal; waiting for the grace period would only take time.
            self.kill();
        } else {
            sys::kill(process, signal);
        }
        in_vain
    }

    /// Ends the container and the child.
    pub fn kill(&mut self) {
        for pid in [self.child, self.process].into_iter().flatten() {
            let _ = kill_process(pid, Signal::KILL);
        }
        self.kill_cgroup();
    }

    fn kill_cgroup(&self) {
        if let Some(cgroup) = self.inside() {
            cgroups::kill(cgroup);
        }
    }

    /// Its cgroup, unless it is the root's, which holds init and is not one to kill.
    fn inside(&self) -> Option<&str> {
        let cgroup = self.cgroup.as_deref()?.trim_matches('/');
        (!cgroup.is_empty() && !cgroup.split('/').any(|part| part == "..")).then_some(cgroup)
    }

    /// Ends what is left of the container and gives back what it held.
    pub fn clean_up(&mut self, unit: &Unit) {
        self.kill_cgroup();
        mounts::unmount_below(&unit.bundle());
        let state = Path::new(container::STATE);
        for kept in [state.join(unit.kind.directory()), state.join("bundles").join(unit.kind.directory())] {
            let _ = fs::remove_dir_all(kept.join(&unit.directory));
        }
        if let Some(cgroup) = self.inside() {
            let _ = fs::remove_dir(report::cgroup_file(cgroup, ""));
        }
    }
}

/// A pipe whose reading end is for the loop.
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
    // Only init's end: the container's would surprise it.
    rustix::fs::fcntl_setfl(&read, rustix::fs::OFlags::NONBLOCK)?;
    Ok((read, write))
}

/// Whether the kernel drops a signal for a process: it is the init of its pid namespace and neither catches nor blocks it
/// (`/proc/PID/status`, proc(5)).
fn ignores(status: &str, signal: i32) -> bool {
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).map(str::trim);
    let bit = u32::try_from(signal - 1).ok().and_then(|shift| 1u64.checked_shl(shift)).unwrap_or(0);
    let has = |name| field(name).and_then(|mask| u64::from_str_radix(mask, 16).ok()).is_none_or(|m| m & bit != 0);
    let ids: Vec<&str> = field("NSpid:").unwrap_or_default().split_ascii_whitespace().collect();
    // SIGKILL and SIGSTOP of the parent namespace reach even an init.
    let forced = [libc::SIGKILL, libc::SIGSTOP].contains(&signal);
    ids.len() > 1 && ids.last() == Some(&"1") && !forced && !has("SigCgt:") && !has("SigBlk:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_told_in_words() {
        for (outcome, text) in [
            (Outcome::Exited(3), "exit code 3"),
            (Outcome::Killed(9), "signal 9 (SIGKILL)"),
            (Outcome::Killed(40), "signal 40"),
            (Outcome::OutOfMemory, "signal 9 (SIGKILL), out of memory"),
            (Outcome::NotStarted("no".to_owned()), "not started: no"),
        ] {
            assert_eq!(outcome.to_string(), text);
        }
    }

    #[test]
    fn the_init_of_a_namespace_never_gets_a_signal_that_it_does_not_catch() {
        let status = |ids: &str, blocked: &str, caught: &str| {
            format!("Name:\tsleep\nNSpid:\t{ids}\nSigBlk:\t{blocked}\nSigIgn:\t0\nSigCgt:\t{caught}\n")
        };
        let (none, term) = ("0000000000000000", "0000000000004000");
        for (ids, blocked, caught, expected) in [
            ("70\t1", none, none, true),
            ("70\t1", none, term, false),
            ("70\t1", term, none, false),
            ("70\t5", none, none, false),
            ("70", none, none, false),
            ("1", none, none, false),
        ] {
            let status = status(ids, blocked, caught);
            assert_eq!(ignores(&status, libc::SIGTERM), expected, "{ids} {blocked} {caught}");
            assert_eq!(ignores(&status, libc::SIGQUIT), ids == "70\t1", "another signal: {ids} {blocked} {caught}");
            assert!(!ignores(&status, libc::SIGKILL));
        }
        assert!(!ignores("", libc::SIGTERM), "a process that is gone");
    }
}
