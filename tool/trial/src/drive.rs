//! One trial: a machine is booted, looked at, and ended.
//!
//! A boot that the accelerator cannot run is none: `bootwright_machine::choose` tries the next one, from the beginning. Each wait
//! has a deadline, which is never later than the machine's own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bootwright_machine::control::{Power, Request};
use bootwright_machine::{Accelerator, Console, Error, Guest, MachineConfig, Outcome, WaitError, choose};
use bootwright_spec::{Expectation, TestCheck};
use tempfile::TempDir;

use crate::channel::{Asked, Channel};
use crate::interrupts::{Entered, Interrupts};
use crate::plan::{published, title};
use crate::probe::{self, free_port};
use crate::{Case, Settings, Trial, Tried, Verdict, verdict};

/// How long a check may take to hold that does not say.
const WITHIN: Duration = Duration::from_secs(30);
/// How long one look at a machine may take: at most, and at least, so that it is not cut off when little time is left.
const LOOK: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(2));
/// The first pause between two looks, and the longest: where nobody tells when something changes, it is looked at again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// What a machine has at least for its end, however much of its time is over.
const END: Duration = Duration::from_secs(30);
/// How long a machine that is down may take to have said everything.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Console lines that are kept.
const LINES: usize = 200;
/// How often another port is tried when somebody takes ours before QEMU does.
const PORTS: usize = 5;
/// The console line of our init that says that the services run.
const READY: &str = bootwright_machine::READY_PREFIX;

/// Makes a trial.
pub(crate) fn try_one(
    trial: &Trial,
    settings: &Settings,
    interrupts: &Interrupts,
    notice: &(dyn Fn(&str) + Sync),
) -> Tried {
    let begin = Instant::now();
    let config = MachineConfig {
        accel: settings.accel.clone(),
        arch: settings.arch,
        qemu: settings.qemu.clone(),
        ..trial.config()
    };
    let mut console = Notices(notice);
    let tried = choose(&config, &mut console, &settings.cache, |_, accelerator, silence| {
        let mut drive = Drive::new(trial, settings, &config, accelerator, interrupts);
        let result = drive.all(silence);
        let spoke = drive.spoke;
        (result.map(|()| drive.tried), spoke)
    });
    let mut tried = tried.unwrap_or_else(|error| {
        let mut tried = Tried::new(trial);
        let verdict = match &error {
            Error::LittleMemory { .. } => Verdict::Fails(error.to_string()),
            error => Verdict::Error(with_causes(error)),
        };
        tried.cases.push(Case { name: "boots".to_owned(), verdict, seconds: begin.elapsed().as_secs_f64() });
        tried
    });
    if let Some(limit) = trial.size_limit {
        let verdict = verdict::size(trial.size, limit).into();
        tried.cases.insert(0, Case { name: "size".to_owned(), verdict, seconds: 0.0 });
    }
    tried.seconds = begin.elapsed().as_secs_f64();
    tried
}

/// Passes on what is said about the machine; its console is read elsewhere.
struct Notices<'a>(&'a (dyn Fn(&str) + Sync));

impl Console for Notices<'_> {
    fn output(&mut self, _bytes: &[u8]) -> std::io::Result<()> {
        Ok(())
    }

    fn notice(&mut self, line: &str) {
        (self.0)(line);
    }
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    match error.hint() {
        Some(hint) => format!("{text} ({hint})"),
        None => text,
    }
}

/// A machine under one accelerator.
struct Drive<'a> {
    trial: &'a Trial,
    config: &'a MachineConfig,
    logs: Option<PathBuf>,
    accelerator: Accelerator,
    interrupts: &'a Interrupts,
    deadline: Instant,
    state: Option<TempDir>,
    guest: Option<(Guest, Entered<'a>)>,
    channel: Channel,
    boots: u32,
    /// The machine's ports, each with the host's.
    ports: Vec<(u16, u16)>,
    spoke: bool,
    tried: Tried,
}

impl<'a> Drive<'a> {
    fn new(
        trial: &'a Trial,
        settings: &Settings,
        config: &'a MachineConfig,
        accelerator: Accelerator,
        interrupts: &'a Interrupts,
    ) -> Self {
        let mut tried = Tried::new(trial);
        tried.accelerator = Some(accelerator);
        Self {
            trial,
            config,
            logs: settings.logs.clone(),
            accelerator,
            interrupts,
            deadline: Instant::now() + trial.timeout(accelerator),
            state: None,
            guest: None,
            channel: Channel::default(),
            boots: 0,
            ports: Vec::new(),
            spoke: false,
            tried,
        }
    }

    /// Boots, looks and ends. An error is the host's, or the accelerator's.
    fn all(&mut self, silence: Option<Duration>) -> Result<(), Error> {
        let mut verdict = self.timed("boots", |drive| {
            drive.boot(silence)?;
            drive.comes_up()
        })?;
        for check in &self.trial.checks {
            if verdict == Verdict::Holds || !self.is_down() {
                verdict = self.timed(&title(check), |drive| match check.what {
                    Expectation::Reboot => drive.reboots(),
                    _ => Ok(drive.holds(check)),
                })?;
            } else {
                self.skip(&title(check));
            }
        }
        if self.guest.is_some() {
            self.timed("powers off", |drive| drive.ends(Power::Poweroff))?;
        } else {
            self.skip("powers off");
        }
        Ok(())
    }

    /// A case, with the time that it took.
    fn timed(&mut self, name: &str, case: impl FnOnce(&mut Self) -> Result<Verdict, Error>) -> Result<Verdict, Error> {
        let begin = Instant::now();
        let verdict = case(self)?;
        let seconds = begin.elapsed().as_secs_f64();
        self.tried.cases.push(Case { name: name.to_owned(), verdict: verdict.clone(), seconds });
        Ok(verdict)
    }

    fn skip(&mut self, name: &str) {
        let why = if self.interrupts.signalled().is_some() { "interrupted" } else { "the machine is down" };
        let verdict = Verdict::Skipped(why.to_owned());
        self.tried.cases.push(Case { name: name.to_owned(), verdict, seconds: 0.0 });
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn is_down(&self) -> bool {
        self.guest.as_ref().is_none_or(|(guest, _)| guest.is_down())
    }

    /// Starts the machine.
    fn boot(&mut self, silence: Option<Duration>) -> Result<(), Error> {
        let state = match self.state.take() {
            Some(state) => state,
            None => TempDir::with_prefix("bootwright-test-").map_err(system("make a temporary directory"))?,
        };
        self.boots += 1;
        let again = if self.boots > 1 { format!("-{}", self.boots) } else { String::new() };
        let log = |logs: &PathBuf| logs.join(format!("{}{again}.log", self.trial.file_name()));
        let mut config = MachineConfig {
            state: Some(state.path().to_owned()),
            log: self.logs.as_ref().map(log),
            ..self.config.clone()
        };
        self.state = Some(state);
        let mut attempt = 0;
        let guest = loop {
            attempt += 1;
            self.ports.clear();
            for port in self.trial.ports() {
                self.ports.push((port, free_port().map_err(system("find a free port"))?));
            }
            config.publish = published(&self.ports);
            match Guest::start(&config, self.accelerator) {
                Err(error) if attempt < PORTS && error.is_port_taken() => {}
                started => break started?,
            }
        };
        let entered = self.interrupts.enter(guest.interrupter());
        if let Some(silence) = silence.filter(|_| self.boots == 1)
            && !guest.speaks(silence)
        {
            return Err(Error::silent(self.accelerator));
        }
        self.guest = Some((guest, entered));
        Ok(())
    }

    /// Waits until the machine is up.
    fn comes_up(&mut self) -> Result<Verdict, Error> {
        let left = self.left();
        let Some((guest, _)) = &self.guest else { return Ok(Verdict::Fails("the machine is down".to_owned())) };
        let text = self.trial.ready.as_deref().unwrap_or(READY);
        let waited = guest.wait_for_line(text, left);
        self.spoke |= guest.spoke();
        let ours = guest.lines().iter().any(|line| line.contains(READY));
        self.channel = Channel::new(self.trial.closed, ours);
        match waited {
            Ok(_) => Ok(Verdict::Holds),
            Err(error) => {
                let late = matches!(error, WaitError::Late { .. });
                let outcome = self.finish(if late { Duration::ZERO } else { LAST_WORDS })?;
                if let Outcome::Interrupted(_) = outcome {
                    return Ok(Verdict::Skipped("interrupted".to_owned()));
                }
                let why = if late { format!("it is not after {}", verdict::time(left)) } else { outcome.to_string() };
                Ok(Verdict::Fails(format!("expected a machine that is up (`{text}` on the console), but {why}")))
            }
        }
    }

    /// Waits for the machine's end and keeps what its console said.
    fn finish(&mut self, limit: Duration) -> Result<Outcome, Error> {
        let Some((mut guest, _entered)) = self.guest.take() else { return Ok(Outcome::Quit) };
        let outcome = guest.wait(limit);
        self.spoke |= guest.spoke();
        self.tried.console.extend(guest.lines());
        let excess = self.tried.console.len().saturating_sub(LINES);
        self.tried.console.drain(..excess);
        let well = matches!(outcome, Ok(Outcome::PoweredOff | Outcome::Rebooted | Outcome::Interrupted(_)));
        self.tried.died |= !well;
        outcome
    }

    /// Ends the machine in order.
    fn ends(&mut self, how: Power) -> Result<Verdict, Error> {
        let Some((guest, _)) = &self.guest else { return Ok(Verdict::Fails("the machine is down".to_owned())) };
        let asked = self.channel.power(guest, how, LOOK.0);
        let limit = self.left().max(END);
        let outcome = self.finish(limit)?;
        let told = verdict::time(limit);
        let seen = match (asked, outcome) {
            (_, Outcome::Interrupted(_)) => return Ok(Verdict::Skipped("interrupted".to_owned())),
            (Ok(Asked::Channel), Outcome::Rebooted) if how == Power::Reboot => return Ok(Verdict::Holds),
            (Ok(Asked::Button), Outcome::PoweredOff) => return Ok(Verdict::Holds),
            (Ok(Asked::Channel), Outcome::PoweredOff) if how == Power::Poweroff => return Ok(Verdict::Holds),
            (Ok(_), Outcome::TimedOut) => format!("it has not ended {told} after it was asked to"),
            (Ok(_), outcome) => format!("expected an orderly end, but {outcome}"),
            (Err(error), Outcome::TimedOut) => format!("it could not be asked to end: {error}"),
            // It did not wait to be asked.
            (Err(_), outcome) => format!("before it was asked to end, {outcome}"),
        };
        self.tried.died = true;
        Ok(Verdict::Fails(seen))
    }

    /// Boots again, from the same disks.
    fn reboots(&mut self) -> Result<Verdict, Error> {
        match self.ends(Power::Reboot)? {
            Verdict::Holds => {
                self.boot(None)?;
                self.comes_up()
            }
            failed => Ok(failed),
        }
    }

    /// Looks until a check holds, or its time is over.
    fn holds(&mut self, check: &TestCheck) -> Verdict {
        let once = check.within.is_none() && matches!(check.what, Expectation::Exec { .. });
        // A program that is run once may take what is left.
        let within = check.within.unwrap_or(if once { self.left() } else { WITHIN });
        let until = self.deadline.min(Instant::now() + within);
        let (mut pause, longest) = PAUSES;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let look = if once { left } else { left.clamp(LOOK.1, LOOK.0) };
            let seen = self.look(&check.what, look, left);
            if self.interrupts.signalled().is_some() {
                return Verdict::Skipped("interrupted".to_owned());
            }
            let over = once || self.is_down() || Instant::now() + pause >= until;
            match seen {
                Ok(()) => return Verdict::Holds,
                Err(seen) if over && self.is_down() => return Verdict::Fails(format!("{seen}; the machine is down")),
                Err(seen) if over => return Verdict::Fails(seen),
                Err(_) => self.interrupts.pause(pause),
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Looks once, for at most `look`; where the machine itself tells, for as long as there is time.
    fn look(&mut self, what: &Expectation, look: Duration, left: Duration) -> Result<(), String> {
        let Some((guest, _)) = &self.guest else { return Err("the machine is down".to_owned()) };
        let host = |port: &u16| {
            let found = self.ports.iter().find(|(guest, _)| guest == port).map(|(_, host)| *host);
            found.ok_or_else(|| format!("the port {port} is not published"))
        };
        match what {
            Expectation::Exec { service, command, code, stdout, stderr } => {
                let (service, argv) = (service.value.clone(), command.clone());
                let ran = self.channel.exec(guest, &Request::Exec { service, argv, terminal: None }, look)?;
                verdict::ran(&ran, *code, stdout.as_deref(), stderr.as_deref())
            }
            Expectation::Http { port, path, status, contains, header } => {
                let page = probe::page(host(port)?, path, look)?;
                verdict::page(&page, *status, contains.as_deref(), header.as_ref())
            }
            Expectation::Tcp { port, send, contains } => {
                let answer = probe::answer(host(port)?, send, contains, look);
                verdict::answer(&answer.map_err(|error| format!("nobody answers: {error}"))?, contains)
            }
            Expectation::Console(line) => match guest.wait_for_line_anywhere(line, left) {
                Ok(_) => Ok(()),
                Err(_) => Err(format!("expected a line with `{line}`, saw none")),
            },
            Expectation::File { service, path, content } => {
                let service = service.as_ref().map(|service| service.value.as_str());
                verdict::file(self.channel.file(guest, service, path, look)?.as_deref(), content)
            }
            Expectation::Service { name, state, restarts } => {
                verdict::service(&self.channel.units(guest, look)?, name, state, *restarts)
            }
            Expectation::Reboot => Err("a reboot is not looked at".to_owned()),
        }
    }
}

fn system(action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::System { action, source }
}
