//! What the state machine knows of each container: its `bootwright.json`, with everything that was left out filled in and
//! every name a position.
//!
//! The builder refuses names that do not exist and orders that go in a circle. Bundles that others made may have them: what
//! cannot be is left out and said, so that the machine still comes up.

use std::time::Duration;

use bootwright_bundle::{Check, Health, OnFail, Restart, RestartPolicy, Stop};

use super::unit::{Kind, Unit};

/// What is to be done with one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// When it runs.
    pub kind: Kind,
    /// What happens when it has failed for good.
    pub onfail: OnFail,
    /// When it is run again.
    pub restart: Restart,
    /// Services that it only starts after.
    pub after: Vec<usize>,
    /// Services that it cannot be without.
    pub requires: Vec<usize>,
    /// When it is ready; none: when it has started.
    pub ready: Option<Readiness>,
    /// How it is watched.
    pub health: Option<Health>,
    /// How it is asked to end.
    pub stop: Stop,
    /// Whether it runs beside its neighbours (onboot).
    pub parallel: bool,
}

/// How a service becomes ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// Whether it says so itself; otherwise a probe finds out.
    pub says: bool,
    /// How long it may take.
    pub timeout: Duration,
}

impl Plan {
    /// A container of which nothing is said.
    pub fn of(kind: Kind) -> Self {
        let policy = if kind == Kind::Service { RestartPolicy::Always } else { RestartPolicy::Never };
        Self {
            kind,
            onfail: if kind == Kind::Onboot { OnFail::Stop } else { OnFail::Continue },
            restart: Restart { policy, ..Restart::default() },
            after: Vec::new(),
            requires: Vec::new(),
            ready: None,
            health: None,
            stop: Stop::default(),
            parallel: false,
        }
    }

    /// Everything that this one starts after.
    pub fn before(&self) -> impl Iterator<Item = usize> {
        self.after.iter().chain(&self.requires).copied()
    }
}

/// The plans of all units, and sentences about what is left out of them.
pub fn plans(units: &[Unit]) -> (Vec<Plan>, Vec<String>) {
    let mut troubles = Vec::new();
    let mut plans: Vec<Plan> = units.iter().map(plan).collect();
    for (i, unit) in units.iter().enumerate().filter(|(_, unit)| unit.kind == Kind::Service) {
        for (name, required) in names(unit) {
            let found = units.iter().position(|other| other.kind == Kind::Service && other.name == *name);
            let Some(other) = found else {
                troubles.push(format!("service `{}` waits for `{name}`, which is no service", unit.name));
                continue;
            };
            if leads_to(&plans, other, i) {
                troubles.push(format!("services `{}` and `{name}` wait for each other", unit.name));
            } else if let Some(plan) = plans.get_mut(i) {
                if required { plan.requires.push(other) } else { plan.after.push(other) }
            }
        }
    }
    (plans, troubles)
}

fn names(unit: &Unit) -> impl Iterator<Item = (&String, bool)> {
    let after = unit.supervision.after.iter().map(|name| (name, false));
    after.chain(unit.supervision.requires.iter().map(|name| (name, true)))
}

/// Whether `from` starts after `to`, itself or by others, or is it.
fn leads_to(plans: &[Plan], from: usize, to: usize) -> bool {
    let mut seen = vec![false; plans.len()];
    let mut open = vec![from];
    while let Some(unit) = open.pop() {
        if unit == to {
            return true;
        }
        if let Some(seen) = seen.get_mut(unit).filter(|seen| !**seen) {
            *seen = true;
            open.extend(plans.get(unit).into_iter().flat_map(Plan::before));
        }
    }
    false
}

fn plan(unit: &Unit) -> Plan {
    let said = &unit.supervision;
    let mut plan = Plan::of(unit.kind);
    plan.stop = said.stop.unwrap_or_default();
    // Before there was `restart`, `onfail` said it all.
    let policy = match said.onfail {
        None => plan.restart.policy,
        Some(OnFail::Retry) => RestartPolicy::OnFailure,
        Some(_) => RestartPolicy::Never,
    };
    plan.restart.policy = policy;
    plan.onfail = match said.onfail {
        Some(OnFail::Retry) => OnFail::Continue,
        said => said.unwrap_or(plan.onfail),
    };
    match unit.kind {
        Kind::Onboot => plan.parallel = said.parallel,
        Kind::Service => {
            plan.restart = said.restart.unwrap_or(plan.restart);
            plan.health.clone_from(&said.health);
            let ready = said.ready.as_ref();
            plan.ready = ready.map(|r| Readiness { says: r.check == Check::Notify, timeout: r.timeout });
        }
        Kind::Onshutdown => {}
    }
    plan
}

#[cfg(test)]
mod tests {
    use bootwright_bundle::Supervision;

    use super::*;

    fn unit(kind: Kind, name: &str, supervision: Supervision) -> Unit {
        Unit { kind, name: name.to_owned(), directory: name.to_owned(), supervision }
    }

    #[test]
    fn an_onfail_alone_means_what_it_always_meant() {
        use RestartPolicy::{Always, Never, OnFailure};
        let own = Restart { policy: Always, limit: Some(3), ..Restart::default() };
        for (kind, onfail, restart, policy, then) in [
            (Kind::Service, None, None, Always, OnFail::Continue),
            (Kind::Service, Some(OnFail::Continue), None, Never, OnFail::Continue),
            (Kind::Service, Some(OnFail::Retry), None, OnFailure, OnFail::Continue),
            (Kind::Service, Some(OnFail::Reboot), None, Never, OnFail::Reboot),
            (Kind::Service, Some(OnFail::Reboot), Some(own), Always, OnFail::Reboot),
            (Kind::Onboot, None, None, Never, OnFail::Stop),
            (Kind::Onboot, Some(OnFail::Retry), None, OnFailure, OnFail::Continue),
            (Kind::Onboot, None, Some(own), Never, OnFail::Stop),
            (Kind::Onshutdown, None, None, Never, OnFail::Continue),
        ] {
            let plan = plan(&unit(kind, "x", Supervision { onfail, restart, ..Supervision::default() }));
            assert_eq!((plan.restart.policy, plan.onfail), (policy, then), "{kind:?} {onfail:?}");
        }
    }

    #[test]
    fn what_cannot_be_waited_for_is_left_out_and_said() {
        let on = |after: &[&str], requires: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            Supervision { after: list(after), requires: list(requires), ..Supervision::default() }
        };
        let units = [
            unit(Kind::Onboot, "b", on(&["a"], &[])),
            unit(Kind::Service, "a", on(&[], &["b"])),
            unit(Kind::Service, "b", on(&["c", "nobody"], &[])),
            unit(Kind::Service, "c", on(&["c"], &["a"])),
        ];
        let (plans, troubles) = plans(&units);
        let order: Vec<Vec<usize>> = plans.iter().map(|plan| plan.before().collect()).collect();
        assert_eq!(order, [vec![], vec![2], vec![3], vec![]]);
        assert_eq!(
            troubles,
            [
                "service `b` waits for `nobody`, which is no service",
                "services `c` and `c` wait for each other",
                "services `c` and `a` wait for each other",
            ]
        );
    }
}
