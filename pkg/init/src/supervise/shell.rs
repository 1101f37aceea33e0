//! A shell on a console, for `onfail: shell`: `/bin/sh` of the machine's root, if it has one.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use rustix::process::Pid;

use crate::{applet, sys};

/// The shell's program.
const SHELL: &str = "/bin/sh";

/// Starts this binary as the program that becomes the shell.
pub fn start(console: &str) -> io::Result<Option<Pid>> {
    if !Path::new(SHELL).exists() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the machine's root has no `/bin/sh`"));
    }
    let child = applet::again(&["shell", console]).spawn()?;
    Ok(i32::try_from(child.id()).ok().and_then(Pid::from_raw))
}

/// Becomes the shell, with the console as its controlling terminal.
pub fn shell(console: &str) -> ExitCode {
    sys::default_signals();
    let _ = rustix::process::setsid();
    let error = match terminal(console) {
        Ok(()) => Command::new(SHELL)
            .arg0("-sh")
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", "/root")
            .env("TERM", "vt100")
            .exec(),
        Err(error) => error,
    };
    eprintln!("bootwright: {SHELL}: {error}");
    ExitCode::FAILURE
}

fn terminal(console: &str) -> io::Result<()> {
    let terminal = OpenOptions::new().read(true).write(true).open(Path::new("/dev").join(console))?;
    // Refused when another session has it; the shell works without job control then.
    let _ = rustix::process::ioctl_tiocsctty(&terminal);
    rustix::stdio::dup2_stdin(&terminal)?;
    rustix::stdio::dup2_stdout(&terminal)?;
    rustix::stdio::dup2_stderr(&terminal)?;
    Ok(())
}
