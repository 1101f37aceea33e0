//! What happened to the machine's containers, for whoever asks later: a ring of the latest events.

use std::collections::VecDeque;
use std::time::Duration;

/// Events that are kept.
const KEPT: usize = 2048;
/// Bytes of a detail.
const DETAIL: usize = 200;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// Milliseconds since the kernel started.
    pub at: u64,
    /// Position of the container; none for what concerns the machine.
    pub unit: Option<usize>,
    /// The state that a container is in from now on, or another word: `asked`, `killed`, `not-ready`, `unhealthy`.
    pub what: &'static str,
    /// What is to be said about it.
    pub detail: String,
}

/// The ring.
#[derive(Debug, Default)]
pub struct Events {
    latest: VecDeque<Happened>,
    dropped: u64,
}

impl Events {
    /// Adds an event.
    pub fn add(&mut self, now: Duration, unit: Option<usize>, what: &'static str, detail: &str) {
        if self.latest.len() >= KEPT {
            self.latest.pop_front();
            self.dropped += 1;
        }
        let detail = detail.get(..detail.floor_char_boundary(DETAIL)).unwrap_or_default().to_owned();
        let at = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.latest.push_back(Happened { at, unit, what, detail });
    }

    /// The events that are kept, oldest first.
    #[cfg_attr(not(test), expect(dead_code, reason = "the control channel reads them"))]
    pub fn latest(&self) -> impl Iterator<Item = &Happened> {
        self.latest.iter()
    }

    /// How many are not kept any more.
    #[cfg_attr(not(test), expect(dead_code, reason = "the control channel reads it"))]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_and_none_is_long() {
        let mut events = Events::default();
        for n in 0..=KEPT {
            events.add(Duration::from_millis(n as u64), Some(n), "ready", &"ü".repeat(DETAIL));
        }
        assert_eq!((events.latest().count(), events.dropped()), (KEPT, 1));
        let first = events.latest().next().unwrap();
        assert_eq!((first.at, first.unit, first.detail.len()), (1, Some(1), DETAIL));
    }
}
