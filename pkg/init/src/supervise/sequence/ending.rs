//! The way to the end: services in the opposite of the order in which they started, each with its grace, then the onshutdown
//! containers in theirs. What does not even die is left behind: nothing keeps a machine from ending.

use std::time::Duration;

use bootwright_bundle::Ending;

use super::{Action, Goal, Saying, Sequence, Stage, State, Timer};
use crate::supervise::unit::Kind;

/// How long an onshutdown container may run. Without a limit a hanging one would keep the machine from ending.
pub(super) const ONSHUTDOWN_LIMIT: Duration = Duration::from_secs(60);
/// How long a process may take to die when it was killed; one that waits for a device may never do.
pub(super) const KILL_LIMIT: Duration = Duration::from_secs(5);

impl Sequence {
    pub(super) fn request(&mut self, ending: Ending, actions: &mut Vec<Action>) {
        match self.stage {
            Stage::Onboot | Stage::Shell | Stage::Services => self.shut_down(ending),
            Stage::Banner(ending) => self.shut_down(ending),
            // Asked twice: no more patience.
            Stage::Stopping(_) | Stage::Onshutdown(_) => {
                for unit in self.units(State::is_active) {
                    actions.push(Action::Say(unit, Saying::Hurried));
                    self.kill(unit, actions);
                }
            }
            Stage::Over => {}
        }
    }

    pub(super) fn shut_down(&mut self, ending: Ending) {
        self.stage = Stage::Stopping(ending);
        self.turn.clear();
        let services: Vec<usize> = self.all(Kind::Service).map(|(unit, _)| unit).collect();
        for unit in services {
            if matches!(self.state(unit), State::Waiting | State::Backoff) {
                self.set(unit, State::Down);
            }
        }
    }

    pub(super) fn advance_stopping(&mut self, ending: Ending, actions: &mut Vec<Action>) {
        for unit in self.units(|state| state.is_active() && state != State::Stopping) {
            if !self.is_needed(unit) {
                self.stop(unit, Goal::Down, actions);
            }
        }
        if self.units(State::is_active).is_empty() {
            self.stage = Stage::Onshutdown(ending);
            self.turn = self.all(Kind::Onshutdown).map(|(unit, _)| unit).collect();
        }
    }

    /// Whether a service runs that started after this one.
    fn is_needed(&self, unit: usize) -> bool {
        self.members.iter().any(|other| other.state.is_active() && other.plan.before().any(|before| before == unit))
    }

    pub(super) fn advance_onshutdown(&mut self, ending: Ending, actions: &mut Vec<Action>) {
        if self.is_active(Kind::Onshutdown) {
            return;
        }
        if let Some(unit) = self.turn.pop_front() {
            self.start(unit, actions);
            actions.push(Action::After(ONSHUTDOWN_LIMIT, Timer::Limit(unit)));
        } else {
            self.stage = Stage::Over;
            actions.push(Action::End(ending));
        }
    }

    /// A container's time to end, or that of an onshutdown to run, is over.
    pub(super) fn limit(&mut self, unit: usize, actions: &mut Vec<Action>) {
        let Some(member) = self.members.get(unit) else { return };
        let onshutdown = member.plan.kind == Kind::Onshutdown;
        if member.state == State::Stopping || (onshutdown && member.state.is_active()) {
            let time = if onshutdown { ONSHUTDOWN_LIMIT } else { member.plan.stop.grace };
            actions.push(Action::Say(unit, Saying::Late(time)));
            self.kill(unit, actions);
        }
    }

    fn kill(&mut self, unit: usize, actions: &mut Vec<Action>) {
        if self.state(unit) != State::Stopping {
            self.set(unit, State::Stopping);
        }
        actions.extend([Action::EndProbe(unit), Action::Kill(unit), Action::After(KILL_LIMIT, Timer::Killed(unit))]);
    }

    /// A container was killed and is still there.
    pub(super) fn stuck(&mut self, unit: usize, actions: &mut Vec<Action>) {
        if self.state(unit) != State::Stopping {
            return;
        }
        actions.push(Action::Say(unit, Saying::Stuck));
        // Otherwise its place is taken as long as it is there.
        if matches!(self.stage, Stage::Stopping(_) | Stage::Onshutdown(_)) {
            self.set(unit, State::Failed);
        }
    }

    fn units(&self, wanted: impl Fn(State) -> bool) -> Vec<usize> {
        let found = self.members.iter().enumerate().filter(|(_, member)| wanted(member.state));
        found.map(|(unit, _)| unit).collect()
    }
}
