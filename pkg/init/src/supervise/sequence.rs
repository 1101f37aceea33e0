//! The life of the machine as a state machine: what to do next, given what has happened.
//!
//! Pure: events in, actions out, no clock, no process. Onboot containers run one after the other, then the services start
//! side by side; an ending stops everything that runs, then the onshutdown containers run one after the other, then the
//! machine ends. `onfail` decides what a failure means. Timers are asked for by action and come back as events; one that
//! is late finds another state and does nothing.

use std::collections::VecDeque;
use std::time::Duration;

use bootwright_bundle::{Ending, OnFail};

use super::unit::{Kind, Unit};

/// How long a container may take to end when it is asked to.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long an onshutdown container may run. Without a limit a hanging one would keep the machine from ending.
pub const ONSHUTDOWN_LIMIT: Duration = Duration::from_secs(60);
/// A container that ran longer than this starts with a short pause again when it is retried.
const STEADY: Duration = Duration::from_secs(60);
/// The longest pause before a retry.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What has happened. Numbers are positions in the list of units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The machine is ready for its first container.
    Begin,
    /// A container's process runs.
    Started(usize),
    /// A container has ended, or was not created; whether all is well, and how long it ran.
    Ended(usize, bool, Duration),
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
    Retry(usize),
    /// The banner has been shown long enough.
    Banner,
    /// A container's time to end, or to run, is over.
    Limit(usize),
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
    /// Send a timer's event after a time.
    After(Duration, Timer),
    /// Show that a container's failure ends the machine.
    Banner(usize, Duration),
    /// Say that the services run.
    Ready,
    /// Run a shell on the console.
    Shell,
    /// All is over: unmount and end the machine.
    End(Ending),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Starting,
    Running,
    Stopping,
    Waiting,
    Over,
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

/// The state machine.
#[derive(Debug)]
pub struct Sequence {
    plan: Vec<(Kind, OnFail)>,
    states: Vec<State>,
    failures: Vec<u32>,
    /// Units of the stage that have not been started.
    queue: VecDeque<usize>,
    stage: Stage,
    ready: bool,
    width: usize,
    delay: Duration,
}

impl Sequence {
    /// For units, so many services being created at a time, and a time between banner and end.
    pub fn new(units: &[Unit], width: usize, delay: Duration) -> Self {
        let plan: Vec<_> = units.iter().map(|u| (u.kind, u.onfail)).collect();
        let mut sequence = Self {
            states: vec![State::Idle; plan.len()],
            failures: vec![0; plan.len()],
            queue: VecDeque::new(),
            plan,
            stage: Stage::Onboot,
            ready: false,
            width: width.max(1),
            delay,
        };
        sequence.queue = sequence.all(Kind::Onboot);
        sequence
    }

    /// Takes an event and says what to do, in this order.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Begin => self.advance(&mut actions),
            Event::Started(unit) => {
                if self.state(unit) == State::Starting {
                    self.set(unit, State::Running);
                }
                self.advance(&mut actions);
            }
            Event::Ended(unit, well, ran) => self.ended(unit, well, ran, &mut actions),
            Event::Request(ending) => self.request(ending, &mut actions),
            Event::Due(timer) => self.due(timer, &mut actions),
            Event::ShellEnded => {
                if self.stage == Stage::Shell {
                    self.stage = Stage::Onboot;
                }
                self.advance(&mut actions);
            }
        }
        actions
    }

    /// Whether a unit runs now.
    pub fn runs(&self, unit: usize) -> bool {
        self.state(unit) == State::Running
    }

    /// What a unit does, in the words of the control channel; `well` is how its last run went.
    pub fn told(&self, unit: usize, well: bool) -> bootwright_bundle::control::State {
        use bootwright_bundle::control::State as Told;
        match self.state(unit) {
            State::Idle => Told::Idle,
            State::Starting => Told::Starting,
            State::Running => Told::Running,
            State::Stopping => Told::Stopping,
            State::Waiting => Told::Waiting,
            State::Over if well => Told::Ended,
            State::Over => Told::Failed,
        }
    }

    fn all(&self, kind: Kind) -> VecDeque<usize> {
        self.plan.iter().enumerate().filter(|(_, (k, _))| *k == kind).map(|(i, _)| i).collect()
    }

    fn state(&self, unit: usize) -> State {
        self.states.get(unit).copied().unwrap_or(State::Over)
    }

    fn set(&mut self, unit: usize, state: State) {
        if let Some(old) = self.states.get_mut(unit) {
            *old = state;
        }
    }

    fn busy(&self) -> usize {
        self.states.iter().filter(|s| matches!(s, State::Starting | State::Running | State::Stopping)).count()
    }

    fn start(&mut self, unit: usize, actions: &mut Vec<Action>) {
        self.set(unit, State::Starting);
        actions.push(Action::Start(unit));
    }

    /// Does what the stage has left to do, and goes to the next stage when that is nothing.
    fn advance(&mut self, actions: &mut Vec<Action>) {
        match self.stage {
            Stage::Onboot => {
                let waiting = self.states.contains(&State::Waiting);
                if self.busy() == 0 && !waiting {
                    if let Some(unit) = self.queue.pop_front() {
                        self.start(unit, actions);
                    } else {
                        self.stage = Stage::Services;
                        self.queue = self.all(Kind::Service);
                        self.advance(actions);
                    }
                }
            }
            Stage::Services => {
                while self.states.iter().filter(|s| **s == State::Starting).count() < self.width
                    && let Some(unit) = self.queue.pop_front()
                {
                    self.start(unit, actions);
                }
                if !self.ready && self.queue.is_empty() && !self.states.contains(&State::Starting) {
                    self.ready = true;
                    actions.push(Action::Ready);
                }
            }
            Stage::Stopping(ending) => {
                if self.busy() == 0 {
                    self.stage = Stage::Onshutdown(ending);
                    self.queue = self.all(Kind::Onshutdown);
                    self.advance(actions);
                }
            }
            Stage::Onshutdown(ending) => {
                if self.busy() == 0 {
                    if let Some(unit) = self.queue.pop_front() {
                        self.start(unit, actions);
                        actions.push(Action::After(ONSHUTDOWN_LIMIT, Timer::Limit(unit)));
                    } else {
                        self.stage = Stage::Over;
                        actions.push(Action::End(ending));
                    }
                }
            }
            Stage::Shell | Stage::Banner(_) | Stage::Over => {}
        }
    }

    fn ended(&mut self, unit: usize, well: bool, ran: Duration, actions: &mut Vec<Action>) {
        self.set(unit, State::Over);
        if !well && matches!(self.stage, Stage::Onboot | Stage::Services) {
            self.failed(unit, ran, actions);
        }
        self.advance(actions);
    }

    fn failed(&mut self, unit: usize, ran: Duration, actions: &mut Vec<Action>) {
        let Some((kind, onfail)) = self.plan.get(unit).copied() else { return };
        let ending = if kind == Kind::Onboot { Ending::OnbootFailed } else { Ending::Poweroff };
        match onfail {
            OnFail::Continue => {}
            OnFail::Retry => {
                self.set(unit, State::Waiting);
                let pause = self.pause(unit, ran);
                actions.push(Action::After(pause, Timer::Retry(unit)));
            }
            OnFail::Stop => {
                self.stage = Stage::Banner(ending);
                actions.push(Action::Banner(unit, self.delay));
                actions.push(Action::After(self.delay, Timer::Banner));
            }
            OnFail::Reboot => self.shut_down(Ending::Reboot, actions),
            OnFail::Poweroff => self.shut_down(ending, actions),
            OnFail::Shell => {
                if kind == Kind::Onboot {
                    self.stage = Stage::Shell;
                }
                actions.push(Action::Shell);
            }
        }
    }

    /// The pause before a retry: 1 s, twice as long each time.
    fn pause(&mut self, unit: usize, ran: Duration) -> Duration {
        let Some(failures) = self.failures.get_mut(unit) else { return LONGEST_PAUSE };
        *failures = if ran >= STEADY { 0 } else { *failures };
        let pause = Duration::from_secs(1 << (*failures).min(5));
        *failures += 1;
        pause.min(LONGEST_PAUSE)
    }

    fn request(&mut self, ending: Ending, actions: &mut Vec<Action>) {
        match self.stage {
            Stage::Onboot | Stage::Shell | Stage::Services => self.shut_down(ending, actions),
            Stage::Banner(ending) => self.shut_down(ending, actions),
            // Asked twice: no more patience.
            Stage::Stopping(_) | Stage::Onshutdown(_) => {
                let busy = self.states.iter().enumerate().filter(|(_, s)| !matches!(s, State::Idle | State::Over));
                actions.extend(busy.map(|(unit, _)| Action::Kill(unit)));
            }
            Stage::Over => {}
        }
    }

    fn shut_down(&mut self, ending: Ending, actions: &mut Vec<Action>) {
        self.stage = Stage::Stopping(ending);
        self.queue.clear();
        for unit in 0..self.plan.len() {
            match self.state(unit) {
                State::Starting | State::Running => {
                    self.set(unit, State::Stopping);
                    actions.push(Action::Stop(unit));
                    actions.push(Action::After(GRACE, Timer::Limit(unit)));
                }
                State::Waiting => self.set(unit, State::Over),
                State::Idle | State::Stopping | State::Over => {}
            }
        }
        self.advance(actions);
    }

    fn due(&mut self, timer: Timer, actions: &mut Vec<Action>) {
        match timer {
            Timer::Retry(unit) => {
                if self.state(unit) == State::Waiting && matches!(self.stage, Stage::Onboot | Stage::Services) {
                    self.start(unit, actions);
                }
            }
            Timer::Banner => {
                if let Stage::Banner(ending) = self.stage {
                    self.shut_down(ending, actions);
                }
            }
            Timer::Limit(unit) => {
                let ending = matches!(self.stage, Stage::Stopping(_) | Stage::Onshutdown(_));
                if ending && matches!(self.state(unit), State::Starting | State::Running | State::Stopping) {
                    actions.push(Action::Kill(unit));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Action::*;
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);
    const DELAY: Duration = Duration::from_secs(30);

    fn sequence(plan: &[(Kind, OnFail)], width: usize) -> Sequence {
        let units: Vec<Unit> = plan
            .iter()
            .map(|(kind, onfail)| Unit { kind: *kind, name: String::new(), directory: String::new(), onfail: *onfail })
            .collect();
        Sequence::new(&units, width, DELAY)
    }

    fn well(unit: usize) -> Event {
        Event::Ended(unit, true, SHORT)
    }

    fn badly(unit: usize) -> Event {
        Event::Ended(unit, false, SHORT)
    }

    /// Two onboots, two services, two onshutdowns.
    fn usual(onboot: OnFail) -> Sequence {
        let (stop, go) = (onboot, OnFail::Continue);
        sequence(
            &[
                (Kind::Onboot, stop),
                (Kind::Onboot, stop),
                (Kind::Service, go),
                (Kind::Service, go),
                (Kind::Onshutdown, go),
                (Kind::Onshutdown, go),
            ],
            2,
        )
    }

    fn running() -> Sequence {
        let mut s = usual(OnFail::Stop);
        for event in [Event::Begin, well(0), well(1), Event::Started(2), Event::Started(3)] {
            s.handle(event);
        }
        s
    }

    #[test]
    fn onboots_run_in_order_then_services_together_and_ready_is_said_once() {
        let mut s = usual(OnFail::Stop);
        assert_eq!(s.handle(Event::Begin), [Start(0)]);
        assert_eq!(s.handle(Event::Started(0)), []);
        assert_eq!(s.handle(well(0)), [Start(1)]);
        assert_eq!(s.handle(well(1)), [Start(2), Start(3)]);
        assert_eq!(s.handle(Event::Started(3)), []);
        assert_eq!(s.handle(Event::Started(2)), [Ready]);
        assert!(s.runs(2) && s.runs(3) && !s.runs(0));
        assert_eq!(s.handle(well(3)), []);
    }

    #[test]
    fn a_machine_without_containers_is_ready_at_once_and_ends_at_once() {
        let mut s = sequence(&[], 2);
        assert_eq!(s.handle(Event::Begin), [Ready]);
        assert_eq!(s.handle(Event::Request(Ending::Halt)), [End(Ending::Halt)]);
    }

    #[test]
    fn only_so_many_services_are_created_at_a_time() {
        let mut s = sequence(&[(Kind::Service, OnFail::Continue); 3], 1);
        assert_eq!(s.handle(Event::Begin), [Start(0)]);
        assert_eq!(s.handle(Event::Started(0)), [Start(1)]);
        // One that cannot be created makes room and does not keep the machine from being ready.
        assert_eq!(s.handle(badly(1)), [Start(2)]);
        assert_eq!(s.handle(Event::Started(2)), [Ready]);
    }

    #[test]
    fn shutdown_stops_services_first_then_runs_onshutdowns_in_order() {
        let mut s = running();
        assert_eq!(
            s.handle(Event::Request(Ending::Poweroff)),
            [Stop(2), After(GRACE, Timer::Limit(2)), Stop(3), After(GRACE, Timer::Limit(3))]
        );
        assert_eq!(s.handle(badly(3)), []);
        assert_eq!(s.handle(Event::Due(Timer::Limit(3))), [], "it has ended in time");
        assert_eq!(s.handle(Event::Due(Timer::Limit(2))), [Kill(2)]);
        assert_eq!(s.handle(badly(2)), [Start(4), After(ONSHUTDOWN_LIMIT, Timer::Limit(4))]);
        assert_eq!(s.handle(badly(4)), [Start(5), After(ONSHUTDOWN_LIMIT, Timer::Limit(5))]);
        assert_eq!(s.handle(Event::Due(Timer::Limit(5))), [Kill(5)]);
        assert_eq!(s.handle(badly(5)), [End(Ending::Poweroff)]);
    }

    #[test]
    fn asking_twice_is_asking_harder() {
        let mut s = running();
        s.handle(Event::Request(Ending::Reboot));
        assert_eq!(s.handle(Event::Request(Ending::Poweroff)), [Kill(2), Kill(3)]);
        s.handle(badly(2));
        s.handle(badly(3));
        s.handle(well(4));
        assert_eq!(s.handle(well(5)), [End(Ending::Reboot)], "the first request counts");
    }

    #[test]
    fn a_failed_onboot_shows_its_banner_and_ends_the_machine() {
        let mut s = usual(OnFail::Stop);
        s.handle(Event::Begin);
        assert_eq!(s.handle(badly(0)), [Banner(0, DELAY), After(DELAY, Timer::Banner)]);
        assert_eq!(s.handle(Event::Due(Timer::Banner)), [Start(4), After(ONSHUTDOWN_LIMIT, Timer::Limit(4))]);
        s.handle(well(4));
        assert_eq!(s.handle(well(5)), [End(Ending::OnbootFailed)]);
    }

    #[test]
    fn a_button_ends_the_banner_and_the_ending_stays() {
        let mut s = sequence(&[(Kind::Onboot, OnFail::Stop)], 1);
        s.handle(Event::Begin);
        s.handle(badly(0));
        assert_eq!(s.handle(Event::Request(Ending::Poweroff)), [End(Ending::OnbootFailed)]);
        assert_eq!(s.handle(Event::Due(Timer::Banner)), []);
    }

    #[test]
    fn what_a_failure_means() {
        for (onfail, kind, expected) in [
            (OnFail::Continue, Kind::Onboot, vec![Ready]),
            (OnFail::Retry, Kind::Onboot, vec![After(SHORT, Timer::Retry(0))]),
            (OnFail::Reboot, Kind::Onboot, vec![End(Ending::Reboot)]),
            (OnFail::Poweroff, Kind::Onboot, vec![End(Ending::OnbootFailed)]),
            (OnFail::Shell, Kind::Onboot, vec![Shell]),
            (OnFail::Continue, Kind::Service, vec![Ready]),
            (OnFail::Retry, Kind::Service, vec![After(SHORT, Timer::Retry(0)), Ready]),
            (OnFail::Stop, Kind::Service, vec![Banner(0, DELAY), After(DELAY, Timer::Banner)]),
            (OnFail::Reboot, Kind::Service, vec![End(Ending::Reboot)]),
            (OnFail::Poweroff, Kind::Service, vec![End(Ending::Poweroff)]),
            (OnFail::Shell, Kind::Service, vec![Shell, Ready]),
        ] {
            let mut s = sequence(&[(kind, onfail)], 1);
            s.handle(Event::Begin);
            assert_eq!(s.handle(badly(0)), expected, "{kind:?} {onfail:?}");
        }
    }

    #[test]
    fn retries_pause_longer_and_longer_until_the_container_has_run_steadily() {
        let mut s = sequence(&[(Kind::Onboot, OnFail::Retry), (Kind::Service, OnFail::Continue)], 1);
        s.handle(Event::Begin);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(s.handle(badly(0)), [After(Duration::from_secs(seconds), Timer::Retry(0))]);
            assert_eq!(s.handle(Event::Due(Timer::Retry(0))), [Start(0)]);
        }
        assert_eq!(s.handle(Event::Ended(0, false, STEADY)), [After(SHORT, Timer::Retry(0))]);
        s.handle(Event::Due(Timer::Retry(0)));
        assert_eq!(s.handle(well(0)), [Start(1)]);
        assert_eq!(s.handle(Event::Due(Timer::Retry(0))), [], "a late timer does nothing");
    }

    #[test]
    fn an_ending_during_onboot_or_a_pause_starts_nothing_more() {
        let mut s = usual(OnFail::Retry);
        s.handle(Event::Begin);
        s.handle(badly(0));
        assert_eq!(
            s.handle(Event::Request(Ending::Reboot)),
            [Start(4), After(ONSHUTDOWN_LIMIT, Timer::Limit(4))],
            "the container that waits is not waited for"
        );
        assert_eq!(s.handle(Event::Due(Timer::Retry(0))), []);
    }

    #[test]
    fn after_the_shell_the_boot_goes_on() {
        let mut s = usual(OnFail::Shell);
        s.handle(Event::Begin);
        assert_eq!(s.handle(badly(0)), [Shell]);
        assert_eq!(s.handle(Event::ShellEnded), [Start(1)]);
    }
}
