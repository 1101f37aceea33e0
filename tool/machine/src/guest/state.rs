//! What is known of a running machine, and who waits for it to change.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{ChildStderr, ChildStdout};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bootwright_bundle::Ending;

use crate::log::Log;
use crate::outcome::{KernelWord, ending_of_line};
use crate::process::Exit;

/// QEMU's state of a machine that it could not run on.
pub(super) const INTERNAL_ERROR: &str = "internal-error";
/// How much console output may wait for a terminal that does not take it.
const UNSHOWN: usize = 16 << 20;
/// How much of QEMU's standard error is kept.
const STDERR: u64 = 64 << 10;

/// Who asked for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Quit,
    Signal(i32),
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) log: Log,
    /// Console bytes for [`Shared::next_output`].
    pub(super) unshown: VecDeque<u8>,
    pub(super) show: bool,
    pub(super) console_closed: bool,
    pub(super) stderr: String,
    pub(super) ending: Option<(Ending, Instant)>,
    pub(super) panic: Option<Instant>,
    pub(super) panic_end: bool,
    pub(super) halted: bool,
    pub(super) shutdown: Option<String>,
    pub(super) run_state: Option<String>,
    pub(super) exit: Option<Exit>,
    pub(crate) stop: Option<Stop>,
    /// A signal that was answered with the power button, and until when the machine may take.
    pub(crate) interrupted: Option<(i32, Instant)>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits for a change, or until the deadline.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Option<Instant>) -> MutexGuard<'a, State> {
        match deadline {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    pub(super) fn wait_until<'a>(
        &'a self,
        deadline: Instant,
        mut done: impl FnMut(&State) -> bool,
    ) -> (MutexGuard<'a, State>, bool) {
        let mut state = self.lock();
        loop {
            if done(&state) {
                return (state, true);
            }
            if Instant::now() >= deadline {
                return (state, false);
            }
            state = self.wait(state, Some(deadline));
        }
    }
}

impl Shared {
    /// Takes console output that has not been shown, waiting for it; none when there will be no more.
    pub(crate) fn next_output(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if !state.unshown.is_empty() {
                return Some(state.unshown.drain(..).collect());
            }
            if state.console_closed {
                return None;
            }
            state = self.wait(state, None);
        }
    }
}

impl State {
    /// Whether the machine runs no more, or is about to.
    pub(super) fn is_down(&self) -> bool {
        let ended = self.shutdown.is_some() || self.panic.is_some() || self.halted || self.exit.is_some();
        let broken = self.run_state.as_deref() == Some(INTERNAL_ERROR);
        ended || broken || self.is_told_to_end()
    }

    /// Whether we have told it to end.
    pub(super) fn is_told_to_end(&self) -> bool {
        self.stop.is_some() || self.interrupted.is_some()
    }

    fn take_console(&mut self, bytes: &[u8]) {
        let Self { log, ending, panic, panic_end, halted, .. } = self;
        log.push(bytes, |line| {
            if let Some(found) = ending_of_line(line) {
                *ending = Some((found, Instant::now()));
            }
            match KernelWord::of_line(line) {
                Some(KernelWord::Panic) => *panic = panic.or(Some(Instant::now())),
                Some(KernelWord::PanicEnd) => *panic_end = true,
                Some(KernelWord::Halted) => *halted = true,
                None => {}
            }
        });
        if self.show {
            self.unshown.extend(bytes);
            let excess = self.unshown.len().saturating_sub(UNSHOWN);
            self.unshown.drain(..excess);
        }
    }
}

pub(super) fn read_console(mut stdout: ChildStdout, mut log: Option<File>, shared: &Shared) {
    let mut buffer = [0; 8192];
    loop {
        match stdout.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(n) => {
                // A full disk is no reason to stop the machine; the lines in memory remain.
                if log.as_mut().is_some_and(|log| log.write_all(&buffer[..n]).is_err()) {
                    log = None;
                }
                shared.change(|state| state.take_console(&buffer[..n]));
            }
        }
    }
    shared.change(|state| {
        // The last line may have no end.
        state.take_console(if state.log.ends_open() { b"\n" } else { b"" });
        state.console_closed = true;
    });
}

pub(super) fn read_stderr(mut stderr: ChildStderr, shared: &Shared) {
    let mut kept = Vec::new();
    let _ = stderr.by_ref().take(STDERR).read_to_end(&mut kept);
    shared.change(|state| state.stderr = String::from_utf8_lossy(&kept).into_owned());
    let _ = io::copy(&mut stderr, &mut io::sink());
}
