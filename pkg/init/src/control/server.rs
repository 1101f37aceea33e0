//! The child of PID 1 that serves the control channel: one loop over the lines, the jobs of each, and new connections.
//!
//! When PID 1 closes the socket between them, which is its standard input, it passes on what PID 1 has said before, and ends.

use std::fs;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bootwright_bundle::control::{CONTROL_JSON, Control, End, Heard, Refusal, Request, Right};
use rustix::event::epoll;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::desk;
use super::job::Job;
use super::line::{Line, State, listeners};
use crate::sys;

/// Lines at a time at most.
const LINES: usize = 32;

/// How long that may take.
const ENDING: Duration = Duration::from_millis(900);

/// Runs the child.
pub fn run() -> ExitCode {
    sys::default_signals();
    // Its sockets are root's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    match Server::new() {
        Ok(mut server) => {
            while server.turn() {}
            ExitCode::SUCCESS
        }
        Err(error) => {
            kmsg(&format!("control channel: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Its words go to the kernel's log, and so to the consoles.
fn kmsg(text: &str) {
    let _ = fs::write("/dev/kmsg", format!("<3>bootwright: {text}\n"));
}

/// A line and what is asked on it.
type Served = Option<(Line, Vec<Job>)>;

struct Server {
    pid1: OwnedFd,
    allow: Option<Vec<Right>>,
    poll: OwnedFd,
    listeners: Vec<OwnedFd>,
    lines: Vec<Served>,
    /// When it ends at the latest: PID 1 has closed its end.
    ends: Option<Instant>,
}

impl Server {
    fn new() -> std::io::Result<Self> {
        let settings: Control =
            fs::read(CONTROL_JSON).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let pid1 = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        rustix::stdio::dup2_stdin(fs::File::open("/dev/null")?)?;
        let (listeners, troubles) = listeners(&settings);
        troubles.iter().for_each(|trouble| kmsg(trouble));
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut server = Self { pid1, allow: settings.allow, poll, listeners, lines: Vec::new(), ends: None };
        if settings.virtio_serial != Some(false)
            && let Some(port) = desk::port()
        {
            match Line::port(&port) {
                Ok(line) => add(&mut server.lines, &server.poll, line),
                Err(error) => kmsg(&format!("control channel: opening {}: {error}", port.display())),
            }
        }
        Ok(server)
    }

    /// Waits for something and does it. False when there is nothing more to do.
    fn turn(&mut self) -> bool {
        if !self.wait() {
            self.ends.get_or_insert_with(|| Instant::now() + ENDING);
        }
        self.hear_changes();
        for listener in &self.listeners {
            // One more than there is room for is closed at once: its caller sees that, and does not wait.
            if let Ok(connection) = rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
                add(&mut self.lines, &self.poll, Line::connection(connection));
            }
        }
        let allow = self.allow.as_deref();
        for slot in &mut self.lines {
            let Some((line, jobs)) = slot else { continue };
            if serve(line, jobs, allow, &self.pid1) == State::Closed {
                *slot = None;
            }
        }
        let owes = |(line, jobs): &(Line, Vec<Job>)| line.owes() || jobs.iter().any(Job::waits_for_pid1);
        self.ends.is_none_or(|ends| Instant::now() < ends && self.lines.iter().flatten().any(owes))
    }

    /// Waits for something. False when PID 1 is not there any more.
    fn wait(&self) -> bool {
        // A PID 1 that is gone would wake it again and again.
        let pid1 = self.ends.is_none().then(|| PollFd::new(&self.pid1, PollFlags::IN));
        let mut polls: Vec<PollFd<'_>> = pid1.into_iter().collect();
        polls.push(PollFd::new(&self.poll, PollFlags::IN));
        polls.extend(self.listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        let mut busy = false;
        for (line, jobs) in self.lines.iter().flatten() {
            busy |= line.busy();
            if !line.session.full() {
                jobs.iter().for_each(|job| job.polls(&line.session, &mut polls));
            }
        }
        let left = self.ends.map(|ends| ends.saturating_duration_since(Instant::now()));
        let limit = if busy { Some(Duration::ZERO) } else { left };
        let limit = limit.map(|left| Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() });
        match poll(&mut polls, limit.as_ref()) {
            Ok(_) => polls.first().is_none_or(|pid1| self.ends.is_some() || pid1.revents().is_empty()),
            Err(error) => error == Errno::INTR,
        }
    }

    fn hear_changes(&mut self) {
        let mut events = Vec::with_capacity(LINES);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let _ = epoll::wait(&self.poll, rustix::buffer::spare_capacity(&mut events), Some(&at_once));
        for event in events {
            let position = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if let Some(Some((line, _))) = self.lines.get_mut(position) {
                line.changed();
            }
        }
    }
}

fn add(lines: &mut Vec<Served>, poll: &OwnedFd, line: Line) {
    let free = lines.iter().position(Option::is_none).unwrap_or(lines.len());
    if free < LINES && line.watch(poll, free as u64).is_ok() {
        lines.resize_with(lines.len().max(free + 1), || None);
        if let Some(slot) = lines.get_mut(free) {
            *slot = Some((line, Vec::new()));
        }
    }
}

/// Moves everything on a line that can be moved.
fn serve(line: &mut Line, jobs: &mut Vec<Job>, allow: Option<&[Right]>, pid1: &OwnedFd) -> State {
    let mut heard = Vec::new();
    let state = line.read(|said| heard.push(said));
    let session = &mut line.session;
    for said in heard {
        match said {
            Heard::Greeting(greeting) => {
                jobs.clear();
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                session.greet(greeting.nonce, env!("CARGO_PKG_VERSION"), &host);
            }
            Heard::Request(id, request) => match begin(id, request, allow, pid1) {
                Ok(Some(job)) => jobs.push(job),
                Ok(None) => session.end(id, &End::default()),
                Err(refusal) => session.end(id, &End { error: Some(refusal), code: None }),
            },
            Heard::Data(id, bytes) => jobs.iter_mut().filter(|job| job.id == id).for_each(|job| job.input(&bytes)),
            Heard::Window(id, window) => jobs.iter_mut().filter(|job| job.id == id).for_each(|job| job.resize(window)),
            Heard::Cancel(id) => jobs.retain(|job| job.id != id),
        }
    }
    match state {
        State::Open => {}
        State::Left => jobs.clear(),
        State::Closed => return state,
    }
    jobs.retain_mut(|job| !job.step(&mut line.session));
    line.write()
}

/// Begins a request; none when there is nothing to do for it.
fn begin(id: u32, request: Request, allow: Option<&[Right]>, pid1: &OwnedFd) -> Result<Option<Job>, Refusal> {
    let Some(right) = request.right() else { return Ok(None) };
    if allow.is_some_and(|allow| !allow.contains(&right)) {
        let refusal = Refusal::new(format!("the machine does not allow `{}`", right.name()));
        return Err(refusal.hint("its spec says what it allows: `control: {allow: [...]}`"));
    }
    Job::begin(id, request, pid1).map(Some)
}
