//! As many machines at a time as the host has room for.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bootwright_machine::{AccelChoice, Arch};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::interrupts::Interrupts;
use crate::{Trial, Tried, drive};

/// How machines are run, whatever they are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where what KVM is worth on this host is remembered.
    pub cache: PathBuf,
    /// KVM or TCG.
    pub accel: AccelChoice,
    /// Of which architecture the machines are.
    pub arch: Arch,
    /// QEMU's binary; none: the one on the path.
    pub qemu: Option<PathBuf>,
    /// Where what consoles say is written.
    pub logs: Option<PathBuf>,
    /// Machines at a time; none: as many as the host has processors for.
    pub jobs: Option<usize>,
}

/// Who is told what goes on.
pub trait Watch: Sync {
    /// A trial was made.
    fn finished(&self, tried: &Tried);

    /// Something that concerns all.
    fn notice(&self, line: &str);
}

/// Makes all trials, and returns what came of them in their order, with the signal that has ended them early if one has.
///
/// # Errors
///
/// Signals cannot be listened for.
pub fn run(trials: &[Trial], settings: &Settings, watch: &dyn Watch) -> std::io::Result<(Vec<Tried>, Option<i32>)> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let handle = signals.handle();
    let interrupts = Interrupts::default();
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Tried)>> = Mutex::default();
    let said: Mutex<Vec<String>> = Mutex::default();
    // What is true of the host is said once, not by every machine.
    let notice = |line: &str| {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        if !said.iter().any(|before| before == line) {
            watch.notice(line);
            said.push(line.to_owned());
        }
    };
    let work = || {
        while let (index, None) = (next.fetch_add(1, Ordering::Relaxed), interrupts.signalled()) {
            let Some(trial) = trials.get(index) else { return };
            let tried = drive::try_one(trial, settings, &interrupts, &notice);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            watch.finished(&tried);
            done.push((index, tried));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for signal in signals.forever() {
                notice("pressed the power button of every machine; a second signal ends them at once");
                interrupts.signal(signal);
            }
        });
        let workers: Vec<_> = (0..jobs(trials, settings.jobs)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            // A panic of a worker is ours, and goes on in the scope's end.
            let _ = worker.join();
        }
        handle.close();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok((done.into_iter().map(|(_, tried)| tried).collect(), interrupts.signalled()))
}

/// Machines at a time.
fn jobs(trials: &[Trial], asked: Option<usize>) -> usize {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let largest = trials.iter().map(Trial::cpus).max().unwrap_or(1);
    let room = processors / usize::try_from(largest).unwrap_or(usize::MAX).max(1);
    asked.unwrap_or(room).clamp(1, trials.len().max(1))
}
