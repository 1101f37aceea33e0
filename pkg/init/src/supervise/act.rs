//! What is done: each action of the sequence, in the world.

use std::time::Duration;

use bootwright_bundle::{Check, Health, READY_PREFIX};
use bootwright_early::end;
use rustix::event::epoll::EventFlags;

use super::notify::Notify;
use super::prober::Prober;
use super::runner::{Outcome, Runner};
use super::sequence::{Action, Event, Probe, Saying, State};
use super::sources::Source;
use super::unit::Kind;
use super::{Post, Supervisor, now, shell, voice, watch};

impl Supervisor {
    /// Does what the sequence says.
    pub(super) fn act(&mut self, action: Action, now: Duration) {
        match action {
            Action::Start(i) => self.start(i),
            Action::Stop(i) => {
                if let Some(Post { runner: Some(runner), unit, .. }) = self.posts.get_mut(i) {
                    let signal = unit.supervision.stop.unwrap_or_default().signal;
                    if runner.stop(signal) {
                        self.event(Some(i), "killed", &format!("the kernel drops signal {signal}"), now);
                    }
                }
            }
            Action::Kill(i) => {
                self.event(Some(i), "killed", "", now);
                if let Some(Post { runner: Some(runner), .. }) = self.posts.get_mut(i) {
                    runner.kill();
                }
            }
            Action::Probe(i, probe) => self.probe(i, probe),
            Action::EndProbe(i) => {
                if let Some(post) = self.posts.get_mut(i)
                    && let Some(prober) = post.prober.take()
                {
                    post.record.found = prober.end();
                }
            }
            Action::After(time, timer) => self.timers.set(now + time, timer),
            Action::Say(i, saying) => self.say(i, saying, now),
            Action::Banner(i, delay) => self.banner(i, delay),
            Action::Ready => self.ready(),
            Action::Shell => self.start_shell(),
            Action::End(ending) => {
                self.desk.finish(&mut self.machine.consoles);
                let watchdog = self.watchdog.take();
                end(&mut self.machine.consoles, ending, || {
                    if let Some(watchdog) = watchdog {
                        watchdog.disarm();
                    }
                });
            }
        }
    }

    fn say(&mut self, i: usize, saying: Saying, now: Duration) {
        let Some(Post { runner, record, .. }) = self.posts.get_mut(i) else { return };
        let what = match saying {
            Saying::NotReady(_) => Some("not-ready"),
            Saying::Unhealthy(_) => Some("unhealthy"),
            _ => None,
        };
        if let (Some(what), Some(runner)) = (what, runner) {
            // It still runs: what is told is what there is of it by now.
            record.output.clone_from(&runner.output);
            let found = record.found.clone();
            self.event(Some(i), what, &found, now);
        }
        let other = if let Saying::Blocked(other) = saying { self.posts.get(other) } else { None };
        let Some(post) = self.posts.get(i) else { return };
        voice::say(&mut self.machine.consoles, &post.unit, &post.record, saying, other.map(|post| &post.unit));
    }

    fn probe(&mut self, i: usize, probe: Probe) {
        let Some(Post { unit, runner: Some(runner), prober, record, .. }) = self.posts.get_mut(i) else { return };
        if let (Probe::Health, Some(Health { check: Check::Notify, interval, .. })) = (probe, &unit.supervision.health)
        {
            let well = std::mem::take(&mut record.well);
            record.found = format!("it has not said WATCHDOG=1 for {}", voice::span(*interval));
            self.happen(Event::Probed(i, well));
            return;
        }
        let Some(process) = runner.process() else { return };
        drop(prober.take().map(Prober::end));
        match Prober::start(unit, probe, process) {
            Ok(started) => *prober = Some(started),
            Err(error) => {
                let text = format!("{} `{}` was not probed: {error}", unit.kind.word(), unit.name);
                self.machine.consoles.say(&text);
                self.happen(Event::Probed(i, false));
            }
        }
    }

    fn start(&mut self, i: usize) {
        self.open_notify(i);
        self.desk.report.start(i);
        let Some(Post { unit, runner: slot, record, .. }) = self.posts.get_mut(i) else { return };
        let abort = self.machine.cmdline.abort.as_ref() == Some(&unit.name);
        match Runner::start(unit, abort) {
            Ok(runner) => {
                let runner = slot.insert(runner);
                let (status, [output, errors]) = runner.descriptors();
                let printed = [(output.as_ref(), Source::Output(i)), (errors.as_ref(), Source::Errors(i))];
                for (fd, source) in [(status, Source::Status(i))].into_iter().chain(printed) {
                    if let Some(fd) = fd {
                        watch(self.poll.as_ref(), fd, source, EventFlags::IN);
                    }
                }
            }
            Err(error) => {
                record.end(Outcome::NotStarted(error.to_string()), now());
                self.happen(Event::Ended(i, false));
            }
        }
    }

    /// Makes the socket of a service that says itself how it is, or forgets what an earlier run said.
    fn open_notify(&mut self, i: usize) {
        let Some(Post { unit, notify, .. }) = self.posts.get_mut(i) else { return };
        let (ready, health) = (&unit.supervision.ready, &unit.supervision.health);
        let mut checks = ready.iter().map(|ready| &ready.check).chain(health.iter().map(|health| &health.check));
        if checks.all(|check| *check != Check::Notify) {
            return;
        }
        if let Some(notify) = notify {
            let _ = notify.hear();
            return;
        }
        match Notify::open(&unit.directory) {
            Ok(opened) => watch(self.poll.as_ref(), notify.insert(opened), Source::Notify(i), EventFlags::IN),
            Err(error) => {
                let text = format!("service `{}` cannot say how it is: {error}", unit.name);
                self.machine.consoles.say(&text);
            }
        }
    }

    fn banner(&mut self, i: usize, delay: Duration) {
        let Some(unit) = self.posts.get(i).map(|post| &post.unit) else { return };
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
        let services = self.posts.iter().enumerate().filter(|(_, post)| post.unit.kind == Kind::Service);
        let ready = services.filter(|(i, _)| self.sequence.state(*i) == State::Ready);
        let names: Vec<&str> = ready.map(|(_, post)| post.unit.name.as_str()).collect();
        let line = format!("{READY_PREFIX}{} ms: {}", now().as_millis(), names.join(" "));
        self.machine.consoles.own_line(line.trim_end_matches([':', ' ']).as_bytes());
    }

    fn start_shell(&mut self) {
        if self.shell.is_some() {
            return;
        }
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
