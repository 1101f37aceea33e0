//! PID 1's side of everything that others learn of the machine: the journal and its readers, and the children that serve the
//! control channel and carry lines away.
//!
//! The supervisor hands lines in, asks once a turn what to wait for, and answers the requests that come out. A child that ends is
//! started again after a second; one that is slow loses lines (`journal`).

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use bootwright_bundle::control::{CONTROL_JSON, CONTROL_PORT, Control, Stream};
use bootwright_early::Consoles;
use rustix::event::epoll::EventFlags;
use rustix::process::Pid;

use super::link::{self, Call, Reply};
use crate::applet;
use crate::journal::{self, Journal, Reader, Turn, Wanted};
use crate::report::BootReport;

/// Readers at a time at most.
const READERS: usize = 32;
/// Before a child is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// The desk.
#[derive(Debug)]
pub struct Desk {
    /// What was said.
    pub journal: Journal,
    /// When what happened.
    pub report: BootReport,
    settings: Control,
    server: Option<Server>,
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
    /// Whether it is watched for room; none: not watched yet.
    watched: Option<bool>,
}

impl Desk {
    /// For containers of these names.
    pub fn new<'a>(
        units: impl Iterator<Item = &'a str> + Clone,
        mut report: BootReport,
        troubles: &mut Vec<String>,
    ) -> Self {
        report.expect(units.clone().count());
        let settings = match fs::read(CONTROL_JSON) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                troubles.push(format!("`{CONTROL_JSON}` is not valid: {error}"));
                Control::default()
            }),
            Err(_) => Control::default(),
        };
        let mut desk = Self {
            journal: Journal::new(units),
            report,
            settings,
            server: None,
            again: None,
            readers: Vec::new(),
            more: false,
        };
        desk.look();
        desk
    }

    /// Looks whether there is anything to serve that is not served, as when a port has appeared.
    pub fn look(&mut self) {
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
        self.journal.push(journal::FIRST_UNIT + unit, stream.number(), text);
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
            if slot.watched.replace(blocked) != Some(blocked) {
                // That it is gone is told in any case.
                let flags = if blocked { EventFlags::OUT } else { EventFlags::empty() };
                watches.push((i + 1, slot.reader.socket(), flags));
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
            if slot.reader.blocked() {
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
        let reader = Reader::new(&self.journal, reply.into_socket(), wanted);
        let slot = Some(Slot { reader, watched: None });
        if let Some(free) = self.readers.iter_mut().find(|slot| slot.is_none()) {
            *free = slot;
        } else if self.readers.len() < READERS {
            self.readers.push(slot);
        }
    }

    /// Does what is due: what init has said since goes into the journal, and lines to their readers.
    pub fn turn(&mut self, consoles: &mut Consoles) {
        for (time, line) in consoles.take_said() {
            self.journal.push_at(journal::INIT, Stream::Stdout.number(), time, &line);
        }
        self.more = false;
        for place in &mut self.readers {
            let Some(slot) = place else { continue };
            match slot.reader.turn(&self.journal) {
                Turn::Idle | Turn::Blocked => {}
                Turn::More => self.more = true,
                Turn::Over => *place = None,
            }
        }
        if self.again.is_some_and(|again| again <= Instant::now()) {
            self.again = None;
            self.look();
        }
    }

    /// Takes the end of a process, if it is a child of the desk's.
    pub fn reaped(&mut self, pid: Pid) -> bool {
        let ours = self.server.as_ref().is_some_and(|server| server.pid == Some(pid));
        if ours {
            self.server = None;
            self.again = Some(Instant::now() + PAUSE);
        }
        ours
    }
}

/// Starts the child that serves.
fn serve(port: Option<PathBuf>) -> Option<Server> {
    let (socket, theirs) = link::pair().ok()?;
    let mut command = applet::again(&["serve"]);
    let child = command.stdin(Stdio::from(theirs)).stdout(Stdio::null()).env_clear().spawn().ok()?;
    Some(Server { pid: pid(&child), socket, watched: false, port })
}

fn pid(child: &Child) -> Option<Pid> {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw)
}

/// The device of our virtio-serial port.
pub fn port() -> Option<PathBuf> {
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?.flatten();
    let ours = ports
        .filter(|port| fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim_end() == CONTROL_PORT));
    ours.map(|port| PathBuf::from("/dev").join(port.file_name())).next()
}
