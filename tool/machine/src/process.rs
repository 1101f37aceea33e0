//! A child process that never outlives us and never becomes a zombie.
//!
//! A keeper thread starts it and stays until it has been reaped: the kernel's parent-death signal goes by the thread that
//! forked, so the thread must live as long as the child may. Signals go through a pidfd, which cannot hit a stranger that
//! got the same number.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};

/// Ticks per second of `/proc/PID/stat`: `USER_HZ`, 100 on every architecture that we know.
const USER_HZ: f64 = 100.0;

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) status: ExitStatus,
    pub(crate) cpu_seconds: f64,
}

/// A running child.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    pidfd: Arc<OwnedFd>,
    keeper: Option<JoinHandle<()>>,
}

/// The child's ends of the pipes.
#[derive(Debug)]
pub(crate) struct Pipes {
    pub(crate) stdin: ChildStdin,
    pub(crate) stdout: ChildStdout,
    pub(crate) stderr: ChildStderr,
}

impl Process {
    /// Starts `command` with three pipes; `on_exit` runs once, when it has been reaped.
    pub(crate) fn start(
        mut command: Command,
        on_exit: impl FnOnce(Exit) + Send + 'static,
    ) -> io::Result<(Self, Pipes)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let (started, result) = mpsc::channel();
        let keeper = thread::Builder::new().name("qemu-keeper".into()).spawn(move || {
            let mut begin = || -> io::Result<_> {
                // Of a group of its own: Ctrl-C at the terminal is for us, who end the machine in order.
                let mut child = crate::sys::die_with_parent(&mut command).process_group(0).spawn()?;
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                let pidfd = pid.ok_or(rustix::io::Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
                match pidfd {
                    Ok(pidfd) => Ok((child, Arc::new(pidfd))),
                    Err(e) => {
                        child.kill()?;
                        child.wait()?;
                        Err(e.into())
                    }
                }
            };
            let (mut child, pidfd) = match begin() {
                Ok(begun) => begun,
                Err(e) => return drop(started.send(Err(e))),
            };
            let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
            let pid = child.id();
            let _ = started.send(Ok((pid, pidfd.clone(), pipes)));
            // A zombie still has its times; once it is reaped they are gone.
            let wait = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while let Err(rustix::io::Errno::INTR) = waitid(WaitId::PidFd(pidfd.as_fd()), wait) {}
            let cpu_seconds = cpu_seconds_of(pid).unwrap_or_default();
            if let Ok(status) = child.wait() {
                on_exit(Exit { status, cpu_seconds });
            }
        })?;
        let (pid, pidfd, pipes) = result.recv().map_err(|_| io::Error::other("the keeper thread is gone"))??;
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(io::Error::other("the child has no pipes"));
        };
        Ok((Self { pid, pidfd, keeper: Some(keeper) }, Pipes { stdin, stdout, stderr }))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Readable when the process has ended.
    pub(crate) fn pidfd(&self) -> Arc<OwnedFd> {
        self.pidfd.clone()
    }

    /// Ends it at once; nothing happens when it has ended.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(&*self.pidfd, Signal::KILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

/// User and system time of a process that exists (a zombie does), its reaped children included.
pub(crate) fn cpu_seconds_of(pid: u32) -> io::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    cpu_seconds(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unexpected /proc/PID/stat"))
}

/// Fields 14 to 17 of proc(5)'s stat; the second, the program's name, may hold anything, so count from its end.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let ticks: Vec<u64> = after.split_whitespace().skip(11).take(4).map_while(|f| f.parse().ok()).collect();
    (ticks.len() == 4).then(|| ticks.iter().sum::<u64>() as f64 / USER_HZ)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn times_are_read_whatever_the_program_is_called() {
        let stat = "42 (a) b) R 1 42 42 0 -1 4194304 100 0 0 0 150 50 20 5 20 0 1 0";
        assert_eq!(cpu_seconds(stat), Some(2.25));
        assert_eq!(cpu_seconds("42 (a"), None);
        assert!(cpu_seconds_of(std::process::id()).is_ok());
    }

    #[test]
    fn a_process_is_reaped_with_its_status() {
        let (sender, exits) = mpsc::channel();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; exit 3"]);
        let (process, mut pipes) = Process::start(command, move |exit| sender.send(exit).unwrap()).unwrap();
        let mut out = String::new();
        pipes.stdout.read_to_string(&mut out).unwrap();
        assert_eq!(out, "out\n");
        assert_eq!(exits.recv().unwrap().status.code(), Some(3));
        let pid = process.pid();
        drop(process);
        assert!(cpu_seconds_of(pid).is_err(), "a zombie is left");
    }

    #[test]
    fn dropping_it_ends_it() {
        let (sender, exits) = mpsc::channel();
        let mut command = Command::new("sleep");
        command.arg("1000");
        let (process, _pipes) = Process::start(command, move |exit| sender.send(exit).unwrap()).unwrap();
        drop(process);
        assert!(!exits.recv().unwrap().status.success());
    }

    #[test]
    fn what_does_not_exist_is_an_error() {
        let error = Process::start(Command::new("/nonexistent/qemu"), |_| ()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
