//! The machine's life after the boot: one loop that waits, hears, and does what the sequence says.
//!
//! Everything that can happen is a descriptor or a time: signals (signalfd), device events (netlink), what children tell and
//! containers print (pipes), what services say (datagrams), consoles that can take more, power buttons (evdev). Nothing is
//! polled, nothing blocks, and there is one thread. What to do is decided in `sequence`, without side effects; here it is
//! done, and `voice` says it.

mod act;
mod answers;
mod hear;
mod notify;
mod plan;
mod power;
mod prober;
mod record;
mod runner;
mod sequence;
mod shell;
mod sources;
mod timers;
mod unit;
mod voice;
mod watchdog;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::process::Pid;

use crate::boot::Machine;
use crate::control::Desk;
use crate::sys;

use notify::Notify;
use prober::Prober;
use record::Record;
use runner::{Outcome, Runner};
use sequence::{Event, Sequence, State};
use sources::Source;
use timers::Timers;
use unit::Unit;
use watchdog::Watchdog;

pub use runner::pipe;
pub use shell::shell;

/// Signals that init receives as events.
pub fn signals() -> io::Result<OwnedFd> {
    let pwr = libc::SIGPWR;
    sys::signal_fd(&[libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP, pwr])
}

/// Runs the machine until it ends.
pub fn run(mut machine: Machine) -> ! {
    let (units, mut troubles) = unit::discover(machine.cmdline.onfail);
    let (plans, more) = plan::plans(&units);
    troubles.extend(more);
    let report = std::mem::take(&mut machine.report);
    let desk = Desk::new(units.iter().map(|unit| unit.name.as_str()), report, &mut troubles);
    // A child per processor: creating a container is work, and each child needs memory.
    let width = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
    let sequence = Sequence::new(plans, width, machine.cmdline.onfail_delay);
    let posts = units.into_iter().map(Post::new).collect();
    let mut supervisor = Supervisor {
        machine,
        posts,
        sequence,
        desk,
        buttons: power::buttons(),
        poll: epoll::create(epoll::CreateFlags::CLOEXEC).ok(),
        timers: Timers::default(),
        watchdog: None,
        shell: None,
        requested: None,
    };
    for trouble in troubles {
        supervisor.machine.consoles.say(&trouble);
    }
    supervisor.desk.show_crash(&mut supervisor.machine.consoles);
    supervisor.listen();
    supervisor.arm_watchdog();
    supervisor.happen(Event::Begin);
    loop {
        supervisor.turn();
    }
}

/// Time since the kernel started.
fn now() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}

/// A container and everything around it.
struct Post {
    unit: Unit,
    record: Record,
    runner: Option<Runner>,
    prober: Option<Prober>,
    notify: Option<Notify>,
}

impl Post {
    fn new(unit: Unit) -> Self {
        Self { unit, record: Record::default(), runner: None, prober: None, notify: None }
    }
}

struct Supervisor {
    machine: Machine,
    posts: Vec<Post>,
    sequence: Sequence,
    desk: Desk,
    buttons: Vec<(String, OwnedFd)>,
    poll: Option<OwnedFd>,
    timers: Timers,
    watchdog: Option<Watchdog>,
    shell: Option<Pid>,
    requested: Option<Duration>,
}

impl Supervisor {
    fn listen(&self) {
        if let Some(signals) = &self.machine.signals {
            self.watch(signals, Source::Signals, EventFlags::IN);
        }
        if let Some(uevents) = &self.machine.uevents {
            self.watch(uevents, Source::Uevents, EventFlags::IN);
        }
        for (i, (_, button)) in self.buttons.iter().enumerate() {
            self.watch(button, Source::Button(i), EventFlags::IN);
        }
    }

    fn arm_watchdog(&mut self) {
        let Machine { cmdline, consoles, loader, .. } = &mut self.machine;
        let Some(asked) = &cmdline.watchdog else { return };
        match Watchdog::open(asked, |module| loader.want_one(module).say(consoles)) {
            Ok(watchdog) => self.watchdog = Some(watchdog),
            Err(error) => consoles.say(&format!("no watchdog `{}`: {error}", asked.device)),
        }
    }

    fn watch(&self, fd: impl AsFd, source: Source, flags: EventFlags) {
        watch(self.poll.as_ref(), fd, source, flags);
    }

    /// Waits for the next thing to happen and deals with it.
    fn turn(&mut self) {
        for (i, console) in self.machine.consoles.waiting() {
            self.watch(console, Source::Console(i), EventFlags::OUT | EventFlags::ONESHOT);
        }
        self.desk.turn(&mut self.machine.consoles);
        for (i, fd, flags) in self.desk.watches() {
            watch(self.poll.as_ref(), fd, Source::Desk(i), flags);
        }
        let desk = self.desk.due().map(|due| due.saturating_duration_since(Instant::now()));
        let pauses = [self.timers.pause(now()), self.watchdog.as_ref().map(|dog| dog.pause(now())), desk];
        for source in self.wait(pauses.into_iter().flatten().min()) {
            self.hear(source);
        }
        let now = now();
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.feed(now);
        }
        while let Some(timer) = self.timers.take(now) {
            self.happen(Event::Due(timer));
        }
    }

    fn wait(&self, pause: Option<Duration>) -> Vec<Source> {
        // Rounded up to milliseconds, so that a timer is due when the wait ends.
        let pause = pause.map(|p| p.as_millis().saturating_add(1)).map(|ms| rustix::time::Timespec {
            tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(ms % 1000).unwrap_or(0) * 1_000_000,
        });
        let mut events = Vec::with_capacity(16);
        let waited = match &self.poll {
            Some(poll) => epoll::wait(poll, rustix::buffer::spare_capacity(&mut events), pause.as_ref()),
            // No epoll, no descriptors: a slow machine is better than a dead one.
            None => {
                let second = rustix::time::Timespec { tv_sec: 1, tv_nsec: 0 };
                rustix::event::poll(&mut [], Some(pause.as_ref().unwrap_or(&second)))
            }
        };
        if waited.is_err() || self.poll.is_none() {
            return vec![Source::Signals];
        }
        events.iter().map(|event| Source::of(event.data.u64())).collect()
    }

    /// Tells the sequence what has happened and does what it says.
    fn happen(&mut self, event: Event) {
        let now = now();
        let actions = self.sequence.handle(event, now);
        for (i, state) in self.sequence.take_changes() {
            self.note(i, state, now);
        }
        for action in actions {
            self.act(action, now);
        }
    }

    /// Remembers that a container is in another state.
    fn note(&mut self, i: usize, state: State, now: Duration) {
        let Some(record) = self.posts.get_mut(i).map(|post| &mut post.record) else { return };
        match state {
            State::Starting => record.start(now),
            State::Ready => {
                record.ready = Some(now);
                self.desk.report.unit_ready(i);
            }
            State::Stopping => record.stopped = Some(now),
            State::Waiting | State::Running | State::Backoff | State::Down | State::Failed => {}
        }
        let ended = matches!(state, State::Backoff | State::Down | State::Failed);
        let detail = record.outcome.as_ref().filter(|_| ended).map(Outcome::to_string).unwrap_or_default();
        self.event(Some(i), state.name(), &detail, now);
    }

    /// Remembers what happened to a container, or to the machine.
    fn event(&mut self, i: Option<usize>, what: &str, detail: &str, now: Duration) {
        let unit = i.and_then(|i| self.posts.get(i)).map(|post| &post.unit);
        let (kind, name) = unit.map_or(("machine", ""), |unit| (unit.kind.word(), unit.name.as_str()));
        self.desk.journal.borrow_mut().event(now, kind, name, what, detail);
    }
}

/// Listens to a descriptor from now on.
fn watch(poll: Option<&OwnedFd>, fd: impl AsFd, source: Source, flags: EventFlags) {
    if let Some(poll) = poll {
        let data = EventData::new_u64(source.token());
        if epoll::add(poll, &fd, data, flags) == Err(rustix::io::Errno::EXIST) {
            let _ = epoll::modify(poll, &fd, data, flags);
        }
    }
}
