//! What the supervisor answers to requests of the control channel.

use std::fs;

use bootwright_bundle::Ending;
use bootwright_bundle::control::{Order, Power, Refusal, Request, UnitStatus};

use super::runner::{Outcome, Runner};
use super::sequence::{Event, State};
use super::unit::Kind;
use super::{Post, Supervisor, now};
use crate::control::{Call, Whereabouts};
use crate::journal::Wanted;
use crate::report;

impl Supervisor {
    /// Answers a request.
    pub(super) fn answer(&mut self, call: Call) {
        let reply = call.reply;
        match call.request {
            Request::Ping => reply.done(Ok(())),
            Request::Status => reply.items(self.statuses()),
            Request::Logs { source: Some(name), .. }
                if self.desk.journal.borrow().find(Some(&name)).next().is_none() =>
            {
                let known: Vec<String> = self.desk.journal.borrow().names().map(|name| format!("`{name}`")).collect();
                let refusal = Refusal::new(format!("there is no log `{name}`"));
                reply.done(Err(refusal.hint(format!("there are {}", known.join(", ")))));
            }
            Request::Logs { source, last, since, follow } => {
                self.desk.read(reply, &Wanted { events: false, source, last, since, follow });
            }
            Request::Events { follow } => {
                self.desk.read(reply, &Wanted { events: true, follow, ..Wanted::default() });
            }
            Request::ReadFile { service: None, .. } | Request::Debug { service: None, .. } => {
                reply.items([Whereabouts::default()]);
            }
            Request::Exec { service, .. }
            | Request::ReadFile { service: Some(service), .. }
            | Request::Debug { service: Some(service), .. } => match self.whereabouts(&service) {
                Ok(whereabouts) => reply.items([whereabouts]),
                Err(refusal) => reply.done(Err(refusal)),
            },
            Request::Service { name, order } => reply.done(self.order(&name, order)),
            Request::Power { how } => {
                let ending = match how {
                    Power::Poweroff => Ending::Poweroff,
                    Power::Reboot => Ending::Reboot,
                    Power::Halt => Ending::Halt,
                };
                reply.done(Ok(()));
                self.request(ending, "the control channel");
            }
            Request::BootReport => {
                let units = self.posts.iter().map(|post| (post.unit.kind.word(), post.unit.name.as_str()));
                reply.items([self.desk.report.document(units)]);
            }
        }
    }

    /// How each container is.
    fn statuses(&self) -> impl Iterator<Item = UnitStatus> {
        self.posts.iter().enumerate().map(|(i, Post { unit, record, runner, .. })| {
            let cgroup = runner.as_ref().and_then(Runner::cgroup);
            let memory = cgroup.and_then(|cgroup| {
                fs::read_to_string(report::cgroup_file(cgroup, "memory.current")).ok()?.trim().parse().ok()
            });
            let running = runner.as_ref().and(record.started).map(|started| now().saturating_sub(started));
            UnitStatus {
                name: unit.name.clone(),
                kind: unit.kind.word().to_owned(),
                state: self.sequence.state(i),
                pid: process(runner.as_ref()),
                uptime: running.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
                restarts: self.sequence.restarts(i).into(),
                outcome: record.outcome.as_ref().map(Outcome::to_string),
                says: record.status.clone(),
                memory,
            }
        })
    }

    /// Where a running container is, a service before others of its name.
    fn whereabouts(&self, name: &str) -> Result<Whereabouts, Refusal> {
        let named = self.posts.iter().enumerate().filter(|(_, post)| post.unit.name == name);
        let runs = |i: usize| matches!(self.sequence.state(i), State::Running | State::Ready);
        let Some((i, post)) = named.max_by_key(|(i, post)| (runs(*i), post.unit.kind == Kind::Service)) else {
            return Err(self.unknown(name, |_| true));
        };
        let unit = &post.unit;
        if !runs(i) {
            return Err(Refusal::new(format!("{} `{name}` does not run", unit.kind.word())));
        }
        let pid = post.runner.as_ref().and_then(Runner::process).map(|pid| pid.as_raw_nonzero().get());
        Ok(Whereabouts { kind: unit.kind.directory().to_owned(), directory: unit.directory.clone(), pid })
    }

    /// Wants something of a service.
    fn order(&mut self, name: &str, order: Order) -> Result<(), Refusal> {
        let service = |post: &Post| post.unit.kind == Kind::Service && post.unit.name == name;
        let Some(i) = self.posts.iter().position(service) else {
            return Err(self.unknown(name, |kind| kind == Kind::Service));
        };
        self.happen(Event::Order(i, order));
        Ok(())
    }

    fn unknown(&self, name: &str, of: impl Fn(Kind) -> bool) -> Refusal {
        let known = self.posts.iter().filter(|post| of(post.unit.kind));
        let names: Vec<String> = known.map(|post| format!("`{}`", post.unit.name)).collect();
        let what = if of(Kind::Onboot) { "container" } else { "service" };
        Refusal::new(format!("there is no {what} `{name}`")).hint(format!("there are {}", names.join(", ")))
    }
}

/// The number of a container's first process.
fn process(runner: Option<&Runner>) -> Option<u32> {
    runner.and_then(Runner::process).map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
}
