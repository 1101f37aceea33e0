//! The one call that needs `unsafe`: code that runs between fork and exec.

#![expect(unsafe_code, reason = "Command::pre_exec")]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// Lets the kernel kill the child when the thread that spawns it ends, however it ends.
pub(crate) fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent: Pid = getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are two system calls that neither
    // allocate nor lock, and the error that may be made holds a number.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // We may have died before the line above; the signal would then never come.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(3)) }
        })
    }
}
