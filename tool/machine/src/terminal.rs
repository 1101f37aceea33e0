//! The user's terminal as a machine's console.
//!
//! When a person sits there, the terminal is in raw mode while the machine runs: every key goes to the machine, Ctrl-C
//! included, and Ctrl-A begins a command to us. Otherwise bytes pass through as they are, and Ctrl-C reaches us as SIGINT.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use crate::Console;
use crate::console::Keyboard;

/// Standard input, output and error.
#[derive(Debug)]
pub struct Terminal {
    /// What the terminal was like, when it was made raw.
    before: Option<Termios>,
    typing: bool,
}

impl Terminal {
    /// Takes the terminal; it is given back when this is dropped.
    pub fn new() -> io::Result<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(Self { before: None, typing: true });
        }
        // In the background, reading from the terminal would stop us, and it is not ours to change.
        if tcgetpgrp(&stdin).ok() != Some(getpgrp()) {
            return Ok(Self { before: None, typing: false });
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self { before: Some(before), typing: true })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

impl Console for Terminal {
    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    fn notice(&mut self, line: &str) {
        let end = if self.before.is_some() { "\r\n" } else { "\n" };
        let _ = write!(io::stderr().lock(), "bootwright: {line}{end}");
    }

    fn keyboard(&mut self) -> Option<Keyboard> {
        if !self.typing {
            return None;
        }
        let input = io::stdin().as_fd().try_clone_to_owned().ok()?;
        Some(Keyboard { input, person: self.before.is_some() })
    }
}
