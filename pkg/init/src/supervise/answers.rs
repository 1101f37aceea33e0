//! What the supervisor answers to requests of the control channel.

use std::fs;

use bootwright_bundle::Ending;
use bootwright_bundle::control::{Order, Power, Refusal, Request, UnitStatus};

use super::Supervisor;
use super::runner::Runner;
use super::unit::Kind;
use crate::control::{Call, Whereabouts};
use crate::journal::Wanted;
use crate::report;

impl Supervisor {
    /// Answers a request.
    pub(super) fn answer(&mut self, call: Call) {
        let reply = call.reply;
        match call.request {
            Request::Ping => reply.done(Ok(())),
            Request::Status => reply.items((0..self.units.len()).filter_map(|i| self.status(i))),
            Request::Logs { source: Some(name), .. } if self.desk.journal.find(Some(&name)).next().is_none() => {
                let known: Vec<String> = self.desk.journal.names().map(|name| format!("`{name}`")).collect();
                let refusal = Refusal::new(format!("there is no log `{name}`"));
                reply.done(Err(refusal.hint(format!("there are {}", known.join(", ")))));
            }
            Request::Logs { source, last, since, follow } => {
                self.desk.read(reply, &Wanted { source, last, since, follow });
            }
            Request::Exec { service, .. } => match self.whereabouts(&service) {
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
                let units = self.units.iter().map(|unit| (unit.kind.word(), unit.name.as_str()));
                reply.items([self.desk.report.document(units)]);
            }
        }
    }

    fn status(&self, i: usize) -> Option<UnitStatus> {
        let unit = self.units.get(i)?;
        let course = self.desk.report.course(i)?;
        let runner = self.runners.get(i).and_then(Option::as_ref);
        let memory = runner.and_then(Runner::cgroup).and_then(|cgroup| {
            fs::read_to_string(report::cgroup_file(cgroup, "memory.current")).ok()?.trim().parse().ok()
        });
        let well = course.outcome.as_deref().is_none_or(|outcome| outcome == super::Outcome::Exited(0).to_string());
        Some(UnitStatus {
            name: unit.name.clone(),
            kind: unit.kind.word().to_owned(),
            state: self.sequence.told(i, well),
            pid: runner.and_then(Runner::process).map(|pid| pid.as_raw_nonzero().get().unsigned_abs()),
            uptime: runner.map(|_| (report::now() - course.since).max(0.0) as u64),
            restarts: course.starts.saturating_sub(1),
            outcome: course.outcome.clone(),
            memory,
        })
    }

    /// Where a running container is, a service before others of its name.
    fn whereabouts(&self, name: &str) -> Result<Whereabouts, Refusal> {
        let named = self.units.iter().enumerate().filter(|(_, unit)| unit.name == name);
        let Some((i, unit)) = named.max_by_key(|(i, unit)| (self.sequence.runs(*i), unit.kind == Kind::Service)) else {
            return Err(self.unknown(name));
        };
        if !self.sequence.runs(i) {
            return Err(Refusal::new(format!("{} `{name}` does not run", unit.kind.word())));
        }
        Ok(Whereabouts { kind: unit.kind.directory().to_owned(), directory: unit.directory.clone() })
    }

    /// Does something with a service.
    fn order(&self, name: &str, _: Order) -> Result<(), Refusal> {
        if !self.units.iter().any(|unit| unit.kind == Kind::Service && unit.name == name) {
            return Err(self.unknown(name));
        }
        Err(Refusal::new("this init does not start and stop single services"))
    }

    fn unknown(&self, name: &str) -> Refusal {
        let names: Vec<String> = self.units.iter().map(|unit| format!("`{}`", unit.name)).collect();
        Refusal::new(format!("there is no container `{name}`")).hint(format!("there are {}", names.join(", ")))
    }
}
