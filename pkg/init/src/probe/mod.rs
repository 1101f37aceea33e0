//! How a service is: the program that init runs as a short-lived child of itself to find out.
//!
//! What to look for is in the service's `bootwright.json`. `ready` looks again and again until it finds it, so that one child is
//! enough; `health` looks once. Everything that may block is here and not in PID 1, which ends this child when its time is
//! over. Exit code 0 means found; otherwise a line on standard output says what was found instead.

mod exec;
mod net;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bootwright_bundle::{CONTAINERS, Check, SUPERVISION_JSON, Supervision};

use crate::control::open_in_root;
use crate::sys;

/// The first pause between two looks of `ready`, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How often what is found is told while it changes; a pipe that nobody reads yet holds that.
const TELL: usize = 100;
/// How long one look of `ready` may take.
const LOOK: Duration = Duration::from_secs(10);

/// The service that is looked at.
struct Service<'a> {
    kind: &'a str,
    directory: &'a str,
    /// `/proc/PID` of its first process.
    process: PathBuf,
}

/// Runs the program: which check, of which container, whose first process has which pid.
pub fn run(which: &str, kind: &str, directory: &str, process: &str) -> ExitCode {
    sys::default_signals();
    let service = Service { kind, directory, process: Path::new("/proc").join(process) };
    match look(which, &service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(found) => {
            let _ = writeln!(std::io::stdout(), "{found}");
            ExitCode::FAILURE
        }
    }
}

fn look(which: &str, service: &Service<'_>) -> Result<(), String> {
    let path = Path::new(CONTAINERS).join(service.kind).join(service.directory).join(SUPERVISION_JSON);
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let said: Supervision = serde_json::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    match (which, said.ready, said.health) {
        ("ready", Some(ready), _) => until_found(&ready.check, service, ready.timeout),
        ("health", _, Some(health)) => {
            enter_network(&health.check, service)?;
            once(&health.check, service, health.timeout)
        }
        _ => Err(format!("there is no check `{which}`")),
    }
}

/// Looks until the check succeeds, or its time is over; what was found last is the answer.
fn until_found(check: &Check, service: &Service<'_>, timeout: Duration) -> Result<(), String> {
    enter_network(check, service)?;
    let deadline = Instant::now() + timeout;
    let (mut pause, longest) = PAUSES;
    let (mut last, mut told) = (String::new(), 0);
    loop {
        let found = once(check, service, LOOK.min(deadline.saturating_duration_since(Instant::now())));
        // Init may end this process before its time is over, and wants to know why it would not have ended well.
        if let Err(now) = &found
            && *now != last
            && told < TELL
        {
            let _ = writeln!(std::io::stdout(), "{now}");
            last.clone_from(now);
            told += 1;
        }
        if found.is_ok() || Instant::now() + pause >= deadline {
            return found;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
}

fn enter_network(check: &Check, service: &Service<'_>) -> Result<(), String> {
    match check {
        Check::Tcp(_) | Check::Http { .. } => {
            net::enter(&service.process).map_err(|error| format!("entering the network namespace: {error}"))
        }
        Check::Exec(_) | Check::File(_) | Check::Notify => Ok(()),
    }
}

fn once(check: &Check, service: &Service<'_>, timeout: Duration) -> Result<(), String> {
    match check {
        Check::Exec(command) => exec::run(command, service, timeout),
        Check::Tcp(port) => net::connect(*port, Instant::now() + timeout).map(drop),
        Check::Http { port, path } => net::get(*port, path, Instant::now() + timeout),
        Check::File(path) => exists(path, service),
        Check::Notify => Err("it says so itself".to_owned()),
    }
}

/// Whether a path of the container's root exists.
fn exists(path: &str, service: &Service<'_>) -> Result<(), String> {
    open_in_root(&service.process, path).map(drop).map_err(|error| format!("{path}: {error}"))
}
