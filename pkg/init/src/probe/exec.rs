//! Looking by a command in the container: in its namespaces and its cgroup, with user, environment, directory, capabilities,
//! no-new-privileges, seccomp filter and Landlock of its main process.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use serde_json::{Value, json};

use super::Service;
use crate::{container, supervise};

/// Bytes of a command's last line that are told.
const LINE: usize = 200;

/// Runs a command and waits for its end.
pub(super) fn run(command: &[String], service: &Service<'_>, timeout: Duration) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    let (said, said_end) = supervise::pipe().map_err(|error| error.to_string())?;
    let pid = start(command, service, said_end)?;
    let mut said = Said { pipe: Some(File::from(said)), last: Vec::new() };
    let ended = wait(pid, &mut said, deadline)?;
    match (ended, said.line()) {
        (Some(0), _) => Ok(()),
        (Some(code), line) if line.is_empty() => Err(format!("`{}` exits with {code}", name(command))),
        (Some(code), line) => Err(format!("`{}` exits with {code}: {line}", name(command))),
        (None, _) => Err(format!("`{}` does not end", name(command))),
    }
}

fn name(command: &[String]) -> &str {
    command.first().map_or("", String::as_str)
}

fn start(command: &[String], service: &Service<'_>, output: OwnedFd) -> Result<Pid, String> {
    let (confined, process) = container::joining(service.kind, service.directory).map_err(|error| error.to_string())?;
    let process = with_command(process, command).ok_or("the container's configuration has no process")?;
    let builder = ContainerBuilder::new(service.directory.to_owned(), SyscallType::default()).with_executor(confined);
    // The library takes a path. Nothing is left behind of a file in memory.
    let file = in_memory(process.to_string().as_bytes()).map_err(|error| error.to_string())?;
    let errors = output.try_clone().map_err(|error| error.to_string())?;
    let builder = builder
        .with_root_path(Path::new(container::STATE).join(service.kind))
        .map_err(|error| error.to_string())?
        .with_stdout(output)
        .with_stderr(errors)
        .as_tenant()
        .with_process(Some(format!("/proc/self/fd/{}", file.as_raw_fd())));
    let pid = builder.build().map_err(|error| format!("`{}` was not started: {error}", name(command)))?;
    Pid::from_raw(pid.as_raw()).ok_or_else(|| "the library gave no pid".to_owned())
}

fn in_memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("process.json", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

/// The container's own process, with another command.
fn with_command(mut process: Value, command: &[String]) -> Option<Value> {
    let fields = process.as_object_mut()?;
    fields.insert("args".to_owned(), json!(command));
    fields.insert("terminal".to_owned(), json!(false));
    Some(process)
}

/// Waits for a command's end, and reads what it says meanwhile, so that it is not held up. None if its time is over.
fn wait(pid: Pid, said: &mut Said, deadline: Instant) -> Result<Option<i32>, String> {
    let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|error| error.to_string())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
            return Ok(None);
        }
        let pause = rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = vec![PollFd::new(&handle, PollFlags::IN)];
        fds.extend(said.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let _ = poll(&mut fds, Some(&pause));
        drop(fds);
        said.hear();
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => {
                said.hear();
                return Ok(Some(
                    status.exit_status().unwrap_or_else(|| 128 + status.terminating_signal().unwrap_or(0)),
                ));
            }
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The end of what a command says.
struct Said {
    pipe: Option<File>,
    last: Vec<u8>,
}

impl Said {
    fn hear(&mut self) {
        let mut bytes = [0; 4096];
        while let Some(pipe) = &mut self.pipe {
            match pipe.read(&mut bytes) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    self.last.extend(bytes.iter().take(count));
                    let before = self.last.len().saturating_sub(LINE);
                    self.last.drain(..before);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }

    fn line(&self) -> String {
        let text = String::from_utf8_lossy(&self.last);
        text.trim_end().lines().next_back().unwrap_or_default().trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_runs_as_the_containers_own_process_does() {
        let own = json!({"args": ["a"], "user": {"uid": 7}, "env": ["A=1"], "terminal": true});
        let command = ["/check".to_owned(), "x".to_owned()];
        let expected = json!({"args": ["/check", "x"], "user": {"uid": 7}, "env": ["A=1"], "terminal": false});
        assert_eq!(with_command(own, &command), Some(expected));
        assert_eq!(with_command(Value::Null, &command), None);
    }
}
