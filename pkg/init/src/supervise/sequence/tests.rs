//! What follows what, as tables of events and actions.

use bootwright_bundle::{Check, Health, OnFail, Restart, RestartPolicy, Stop};

use super::Action::*;
use super::ending::{KILL_LIMIT, ONSHUTDOWN_LIMIT};
use super::service::PROBE_SLACK;
use super::*;
use crate::supervise::plan::Readiness;

const DELAY: Duration = seconds(30);
const GRACE: Duration = seconds(10);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A sequence and its clock.
struct Life {
    sequence: Sequence,
    now: Duration,
}

impl Life {
    fn of(plans: Vec<Plan>, width: usize) -> Self {
        Self { sequence: Sequence::new(plans, width, DELAY), now: seconds(100) }
    }

    /// Has begun, and every service runs that can.
    fn running(plans: Vec<Plan>) -> Self {
        let count = plans.len();
        let mut life = Self::of(plans, count.max(1));
        life.when(Event::Begin);
        while let Some(unit) = (0..count).find(|unit| life.sequence.state(*unit) == State::Starting) {
            life.when(Event::Started(unit));
        }
        life
    }

    /// What follows an event but for the ends of probes, which follow every end.
    fn when(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.sequence.handle(event, self.now);
        actions.retain(|action| !matches!(action, EndProbe(_)));
        actions
    }

    fn well(&mut self, unit: usize) -> Vec<Action> {
        self.when(Event::Ended(unit, true))
    }

    fn badly(&mut self, unit: usize) -> Vec<Action> {
        self.when(Event::Ended(unit, false))
    }

    fn due(&mut self, timer: Timer) -> Vec<Action> {
        self.when(Event::Due(timer))
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    fn states(&self) -> Vec<State> {
        (0..self.sequence.members.len()).map(|unit| self.sequence.state(unit)).collect()
    }
}

fn onboot(onfail: OnFail) -> Plan {
    let policy = if onfail == OnFail::Retry { RestartPolicy::OnFailure } else { RestartPolicy::Never };
    Plan { onfail, restart: Restart { policy, ..Restart::default() }, ..Plan::of(Kind::Onboot) }
}

fn service() -> Plan {
    Plan::of(Kind::Service)
}

fn with_policy(policy: RestartPolicy) -> Plan {
    Plan { restart: Restart { policy, ..Restart::default() }, ..service() }
}

fn requires(units: &[usize]) -> Plan {
    Plan { requires: units.to_vec(), ..service() }
}

fn after(units: &[usize]) -> Plan {
    Plan { after: units.to_vec(), ..service() }
}

fn probed(timeout: u64) -> Option<Readiness> {
    Some(Readiness { says: false, timeout: seconds(timeout) })
}

fn onshutdown() -> Plan {
    Plan::of(Kind::Onshutdown)
}

fn stops(unit: usize) -> [Action; 2] {
    [Stop(unit), After(GRACE, Timer::Limit(unit))]
}

fn kills(unit: usize, after: Duration) -> [Action; 3] {
    [Say(unit, Saying::Late(after)), Kill(unit), After(KILL_LIMIT, Timer::Killed(unit))]
}

fn again(unit: usize, pause: u64, count: u32, first: bool) -> [Action; 2] {
    [Say(unit, Saying::Again(seconds(pause), count, first)), After(seconds(pause), Timer::Restart(unit))]
}

#[test]
fn onboots_run_in_order_then_services_together_and_ready_is_said_once() {
    let stop = || onboot(OnFail::Stop);
    let mut life = Life::of(vec![stop(), stop(), service(), service()], 2);
    assert_eq!(life.when(Event::Begin), [Start(0)]);
    assert_eq!(life.when(Event::Started(0)), []);
    assert_eq!(life.well(0), [Say(0, Saying::Over), Start(1)]);
    assert_eq!(life.well(1), [Say(1, Saying::Over), Start(2), Start(3)]);
    assert_eq!(life.when(Event::Started(3)), []);
    assert_eq!(life.when(Event::Started(2)), [Ready]);
    assert_eq!(life.states(), [State::Down, State::Down, State::Ready, State::Ready]);
    assert_eq!(life.well(3), again(3, 1, 1, true), "it is started again whatever its exit code");
    assert_eq!(life.due(Timer::Restart(3)), [Start(3)]);
    assert_eq!(life.when(Event::Started(3)), [], "not ready again");
}

#[test]
fn neighbouring_parallel_onboots_run_side_by_side_and_the_next_waits_for_all() {
    let beside = |onfail| Plan { parallel: true, ..onboot(onfail) };
    let plans = vec![
        onboot(OnFail::Stop),
        beside(OnFail::Stop),
        beside(OnFail::Retry),
        beside(OnFail::Stop),
        onboot(OnFail::Stop),
        beside(OnFail::Stop),
    ];
    let mut life = Life::of(plans, 2);
    assert_eq!(life.when(Event::Begin), [Start(0)]);
    assert_eq!(life.well(0)[1..], [Start(1), Start(2)], "two are created at a time");
    assert_eq!(life.when(Event::Started(1)), [Start(3)]);
    life.when(Event::Started(3));
    assert_eq!(life.badly(2), again(2, 1, 1, true), "it is tried again beside the others");
    assert_eq!(life.well(1)[1..], []);
    assert_eq!(life.well(3)[1..], []);
    assert_eq!(life.due(Timer::Restart(2)), [Start(2)]);
    assert_eq!(life.well(2)[1..], [Start(4)]);
    assert_eq!(life.well(4)[1..], [Start(5)]);
    assert_eq!(life.well(5)[1..], [Ready]);
}

#[test]
fn a_machine_without_containers_is_ready_at_once_and_ends_at_once() {
    let mut life = Life::of(vec![], 2);
    assert_eq!(life.when(Event::Begin), [Ready]);
    assert_eq!(life.when(Event::Request(Ending::Halt)), [End(Ending::Halt)]);
}

#[test]
fn only_so_many_services_are_created_at_a_time() {
    let mut life = Life::of(vec![service(), with_policy(RestartPolicy::Never), service()], 1);
    assert_eq!(life.when(Event::Begin), [Start(0)]);
    assert_eq!(life.when(Event::Started(0)), [Start(1)]);
    // One that cannot be created makes room and, failed for good, does not keep the machine from being ready.
    assert_eq!(life.badly(1), [Say(1, Saying::Over), Start(2)]);
    assert_eq!(life.when(Event::Started(2)), [Ready]);
}

/// 0 is below 1 and 2, which are below 3; 4 stands alone.
#[test]
fn a_diamond_starts_from_below_and_stops_from_above() {
    let bottom = Plan { ready: probed(60), ..service() };
    let mut life = Life::of(vec![bottom, requires(&[0]), after(&[0]), requires(&[1, 2]), service()], 4);
    assert_eq!(life.when(Event::Begin), [Start(0), Start(4)], "what has no order does not wait");
    assert_eq!(life.when(Event::Started(0)), [After(seconds(60), Timer::Ready(0)), Probe(0, super::Probe::Ready)]);
    assert_eq!(life.when(Event::Started(4)), []);
    assert_eq!(life.when(Event::Probed(0, true)), [Start(1), Start(2)]);
    assert_eq!(life.when(Event::Started(2)), []);
    assert_eq!(life.when(Event::Started(1)), [Start(3)]);
    assert_eq!(life.when(Event::Started(3)), [Ready]);

    assert_eq!(life.when(Event::Request(Ending::Reboot)), [stops(3), stops(4)].concat());
    assert_eq!(life.well(3), [vec![Say(3, Saying::Over)], [stops(1), stops(2)].concat()].concat());
    assert_eq!(life.well(1), [Say(1, Saying::Over)], "2 started after 0 as well");
    assert_eq!(life.well(2), [vec![Say(2, Saying::Over)], stops(0).to_vec()].concat(), "4 is nothing to 0");
    assert_eq!(life.well(4), [Say(4, Saying::Over)]);
    assert_eq!(life.well(0), [Say(0, Saying::Over), End(Ending::Reboot)]);
}

#[test]
fn each_has_its_own_grace_and_what_has_ended_is_not_waited_for() {
    let graceful = |grace| Plan { stop: Stop { grace: seconds(grace), ..Stop::default() }, ..service() };
    let mut life = Life::running(vec![graceful(3), graceful(20), onshutdown(), onshutdown()]);
    let limits = |unit, grace| After(seconds(grace), Timer::Limit(unit));
    assert_eq!(life.when(Event::Request(Ending::Poweroff)), [Stop(0), limits(0, 3), Stop(1), limits(1, 20)]);
    assert_eq!(life.due(Timer::Limit(0)), kills(0, seconds(3)));
    assert_eq!(life.badly(0), [Say(0, Saying::Over)]);
    assert_eq!(life.badly(1), [Say(1, Saying::Over), Start(2), After(ONSHUTDOWN_LIMIT, Timer::Limit(2))]);
    assert_eq!(life.due(Timer::Limit(1)), [], "it has ended in time");
    assert_eq!(life.badly(2)[1..], [Start(3), After(ONSHUTDOWN_LIMIT, Timer::Limit(3))]);
    assert_eq!(life.due(Timer::Limit(3)), kills(3, ONSHUTDOWN_LIMIT));
    assert_eq!(life.badly(3)[1..], [End(Ending::Poweroff)]);
}

#[test]
fn what_cannot_be_killed_is_left_behind_when_the_machine_ends() {
    let mut life = Life::running(vec![service(), requires(&[0]), onshutdown()]);
    life.when(Event::Request(Ending::Poweroff));
    life.due(Timer::Limit(1));
    assert_eq!(life.due(Timer::Killed(1)), [vec![Say(1, Saying::Stuck)], stops(0).to_vec()].concat());
    life.well(0);
    assert_eq!(life.due(Timer::Limit(2)), kills(2, ONSHUTDOWN_LIMIT));
    assert_eq!(life.due(Timer::Killed(2)), [Say(2, Saying::Stuck), End(Ending::Poweroff)]);
}

#[test]
fn asking_twice_is_asking_harder() {
    let mut life = Life::running(vec![service(), requires(&[0]), onshutdown()]);
    assert_eq!(life.when(Event::Request(Ending::Reboot)), stops(1));
    let hurried = |unit| [Say(unit, Saying::Hurried), Kill(unit), After(KILL_LIMIT, Timer::Killed(unit))];
    assert_eq!(life.when(Event::Request(Ending::Poweroff)), [hurried(0), hurried(1)].concat());
    life.badly(0);
    life.badly(1);
    assert_eq!(life.well(2)[1..], [End(Ending::Reboot)], "the first request counts");
}

#[test]
fn a_service_in_a_pause_does_not_hold_up_the_end() {
    let mut life = Life::running(vec![service(), service()]);
    life.badly(0);
    assert_eq!(life.sequence.state(0), State::Backoff);
    assert_eq!(life.when(Event::Request(Ending::Poweroff)), stops(1));
    assert_eq!(life.due(Timer::Restart(0)), [], "nothing is started any more");
    assert_eq!(life.well(1)[1..], [End(Ending::Poweroff)]);
}

#[test]
fn an_ending_during_onboot_starts_nothing_more() {
    let mut life = Life::of(vec![onboot(OnFail::Retry), onboot(OnFail::Stop), service(), onshutdown()], 2);
    life.when(Event::Begin);
    life.badly(0);
    let ends = [Start(3), After(ONSHUTDOWN_LIMIT, Timer::Limit(3))];
    assert_eq!(life.when(Event::Request(Ending::Reboot)), ends, "the container that waits is not waited for");
    assert_eq!(life.due(Timer::Restart(0)), []);
}

#[test]
fn what_a_failure_means() {
    let never = |onfail| Plan { onfail, ..with_policy(RestartPolicy::Never) };
    for (plan, expected) in [
        (onboot(OnFail::Continue), vec![Ready]),
        (onboot(OnFail::Stop), vec![Banner(0, DELAY), After(DELAY, Timer::Banner)]),
        (onboot(OnFail::Reboot), vec![End(Ending::Reboot)]),
        (onboot(OnFail::Poweroff), vec![End(Ending::OnbootFailed)]),
        (onboot(OnFail::Shell), vec![Shell]),
        (never(OnFail::Continue), vec![Ready]),
        (never(OnFail::Stop), vec![Banner(0, DELAY), After(DELAY, Timer::Banner)]),
        (never(OnFail::Reboot), vec![End(Ending::Reboot)]),
        (never(OnFail::Poweroff), vec![End(Ending::Poweroff)]),
        (never(OnFail::Shell), vec![Shell, Ready]),
    ] {
        let what = format!("{:?} {:?}", plan.kind, plan.onfail);
        let mut life = Life::of(vec![plan], 1);
        life.when(Event::Begin);
        assert_eq!(life.badly(0), [vec![Say(0, Saying::Over)], expected].concat(), "{what}");
    }
}

#[test]
fn a_failed_onboot_shows_its_banner_and_ends_the_machine() {
    for event in [Event::Due(Timer::Banner), Event::Request(Ending::Poweroff)] {
        let mut life = Life::of(vec![onboot(OnFail::Stop), onshutdown()], 1);
        life.when(Event::Begin);
        life.badly(0);
        assert_eq!(life.when(event), [Start(1), After(ONSHUTDOWN_LIMIT, Timer::Limit(1))]);
        assert_eq!(life.well(1)[1..], [End(Ending::OnbootFailed)], "the ending stays");
        assert_eq!(life.due(Timer::Banner), []);
    }
}

#[test]
fn after_the_shell_the_boot_goes_on() {
    let mut life = Life::of(vec![onboot(OnFail::Shell), onboot(OnFail::Stop)], 1);
    life.when(Event::Begin);
    assert_eq!(life.badly(0)[1..], [Shell]);
    assert_eq!(life.when(Event::ShellEnded), [Start(1)]);
}

#[test]
fn whether_a_service_is_started_again_is_a_matter_of_its_policy() {
    use RestartPolicy::{Always, Never, OnFailure};
    for (policy, well, state) in [
        (Always, true, State::Backoff),
        (Always, false, State::Backoff),
        (OnFailure, true, State::Down),
        (OnFailure, false, State::Backoff),
        (Never, true, State::Down),
        (Never, false, State::Failed),
    ] {
        let mut life = Life::running(vec![with_policy(policy)]);
        life.when(Event::Ended(0, well));
        assert_eq!(life.sequence.state(0), state, "{policy:?} {well}");
    }
}

#[test]
fn pauses_grow_until_the_service_has_run_steadily() {
    let mut life = Life::running(vec![service()]);
    for (count, pause) in (1..).zip([1, 2, 4, 8, 16, 30, 30]) {
        life.pass(seconds(59));
        assert_eq!(life.badly(0), again(0, pause, count, count == 1));
        life.pass(seconds(pause));
        assert_eq!(life.due(Timer::Restart(0)), [Start(0)]);
        life.when(Event::Started(0));
    }
    life.pass(seconds(60));
    assert_eq!(life.badly(0), again(0, 1, 8, true), "a steady minute, and it is as if it had never failed");
    life.due(Timer::Restart(0));
    assert_eq!(life.due(Timer::Restart(0)), [], "a late timer does nothing");
}

#[test]
fn too_many_restarts_in_a_window_are_a_failure_for_good() {
    let delay = seconds(1);
    let restart = Restart { delay, max_delay: delay, limit: Some(2), window: seconds(20), ..Restart::default() };
    let mut life = Life::running(vec![Plan { restart, onfail: OnFail::Reboot, ..service() }]);
    let mut crash = |pause: u64| {
        life.pass(seconds(pause));
        let actions = life.badly(0);
        life.due(Timer::Restart(0));
        life.when(Event::Started(0));
        actions
    };
    assert_eq!(crash(1), again(0, 1, 1, true));
    assert_eq!(crash(10), again(0, 1, 2, false));
    assert_eq!(crash(10), again(0, 1, 3, false), "the first is more than 20 s ago");
    assert_eq!(crash(1), [Say(0, Saying::TooOften), End(Ending::Reboot)]);
}

#[test]
fn a_service_stays_down_without_what_it_requires_and_comes_when_that_does() {
    let mut life = Life::of(vec![with_policy(RestartPolicy::Never), requires(&[0]), requires(&[1]), after(&[0])], 4);
    assert_eq!(life.when(Event::Begin), [Start(0)]);
    assert_eq!(life.badly(0), [Say(0, Saying::Over), Say(1, Saying::Blocked(0)), Say(2, Saying::Blocked(1)), Start(3)]);
    assert_eq!(life.when(Event::Started(3)), [Ready], "all the others have failed for good");
    assert_eq!(life.when(Event::Order(0, Order::Start)), [Start(0)]);
    assert_eq!(life.states()[1..3], [State::Waiting, State::Waiting]);
    assert_eq!(life.when(Event::Started(0)), [Start(1)]);
    assert_eq!(life.when(Event::Started(1)), [Start(2)]);
}

#[test]
fn what_is_required_may_have_done_its_work() {
    let mut life = Life::of(vec![with_policy(RestartPolicy::OnFailure), requires(&[0])], 4);
    life.when(Event::Begin);
    assert_eq!(life.well(0)[1..], [Start(1)]);
    // A service that starts again waits for what it requires, which is not there for now.
    let mut life = Life::running(vec![service(), requires(&[0])]);
    life.badly(0);
    life.badly(1);
    assert_eq!(life.due(Timer::Restart(1)), []);
    assert_eq!(life.due(Timer::Restart(0)), [Start(0)]);
    assert_eq!(life.when(Event::Started(0)), [Start(1)]);
}

#[test]
fn a_service_that_is_not_ready_in_time_has_failed() {
    let mut life = Life::running(vec![Plan { ready: probed(5), ..service() }]);
    let probe = Probe(0, super::Probe::Ready);
    assert_eq!(life.sequence.state(0), State::Running);
    assert_eq!(life.when(Event::Probed(0, false)), [After(seconds(1), Timer::Probe(0))], "it could not look");
    assert_eq!(life.due(Timer::Probe(0)), [probe]);
    assert_eq!(life.due(Timer::Ready(0)), [vec![Say(0, Saying::NotReady(seconds(5)))], stops(0).to_vec()].concat());
    assert_eq!(life.when(Event::Probed(0, true)), [], "too late");
    // It ended well, because it was asked to; that it was not ready is a failure all the same.
    assert_eq!(life.well(0), again(0, 1, 1, true));
    life.due(Timer::Restart(0));
    life.when(Event::Started(0));
    assert_eq!(life.when(Event::Probed(0, true)), [Ready]);
    assert_eq!(life.due(Timer::Ready(0)), [], "a late timer does nothing");
}

#[test]
fn a_service_may_say_itself_that_it_is_ready_even_before_it_is_known_to_have_started() {
    let says = || Plan { ready: Some(Readiness { says: true, timeout: seconds(5) }), ..service() };
    let mut life = Life::of(vec![says(), says()], 2);
    life.when(Event::Begin);
    assert_eq!(life.when(Event::Started(0)), [After(seconds(5), Timer::Ready(0))]);
    assert_eq!(life.when(Event::SaysReady(1)), []);
    assert_eq!(life.when(Event::SaysReady(0)), []);
    assert_eq!(life.when(Event::Started(1)), [Ready]);
}

#[test]
fn failed_checks_in_a_row_end_a_service() {
    let health = Health {
        check: Check::Tcp(80),
        interval: seconds(10),
        timeout: seconds(2),
        threshold: 2,
        start_period: seconds(30),
    };
    let mut life = Life::of(vec![Plan { health: Some(health), ..service() }], 1);
    life.when(Event::Begin);
    assert_eq!(life.when(Event::Started(0)), [After(seconds(30), Timer::Probe(0)), Ready]);
    let checks = [Probe(0, super::Probe::Health), After(seconds(2) + PROBE_SLACK, Timer::ProbeLimit(0))];
    let later = [After(seconds(10), Timer::Probe(0))];
    assert_eq!(life.due(Timer::Probe(0)), checks);
    assert_eq!(life.due(Timer::ProbeLimit(0)), later, "no answer is a failure");
    assert_eq!(life.due(Timer::ProbeLimit(0)), [], "which counts once");
    life.due(Timer::Probe(0));
    assert_eq!(life.when(Event::Probed(0, true)), later);
    for expected in [later.to_vec(), [vec![Say(0, Saying::Unhealthy(2))], stops(0).to_vec()].concat()] {
        life.due(Timer::Probe(0));
        assert_eq!(life.when(Event::Probed(0, false)), expected);
    }
    assert_eq!(life.due(Timer::Limit(0)), kills(0, GRACE), "after its grace");
    assert_eq!(life.badly(0), again(0, 1, 1, true));
}

#[test]
fn orders() {
    let mut life = Life::running(vec![service(), onboot(OnFail::Stop)]);
    life.well(1);
    life.when(Event::Started(0));
    assert_eq!(life.when(Event::Order(1, Order::Start)), [], "only services take orders");
    assert_eq!(life.when(Event::Order(0, Order::Start)), [], "it runs");
    assert_eq!(life.when(Event::Order(0, Order::Restart)), stops(0));
    assert_eq!(life.badly(0), [Say(0, Saying::AtOnce), Start(0)]);
    life.when(Event::Started(0));
    assert_eq!(life.when(Event::Order(0, Order::Stop)), stops(0));
    assert_eq!(life.well(0), [Say(0, Saying::Over)]);
    assert_eq!(life.sequence.state(0), State::Down);
    assert_eq!(life.when(Event::Order(0, Order::Start)), [Start(0)]);
    life.when(Event::Started(0));
    // One that changes their mind while it ends.
    life.when(Event::Order(0, Order::Stop));
    life.when(Event::Order(0, Order::Start));
    assert_eq!(life.well(0), [Say(0, Saying::AtOnce), Start(0)]);
    life.badly(0);
    assert_eq!(life.sequence.state(0), State::Backoff);
    assert_eq!(life.when(Event::Order(0, Order::Stop)), []);
    assert_eq!(life.due(Timer::Restart(0)), [], "it stays down");
    life.when(Event::Request(Ending::Halt));
    assert_eq!(life.when(Event::Order(0, Order::Start)), [], "the machine ends");
}

#[test]
fn every_change_of_state_is_told() {
    let mut life = Life::running(vec![service()]);
    life.badly(0);
    let states: Vec<_> = life.sequence.take_changes().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [State::Starting, State::Running, State::Ready, State::Backoff]);
    assert_eq!(life.sequence.take_changes(), []);
}
