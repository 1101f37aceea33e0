//! The user's terminal as a machine's console.
//!
//! When a person sits there, the terminal is in raw mode while the machine runs: every key goes to the machine, Ctrl-C
//! included, and Ctrl-A begins a command to us. Otherwise bytes pass through as they are, and Ctrl-C reaches us as SIGINT.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use rustix::process::getpgrp;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};
use signal_hook::consts::SIGWINCH;
use signal_hook::iterator::Signals;

use bootwright_bundle::control::Window;

use crate::Console;
use crate::console::Keyboard;

/// Standard input, output and error.
#[derive(Debug)]
pub struct Terminal {
    raw: Option<RawTerminal>,
    typing: bool,
}

/// A terminal in raw mode, on standard input; given back when this is dropped.
#[derive(Debug)]
pub struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Takes it, if there is one that is ours to change.
    #[must_use]
    pub fn new() -> Option<Self> {
        let stdin = io::stdin();
        // In the background, reading from the terminal would stop us.
        if !stdin.is_terminal() || tcgetpgrp(&stdin).ok() != Some(getpgrp()) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

/// The size of the terminal on standard output.
#[must_use]
pub fn window() -> Option<Window> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(Window { columns: size.ws_col, rows: size.ws_row })
}

/// Calls a function, on a thread of its own, whenever the size of the terminal has changed.
pub fn on_resize(mut changed: impl FnMut(Window) + Send + 'static) {
    let Ok(mut signals) = Signals::new([SIGWINCH]) else { return };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            window().into_iter().for_each(&mut changed);
        }
    });
}

impl Terminal {
    /// Takes the terminal; it is given back when this is dropped.
    pub fn new() -> io::Result<Self> {
        let raw = RawTerminal::new();
        Ok(Self { typing: raw.is_some() || !io::stdin().is_terminal(), raw })
    }
}

impl Console for Terminal {
    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        stdout.flush()
    }

    fn notice(&mut self, line: &str) {
        let end = if self.raw.is_some() { "\r\n" } else { "\n" };
        let _ = write!(io::stderr().lock(), "bootwright: {line}{end}");
    }

    fn keyboard(&mut self) -> Option<Keyboard> {
        if !self.typing {
            return None;
        }
        let input = io::stdin().as_fd().try_clone_to_owned().ok()?;
        Some(Keyboard { input, person: self.raw.is_some() })
    }
}
