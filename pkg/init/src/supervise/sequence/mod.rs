//! The life of the machine as a state machine: what to do next, given what has happened.
//!
//! Pure: events and the time in, actions out, no clock, no process. Onboot containers run in order, then the services start as
//! their graph allows (`service`); an ending stops everything that runs in the opposite order (`ending`), then the
//! onshutdown containers run one after the other, then the machine ends. A timer is asked for by action and comes back as
//! event; there is one of each name, and one that is late finds another state and does nothing.

mod ending;
mod service;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Duration;

use bootwright_bundle::{Ending, OnFail};

use super::plan::Plan;
use super::unit::Kind;

pub use bootwright_bundle::control::{Order, State};

/// What has happened. Numbers are positions in the list of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The machine is ready for its first container.
    Begin,
    /// A container's process runs.
    Started(usize),
    /// A container has ended, or was not created; whether all is well.
    Ended(usize, bool),
    /// A service says that it is ready.
    SaysReady(usize),
    /// A probe has ended; whether it found what it looked for.
    Probed(usize, bool),
    /// Somebody wants something of a service.
    Order(usize, Order),
    /// Somebody wants the machine to end.
    Request(Ending),
    /// A timer is due.
    Due(Timer),
    /// The shell has ended.
    ShellEnded,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// A container is to be started again.
    Restart(usize),
    /// A service's time to become ready is over.
    Ready(usize),
    /// A service is to be probed.
    Probe(usize),
    /// A probe's time is over.
    ProbeLimit(usize),
    /// A container's time to end, or to run, is over.
    Limit(usize),
    /// A container was killed long ago.
    Killed(usize),
    /// The banner has been shown long enough.
    Banner,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create and start a container.
    Start(usize),
    /// Ask a container to end.
    Stop(usize),
    /// End a container.
    Kill(usize),
    /// Find out how a service is.
    Probe(usize, Probe),
    /// End the probe of a service, if there is one.
    EndProbe(usize),
    /// Send a timer's event after a time, in place of one that is set.
    After(Duration, Timer),
    /// Say something about a container.
    Say(usize, Saying),
    /// Show that a container's failure ends the machine.
    Banner(usize, Duration),
    /// Say that the services run.
    Ready,
    /// Run a shell on the console.
    Shell,
    /// All is over: unmount and end the machine.
    End(Ending),
}

/// Which of a service's checks a probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Until it succeeds.
    Ready,
    /// Once.
    Health,
}

/// What is to be said about a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saying {
    /// It has ended, and that is that.
    Over,
    /// It has ended and is started again: after which pause, how often that was so, and whether it fails for the first time
    /// in a row.
    Again(Duration, u32, bool),
    /// It has ended and is started again at once, as somebody wants it.
    AtOnce,
    /// It has ended too often.
    TooOften,
    /// It was not ready within its time.
    NotReady(Duration),
    /// It has failed so many checks in a row.
    Unhealthy(u32),
    /// It stays down because of another service, which it requires.
    Blocked(usize),
    /// It did not end within its time, and is killed.
    Late(Duration),
    /// It is killed, because somebody has lost patience.
    Hurried,
    /// It was killed and does not end.
    Stuck,
}

/// What follows when a container that is stopping has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// Nothing.
    Down,
    /// It starts again.
    Restart,
    /// What follows a failure.
    Fail,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Onboot,
    /// A shell between two onboot containers.
    Shell,
    Services,
    Banner(Ending),
    Stopping(Ending),
    Onshutdown(Ending),
    Over,
}

/// A container in the state machine.
#[derive(Debug)]
struct Member {
    plan: Plan,
    state: State,
    goal: Goal,
    /// When it was started last.
    since: Duration,
    /// Restarts without a steady time between them.
    pauses: u32,
    /// Restarts in all.
    restarts: u32,
    /// When it was restarted, within the window of its limit.
    recent: VecDeque<Duration>,
    /// Checks that failed in a row.
    misses: u32,
    /// Its health is being checked.
    probing: bool,
    /// It has been ready once.
    was_ready: bool,
    /// It said so before it was known to have started.
    early: bool,
    /// It ended well and is not started again.
    done: bool,
    /// It failed because of one that it requires.
    blocked: bool,
}

/// The state machine.
#[derive(Debug)]
pub struct Sequence {
    members: Vec<Member>,
    /// Onboot and onshutdown containers whose turn it is, and that have not been started.
    turn: VecDeque<usize>,
    stage: Stage,
    ready: bool,
    width: usize,
    delay: Duration,
    now: Duration,
    changes: Vec<(usize, State)>,
}

impl Sequence {
    /// For containers, so many being created at a time, and a time between banner and end.
    pub fn new(plans: Vec<Plan>, width: usize, delay: Duration) -> Self {
        let member = |plan| Member {
            plan,
            state: State::Waiting,
            goal: Goal::Down,
            since: Duration::ZERO,
            pauses: 0,
            restarts: 0,
            recent: VecDeque::new(),
            misses: 0,
            probing: false,
            was_ready: false,
            early: false,
            done: false,
            blocked: false,
        };
        Self {
            members: plans.into_iter().map(member).collect(),
            turn: VecDeque::new(),
            stage: Stage::Onboot,
            ready: false,
            width: width.max(1),
            delay,
            now: Duration::ZERO,
            changes: Vec::new(),
        }
    }

    /// Takes an event and the time since some fixed moment, and says what to do, in this order.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        self.now = now;
        let mut actions = Vec::new();
        match event {
            Event::Begin => {}
            Event::Started(unit) => self.started(unit, &mut actions),
            Event::Ended(unit, well) => self.ended(unit, well, &mut actions),
            Event::SaysReady(unit) => self.says_ready(unit, &mut actions),
            Event::Probed(unit, good) => self.probed(unit, good, &mut actions),
            Event::Order(unit, order) => self.order(unit, order, &mut actions),
            Event::Request(ending) => self.request(ending, &mut actions),
            Event::Due(timer) => self.due(timer, &mut actions),
            Event::ShellEnded => {
                if self.stage == Stage::Shell {
                    self.stage = Stage::Onboot;
                }
            }
        }
        self.advance(&mut actions);
        actions
    }

    /// The changes of state since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<(usize, State)> {
        std::mem::take(&mut self.changes)
    }

    /// How a container is.
    pub fn state(&self, unit: usize) -> State {
        self.members.get(unit).map_or(State::Failed, |member| member.state)
    }

    /// How often a container was started again.
    pub fn restarts(&self, unit: usize) -> u32 {
        self.members.get(unit).map_or(0, |member| member.restarts)
    }

    fn set(&mut self, unit: usize, state: State) {
        if let Some(member) = self.members.get_mut(unit) {
            member.state = state;
            self.changes.push((unit, state));
        }
    }

    /// The containers of a kind.
    fn all(&self, kind: Kind) -> impl Iterator<Item = (usize, &Member)> {
        self.members.iter().enumerate().filter(move |(_, member)| member.plan.kind == kind)
    }

    fn is_active(&self, kind: Kind) -> bool {
        self.all(kind).any(|(_, member)| member.state.is_active())
    }

    /// Whether one more container may be created.
    fn has_room(&self) -> bool {
        self.members.iter().filter(|member| member.state == State::Starting).count() < self.width
    }

    fn start(&mut self, unit: usize, actions: &mut Vec<Action>) {
        if let Some(member) = self.members.get_mut(unit) {
            member.since = self.now;
            member.misses = 0;
            member.probing = false;
            member.early = false;
            member.done = false;
        }
        self.set(unit, State::Starting);
        actions.push(Action::Start(unit));
    }

    /// Does what the stage has left to do, and goes to the next stage when that is nothing.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        if self.stage == Stage::Onboot {
            self.advance_onboot(actions);
        }
        if self.stage == Stage::Services {
            self.advance_services(actions);
        }
        if let Stage::Stopping(ending) = self.stage {
            self.advance_stopping(ending, actions);
        }
        if let Stage::Onshutdown(ending) = self.stage {
            self.advance_onshutdown(ending, actions);
        }
    }

    fn advance_onboot(&mut self, actions: &mut Vec<Action>) {
        loop {
            while self.has_room()
                && let Some(unit) = self.turn.pop_front()
            {
                self.start(unit, actions);
            }
            let waits = self.all(Kind::Onboot).any(|(_, member)| member.state == State::Backoff);
            if !self.turn.is_empty() || waits || self.is_active(Kind::Onboot) {
                return;
            }
            let mut left = self.all(Kind::Onboot).filter(|(_, member)| member.state == State::Waiting).peekable();
            let beside = left.peek().is_some_and(|(_, first)| first.plan.parallel);
            let count = if beside { usize::MAX } else { 1 };
            self.turn = left.take_while(|(_, m)| m.plan.parallel == beside).take(count).map(|(i, _)| i).collect();
            if self.turn.is_empty() {
                self.stage = Stage::Services;
                return;
            }
        }
    }

    /// A container failed for good.
    fn failed(&mut self, unit: usize, actions: &mut Vec<Action>) {
        self.set(unit, State::Failed);
        let Some(plan) = self.members.get(unit).map(|member| &member.plan) else { return };
        let onboot = plan.kind == Kind::Onboot;
        let ending = if onboot { Ending::OnbootFailed } else { Ending::Poweroff };
        match plan.onfail {
            OnFail::Continue | OnFail::Retry => {}
            OnFail::Stop => {
                self.stage = Stage::Banner(ending);
                actions.push(Action::Banner(unit, self.delay));
                actions.push(Action::After(self.delay, Timer::Banner));
            }
            OnFail::Reboot => self.shut_down(Ending::Reboot),
            OnFail::Poweroff => self.shut_down(ending),
            OnFail::Shell => {
                if onboot {
                    self.stage = Stage::Shell;
                }
                actions.push(Action::Shell);
            }
        }
    }

    fn due(&mut self, timer: Timer, actions: &mut Vec<Action>) {
        match timer {
            Timer::Restart(unit) => {
                if self.state(unit) == State::Backoff {
                    self.set(unit, State::Waiting);
                    if self.members.get(unit).is_some_and(|member| member.plan.kind == Kind::Onboot) {
                        self.turn.push_back(unit);
                    }
                }
            }
            Timer::Ready(unit) => self.not_ready(unit, actions),
            Timer::Probe(unit) => self.probe(unit, actions),
            Timer::ProbeLimit(unit) => {
                if self.members.get(unit).is_some_and(|member| member.probing) {
                    actions.push(Action::EndProbe(unit));
                    self.probed(unit, false, actions);
                }
            }
            Timer::Limit(unit) => self.limit(unit, actions),
            Timer::Killed(unit) => self.stuck(unit, actions),
            Timer::Banner => {
                if let Stage::Banner(ending) = self.stage {
                    self.shut_down(ending);
                }
            }
        }
    }
}
