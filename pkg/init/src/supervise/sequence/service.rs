//! Services: a graph of what starts after what, how each becomes and stays ready, and what follows when it ends.

use std::time::Duration;

use bootwright_bundle::RestartPolicy;

use super::{Action, Goal, Member, Order, Probe, Saying, Sequence, Stage, State, Timer};
use crate::supervise::unit::Kind;

/// A container that ran longer than this starts after a short pause again.
const STEADY: Duration = Duration::from_secs(60);
/// How much longer than its timeout a check may take. The probe keeps the time; this is for one that cannot.
pub(super) const PROBE_SLACK: Duration = Duration::from_secs(1);
/// The pause after a probe for readiness that could not even look.
const PROBE_PAUSE: Duration = Duration::from_secs(1);

impl Sequence {
    /// Starts what can start, and says once that everything is there.
    pub(super) fn advance_services(&mut self, actions: &mut Vec<Action>) {
        while let Some((unit, missing)) = self.next_blocked() {
            if let Some(member) = self.members.get_mut(unit) {
                member.blocked = missing.is_some();
            }
            match missing {
                Some(other) => {
                    self.set(unit, State::Failed);
                    actions.push(Action::Say(unit, Saying::Blocked(other)));
                }
                None => self.set(unit, State::Waiting),
            }
        }
        while self.has_room()
            && let Some(unit) = self.next_to_start()
        {
            self.start(unit, actions);
        }
        if !self.ready && self.all(Kind::Service).all(|(_, member)| member.has_settled()) {
            self.ready = true;
            actions.push(Action::Ready);
        }
    }

    /// A service that waits for one that has failed, with that one; or one that was held up so and need not be any more.
    fn next_blocked(&self) -> Option<(usize, Option<usize>)> {
        self.all(Kind::Service).find_map(|(unit, member)| {
            let missing = member.plan.requires.iter().copied().find(|other| self.state(*other) == State::Failed);
            let blocked = member.state == State::Failed && member.blocked;
            match (member.state, missing) {
                (State::Waiting, Some(other)) => Some((unit, Some(other))),
                (State::Failed, None) if blocked => Some((unit, None)),
                _ => None,
            }
        })
    }

    fn next_to_start(&self) -> Option<usize> {
        let member = |unit: &usize| self.members.get(*unit);
        let can = |waiting: &Member| {
            waiting.state == State::Waiting
                && waiting.plan.after.iter().filter_map(member).all(Member::has_settled)
                && waiting.plan.requires.iter().filter_map(member).all(Member::is_there)
        };
        self.all(Kind::Service).find(|(_, member)| can(member)).map(|(unit, _)| unit)
    }

    pub(super) fn started(&mut self, unit: usize, actions: &mut Vec<Action>) {
        if self.state(unit) != State::Starting {
            return;
        }
        self.set(unit, State::Running);
        let Some(member) = self.members.get(unit).filter(|member| member.plan.kind == Kind::Service) else { return };
        match member.plan.ready {
            Some(ready) if !member.early => {
                actions.push(Action::After(ready.timeout, Timer::Ready(unit)));
                if !ready.says {
                    actions.push(Action::Probe(unit, Probe::Ready));
                }
            }
            _ => self.become_ready(unit, actions),
        }
    }

    fn become_ready(&mut self, unit: usize, actions: &mut Vec<Action>) {
        self.set(unit, State::Ready);
        let Some(member) = self.members.get_mut(unit) else { return };
        member.was_ready = true;
        if let Some(health) = &member.plan.health {
            actions.push(Action::After(health.start_period, Timer::Probe(unit)));
        }
    }

    pub(super) fn says_ready(&mut self, unit: usize, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(unit) else { return };
        match member.state {
            State::Starting => member.early = true,
            State::Running if member.plan.ready.is_some_and(|ready| ready.says) => self.become_ready(unit, actions),
            _ => {}
        }
    }

    /// It is time to find out how a service is.
    pub(super) fn probe(&mut self, unit: usize, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(unit) else { return };
        match (member.state, &member.plan.health) {
            (State::Running, _) => actions.push(Action::Probe(unit, Probe::Ready)),
            (State::Ready, Some(health)) => {
                member.probing = true;
                actions.push(Action::Probe(unit, Probe::Health));
                actions.push(Action::After(health.timeout + PROBE_SLACK, Timer::ProbeLimit(unit)));
            }
            _ => {}
        }
    }

    pub(super) fn probed(&mut self, unit: usize, good: bool, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(unit) else { return };
        member.probing = false;
        match (member.state, &member.plan.health) {
            (State::Running, _) if good => self.become_ready(unit, actions),
            (State::Running, _) => actions.push(Action::After(PROBE_PAUSE, Timer::Probe(unit))),
            (State::Ready, Some(health)) => {
                member.misses = if good { 0 } else { member.misses + 1 };
                if member.misses >= health.threshold {
                    actions.push(Action::Say(unit, Saying::Unhealthy(member.misses)));
                    self.stop(unit, Goal::Fail, actions);
                } else {
                    actions.push(Action::After(health.interval, Timer::Probe(unit)));
                }
            }
            _ => {}
        }
    }

    pub(super) fn not_ready(&mut self, unit: usize, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get(unit).filter(|member| member.state == State::Running) else { return };
        if let Some(ready) = member.plan.ready {
            // First, so that what it has found can be told.
            actions.push(Action::EndProbe(unit));
            actions.push(Action::Say(unit, Saying::NotReady(ready.timeout)));
            self.stop(unit, Goal::Fail, actions);
        }
    }

    /// Asks a container to end; `goal` follows when it has.
    pub(super) fn stop(&mut self, unit: usize, goal: Goal, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get_mut(unit) else { return };
        member.goal = goal;
        let grace = member.plan.stop.grace;
        self.set(unit, State::Stopping);
        actions.extend([Action::EndProbe(unit), Action::Stop(unit), Action::After(grace, Timer::Limit(unit))]);
    }

    pub(super) fn ended(&mut self, unit: usize, well: bool, actions: &mut Vec<Action>) {
        actions.push(Action::EndProbe(unit));
        let stopped = self.state(unit) == State::Stopping;
        let goal = self.members.get(unit).filter(|_| stopped).map(|member| member.goal);
        if !matches!(self.stage, Stage::Onboot | Stage::Shell | Stage::Services) {
            actions.push(Action::Say(unit, Saying::Over));
            self.set(unit, if well || stopped { State::Down } else { State::Failed });
            return;
        }
        match goal {
            None => self.follow(unit, well, actions),
            Some(Goal::Fail) => self.follow(unit, false, actions),
            Some(Goal::Down) => {
                actions.push(Action::Say(unit, Saying::Over));
                self.set(unit, State::Down);
            }
            Some(Goal::Restart) => {
                if let Some(member) = self.members.get_mut(unit) {
                    member.restarts += 1;
                }
                actions.push(Action::Say(unit, Saying::AtOnce));
                self.set(unit, State::Waiting);
            }
        }
    }

    /// What follows when a container has ended by itself.
    fn follow(&mut self, unit: usize, well: bool, actions: &mut Vec<Action>) {
        let now = self.now;
        let Some(member) = self.members.get_mut(unit) else { return };
        let again = match member.plan.restart.policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => !well,
            RestartPolicy::Never => false,
        };
        if again {
            let first = member.pauses == 0 || member.is_steady(now);
            if let Some(pause) = member.pause(now) {
                actions.push(Action::Say(unit, Saying::Again(pause, member.restarts, first)));
                self.set(unit, State::Backoff);
                actions.push(Action::After(pause, Timer::Restart(unit)));
            } else {
                actions.push(Action::Say(unit, Saying::TooOften));
                self.failed(unit, actions);
            }
            return;
        }
        actions.push(Action::Say(unit, Saying::Over));
        if well {
            member.done = true;
            self.set(unit, State::Down);
        } else {
            self.failed(unit, actions);
        }
    }

    pub(super) fn order(&mut self, unit: usize, order: Order, actions: &mut Vec<Action>) {
        let service = |member: &&mut Member| member.plan.kind == Kind::Service;
        let Some(member) = self.members.get_mut(unit).filter(service) else { return };
        if !matches!(self.stage, Stage::Onboot | Stage::Shell | Stage::Services) {
            return;
        }
        match (order, member.state) {
            (Order::Stop, State::Starting | State::Running | State::Ready) => self.stop(unit, Goal::Down, actions),
            (Order::Stop, State::Waiting | State::Backoff) => self.set(unit, State::Down),
            (Order::Restart, State::Starting | State::Running | State::Ready) => {
                self.stop(unit, Goal::Restart, actions);
            }
            (Order::Stop, State::Stopping) => member.goal = Goal::Down,
            (Order::Start | Order::Restart, State::Stopping) => member.goal = Goal::Restart,
            (Order::Start | Order::Restart, State::Backoff | State::Down | State::Failed) => {
                member.pauses = 0;
                member.recent.clear();
                member.blocked = false;
                self.set(unit, State::Waiting);
            }
            (Order::Stop, State::Down | State::Failed)
            | (Order::Start, State::Starting | State::Running | State::Ready)
            | (Order::Start | Order::Restart, State::Waiting) => {}
        }
    }
}

impl Member {
    /// Whether those that only start after it need not wait any more.
    fn has_settled(&self) -> bool {
        self.was_ready || matches!(self.state, State::Down | State::Failed)
    }

    /// Whether those that require it can start.
    fn is_there(&self) -> bool {
        self.state == State::Ready || (self.state == State::Down && self.done)
    }

    fn is_steady(&self, now: Duration) -> bool {
        now.saturating_sub(self.since) >= STEADY
    }

    /// The pause before it is started again; none if that was so too often.
    fn pause(&mut self, now: Duration) -> Option<Duration> {
        let restart = self.plan.restart;
        if self.is_steady(now) {
            self.pauses = 0;
        }
        if let Some(limit) = restart.limit {
            self.recent.retain(|then| now.saturating_sub(*then) < restart.window);
            if self.recent.len() >= limit as usize {
                return None;
            }
            self.recent.push_back(now);
        }
        let pause = restart.delay.saturating_mul(1 << self.pauses.min(16)).min(restart.max_delay);
        self.pauses += 1;
        self.restarts += 1;
        Some(pause)
    }
}
