//! A program in a running container: the part that joins the container, which is a process of its own.
//!
//! It takes the container's own process from its bundle, with another program in it, lets the container library join it to
//! the container's namespaces and cgroup, with its user, capabilities, seccomp filter, Landlock and environment, and passes on how it ended. When
//! it is asked to end it kills the program.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};
use serde_json::{Value, json};

use crate::{container, sys};

/// The exit code when the program could not be executed, as a shell has it.
pub(super) const NOT_EXECUTED: u8 = 127;

/// Runs it: the container's directory below `/containers`, the socket that gets the terminal or `-`, the program's arguments.
pub fn run(kind: &str, directory: &str, console: &str, argv: &[&str]) -> ExitCode {
    sys::default_signals();
    let console = Some(console).filter(|console| *console != "-").map(PathBuf::from);
    match join(kind, directory, console, argv) {
        Ok(pid) => ExitCode::from(wait(pid)),
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                let more = error.to_string();
                if !text.contains(&more) {
                    text = format!("{text}: {more}");
                }
                cause = error.source();
            }
            eprintln!("bootwright: `{}` was not executed: {text}", argv.first().unwrap_or(&""));
            ExitCode::from(NOT_EXECUTED)
        }
    }
}

fn join(kind: &str, directory: &str, console: Option<PathBuf>, argv: &[&str]) -> Result<Pid, Box<dyn Error>> {
    let state = Path::new(container::STATE);
    let bundle = state.join("bundles").join(kind).join(directory);
    let (confined, own) = container::joining(kind, directory)?;
    let process = bundle.join(format!("exec-{}.json", std::process::id()));
    let joins = self::process(own, argv, console.is_some());
    let builder = ContainerBuilder::new(directory.to_owned(), SyscallType::default()).with_executor(confined);
    fs::write(&process, joins.to_string())?;
    let detached = console.is_some();
    let pid = builder
        .with_root_path(state.join(kind))?
        .with_console_socket(console)
        .as_tenant()
        .with_process(Some(&process))
        .with_detach(detached)
        .build();
    let _ = fs::remove_file(&process);
    Pid::from_raw(pid?.as_raw()).ok_or_else(|| "the container library gave no process".into())
}

/// The container's own process with another program.
fn process(mut process: Value, argv: &[&str], terminal: bool) -> Value {
    let Value::Object(fields) = &mut process else { return json!({"args": argv, "cwd": "/", "terminal": terminal}) };
    fields.insert("args".to_owned(), json!(argv));
    fields.insert("terminal".to_owned(), json!(terminal));
    fields.remove("consoleSize");
    if terminal
        && let Some(Value::Array(env)) = fields.get_mut("env")
        && !env.iter().filter_map(Value::as_str).any(|variable| variable.starts_with("TERM="))
    {
        env.push(json!("TERM=xterm"));
    }
    process
}

/// Waits for the program, or kills it when this process is asked to end. Its exit code.
pub(super) fn wait(pid: Pid) -> u8 {
    let signals = sys::signal_fd(&[libc::SIGCHLD, libc::SIGTERM]).ok();
    loop {
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => return code(status),
            Ok(None) | Err(rustix::io::Errno::INTR) => {}
            // It is not this process's child, as if it had never been.
            Err(_) => return NOT_EXECUTED,
        }
        let Some(signals) = &signals else { continue };
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], None);
        while let Some(signal) = sys::read_signal(signals) {
            if signal == libc::SIGTERM {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn code(status: WaitStatus) -> u8 {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 0,
    };
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_gets_what_the_containers_own_has() {
        let own = json!({"args": ["httpd"], "cwd": "/srv", "user": {"uid": 7}, "env": ["A=b"], "capabilities": {}});
        let plain = process(own.clone(), &["sh", "-c", "id"], false);
        assert_eq!(plain["args"], json!(["sh", "-c", "id"]));
        assert_eq!((&plain["cwd"], &plain["user"], &plain["env"]), (&own["cwd"], &own["user"], &own["env"]));
        let terminal = process(own, &["sh"], true);
        assert_eq!((&terminal["terminal"], &terminal["env"]), (&json!(true), &json!(["A=b", "TERM=xterm"])));
        assert_eq!(process(Value::Null, &["sh"], false)["cwd"], "/");
    }
}
