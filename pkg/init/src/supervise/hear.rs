//! What is heard: each descriptor that has something to say becomes an event of the sequence, or a line on the consoles.

use std::collections::BTreeSet;
use std::time::Duration;

use bootwright_bundle::Ending;
use bootwright_early::read_uevents;
use rustix::event::epoll::{self, EventFlags};
use rustix::process::WaitOptions;

use super::runner::Runner;
use super::sequence::Event;
use super::sources::Source;
use super::unit::Kind;
use super::voice::{LAST_LINES, echo};
use super::{Post, Supervisor, now, power};
use crate::output::Printed;
use crate::sys;

/// Requests that follow one another more closely are one.
const SAME_REQUEST: Duration = Duration::from_secs(1);

impl Supervisor {
    /// Hears what a descriptor has to say.
    pub(super) fn hear(&mut self, source: Source) {
        match source {
            Source::Signals => self.hear_signals(),
            Source::Uevents => self.hear_uevents(),
            Source::Status(i) => self.hear_child(i),
            Source::Output(i) => self.hear_output(i, Printed::Out),
            Source::Errors(i) => self.hear_output(i, Printed::Err),
            Source::Notify(i) => self.hear_notify(i),
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

    pub(super) fn request(&mut self, ending: Ending, why: &str) {
        // One press may come by two devices, and a held key repeats.
        let now = now();
        if self.requested.replace(now).is_some_and(|last| now.saturating_sub(last) < SAME_REQUEST) {
            return;
        }
        let text = format!("{ending} asked for by {why}");
        self.machine.consoles.say(&text);
        self.event(None, "asked", &text, now);
        self.happen(Event::Request(ending));
    }

    /// Reaps every process that has ended. Those of containers are known by pid; orphans are nobody's.
    fn reap(&mut self) {
        while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
            // Whatever a child told before this end is in its pipe by now: the container's pid, without which its process is taken
            // for an orphan, and that it was started, without which the child's end is a failure. Few pipes are open at a time.
            for i in 0..self.posts.len() {
                self.hear_child(i);
            }
            if self.shell == Some(pid) {
                self.shell = None;
                self.happen(Event::ShellEnded);
                continue;
            }
            if self.desk.reaped(pid) {
                continue;
            }
            if let Some(i) = self.find(|post| post.runner.as_mut().is_some_and(|runner| runner.reaped(pid, status))) {
                self.settle(i);
            } else if let Some(i) = self.find(|post| post.prober.as_ref().is_some_and(|prober| prober.is(pid))) {
                self.probed(i, status.exit_status() == Some(0));
            }
        }
    }

    fn find(&mut self, is: impl FnMut(&mut Post) -> bool) -> Option<usize> {
        self.posts.iter_mut().position(is)
    }

    fn hear_child(&mut self, i: usize) {
        if let Some(Post { runner: Some(runner), .. }) = self.posts.get_mut(i)
            && runner.hear()
        {
            self.desk.report.started(i, runner.cgroup());
            self.happen(Event::Started(i));
        }
    }

    fn hear_output(&mut self, i: usize, printed: Printed) {
        let Some(Post { runner: Some(runner), unit, .. }) = self.posts.get_mut(i) else { return };
        let (consoles, desk) = (&mut self.machine.consoles, &mut self.desk);
        runner.read(printed, |line| echo(consoles, desk, i, unit, printed, line));
    }

    fn hear_notify(&mut self, i: usize) {
        let Some(Post { notify: Some(notify), record, .. }) = self.posts.get_mut(i) else { return };
        let said = notify.hear();
        if let Some(status) = said.status {
            record.status = status;
        }
        record.well |= said.well;
        if said.ready {
            self.happen(Event::SaysReady(i));
        }
    }

    fn probed(&mut self, i: usize, good: bool) {
        let Some(post) = self.posts.get_mut(i) else { return };
        if let Some(prober) = post.prober.take() {
            post.record.found = prober.said();
            self.happen(Event::Probed(i, good));
        }
    }

    /// Deals with a container that may have ended.
    fn settle(&mut self, i: usize) {
        let Some(Post { runner: slot, unit, record, .. }) = self.posts.get_mut(i) else { return };
        let Some(outcome) = slot.as_ref().and_then(Runner::ended) else { return };
        let Some(mut runner) = slot.take() else { return };
        let (consoles, desk) = (&mut self.machine.consoles, &mut self.desk);
        // What it printed last; a share is enough, since a pipe holds no more than two.
        for printed in Printed::BOTH.into_iter().flat_map(|printed| [printed; 2]) {
            runner.read(printed, |line| echo(consoles, desk, i, unit, printed, line));
        }
        runner.output.finish(|printed, line| echo(consoles, desk, i, unit, printed, line));
        desk.report.ended(i);
        runner.clean_up(unit);
        record.output = std::mem::take(&mut runner.output);
        let well = outcome.is_good();
        record.end(outcome, now());
        drop(runner);
        if let (Some(outcome), None) = (record.outcome.as_ref().filter(|outcome| !outcome.is_good()), record.asked) {
            let headline = format!("{} `{}` ended: {outcome}", unit.kind.word(), unit.name);
            desk.keep(i, &headline, LAST_LINES);
        }
        if unit.kind == Kind::Onboot {
            // It may have mounted the disk that log files are for.
            desk.look();
        }
        self.happen(Event::Ended(i, well));
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
}
