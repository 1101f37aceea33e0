//! A request in progress, at the child that serves: where its answer comes from, and a step that moves what can be moved.
//!
//! A step tries everything and blocks on nothing; what is worth waiting for between steps is what [`Job::polls`] says. Nothing is
//! taken from a source for which the caller has not granted room, so a slow caller slows the source down: a log
//! falls behind in PID 1's rings, a program waits in its write.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use bootwright_bundle::control::{End, Refusal, Request, Session, Stream, WINDOW, Window};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, recv, recvmsg};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::link::{self, Part, Whereabouts};
use crate::applet;
use crate::journal::Record;

/// Bytes of a datagram of PID 1's at most.
const DATAGRAM: usize = 32 * 1024;

/// A request in progress.
#[derive(Debug)]
pub struct Job {
    /// Its number.
    pub id: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Items and an end from PID 1.
    Answer(OwnedFd),
    /// Lines from PID 1, until it closes.
    Logs(OwnedFd),
    /// PID 1 is to say where the container is, for a program.
    Find(OwnedFd, Box<Wish>),
    /// A program in a container.
    Program(Box<Program>),
}

/// What is to be executed when it is known where, and what has been typed for it already.
#[derive(Debug)]
struct Wish {
    argv: Vec<String>,
    window: Option<Window>,
    input: Input,
}

/// What is typed for a program.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    /// Whether no more will come.
    ends: bool,
}

impl Input {
    /// Takes bytes. False when they are more than was granted.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.ends |= bytes.is_empty();
        let fits = self.bytes.len() + bytes.len() <= WINDOW;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }
}

impl Job {
    /// Begins one.
    pub fn begin(id: u32, request: Request, pid1: &OwnedFd) -> Result<Self, Refusal> {
        let answer = link::call(pid1, &request).map_err(|error| Refusal::new(format!("asking PID 1: {error}")))?;
        let kind = match request {
            Request::Logs { .. } => Kind::Logs(answer),
            Request::Exec { argv, terminal, .. } => {
                Kind::Find(answer, Box::new(Wish { argv, window: terminal, input: Input::default() }))
            }
            _ => Kind::Answer(answer),
        };
        Ok(Self { id, kind })
    }

    /// What is worth waiting for.
    pub fn polls<'a>(&'a self, session: &Session, polls: &mut Vec<PollFd<'a>>) {
        match &self.kind {
            Kind::Answer(socket) | Kind::Logs(socket) | Kind::Find(socket, ..) => {
                if session.has_room(self.id) {
                    polls.push(PollFd::new(socket, PollFlags::IN));
                }
            }
            Kind::Program(program) => program.polls(session.room(self.id) > 0, polls),
        }
    }

    /// Moves what can be moved. True when the request is over.
    pub fn step(&mut self, session: &mut Session) -> bool {
        let id = self.id;
        let mut datagram = [0; DATAGRAM];
        loop {
            let (Kind::Answer(socket) | Kind::Logs(socket) | Kind::Find(socket, ..)) = &self.kind else { break };
            if !session.has_room(id) || session.full() {
                return false;
            }
            let received = match recv(socket, &mut datagram[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => None,
                Ok((count, _)) => datagram.get(..count),
                Err(Errno::AGAIN | Errno::INTR) => return false,
                Err(_) => None,
            };
            match (&mut self.kind, received) {
                (Kind::Logs(_), Some(record)) => {
                    if let Some(Part::End(end)) = Part::of(record) {
                        session.end(id, &end);
                        return true;
                    }
                    if let Some(record) = Record::decode(record) {
                        session.item(id, &record.line());
                    }
                }
                (Kind::Logs(_), None) => {
                    session.end(id, &End::default());
                    return true;
                }
                (Kind::Find(_, wish), Some(part)) => match Part::of(part) {
                    Some(Part::Item(json)) => match Program::start(json, wish) {
                        Ok(program) => self.kind = Kind::Program(Box::new(program)),
                        Err(refusal) => {
                            session.end(id, &End { error: Some(refusal), code: None });
                            return true;
                        }
                    },
                    Some(Part::End(end)) => {
                        session.end(id, &end);
                        return true;
                    }
                    None => {}
                },
                (_, Some(part)) => match Part::of(part) {
                    Some(Part::Item(json)) => {
                        let item: Result<serde_json::Value, _> = serde_json::from_slice(json);
                        session.item(id, &item.unwrap_or_default());
                    }
                    Some(Part::End(end)) => {
                        session.end(id, &end);
                        return true;
                    }
                    None => {}
                },
                (_, None) => {
                    let refusal = Refusal::new("PID 1 did not answer the request to its end");
                    session.end(id, &End { error: Some(refusal), code: None });
                    return true;
                }
            }
        }
        let Kind::Program(program) = &mut self.kind else { return false };
        program.step(id, session)
    }

    /// Takes bytes for a program.
    pub fn input(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Find(_, wish) => drop(wish.input.take(bytes)),
            Kind::Program(program) => {
                // A caller that sends more than was granted does not know the protocol.
                if !program.input.take(bytes) {
                    program.kill();
                }
            }
            Kind::Answer(_) | Kind::Logs(_) => {}
        }
    }

    /// Takes another size of the terminal.
    pub fn resize(&mut self, window: Window) {
        match &mut self.kind {
            Kind::Find(_, wish) => wish.window = wish.window.and(Some(window)),
            Kind::Program(program) => {
                program.window = Some(window);
                program.resize();
            }
            Kind::Answer(_) | Kind::Logs(_) => {}
        }
    }
}

/// A program in a container, as its caller sees it.
#[derive(Debug)]
struct Program {
    child: Child,
    ended: OwnedFd,
    input: Input,
    stdin: Option<OwnedFd>,
    outputs: [(Stream, Option<OwnedFd>); 2],
    /// Where the terminal is handed over.
    hatch: Option<Hatch>,
    terminal: bool,
    window: Option<Window>,
}

impl Program {
    fn start(whereabouts: &[u8], wish: &mut Wish) -> Result<Self, Refusal> {
        let Wish { argv, window, input } = wish;
        let (window, input) = (*window, std::mem::take(input));
        let failed = |what: &str| {
            let what = what.to_owned();
            move |error: std::io::Error| Refusal::new(format!("{what}: {error}"))
        };
        let place: Whereabouts =
            serde_json::from_slice(whereabouts).map_err(|error| Refusal::new(format!("PID 1 answered: {error}")))?;
        let hatch = window.map(|_| Hatch::open()).transpose().map_err(failed("making a terminal"))?;
        let console = hatch.as_ref().map_or("-".into(), |hatch| hatch.path.to_string_lossy());
        let mut words = vec!["exec", &place.kind, &place.directory, &console];
        words.extend(argv.iter().map(String::as_str));
        let mut command = applet::again(&words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_clear();
        let mut child = command.spawn().map_err(failed("starting the program"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| Refusal::new("no process"))?;
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| failed("watching the program")(e.into()))?;
        let [stdin, stdout, stderr] = [
            child.stdin.take().map(OwnedFd::from),
            child.stdout.take().map(OwnedFd::from),
            child.stderr.take().map(OwnedFd::from),
        ];
        for pipe in [&stdin, &stdout, &stderr].into_iter().flatten() {
            rustix::io::ioctl_fionbio(pipe, true).map_err(|e| failed("setting up a pipe")(e.into()))?;
        }
        let stdin = if window.is_some() { None } else { stdin };
        let outputs = [(Stream::Stdout, stdout), (Stream::Stderr, stderr)];
        let terminal = window.is_some();
        Ok(Self { child, ended, input, stdin, outputs, hatch, terminal, window })
    }

    fn polls<'a>(&'a self, room: bool, polls: &mut Vec<PollFd<'a>>) {
        polls.push(PollFd::new(&self.ended, PollFlags::IN));
        if let Some(stdin) = self.stdin.as_ref().filter(|_| !self.input.bytes.is_empty()) {
            polls.push(PollFd::new(stdin, PollFlags::OUT));
        }
        if room {
            polls
                .extend(self.outputs.iter().filter_map(|(_, fd)| fd.as_ref()).map(|fd| PollFd::new(fd, PollFlags::IN)));
        }
        if let Some(hatch) = &self.hatch {
            polls.push(PollFd::new(hatch.connection.as_ref().unwrap_or(&hatch.listener), PollFlags::IN));
        }
    }

    fn resize(&self) {
        if let (true, Some(window), (_, Some(terminal))) = (self.terminal, self.window, &self.outputs[0]) {
            let size =
                rustix::termios::Winsize { ws_row: window.rows, ws_col: window.columns, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = rustix::termios::tcsetwinsize(terminal, size);
        }
    }

    fn step(&mut self, id: u32, session: &mut Session) -> bool {
        if let Some(terminal) = self.hatch.as_mut().and_then(Hatch::take) {
            self.hatch = None;
            self.stdin = terminal.try_clone().ok();
            self.outputs[0].1 = Some(terminal);
            self.resize();
        }
        self.write(id, session);
        let ended = self.child.try_wait().ok().flatten();
        let quiet = self.read(id, session);
        match ended {
            // What it has said is passed on first; what its children say later is not waited for.
            Some(status) if quiet => {
                let code = status.code().and_then(|code| u8::try_from(code).ok());
                session.end(id, &End { error: None, code: Some(code.unwrap_or(u8::MAX)) });
                true
            }
            _ => false,
        }
    }

    fn write(&mut self, id: u32, session: &mut Session) {
        let bytes = &mut self.input.bytes;
        let Some(stdin) = &self.stdin else {
            // Until the terminal is there, input waits; where nobody reads any more, it is thrown away.
            if self.hatch.is_none() && !bytes.is_empty() {
                session.grant(id, bytes.len());
                bytes.clear();
            }
            return;
        };
        while !bytes.is_empty() {
            match rustix::io::write(stdin, bytes) {
                Ok(count) => {
                    bytes.drain(..count.min(bytes.len()));
                    session.grant(id, count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.stdin = None;
                    return;
                }
            }
        }
        if std::mem::take(&mut self.input.ends) {
            if self.terminal {
                // Ctrl-D, which is how a terminal says it.
                let _ = rustix::io::write(stdin, &[4]);
            } else {
                self.stdin = None;
            }
        }
    }

    /// Passes output on. True when there is none left for now.
    fn read(&mut self, id: u32, session: &mut Session) -> bool {
        let mut bytes = [0; 8192];
        let mut quiet = true;
        for (stream, place) in &mut self.outputs {
            while let Some(fd) = place {
                let room = session.room(id).min(bytes.len());
                if room == 0 || session.full() {
                    quiet = false;
                    break;
                }
                match rustix::io::read(&*fd, bytes.get_mut(..room).unwrap_or_default()) {
                    Ok(count) if count > 0 => session.data(id, *stream, bytes.get(..count).unwrap_or_default()),
                    Err(Errno::INTR) => {}
                    Err(Errno::AGAIN) => break,
                    // EIO is how a terminal ends.
                    Ok(_) | Err(_) => *place = None,
                }
            }
        }
        quiet
    }

    fn kill(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && matches!(self.child.try_wait(), Ok(None))
        {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        // Reaped by PID 1, which inherits it, if it does not end at once.
        let _ = self.child.try_wait();
    }
}

/// Where the container library hands over a terminal that it has made in the container.
#[derive(Debug)]
struct Hatch {
    path: PathBuf,
    listener: OwnedFd,
    connection: Option<OwnedFd>,
}

impl Hatch {
    fn open() -> std::io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/run/bootwright/terminal-{}-{number}.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
        let kind = rustix::net::SocketType::STREAM;
        let listener = rustix::net::socket_with(rustix::net::AddressFamily::UNIX, kind, flags, None)?;
        rustix::net::bind(&listener, &SocketAddrUnix::new(&path)?)?;
        rustix::net::listen(&listener, 1)?;
        Ok(Self { path, listener, connection: None })
    }

    /// The terminal, when it has come.
    fn take(&mut self) -> Option<OwnedFd> {
        if self.connection.is_none() {
            let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
            self.connection = rustix::net::accept_with(&self.listener, flags).ok();
        }
        let mut bytes = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        recvmsg(self.connection.as_ref()?.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, flags).ok()?;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let terminal = fds.flatten().last()?;
        rustix::io::ioctl_fionbio(&terminal, true).ok()?;
        Some(terminal)
    }
}

impl Drop for Hatch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
