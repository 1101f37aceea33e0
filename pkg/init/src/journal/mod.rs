//! What the machine has said, and what has happened to it: a ring of lines for each container and for init, one of events, and
//! whoever reads along.
//!
//! All memory is taken once. A reader is a socket and a place in each ring; PID 1 writes to it without blocking and keeps nothing
//! for it, so one that is slow falls behind in the rings, loses the oldest lines there, and is told how many. A container that
//! floods pushes out its own lines only, and what one turn of the loop does for the readers is bounded.

pub mod carry;
pub mod crash;
mod event;
pub mod last_words;
mod reader;
mod record;
mod ring;

use std::time::Duration;

use bootwright_bundle::control::Stream;
use rustix::time::{ClockId, Timespec, clock_gettime};

pub use reader::{Reader, Turn, Wanted};
pub use record::Record;
pub use ring::Mark;
use ring::{Place, Ring};

/// Bytes of a ring, where there are few.
const RING: usize = 64 * 1024;
/// Bytes of all rings together, where there are many.
const RINGS: usize = 1024 * 1024;
/// The least bytes of a ring.
const LEAST: usize = 4 * 1024;

/// The source of what init says.
pub const INIT: usize = 0;
/// The source of what the machine said before it crashed the last time.
pub const PSTORE: usize = 1;
/// What has happened, which is no log: only who asks for events gets them.
const EVENTS: usize = 2;
/// Sources before the containers'.
pub const FIRST_UNIT: usize = 3;

/// All rings.
#[derive(Debug)]
pub struct Journal {
    sources: Vec<(String, Ring)>,
    sequence: u64,
}

impl Journal {
    /// For containers of these names.
    pub fn new<'a>(units: impl Iterator<Item = &'a str>) -> Self {
        let names: Vec<String> = ["init", "pstore", ""].into_iter().chain(units).map(str::to_owned).collect();
        let bytes = (RINGS / names.len().max(1)).clamp(LEAST, RING);
        let rings = names.into_iter().enumerate().map(|(source, name)| {
            let bytes = if source == EVENTS { RING } else { bytes };
            (name, Ring::new(bytes))
        });
        Self { sources: rings.collect(), sequence: 0 }
    }

    /// Takes a line that has just been said.
    pub fn push(&mut self, source: usize, stream: u8, text: &[u8]) {
        self.push_at(source, stream, now(), text);
    }

    /// Takes a line that was said at a time, given as microseconds since 1970 and since the kernel started.
    pub fn push_at(&mut self, source: usize, stream: u8, (time, uptime): (u64, u64), text: &[u8]) {
        if let Some((_, ring)) = self.sources.get_mut(source) {
            self.sequence += 1;
            ring.push(Mark { stream, sequence: self.sequence, time, uptime }, text);
        }
    }

    /// Takes an event, of a kind of container and its name.
    pub fn event(&mut self, now: Duration, kind: &str, name: &str, what: &str, detail: &str) {
        let time = clock_gettime(ClockId::Realtime);
        let uptime = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.push_at(EVENTS, Stream::Stdout.number(), (micros(time), uptime), &event::encode(kind, name, what, detail));
    }

    /// The positions of the logs of a name; of all of them without one.
    pub fn find<'a>(&'a self, name: Option<&'a str>) -> impl Iterator<Item = usize> + 'a {
        let named = self.sources.iter().enumerate().filter(|(source, _)| *source != EVENTS);
        named.filter(move |(_, (own, _))| name.is_none_or(|name| name == own)).map(|(i, _)| i)
    }

    /// The names of the logs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.find(None).filter_map(|source| self.sources.get(source)).map(|(name, _)| name.as_str())
    }

    /// The name of a source.
    fn name(&self, source: usize) -> &str {
        self.sources.get(source).map_or("", |(name, _)| name)
    }

    /// The place of the last line of a source among those of all; none if it has said nothing.
    fn newest(&self, source: usize) -> Option<u64> {
        let (_, ring) = self.sources.get(source)?;
        ring.mark(ring.last(1)).map(|mark| mark.sequence)
    }

    /// The last lines of a source, oldest first, as bytes.
    pub fn last(&self, source: usize, count: u64) -> Vec<Vec<u8>> {
        let Some((_, ring)) = self.sources.get(source) else { return Vec::new() };
        let mut place = ring.last(count);
        let mut lines = Vec::new();
        while ring.mark(place).is_some() {
            let (text, next) = ring.text(place);
            lines.push(text.concat());
            place = next;
        }
        lines
    }
}

/// Now, as microseconds since 1970 and since the kernel started.
pub fn now() -> (u64, u64) {
    (micros(clock_gettime(ClockId::Realtime)), micros(clock_gettime(ClockId::Boottime)))
}

fn micros(time: Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec / 1000).unwrap_or(0)
}
