//! What is known of a container beside its state.

use std::time::Duration;

use super::runner::Outcome;
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
    /// It has said that it is well since it was last asked about.
    pub well: bool,
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
        self.well = false;
    }

    /// It has ended.
    pub fn end(&mut self, outcome: Outcome, now: Duration) {
        self.ran = self.started.map(|then| now.saturating_sub(then)).unwrap_or_default();
        self.asked = self.stopped.map(|then| now.saturating_sub(then));
        self.outcome = Some(outcome);
    }
}
