//! Somebody who reads along: a child of PID 1 that writes files or sends lines elsewhere, or serves the control channel.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{SendFlags, send};

use super::{EVENTS, Journal, Mark, Place, Record};

/// Lines that a reader gets in one turn of the loop.
const SHARE: usize = 64;

/// What a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Events; otherwise lines of logs.
    pub events: bool,
    /// Of which source; none: of all.
    pub source: Option<String>,
    /// So many of the last lines; none: all there are.
    pub last: Option<u64>,
    /// None older than so many milliseconds.
    pub since: Option<u64>,
    /// Also those that come.
    pub follow: bool,
}

/// A reader.
#[derive(Debug)]
pub struct Reader {
    /// None while there is nobody at the other end.
    socket: Option<OwnedFd>,
    /// Sources and where it is in each.
    places: Vec<(usize, Place)>,
    /// The last line for it, by its sequence number; none: it follows.
    last: Option<u64>,
    blocked: bool,
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is no more for now.
    Idle,
    /// There is more, and its share is used up.
    More,
    /// It takes no more at the moment.
    Blocked,
    /// It has all that it wanted, or is gone.
    Over,
}

impl Reader {
    /// A reader on a socket of datagrams.
    pub fn new(journal: &Journal, socket: OwnedFd, wanted: &Wanted) -> Self {
        let earliest = wanted.since.map_or(0, |since| super::now().1.saturating_sub(since.saturating_mul(1000)));
        let logs = journal.find(wanted.source.as_deref()).filter(|_| !wanted.events);
        let places = logs.chain(wanted.events.then_some(EVENTS)).filter_map(|source| {
            let (_, ring) = journal.sources.get(source)?;
            let mut place = wanted.last.map_or(ring.oldest(), |count| ring.last(count));
            while ring.mark(place).is_some_and(|mark| mark.uptime < earliest) {
                place = ring.text(place).1;
            }
            Some((source, place))
        });
        // Who does not follow gets what there is now, however fast more comes.
        let last = (!wanted.follow).then_some(journal.sequence);
        let mut reader = Self { socket: Some(socket), places: places.collect(), last, blocked: false };
        if let Some(count) = wanted.last {
            reader.keep_last(journal, count);
        }
        reader
    }

    /// Goes forward until no more than so many lines are left of all sources together.
    fn keep_last(&mut self, journal: &Journal, count: u64) {
        let mut places = self.places.clone();
        let mut left = 0u64;
        while let Some((at, _)) = next(journal, &places) {
            advance(journal, &mut places, at);
            left += 1;
        }
        while left > count
            && let Some((at, _)) = next(journal, &self.places)
        {
            advance(journal, &mut self.places, at);
            left -= 1;
        }
    }

    /// Goes on at another socket, where it was.
    pub fn resume(&mut self, socket: OwnedFd) {
        self.socket = Some(socket);
        self.blocked = false;
    }

    /// Its socket.
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }

    /// Whether it took no more when it was last written to.
    pub fn blocked(&self) -> bool {
        self.blocked
    }

    /// Keeps its places for somebody who is to come.
    pub fn park(&mut self) {
        self.socket = None;
    }

    /// It takes more again, or is gone.
    pub fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Writes what it has not had, as far as it takes it and its share reaches.
    pub fn turn(&mut self, journal: &Journal) -> Turn {
        if self.blocked || self.socket.is_none() {
            return Turn::Blocked;
        }
        let mut datagram = Vec::with_capacity(1200);
        for _ in 0..SHARE {
            let Some(at) = self.write_one(journal, &mut datagram) else {
                return if self.last.is_none() { Turn::Idle } else { Turn::Over };
            };
            match at {
                Ok(()) => {}
                Err(Errno::AGAIN | Errno::INTR) => {
                    self.blocked = true;
                    return Turn::Blocked;
                }
                Err(_) => return Turn::Over,
            }
        }
        Turn::More
    }

    /// Writes the next line, or what is missing before it; none if there is none.
    fn write_one(&mut self, journal: &Journal, datagram: &mut Vec<u8>) -> Option<Result<(), Errno>> {
        let socket = self.socket.as_ref()?;
        for (source, place) in &mut self.places {
            let Some((name, ring)) = journal.sources.get(*source) else { continue };
            let mut caught_up = *place;
            let lost = ring.catch_up(&mut caught_up);
            if lost > 0 {
                let mark = ring.mark(caught_up).unwrap_or_default();
                let sent = send_record(socket, &Record { mark, source: name, text: [&[], &[]], lost }, datagram);
                if sent.is_ok() {
                    *place = caught_up;
                }
                return Some(sent);
            }
        }
        let (at, mark) = next(journal, &self.places)?;
        if self.last.is_some_and(|last| mark.sequence > last) {
            return None;
        }
        let (source, place) = self.places.get_mut(at)?;
        let (name, ring) = journal.sources.get(*source)?;
        let (text, after) = ring.text(*place);
        let sent = send_record(socket, &Record { mark, source: name, text, lost: 0 }, datagram);
        if sent.is_ok() {
            *place = after;
        }
        Some(sent)
    }
}

/// The oldest line that is at one of the places.
fn next(journal: &Journal, places: &[(usize, Place)]) -> Option<(usize, Mark)> {
    let marks = places.iter().enumerate().filter_map(|(at, (source, place))| {
        let (_, ring) = journal.sources.get(*source)?;
        Some((at, ring.mark(*place)?))
    });
    marks.min_by_key(|(_, mark)| mark.sequence)
}

fn advance(journal: &Journal, places: &mut [(usize, Place)], at: usize) {
    if let Some((source, place)) = places.get_mut(at)
        && let Some((_, ring)) = journal.sources.get(*source)
    {
        *place = ring.text(*place).1;
    }
}

fn send_record(socket: &OwnedFd, record: &Record<'_>, datagram: &mut Vec<u8>) -> Result<(), Errno> {
    record.encode(datagram);
    send(socket, datagram, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
}

#[cfg(test)]
mod tests {
    use super::super::{FIRST_UNIT, INIT};
    use super::*;
    use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, recv, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
            .unwrap()
    }

    fn journal() -> Journal {
        Journal::new(["web", "db"].into_iter())
    }

    fn received(socket: &OwnedFd) -> Vec<String> {
        let mut lines = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok((count, _)) = recv(socket, &mut bytes[..], RecvFlags::empty())
            && count > 0
        {
            lines.push(Record::decode(&bytes[..count]).unwrap().line().to_string());
        }
        lines
    }

    #[test]
    fn lines_of_all_sources_come_in_the_order_in_which_they_were_said() {
        let mut journal = journal();
        for (source, text) in [(INIT, "a"), (FIRST_UNIT, "b"), (FIRST_UNIT + 1, "c"), (FIRST_UNIT, "d")] {
            journal.push(source, 1, text.as_bytes());
        }
        for (wanted, expected) in [
            (Wanted::default(), &["init: a", "web: b", "db: c", "web: d"][..]),
            (Wanted { source: Some("web".into()), ..Wanted::default() }, &["web: b", "web: d"]),
            (Wanted { last: Some(2), ..Wanted::default() }, &["db: c", "web: d"]),
            (Wanted { last: Some(0), ..Wanted::default() }, &[]),
            (Wanted { since: Some(60_000), ..Wanted::default() }, &["init: a", "web: b", "db: c", "web: d"]),
            (Wanted { since: Some(0), ..Wanted::default() }, &[]),
        ] {
            let (ours, theirs) = pair();
            let mut reader = Reader::new(&journal, ours, &wanted);
            assert_eq!(reader.turn(&journal), Turn::Over, "{wanted:?}");
            assert_eq!(received(&theirs), expected, "{wanted:?}");
        }
    }

    #[test]
    fn who_does_not_follow_gets_what_there_was_when_it_asked() {
        let mut journal = journal();
        journal.push(FIRST_UNIT, 1, b"before");
        let (ours, theirs) = pair();
        let mut reader = Reader::new(&journal, ours, &Wanted::default());
        journal.push(FIRST_UNIT, 1, b"after");
        assert_eq!(reader.turn(&journal), Turn::Over);
        assert_eq!(received(&theirs), ["web: before"]);
    }

    #[test]
    fn a_reader_that_follows_gets_what_comes_and_one_that_is_gone_is_let_go() {
        let mut journal = journal();
        let (ours, theirs) = pair();
        let mut reader = Reader::new(&journal, ours, &Wanted { follow: true, ..Wanted::default() });
        assert_eq!(reader.turn(&journal), Turn::Idle);
        journal.push(FIRST_UNIT, 2, b"later");
        assert_eq!(reader.turn(&journal), Turn::Idle);
        assert_eq!(received(&theirs), ["web: later"]);
        drop(theirs);
        journal.push(FIRST_UNIT, 2, b"nobody");
        assert_eq!(reader.turn(&journal), Turn::Over);
        // Whoever takes its place goes on where it was.
        reader.park();
        assert_eq!(reader.turn(&journal), Turn::Blocked);
        let (ours, theirs) = pair();
        reader.resume(ours);
        assert_eq!(reader.turn(&journal), Turn::Idle);
        assert_eq!(received(&theirs), ["web: nobody"]);
    }

    #[test]
    fn a_slow_reader_loses_the_oldest_lines_of_whoever_floods_and_is_told() {
        let mut journal = journal();
        let (ours, theirs) = pair();
        let mut reader = Reader::new(&journal, ours, &Wanted { follow: true, ..Wanted::default() });
        journal.push(FIRST_UNIT + 1, 1, b"quiet");
        let mut pushed = 0;
        while reader.turn(&journal) != Turn::Blocked {
            for _ in 0..SHARE {
                journal.push(FIRST_UNIT, 1, format!("line {pushed} {}", "x".repeat(900)).as_bytes());
                pushed += 1;
            }
        }
        for _ in 0..1000 {
            journal.push(FIRST_UNIT, 1, format!("line {pushed} {}", "x".repeat(900)).as_bytes());
            pushed += 1;
        }
        journal.push(FIRST_UNIT + 1, 1, b"quiet again");
        let mut lines = Vec::new();
        loop {
            lines.extend(received(&theirs));
            reader.unblock();
            if reader.turn(&journal) == Turn::Idle {
                break;
            }
        }
        lines.extend(received(&theirs));
        let lost: u64 = lines
            .iter()
            .filter_map(|line| line.strip_prefix("web: (")?.strip_suffix(" lines are missing)")?.parse::<u64>().ok())
            .sum();
        let seen = lines.iter().filter(|line| line.starts_with("web: line")).count() as u64;
        assert!(lost > 900, "{lost}");
        assert_eq!(seen + lost, pushed);
        let last = format!("web: line {} ", pushed - 1);
        assert!(lines.iter().any(|line| line.starts_with(&last)), "the newest is there");
        assert_eq!(lines.iter().filter(|line| line.starts_with("db: quiet")).count(), 2);
    }
}
