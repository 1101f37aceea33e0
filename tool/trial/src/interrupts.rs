//! A signal to us, and the machines that it is to end.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bootwright_machine::Interrupter;

/// Which machines run, and whether we were told to end.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    signal: Option<i32>,
    next: u64,
    machines: Vec<(u64, Interrupter)>,
}

/// A machine that runs; it is forgotten with this.
#[derive(Debug)]
pub(crate) struct Entered<'a>(&'a Interrupts, u64);

impl Interrupts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a machine. One that comes too late is told at once.
    pub(crate) fn enter(&self, machine: Interrupter) -> Entered<'_> {
        let mut state = self.lock();
        state.next += 1;
        let number = state.next;
        if let Some(signal) = state.signal {
            machine.signal(signal);
        }
        state.machines.push((number, machine));
        Entered(self, number)
    }

    /// Passes a signal on to all machines.
    pub(crate) fn signal(&self, signal: i32) {
        let mut state = self.lock();
        state.signal = Some(signal);
        let machines: Vec<Interrupter> = state.machines.iter().map(|(_, machine)| machine.clone()).collect();
        drop(state);
        self.changed.notify_all();
        for machine in machines {
            machine.signal(signal);
        }
    }

    /// The signal that has come.
    pub(crate) fn signalled(&self) -> Option<i32> {
        self.lock().signal
    }

    /// Waits for this long, or until a signal comes.
    pub(crate) fn pause(&self, time: Duration) {
        let state = self.lock();
        let _ = self.changed.wait_timeout_while(state, time, |state| state.signal.is_none());
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.lock().machines.retain(|(number, _)| *number != self.1);
    }
}
