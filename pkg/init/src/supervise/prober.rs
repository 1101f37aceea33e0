//! A probe from the outside: the child of this binary that looks how a service is (`probe`), and what it found.

use std::fs::File;
use std::io::{self, Read};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use super::runner::pipe;
use super::sequence::Probe;
use super::unit::Unit;
use crate::applet;

/// Bytes of what a probe says: what a pipe holds.
const SAID: usize = 64 * 1024;

/// A probe that runs.
#[derive(Debug)]
pub struct Prober {
    child: Option<Pid>,
    said: File,
}

impl Prober {
    /// Starts a probe of a service, whose first process is `process`.
    pub fn start(unit: &Unit, which: Probe, process: Pid) -> io::Result<Self> {
        let which = match which {
            Probe::Ready => "ready",
            Probe::Health => "health",
        };
        let (said, said_end) = pipe()?;
        let process = process.as_raw_nonzero().to_string();
        let mut command = applet::again(&["probe", which, unit.kind.directory(), &unit.directory, &process]);
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::from(said_end)).stderr(Stdio::null());
        let child = command.spawn()?;
        Ok(Self { child: i32::try_from(child.id()).ok().and_then(Pid::from_raw), said: File::from(said) })
    }

    /// Whether this is its process.
    pub fn is(&self, pid: Pid) -> bool {
        self.child == Some(pid)
    }

    /// The last that it said.
    pub fn said(mut self) -> String {
        let mut all = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(count) = self.said.read(&mut bytes)
            && count > 0
            && all.len() < SAID
        {
            all.extend(bytes.iter().take(count));
        }
        String::from_utf8_lossy(&all).lines().next_back().unwrap_or_default().trim().to_owned()
    }

    /// Ends it, and gives the last that it said. What it ran in the container ends with its cgroup.
    pub fn end(self) -> String {
        if let Some(child) = self.child {
            let _ = kill_process(child, Signal::KILL);
        }
        self.said()
    }
}
