//! The machine's consoles: every line goes to each of them, and none of them can hold PID 1 up.
//!
//! Consoles are those of `/sys/class/tty/console/active` and of `console=` on the command line. They are written without
//! blocking; what a slow or stuck one does not take waits in a bounded backlog, and lines beyond that are counted and
//! dropped, for that console only.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::time::{ClockId, clock_gettime};

use crate::sys;

/// Bytes that wait for a console at most.
const BACKLOG: usize = 64 * 1024;
/// What of it is for init's own lines, which a container that floods must not push out.
const RESERVE: usize = 16 * 1024;
/// After a loss lines are taken again when no more than this waits, so that one note stands for many lines.
const RESUME: usize = 16 * 1024;

/// Bytes of own lines that are kept until somebody takes them.
const SAID: usize = 16 * 1024;

/// Where early and init speak.
#[derive(Debug, Default)]
pub struct Consoles {
    list: Vec<Console>,
    said: Said,
}

/// A time, as microseconds since 1970 and since the kernel started, and the line that was said then.
pub type SaidLine = ((u64, u64), Vec<u8>);

/// Own lines that nobody has taken yet.
#[derive(Debug, Default)]
struct Said {
    lines: VecDeque<SaidLine>,
    bytes: usize,
}

impl Said {
    fn push(&mut self, line: &[u8]) {
        let micros = |clock| {
            let time = clock_gettime(clock);
            u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_nsec / 1000).unwrap_or(0)
        };
        let line = line.strip_prefix(b"bootwright: ").unwrap_or(line);
        self.bytes += line.len();
        self.lines.push_back(((micros(ClockId::Realtime), micros(ClockId::Boottime)), line.to_vec()));
        while self.bytes > SAID
            && let Some((_, oldest)) = self.lines.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }
}

#[derive(Debug)]
struct Console {
    name: String,
    fd: OwnedFd,
    backlog: Backlog,
}

impl Consoles {
    /// Opens the active consoles and those named; without any, the descriptor that the kernel gave init.
    pub fn open(named: &[String]) -> Self {
        let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        let mut consoles = Self::default();
        for name in active.split_whitespace().chain(named.iter().map(String::as_str)) {
            consoles.add(name);
        }
        if consoles.list.is_empty()
            && let Ok(fd) = rustix::io::dup(rustix::stdio::stderr())
        {
            consoles.list.push(Console { name: String::new(), fd, backlog: Backlog::default() });
        }
        consoles
    }

    /// Adds a console that has appeared, if it can be opened.
    pub fn add(&mut self, name: &str) {
        if self.list.iter().any(|c| c.name == name) {
            return;
        }
        if let Some(fd) = open_console(name) {
            self.list.push(Console { name: name.to_owned(), fd, backlog: Backlog::default() });
        }
    }

    /// Name of the console for a shell: the kernel's preferred one, which it lists last.
    pub fn preferred(&self) -> Option<&str> {
        let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
        let last = active.split_whitespace().last();
        self.list.iter().find(|c| Some(c.name.as_str()) == last).or(self.list.last()).map(|c| c.name.as_str())
    }

    /// Says a line of init's own.
    pub fn say(&mut self, text: &str) {
        self.own_line(format!("bootwright: {text}").as_bytes());
    }

    /// Writes a line of init's own as it is.
    pub fn own_line(&mut self, line: &[u8]) {
        self.said.push(line);
        self.write(line, BACKLOG);
    }

    /// What has been said by `say` and `own_line` and was not taken yet, the latest 16 KiB of it.
    pub fn take_said(&mut self) -> impl Iterator<Item = SaidLine> + use<> {
        self.said.bytes = 0;
        std::mem::take(&mut self.said.lines).into_iter()
    }

    /// Writes a line of a container, which holds no newline, to every console.
    pub fn line(&mut self, line: &[u8]) {
        self.write(line, BACKLOG - RESERVE);
    }

    fn write(&mut self, line: &[u8], limit: usize) {
        for console in &mut self.list {
            console.backlog.push(line, limit);
            console.flush();
        }
    }

    /// The consoles that have not taken everything, with their positions.
    pub fn waiting(&self) -> impl Iterator<Item = (usize, BorrowedFd<'_>)> {
        self.list.iter().enumerate().filter(|(_, c)| !c.backlog.is_empty()).map(|(i, c)| (i, c.fd.as_fd()))
    }

    /// Writes more of what waits for the console at a position.
    pub fn flush(&mut self, position: usize) {
        if let Some(console) = self.list.get_mut(position) {
            console.flush();
        }
    }

    /// Waits until every byte has left the machine, or the limit is over: the last line must not be lost in a UART's
    /// buffer when the power goes.
    pub fn drain(&mut self, limit: Duration) {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            let mut left = false;
            for console in &mut self.list {
                console.flush();
                left |= !console.backlog.is_empty() || sys::unsent(&console.fd) > 0;
            }
            if !left {
                return;
            }
            // No event tells that a UART has become empty, and tcdrain would block on a stuck one.
            let _ = rustix::event::poll(&mut [], Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 2_000_000 }));
        }
    }
}

impl Console {
    fn flush(&mut self) {
        let mut reopened = false;
        while let Some(bytes) = self.backlog.front() {
            match rustix::io::write(&self.fd, bytes) {
                Ok(0) => break,
                Ok(written) => self.backlog.written(written),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => break,
                // When a shell or login on this terminal ends, the kernel hangs it up for everybody.
                Err(_) if !reopened && let Some(fd) = open_console(&self.name) => {
                    reopened = true;
                    self.fd = fd;
                }
                // A console that is gone takes nothing any more; its lines must not pile up.
                Err(_) => {
                    self.backlog = Backlog::default();
                    break;
                }
            }
        }
    }
}

fn open_console(name: &str) -> Option<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(format!("/dev/{name}"), flags, Mode::empty()).ok()
}

/// Lines that wait, bounded.
#[derive(Debug, Default)]
struct Backlog {
    bytes: VecDeque<u8>,
    lost: u64,
}

impl Backlog {
    /// Takes a line, unless more than `limit` would wait.
    fn push(&mut self, line: &[u8], limit: usize) {
        let still_full = self.lost > 0 && self.bytes.len() > RESUME && limit < BACKLOG;
        if still_full || self.bytes.len() + line.len() + 1 > limit {
            self.lost += 1;
            return;
        }
        if self.lost > 0 && self.bytes.len() <= RESUME {
            let note = format!("bootwright: {} lines were dropped on this console\n", self.lost);
            self.bytes.extend(note.bytes());
            self.lost = 0;
        }
        self.bytes.extend(line);
        self.bytes.push_back(b'\n');
    }

    fn front(&self) -> Option<&[u8]> {
        let (front, _) = self.bytes.as_slices();
        (!front.is_empty()).then_some(front)
    }

    fn written(&mut self, count: usize) {
        self.bytes.drain(..count.min(self.bytes.len()));
        if self.bytes.is_empty() && self.bytes.capacity() > 8192 {
            self.bytes = VecDeque::new();
        }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuck_console_costs_bounded_memory_and_says_what_it_lost() {
        let mut backlog = Backlog::default();
        for _ in 0..1000 {
            backlog.push(&[b'x'; 1023], BACKLOG - RESERVE);
        }
        assert_eq!(backlog.bytes.len(), BACKLOG - RESERVE);
        assert_eq!(backlog.lost, 1000 - 48);
        backlog.push(b"init's own", BACKLOG);
        assert_eq!(backlog.bytes.len(), BACKLOG - RESERVE + 11, "there is room for what init says");
        backlog.written(1024);
        backlog.push(b"not yet", BACKLOG - RESERVE);
        assert_eq!(backlog.lost, 953);
        backlog.written(BACKLOG);
        backlog.push(b"on", BACKLOG - RESERVE);
        let text: Vec<u8> = backlog.bytes.iter().copied().collect();
        assert_eq!(text, b"bootwright: 953 lines were dropped on this console\non\n");
        for _ in 0..1000 {
            backlog.push(&[b'y'; 1023], BACKLOG);
        }
        assert!(backlog.bytes.len() <= BACKLOG);
    }

    #[test]
    fn own_lines_that_nobody_takes_cost_bounded_memory() {
        let mut consoles = Consoles::default();
        consoles.say("first");
        assert_eq!(consoles.take_said().map(|(_, line)| line).collect::<Vec<_>>(), [b"first"]);
        for _ in 0..1000 {
            consoles.own_line(&[b'x'; 1000]);
        }
        assert_eq!(consoles.take_said().count(), SAID / 1000);
        assert_eq!(consoles.take_said().count(), 0);
    }

    #[test]
    fn a_partial_write_keeps_the_rest() {
        let mut backlog = Backlog::default();
        backlog.push(b"abc", BACKLOG);
        backlog.written(2);
        assert_eq!(backlog.front(), Some(&b"c\n"[..]));
        backlog.written(2);
        assert!(backlog.is_empty());
    }
}
