//! A program in a container, as its caller has it: its input, its outputs, its terminal, and how it ends.

use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};

use bootwright_bundle::control::{DebugContainer, End, Refusal, Session, Stream, WINDOW, Window};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};

use super::debug;
use super::hatch::Hatch;
use super::link::Whereabouts;
use crate::applet;

/// What is to be executed.
#[derive(Debug)]
pub enum What {
    /// A program and its arguments, in a service.
    Exec(Vec<String>),
    /// Nothing: a file is read.
    Read(String),
    /// A debug container.
    Debug(DebugContainer),
}

/// What is to be executed when it is known where, and what has been typed for it already.
#[derive(Debug)]
pub struct Wish {
    what: What,
    /// The size of its terminal, if it is to have one.
    pub window: Option<Window>,
    /// What has been typed.
    pub input: Input,
}

impl Wish {
    /// Before anything is typed.
    pub fn new(what: What, window: Option<Window>) -> Self {
        Self { what, window, input: Input::default() }
    }
}

/// What is typed for a program.
#[derive(Debug, Default)]
pub struct Input {
    bytes: Vec<u8>,
    /// Whether no more will come.
    ends: bool,
}

impl Input {
    /// Takes bytes. False when they are more than was granted.
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        self.ends |= bytes.is_empty();
        let fits = self.bytes.len() + bytes.len() <= WINDOW;
        if fits {
            self.bytes.extend_from_slice(bytes);
        }
        fits
    }
}

fn failed(what: &str) -> impl FnOnce(std::io::Error) -> Refusal {
    let what = what.to_owned();
    move |error| Refusal::new(format!("{what}: {error}"))
}

/// A terminal: our end and the program's.
fn terminal() -> std::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let ours = openpt(flags)?;
    unlockpt(&ours)?;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    Ok((ours, theirs))
}

/// A program in a container, as its caller sees it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    ended: OwnedFd,
    input: Input,
    /// Bytes of input that are a debug container's files, and go through a pipe even where there is a terminal.
    archive: u64,
    stdin: Option<OwnedFd>,
    outputs: [(Stream, Option<OwnedFd>); 2],
    /// Where the terminal is handed over.
    hatch: Option<Hatch>,
    terminal: bool,
    window: Option<Window>,
}

impl Program {
    /// Starts it where PID 1 has said that the container is.
    pub fn start(whereabouts: &[u8], wish: &mut Wish) -> Result<Self, Refusal> {
        let place: Whereabouts =
            serde_json::from_slice(whereabouts).map_err(|error| Refusal::new(format!("PID 1 answered: {error}")))?;
        let mut program = match &wish.what {
            What::Exec(argv) => Self::exec(&place, argv, wish.window.is_some())?,
            What::Read(path) => {
                // The machine's root is PID 1's.
                let process = place.pid.unwrap_or(1).to_string();
                Self::spawn(&["read", &process, path], None)?
            }
            What::Debug(container) => Self::debug(&place, container, wish.window.is_some())?,
        };
        program.input = std::mem::take(&mut wish.input);
        program.window = wish.window;
        program.set_size();
        Ok(program)
    }

    fn exec(place: &Whereabouts, argv: &[String], terminal: bool) -> Result<Self, Refusal> {
        let hatch = terminal.then(Hatch::open).transpose().map_err(failed("making a terminal"))?;
        let console = hatch.as_ref().map_or("-".into(), |hatch| hatch.path.to_string_lossy());
        let mut words = vec!["exec", &place.kind, &place.directory, &console];
        words.extend(argv.iter().map(String::as_str));
        let mut program = Self::spawn(&words, None)?;
        if terminal {
            program.stdin = None;
        }
        program.terminal = terminal;
        program.hatch = hatch;
        Ok(program)
    }

    fn debug(place: &Whereabouts, container: &DebugContainer, terminal: bool) -> Result<Self, Refusal> {
        let bound = debug::bound(container)?.to_string();
        let json = serde_json::to_string(container).map_err(|e| failed("starting the program")(e.into()))?;
        let process = place.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let terminal = terminal.then(self::terminal).transpose().map_err(failed("making a terminal"))?;
        let mut program = Self::spawn(&["debug", &process, &bound, &json], terminal)?;
        program.archive = container.archive;
        Ok(program)
    }

    /// Starts a program of ours, whose outputs are pipes or a terminal, given by its two ends.
    fn spawn(words: &[&str], terminal: Option<(OwnedFd, OwnedFd)>) -> Result<Self, Refusal> {
        let mut command = applet::again(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env_clear();
        let terminal = match terminal {
            Some((ours, theirs)) => {
                let again = theirs.try_clone().map_err(failed("making a terminal"))?;
                command.stdout(theirs).stderr(again);
                Some(ours)
            }
            None => None,
        };
        let mut child = command.spawn().map_err(failed("starting the program"))?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| Refusal::new("no process"))?;
        let ended = pidfd_open(pid, PidfdFlags::empty()).map_err(|e| failed("watching the program")(e.into()))?;
        let stdin = child.stdin.take().map(OwnedFd::from);
        let is_terminal = terminal.is_some();
        let stdout = terminal.or(child.stdout.take().map(OwnedFd::from));
        let stderr = child.stderr.take().map(OwnedFd::from);
        for pipe in [&stdin, &stdout, &stderr].into_iter().flatten() {
            rustix::io::ioctl_fionbio(pipe, true).map_err(|e| failed("setting up a pipe")(e.into()))?;
        }
        Ok(Self {
            child,
            ended,
            input: Input::default(),
            archive: 0,
            stdin,
            outputs: [(Stream::Stdout, stdout), (Stream::Stderr, stderr)],
            hatch: None,
            terminal: is_terminal,
            window: None,
        })
    }

    /// What is worth waiting for.
    pub fn polls<'a>(&'a self, room: bool, polls: &mut Vec<PollFd<'a>>) {
        polls.push(PollFd::new(&self.ended, PollFlags::IN));
        if let Some(stdin) = self.stdin.as_ref().filter(|_| !self.input.bytes.is_empty()) {
            polls.push(PollFd::new(stdin, PollFlags::OUT));
        }
        if room {
            polls
                .extend(self.outputs.iter().filter_map(|(_, fd)| fd.as_ref()).map(|fd| PollFd::new(fd, PollFlags::IN)));
        }
        if let Some(hatch) = &self.hatch {
            polls.push(PollFd::new(hatch.waits_for(), PollFlags::IN));
        }
    }

    /// Takes another size of the terminal.
    pub fn resize(&mut self, window: Window) {
        self.window = Some(window);
        self.set_size();
    }

    fn set_size(&self) {
        if let (true, Some(window), (_, Some(terminal))) = (self.terminal, self.window, &self.outputs[0]) {
            let size =
                rustix::termios::Winsize { ws_row: window.rows, ws_col: window.columns, ws_xpixel: 0, ws_ypixel: 0 };
            let _ = rustix::termios::tcsetwinsize(terminal, size);
        }
    }

    /// Moves what can be moved. True when it is over.
    pub fn step(&mut self, id: u32, session: &mut Session) -> bool {
        if let Some(terminal) = self.hatch.as_mut().and_then(Hatch::take) {
            self.hatch = None;
            self.stdin = terminal.try_clone().ok();
            self.outputs[0].1 = Some(terminal);
            self.set_size();
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
        while !self.input.bytes.is_empty() {
            let bytes = &mut self.input.bytes;
            let Some(stdin) = &self.stdin else {
                // Until the terminal is there, input waits; where nobody reads any more, it is thrown away.
                if self.hatch.is_none() {
                    session.grant(id, bytes.len());
                    bytes.clear();
                }
                return;
            };
            let now = match usize::try_from(self.archive) {
                Ok(archive @ 1..) => bytes.get(..archive.min(bytes.len())).unwrap_or_default(),
                _ => &bytes[..],
            };
            match rustix::io::write(stdin, now) {
                Ok(count) => {
                    bytes.drain(..count.min(bytes.len()));
                    session.grant(id, count);
                    self.passed(count as u64);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => self.stdin = None,
            }
        }
        if self.hatch.is_none() && std::mem::take(&mut self.input.ends) {
            match &self.stdin {
                Some(stdin) if self.terminal && self.archive == 0 => {
                    // Ctrl-D, which is how a terminal says it.
                    let _ = rustix::io::write(stdin, &[4]);
                }
                _ => self.stdin = None,
            }
        }
    }

    /// When the last of the files is on its way, what follows is typed.
    fn passed(&mut self, count: u64) {
        let before = self.archive;
        self.archive = before.saturating_sub(count);
        if before > 0 && self.archive == 0 && self.terminal {
            self.stdin = self.outputs[0].1.as_ref().and_then(|terminal| terminal.try_clone().ok());
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

    /// Takes what is typed.
    pub fn input(&mut self, bytes: &[u8]) {
        // A caller that sends more than was granted does not know the protocol.
        if !self.input.take(bytes) {
            self.kill();
        }
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
