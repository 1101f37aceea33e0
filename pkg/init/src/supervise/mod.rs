//! The machine's life after the boot: one loop that waits, hears, and does what the sequence says.
//!
//! Everything that can happen is a descriptor or a time: signals (signalfd), device events (netlink), what children tell and
//! containers print (pipes), consoles that can take more, power buttons (evdev). Nothing is polled, nothing blocks, and
//! there is one thread. What to do is decided in `sequence`, without side effects; here it is done.

mod answers;
mod power;
mod runner;
mod sequence;
mod shell;
mod unit;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use bootwright_bundle::control::Stream;
use bootwright_bundle::{Ending, READY_PREFIX};
use bootwright_early::{Consoles, end, read_uevents};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::process::{Pid, WaitOptions};

use crate::boot::Machine;
use crate::control::Desk;
use crate::sys;

use runner::{Outcome, Runner};
use sequence::{Action, Event, Sequence, Timer};
use unit::{Kind, Unit};

pub use shell::shell;

/// Lines of output that are repeated when a container ends.
const LAST_LINES: usize = 20;
/// Requests that follow one another more closely are one.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// Signals that init receives as events.
pub fn signals() -> io::Result<OwnedFd> {
    let pwr = libc::SIGPWR;
    sys::signal_fd(&[libc::SIGCHLD, libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGHUP, pwr])
}

/// Runs the machine until it ends.
pub fn run(mut machine: Machine) -> ! {
    let (units, mut troubles) = unit::discover(machine.cmdline.onfail);
    let report = std::mem::take(&mut machine.report);
    let desk = Desk::new(units.iter().map(|unit| unit.name.as_str()), report, &mut troubles);
    // A child per processor: creating a container is work, and each child needs memory.
    let width = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
    let sequence = Sequence::new(&units, width, machine.cmdline.onfail_delay);
    let runners = units.iter().map(|_| None).collect();
    let mut supervisor = Supervisor {
        machine,
        units,
        sequence,
        runners,
        desk,
        buttons: power::buttons(),
        poll: epoll::create(epoll::CreateFlags::CLOEXEC).ok(),
        timers: Vec::new(),
        shell: None,
        requested: None,
    };
    for trouble in troubles {
        supervisor.machine.consoles.say(&trouble);
    }
    supervisor.desk.show_crash(&mut supervisor.machine.consoles);
    supervisor.listen();
    supervisor.happen(Event::Begin);
    loop {
        supervisor.turn();
    }
}

/// What a descriptor is, as 64 bits: the kind above, the position below.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Uevents,
    Status(usize),
    Output(usize),
    Console(usize),
    Button(usize),
    Desk(usize),
}

impl Source {
    fn token(self) -> u64 {
        let (kind, position) = match self {
            Self::Signals => (0, 0),
            Self::Uevents => (1, 0),
            Self::Status(i) => (2, i),
            Self::Output(i) => (3, i),
            Self::Console(i) => (4, i),
            Self::Button(i) => (5, i),
            Self::Desk(i) => (6, i),
        };
        (kind << 32) | (position as u64 & 0xffff_ffff)
    }

    fn of(token: u64) -> Self {
        let position = (token & 0xffff_ffff) as usize;
        match token >> 32 {
            0 => Self::Signals,
            1 => Self::Uevents,
            2 => Self::Status(position),
            3 => Self::Output(position),
            4 => Self::Console(position),
            6 => Self::Desk(position),
            _ => Self::Button(position),
        }
    }
}

fn watch(poll: Option<&OwnedFd>, fd: impl AsFd, source: Source, flags: EventFlags) {
    if let Some(poll) = poll {
        let data = EventData::new_u64(source.token());
        if epoll::add(poll, &fd, data, flags) == Err(rustix::io::Errno::EXIST) {
            let _ = epoll::modify(poll, &fd, data, flags);
        }
    }
}

struct Supervisor {
    machine: Machine,
    units: Vec<Unit>,
    sequence: Sequence,
    runners: Vec<Option<Runner>>,
    desk: Desk,
    buttons: Vec<(String, OwnedFd)>,
    poll: Option<OwnedFd>,
    timers: Vec<(Instant, Timer)>,
    shell: Option<Pid>,
    requested: Option<Instant>,
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
        let dues = self.timers.iter().map(|(due, _)| *due).chain(self.desk.due());
        let pause = dues.map(|due| due.saturating_duration_since(Instant::now())).min();
        for source in self.wait(pause) {
            self.hear(source);
        }
        let now = Instant::now();
        while let Some(at) = self.timers.iter().position(|(due, _)| *due <= now) {
            let (_, timer) = self.timers.swap_remove(at);
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

    fn hear(&mut self, source: Source) {
        match source {
            Source::Signals => self.hear_signals(),
            Source::Uevents => self.hear_uevents(),
            Source::Status(i) => self.hear_child(i),
            Source::Output(i) => self.hear_output(i),
            Source::Console(i) => self.machine.consoles.flush(i),
            Source::Button(i) => self.hear_button(i),
            Source::Desk(i) => {
                while let Some(call) = self.desk.hear(i) {
                    self.answer(call);
                }
            }
        }
    }

    fn hear_signals(&mut self) {
        while let Some(signal) = self.machine.signals.as_ref().and_then(sys::read_signal) {
            let request = match signal {
                libc::SIGUSR1 => Some((Ending::Halt, "SIGUSR1")),
                libc::SIGUSR2 => Some((Ending::Poweroff, "SIGUSR2")),
                libc::SIGPWR => Some((Ending::Poweroff, "SIGPWR")),
                libc::SIGTERM => Some((Ending::Reboot, "SIGTERM")),
                // The kernel sends it for ctrl-alt-del.
                libc::SIGINT => Some((Ending::Reboot, "ctrl-alt-del")),
                _ => None,
            };
            if let Some((ending, why)) = request {
                self.request(ending, why);
            }
        }
        self.reap();
    }

    fn request(&mut self, ending: Ending, why: &str) {
        // One press may come by two devices, and a held key repeats.
        let now = Instant::now();
        if self.requested.replace(now).is_some_and(|last| now.duration_since(last) < SAME_REQUEST) {
            return;
        }
        self.machine.consoles.say(&format!("{ending} asked for by {why}"));
        self.happen(Event::Request(ending));
    }

    /// Reaps every process that has ended. Those of containers are known by pid; orphans are nobody's.
    fn reap(&mut self) {
        // Children tell a container's pid before they end: heard first, so that its end is not taken for an orphan's.
        for i in 0..self.runners.len() {
            self.hear_child(i);
        }
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            if self.shell == Some(pid) {
                self.shell = None;
                self.happen(Event::ShellEnded);
                continue;
            }
            if self.desk.reaped(pid) {
                continue;
            }
            // A child that ended after the hearing above may have said its last words since.
            let owner = (0..self.runners.len()).find(|i| {
                let runner = self.runners.get_mut(*i).and_then(Option::as_mut);
                runner.is_some_and(|r| r.reaped(pid, status))
            });
            if let Some(i) = owner {
                self.hear_child(i);
                self.settle(i);
            }
        }
    }

    fn hear_child(&mut self, i: usize) {
        if let Some(Some(runner)) = self.runners.get_mut(i)
            && runner.hear()
        {
            self.desk.report.started(i, runner.cgroup());
            self.desk.report.unit_ready(i);
            self.happen(Event::Started(i));
        }
    }

    fn hear_output(&mut self, i: usize) {
        let (Some(Some(runner)), Some(unit)) = (self.runners.get_mut(i), self.units.get(i)) else { return };
        let (consoles, desk) = (&mut self.machine.consoles, &mut self.desk);
        runner.read(|line| echo(consoles, desk, (i, unit), line));
    }

    /// Deals with a container that may have ended.
    fn settle(&mut self, i: usize) {
        let (Some(slot), Some(unit)) = (self.runners.get_mut(i), self.units.get(i)) else { return };
        let Some(outcome) = slot.as_ref().and_then(Runner::ended) else { return };
        let Some(mut runner) = slot.take() else { return };
        let (consoles, desk) = (&mut self.machine.consoles, &mut self.desk);
        // What it printed last; a share is enough, since a pipe holds no more than two.
        runner.read(|line| echo(consoles, desk, (i, unit), line));
        runner.read(|line| echo(consoles, desk, (i, unit), line));
        runner.output.finish(|line| echo(consoles, desk, (i, unit), line));
        desk.report.ended(i, outcome.to_string());
        runner.clean_up(unit);
        if unit.kind == Kind::Service || !outcome.is_good() {
            tell(consoles, unit, &outcome, &runner);
        }
        if !outcome.is_good() && !runner.stopping() {
            let headline = format!("{} `{}` ended: {outcome}", unit.kind.word(), unit.name);
            desk.keep(i, &headline, LAST_LINES as u64);
        }
        if unit.kind == Kind::Onboot {
            // It may have mounted the disk that log files are for.
            desk.look();
        }
        let ran = runner.ran();
        drop(runner);
        self.happen(Event::Ended(i, outcome.is_good(), ran));
    }

    fn hear_button(&mut self, i: usize) {
        let mut bytes = [0; 24 * 32];
        let Some((name, button)) = self.buttons.get_mut(i) else { return };
        match rustix::io::read(&*button, &mut bytes) {
            Ok(count) if power::pressed(bytes.get(..count).unwrap_or_default()) => {
                self.request(Ending::Poweroff, "the power button");
            }
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
            // The device is gone. Its place stays, so that the others keep theirs; its name may come again.
            Err(_) => {
                name.clear();
                if let Some(poll) = &self.poll {
                    let _ = epoll::delete(poll, &*button);
                }
            }
        }
    }

    fn hear_uevents(&mut self) {
        let Some(socket) = &self.machine.uevents else { return };
        let mut wanted = BTreeSet::new();
        let mut inputs = Vec::new();
        let mut ports = false;
        let whole = read_uevents(socket, |event| {
            // A port has its name only when it changes.
            ports |= event.subsystem == Some("virtio-ports");
            if event.action == "add" {
                wanted.extend(event.modalias.map(str::to_owned));
                inputs.extend(event.device.and_then(|d| d.strip_prefix("input/")).map(str::to_owned));
                if let (Some("tty"), Some(device)) = (event.subsystem, event.device)
                    && self.machine.cmdline.consoles.iter().any(|c| c == device)
                {
                    self.machine.consoles.add(device);
                }
            }
        });
        if ports || !whole {
            self.desk.look();
        }
        if !whole {
            // Ask all devices.
            self.machine.loader.coldplug().say(&mut self.machine.consoles);
        }
        self.machine.loader.want(wanted).say(&mut self.machine.consoles);
        for input in inputs {
            // Events of devices that were there when init looked come late.
            if self.buttons.iter().all(|(name, _)| *name != input)
                && let Some(button) = power::button(&input)
            {
                self.watch(&button, Source::Button(self.buttons.len()), EventFlags::IN);
                self.buttons.push((input, button));
            }
        }
    }

    /// Tells the sequence what has happened and does what it says.
    fn happen(&mut self, event: Event) {
        for action in self.sequence.handle(event) {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Start(i) => self.start(i),
            Action::Stop(i) => {
                if let Some(Some(runner)) = self.runners.get_mut(i) {
                    runner.stop();
                }
            }
            Action::Kill(i) => {
                if let (Some(Some(runner)), Some(unit)) = (self.runners.get_mut(i), self.units.get(i)) {
                    let text = format!("{} `{}` did not end in time and is killed", unit.kind.word(), unit.name);
                    self.machine.consoles.say(&text);
                    runner.kill();
                }
            }
            Action::After(time, timer) => self.timers.push((Instant::now() + time, timer)),
            Action::Banner(i, delay) => self.banner(i, delay),
            Action::Ready => self.ready(),
            Action::Shell => self.start_shell(),
            Action::End(ending) => {
                self.desk.finish(&mut self.machine.consoles);
                end(&mut self.machine.consoles, ending)
            }
        }
    }

    fn start(&mut self, i: usize) {
        let Some(unit) = self.units.get(i) else { return };
        self.desk.report.start(i);
        let abort = self.machine.cmdline.abort.as_ref() == Some(&unit.name);
        match Runner::start(unit, abort) {
            Ok(runner) => {
                let (status, output) = runner.descriptors();
                for (fd, source) in [(status, Source::Status(i)), (output, Source::Output(i))] {
                    if let Some(fd) = fd {
                        self.watch(fd, source, EventFlags::IN);
                    }
                }
                if let Some(slot) = self.runners.get_mut(i) {
                    *slot = Some(runner);
                }
            }
            Err(error) => {
                let text = format!("{} `{}` was not started: {error}", unit.kind.word(), unit.name);
                self.machine.consoles.say(&text);
                self.happen(Event::Ended(i, false, Duration::ZERO));
            }
        }
    }

    fn banner(&mut self, i: usize, delay: Duration) {
        let Some(unit) = self.units.get(i) else { return };
        let consoles = &mut self.machine.consoles;
        let rule = "=".repeat(66);
        consoles.say(&rule);
        consoles.say(&format!(
            "{} `{}` failed, as is said above; the machine does not go on",
            unit.kind.word(),
            unit.name
        ));
        consoles.say(&format!("powering off in {} s; at once by power button or ctrl-alt-del", delay.as_secs()));
        consoles.say(&rule);
    }

    fn ready(&mut self) {
        self.desk.report.ready();
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let milliseconds = now.tv_sec.saturating_mul(1000).saturating_add(now.tv_nsec / 1_000_000);
        let running = self.units.iter().enumerate().filter(|(i, u)| u.kind == Kind::Service && self.sequence.runs(*i));
        let names: Vec<&str> = running.map(|(_, u)| u.name.as_str()).collect();
        let line = format!("{READY_PREFIX}{milliseconds} ms: {}", names.join(" "));
        self.machine.consoles.own_line(line.trim_end_matches([':', ' ']).as_bytes());
    }

    fn start_shell(&mut self) {
        let console = self.machine.consoles.preferred().unwrap_or("console").to_owned();
        match shell::start(&console) {
            Ok(pid) => {
                self.machine.consoles.say(&format!("a shell runs on {console}; when it ends, the machine goes on"));
                self.shell = pid;
            }
            Err(error) => {
                self.machine.consoles.say(&format!("no shell: {error}"));
                self.happen(Event::ShellEnded);
            }
        }
    }
}

/// Puts a container's line on the consoles and into the journal.
fn echo(consoles: &mut Consoles, desk: &mut Desk, (i, unit): (usize, &Unit), line: &[u8]) {
    desk.line(i, Stream::Stdout, line);
    if !desk.shows() {
        return;
    }
    let mut text = Vec::with_capacity(unit.name.len() + 2 + line.len());
    text.extend_from_slice(unit.name.as_bytes());
    text.extend_from_slice(b": ");
    text.extend_from_slice(line);
    consoles.line(&text);
}

/// Says how a container ended, with its last lines.
fn tell(consoles: &mut Consoles, unit: &Unit, outcome: &Outcome, runner: &Runner) {
    consoles.say(&format!("{} `{}` ended: {outcome}", unit.kind.word(), unit.name));
    if !outcome.is_good() && !runner.stopping() {
        for line in runner.output.last(LAST_LINES) {
            let mut text = b"bootwright:   | ".to_vec();
            text.extend_from_slice(line);
            consoles.own_line(&text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        for source in [
            Source::Signals,
            Source::Uevents,
            Source::Status(1),
            Source::Output(70_000),
            Source::Console(0),
            Source::Button(3),
            Source::Desk(2),
        ] {
            assert_eq!(Source::of(source.token()).token(), source.token());
        }
    }
}
