//! PID 1's side of everything that others learn of the machine: the journal and its readers, and the children that serve the
//! control channel and carry lines away.
//!
//! The supervisor hands lines in, asks once a turn what to wait for, and answers the requests that come out. A child that ends is
//! started again after a second; one that is slow loses lines (`journal`).

use std::cell::RefCell;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bootwright_bundle::control::{CONTROL_JSON, CONTROL_PORT, Control, Stream};
use bootwright_bundle::{LOGGING_JSON, LogFiles, Logging};
use bootwright_early::Consoles;
use bootwright_early::mounts::in_memory;
use rustix::event::epoll::EventFlags;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::link::{self, Call, Reply};
use crate::applet;
use crate::journal::{self, Journal, Reader, Turn, Wanted, carry, crash, last_words};
use crate::report::BootReport;

/// Readers at a time at most.
const READERS: usize = 32;
/// Where log files lie.
const LOGS: &str = "/var/log";
/// Lines of a crash that are shown on the consoles.
const LAST_WORDS: usize = 10;
/// A container's last lines go into the kernel's log no more often than this: it is not theirs alone.
const SELDOM: f64 = 60_000.0;
/// Before a child is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// The desk.
#[derive(Debug)]
pub struct Desk {
    /// What was said. Shared with the hook of panics; every other borrow ends with its statement, so that none meets another.
    pub journal: Rc<RefCell<Journal>>,
    /// When what happened.
    pub report: BootReport,
    settings: Control,
    logging: Logging,
    server: Option<Server>,
    /// Whether there are log files.
    files: bool,
    again: Option<Instant>,
    readers: Vec<Option<Slot>>,
    /// Whether a reader has more to get than its share.
    more: bool,
}

/// The child that serves the control channel.
#[derive(Debug)]
struct Server {
    pid: Option<Pid>,
    socket: OwnedFd,
    watched: bool,
    port: Option<PathBuf>,
}

#[derive(Debug)]
struct Slot {
    reader: Reader,
    /// The child that it is, if it is one of ours.
    carrier: Option<Carrier>,
    /// Whether it is watched for room; none: not watched yet.
    watched: Option<bool>,
}

/// A child that carries lines away.
#[derive(Debug)]
struct Carrier {
    words: Vec<String>,
    pid: Option<Pid>,
}

impl Desk {
    /// For containers of these names.
    pub fn new<'a>(
        units: impl Iterator<Item = &'a str> + Clone,
        mut report: BootReport,
        troubles: &mut Vec<String>,
    ) -> Self {
        report.expect(units.clone().count());
        let mut desk = Self {
            journal: last_words::share(Journal::new(units)),
            report,
            settings: settings(CONTROL_JSON, troubles),
            logging: settings(LOGGING_JSON, troubles),
            server: None,
            files: false,
            again: None,
            readers: Vec::new(),
            more: false,
        };
        for forward in desk.logging.forward.clone() {
            desk.carry(carry::forward_words(&forward));
        }
        desk.look();
        desk
    }

    /// Shows what the machine said before it crashed the last time.
    pub fn show_crash(&mut self, consoles: &mut Consoles) {
        let lines = crash::take(Path::new(crash::PSTORE));
        if lines.is_empty() {
            return;
        }
        consoles.say("the machine crashed the last time; the kernel has kept its last words:");
        for line in lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)) {
            consoles.own_line(format!("bootwright:   | {line}").as_bytes());
        }
        for line in lines {
            self.journal.borrow_mut().push(journal::PSTORE, Stream::Stdout.number(), line.as_bytes());
        }
    }

    /// Whether the consoles show what containers print.
    pub fn shows(&self) -> bool {
        self.logging.console
    }

    /// Puts the last lines of a container that has failed where a crash does not reach them.
    pub fn keep(&mut self, unit: usize, headline: &str, lines: usize) {
        if self.report.seldom(unit, SELDOM) {
            let last = self.journal.borrow().last(journal::FIRST_UNIT + unit, lines as u64);
            crash::to_kernel([headline.as_bytes()].into_iter().chain(last.iter().map(Vec::as_slice)));
        }
    }

    /// Starts a child that carries lines away, from the first on.
    fn carry(&mut self, words: Vec<String>) {
        let Ok((socket, _)) = link::pair() else { return };
        let reader = Reader::new(&self.journal.borrow(), socket, &Wanted { follow: true, ..Wanted::default() });
        self.readers.push(Some(Slot { reader, carrier: Some(Carrier { words, pid: None }), watched: None }));
        self.start_carriers();
    }

    fn start_carriers(&mut self) {
        for slot in self.readers.iter_mut().flatten() {
            let Some(carrier) = slot.carrier.as_mut().filter(|carrier| carrier.pid.is_none()) else { continue };
            let words: Vec<&str> = carrier.words.iter().map(String::as_str).collect();
            match child(&words) {
                Some((pid, socket)) => {
                    carrier.pid = pid;
                    slot.reader.resume(socket);
                    slot.watched = None;
                }
                None => self.again = Some(Instant::now() + PAUSE),
            }
        }
    }

    /// Looks whether there is anything to do that is not done, as when a port has appeared, or a disk has been mounted.
    pub fn look(&mut self) {
        let wanted = match self.logging.files {
            LogFiles::Always => true,
            LogFiles::Never => false,
            LogFiles::Auto => !self.files && !in_memory(Path::new(LOGS)),
        };
        if wanted && !self.files {
            self.files = true;
            self.carry(carry::files_words(&self.logging));
        }
        let port = if self.settings.virtio_serial == Some(false) { None } else { port() };
        match &self.server {
            // It looks for itself when it begins.
            Some(server) if server.port != port => {
                if let Some(pid) = server.pid {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
            }
            Some(_) => {}
            None if port.is_some() || self.settings.socket || self.settings.vsock.is_some() => {
                self.server = serve(port);
                self.again = self.server.is_none().then(|| Instant::now() + PAUSE);
            }
            None => {}
        }
    }

    /// Takes a line of a container, by its position among the containers.
    pub fn line(&mut self, unit: usize, stream: Stream, text: &[u8]) {
        self.journal.borrow_mut().push(journal::FIRST_UNIT + unit, stream.number(), text);
    }

    /// What to wait for, where that has changed: a position, and for what.
    pub fn watches(&mut self) -> Vec<(usize, BorrowedFd<'_>, EventFlags)> {
        let mut watches = Vec::new();
        if let Some(server) = &mut self.server
            && !std::mem::replace(&mut server.watched, true)
        {
            watches.push((0, server.socket.as_fd(), EventFlags::IN));
        }
        for (i, slot) in self.readers.iter_mut().enumerate() {
            let Some(slot) = slot else { continue };
            let blocked = slot.reader.blocked();
            let Some(socket) = slot.reader.socket() else { continue };
            if slot.watched.replace(blocked) != Some(blocked) {
                // That it is gone is told in any case.
                let flags = if blocked { EventFlags::OUT } else { EventFlags::empty() };
                watches.push((i + 1, socket, flags));
            }
        }
        watches
    }

    /// When to come back at the latest.
    pub fn due(&self) -> Option<Instant> {
        if self.more { Some(Instant::now()) } else { self.again }
    }

    /// Hears what has happened at a position. A request, if one has come.
    pub fn hear(&mut self, position: usize) -> Option<Call> {
        let Some(reader) = position.checked_sub(1) else {
            // A child that says nonsense, or has closed its end, ends or has ended; then it is started again.
            return self.server.as_ref().and_then(|server| link::next_call(&server.socket).ok().flatten());
        };
        if let Some(Some(slot)) = self.readers.get_mut(reader) {
            if slot.reader.blocked() || slot.carrier.is_some() {
                // A carrier that is gone is noticed when it is reaped.
                slot.reader.unblock();
            } else if let Some(place) = self.readers.get_mut(reader) {
                // It is gone.
                *place = None;
            }
        }
        None
    }

    /// Takes up a reader.
    pub fn read(&mut self, reply: Reply, wanted: &Wanted) {
        let reader = Reader::new(&self.journal.borrow(), reply.into_socket(), wanted);
        let slot = Some(Slot { reader, carrier: None, watched: None });
        if let Some(free) = self.readers.iter_mut().find(|slot| slot.is_none()) {
            *free = slot;
        } else if self.readers.len() < READERS {
            self.readers.push(slot);
        }
    }

    /// Does what is due: what init has said since goes into the journal, and lines to their readers.
    pub fn turn(&mut self, consoles: &mut Consoles) {
        for (time, line) in consoles.take_said() {
            self.journal.borrow_mut().push_at(journal::INIT, Stream::Stdout.number(), time, &line);
        }
        self.more = false;
        for place in &mut self.readers {
            let Some(slot) = place else { continue };
            let turn = slot.reader.turn(&self.journal.borrow());
            match turn {
                Turn::Idle | Turn::Blocked => {}
                Turn::More => self.more = true,
                Turn::Over if slot.carrier.is_some() => slot.reader.park(),
                Turn::Over => *place = None,
            }
        }
        if self.again.is_some_and(|again| again <= Instant::now()) {
            self.again = None;
            self.start_carriers();
            self.look();
        }
    }

    /// Lets first the carriers and then the callers have what has been said, as far as they take it in a second: the machine ends.
    pub fn finish(&mut self, consoles: &mut Consoles) {
        self.empty(consoles, |slot| slot.carrier.is_some());
        self.empty(consoles, |_| true);
        // A caller's answer ends with its socket, and the child that serves when there is nothing more to answer.
        self.readers.iter_mut().for_each(|slot| drop(slot.take_if(|slot| slot.carrier.is_none())));
        let serving = self.server.take().and_then(|server| server.pid);
        if let Some(Ok(child)) = serving.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            let pause = Timespec { tv_sec: 1, tv_nsec: 0 };
            let _ = poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&pause));
        }
    }

    /// Writes to these readers until they have all, or a second is over.
    fn empty(&mut self, consoles: &mut Consoles, of: fn(&Slot) -> bool) {
        let deadline = Instant::now() + PAUSE;
        loop {
            self.turn(consoles);
            let left = deadline.saturating_duration_since(Instant::now());
            let slots = self.readers.iter_mut().flatten().filter(|slot| of(slot));
            let mut blocked: Vec<&mut Slot> = slots.filter(|slot| slot.reader.blocked()).collect();
            if left.is_zero() || blocked.is_empty() && !self.more {
                return;
            }
            let left = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
            let pause = if self.more { Timespec { tv_sec: 0, tv_nsec: 0 } } else { left };
            let sockets = blocked.iter().filter_map(|slot| slot.reader.socket());
            let mut polls: Vec<PollFd<'_>> = sockets.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)).collect();
            let _ = poll(&mut polls, Some(&pause));
            blocked.iter_mut().for_each(|slot| slot.reader.unblock());
        }
    }

    /// Takes the end of a process, if it is a child of the desk's.
    pub fn reaped(&mut self, pid: Pid) -> bool {
        let ours = self.server.as_ref().is_some_and(|server| server.pid == Some(pid));
        if ours {
            self.server = None;
        }
        let carriers = self.readers.iter_mut().flatten().filter_map(|slot| slot.carrier.as_mut());
        let carrier = carriers.into_iter().find(|carrier| carrier.pid == Some(pid));
        let known = ours || carrier.is_some();
        if let Some(carrier) = carrier {
            carrier.pid = None;
        }
        if known {
            self.again = Some(Instant::now() + PAUSE);
        }
        known
    }
}

/// The spec's settings of a kind, or what holds without.
fn settings<T: Default + serde::de::DeserializeOwned>(path: &str, troubles: &mut Vec<String>) -> T {
    let Ok(bytes) = fs::read(path) else { return T::default() };
    serde_json::from_slice(&bytes).unwrap_or_else(|error| {
        troubles.push(format!("`{path}` is not valid: {error}"));
        T::default()
    })
}

/// Starts the child that serves.
fn serve(port: Option<PathBuf>) -> Option<Server> {
    let (pid, socket) = child(&["serve"])?;
    Some(Server { pid, socket, watched: false, port })
}

/// This binary as a child of PID 1, with the other end of a socket as its standard input.
fn child(words: &[&str]) -> Option<(Option<Pid>, OwnedFd)> {
    let (socket, theirs) = link::pair().ok()?;
    let mut command = applet::again(words);
    let child = command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).env_clear().spawn().ok()?;
    Some((i32::try_from(child.id()).ok().and_then(Pid::from_raw), socket))
}

/// The device of our virtio-serial port.
pub fn port() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?.flatten();
    let ours = ports
        .filter(|port| fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim_end() == CONTROL_PORT));
    ours.map(|port| PathBuf::from("/dev").join(port.file_name())).next()
}
