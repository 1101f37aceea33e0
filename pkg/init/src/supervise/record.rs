//! What is known of a container beside its state, and what of it others may ask for.

use std::time::Duration;

use rustix::process::Pid;

use super::runner::Outcome;
use super::sequence::State;
use super::unit::Kind;
use crate::output::Output;

/// What is remembered of a container.
#[derive(Debug, Default)]
pub struct Record {
    /// When it was started last, since the kernel started.
    pub started: Option<Duration>,
    /// When it was ready last.
    pub ready: Option<Duration>,
    /// When it was asked to end.
    pub stopped: Option<Duration>,
    /// How it ended last.
    pub outcome: Option<Outcome>,
    /// How long it ran then.
    pub ran: Duration,
    /// How long it took to end then, if it was asked to.
    pub asked: Option<Duration>,
    /// What a probe found last.
    pub found: String,
    /// What it says it does (sd_notify's STATUS).
    pub status: String,
    /// What it printed last.
    pub output: Output,
}

impl Record {
    /// It is started.
    pub fn start(&mut self, now: Duration) {
        self.started = Some(now);
        self.ready = None;
        self.stopped = None;
        self.asked = None;
        self.status.clear();
        self.found.clear();
    }

    /// It has ended.
    pub fn end(&mut self, outcome: Outcome, now: Duration) {
        self.ran = self.started.map(|then| now.saturating_sub(then)).unwrap_or_default();
        self.asked = self.stopped.map(|then| now.saturating_sub(then));
        self.outcome = Some(outcome);
    }
}

/// How a container is, for whoever asks. Times are since the kernel started.
#[derive(Clone, Copy, Debug)]
#[expect(dead_code, reason = "the control channel reads it")]
pub struct Status<'a> {
    /// Its name.
    pub name: &'a str,
    /// When it runs.
    pub kind: Kind,
    /// Its state.
    pub state: State,
    /// Its first process.
    pub process: Option<Pid>,
    /// When it was started last.
    pub started: Option<Duration>,
    /// When it was ready last.
    pub ready: Option<Duration>,
    /// How often it was started again.
    pub restarts: u32,
    /// How it ended last.
    pub outcome: Option<&'a Outcome>,
    /// What it says it does.
    pub says: &'a str,
}
