//! What is said in frames, as JSON. Unknown fields are skipped, so that a host and a machine of different age understand
//! each other as far as they can.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Version of the protocol.
pub const VERSION: u32 = 1;
/// Bytes of a file that is read at most.
pub const FILE: u64 = 1 << 20;

/// `control.json`: the spec's `control:`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Control {
    /// Whether the virtio-serial port is served; none: when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtio_serial: Option<bool>,
    /// Port of vsock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsock: Option<u32>,
    /// Whether there is a unix socket in the machine.
    pub socket: bool,
    /// What may be asked; none: everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Right>>,
}

/// What a request needs to be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// See which containers run.
    Status,
    /// Read logs.
    Logs,
    /// Run programs in services, and read files.
    Exec,
    /// Run a debug container, which is root of the machine.
    Debug,
    /// Start, stop and restart services.
    Services,
    /// End the machine.
    Power,
    /// Read the boot report.
    Report,
}

impl Right {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 7] =
        [Self::Status, Self::Logs, Self::Exec, Self::Debug, Self::Services, Self::Power, Self::Report];

    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Logs => "logs",
            Self::Exec => "exec",
            Self::Debug => "debug",
            Self::Services => "services",
            Self::Power => "power",
            Self::Report => "report",
        }
    }
}

impl FromStr for Right {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|right| right.name() == text).ok_or(())
    }
}

/// The first frame of each side. Whoever calls sends it first, with a number of his choice; the answer repeats the number,
/// and what came before the answer belongs to nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`VERSION`] of the sender.
    pub version: u32,
    /// The caller's number.
    pub nonce: u64,
    /// Version of the machine's init, in its answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub init: String,
    /// The machine's host name, in its answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The machine's architecture, in the kernel's words, in its answer.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arch: String,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Request {
    /// Nothing; answered by nothing.
    Ping,
    /// The containers: an item ([`UnitStatus`]) for each.
    Status,
    /// Lines of the logs: an item ([`LogLine`]) for each.
    Logs {
        /// Of which container, or `init`, or `pstore`; none: of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        source: Option<String>,
        /// So many of the last ones.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<u64>,
        /// None older than so many milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        since: Option<u64>,
        /// Goes on with those that come.
        #[serde(default)]
        follow: bool,
    },
    /// What has happened to the containers: an item ([`Event`]) for each time.
    Events {
        /// Goes on with what happens.
        #[serde(default)]
        follow: bool,
    },
    /// Runs a program in a service: data in both directions, and the program's exit code at the end. A caller may send
    /// a [`Window`] as an item when the size of its terminal has changed.
    Exec {
        /// The service.
        service: String,
        /// The program and its arguments.
        argv: Vec<String>,
        /// A terminal of this size instead of three pipes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terminal: Option<Window>,
    },
    /// Reads a regular file of at most [`FILE`] bytes: its bytes as data of standard output, and a code at the end. 0: that is
    /// all of it; 1: there is no such file; 2: it is not read, and data of standard error says why.
    ReadFile {
        /// In the root of this container, where its links lead nowhere else; none: in the machine's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// The path.
        path: String,
    },
    /// Runs a program in files that the caller brings: the first bytes of data to it are those files; then as [`Self::Exec`].
    Debug {
        /// The service whose processes, network and IPC it shares; none: the machine's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// What it brings.
        container: DebugContainer,
        /// A terminal of this size instead of three pipes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terminal: Option<Window>,
    },
    /// Starts, stops or restarts a service, and is answered when that has begun.
    Service {
        /// The service.
        name: String,
        /// What to do with it.
        order: Order,
    },
    /// Ends the machine; answered when that has begun.
    Power {
        /// How.
        how: Power,
    },
    /// The boot report: one item ([`Report`]), or several whose lists are to be joined.
    BootReport,
}

impl Request {
    /// What it needs; none for what everybody may ask.
    #[must_use]
    pub fn right(&self) -> Option<Right> {
        Some(match self {
            Self::Ping => return None,
            Self::Status | Self::Events { .. } => Right::Status,
            Self::Logs { .. } => Right::Logs,
            Self::Exec { .. } | Self::ReadFile { .. } => Right::Exec,
            Self::Debug { .. } => Right::Debug,
            Self::Service { .. } => Right::Services,
            Self::Power { .. } => Right::Power,
            Self::BootReport => Right::Report,
        })
    }
}

/// A container that is brought to a machine and leaves nothing there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DebugContainer {
    /// Bytes of its files as a cpio archive (newc).
    pub archive: u64,
    /// Bytes of memory that they take when they are unpacked.
    pub memory: u64,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// Its directory.
    pub cwd: String,
}

/// What to do with a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Start it if it does not run.
    Start,
    /// Stop it, and leave it stopped.
    Stop,
    /// Stop it if it runs, and start it.
    Restart,
}

/// How a machine is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Power off.
    Poweroff,
    /// Reboot.
    Reboot,
    /// Halt.
    Halt,
}

/// Size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// The last frame of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Why it was not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Refusal>,
    /// Exit code of a program; 128 and the signal's number if one ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// With what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A container, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitStatus {
    /// Its name.
    pub name: String,
    /// `onboot`, `service` or `onshutdown`.
    pub kind: String,
    /// What it does.
    pub state: State,
    /// Its process in the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Milliseconds since it was started, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime: Option<u64>,
    /// How often it was started again.
    pub restarts: u64,
    /// How it ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What it says it does (sd_notify's STATUS).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub says: String,
    /// Bytes of memory of its cgroup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its turn has not come, or it waits for other services.
    Waiting,
    /// It is being created.
    Starting,
    /// It runs, and is not ready.
    Running,
    /// It runs and is ready.
    Ready,
    /// It was asked to end.
    Stopping,
    /// It has ended and will be started again.
    Backoff,
    /// It has ended, as it should.
    Down,
    /// It has failed for good.
    Failed,
}

impl State {
    /// Its word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Stopping => "stopping",
            Self::Backoff => "backoff",
            Self::Down => "down",
            Self::Failed => "failed",
        }
    }

    /// Whether there is a process, or may be.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Ready | Self::Stopping)
    }
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The container's name, or `init`, or `pstore`.
    pub source: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Microseconds since 1970, by the machine's clock.
    pub time: u64,
    /// Microseconds since the kernel started.
    pub uptime: u64,
    /// The line.
    #[serde(default)]
    pub text: String,
    /// So many lines are missing here; then there is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

impl fmt::Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.lost {
            Some(1) => write!(f, "{}: (1 line is missing)", self.source),
            Some(lost) => write!(f, "{}: ({lost} lines are missing)", self.source),
            None => write!(f, "{}: {}", self.source, self.text),
        }
    }
}

/// Something that happened to a container, or to the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// When: milliseconds since the kernel started.
    pub at: u64,
    /// `onboot`, `service`, `onshutdown` or `machine`.
    pub kind: String,
    /// The container's name; none of the machine.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The [`State`] that the container is in from now on, or `killed`, `not-ready`, `unhealthy`, `asked` (to end).
    pub what: String,
    /// What is to be said about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// So many events are missing here; then there is nothing else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
}

/// How a machine came up. Times are milliseconds since the kernel started, unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Milliseconds from power-on to the boot loader, if the firmware tells (ACPI FPDT).
    pub firmware: Option<f64>,
    /// Milliseconds from the boot loader to the kernel, if firmware or loader tell.
    pub loader: Option<f64>,
    /// When init began, which is what the kernel took.
    pub kernel: Option<f64>,
    /// When all services were there.
    pub ready: Option<f64>,
    /// What init did.
    pub phases: Vec<Phase>,
    /// Batches of modules, named by what was loaded.
    pub modules: Vec<Phase>,
    /// The containers.
    pub units: Vec<UnitReport>,
}

/// A span of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What it was spent on.
    pub name: String,
    /// When it began.
    pub start: f64,
    /// When it ended.
    pub end: f64,
}

/// The first run of a container.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitReport {
    /// Its name.
    pub name: String,
    /// `onboot` or `service`.
    pub kind: String,
    /// When its creation began.
    pub start: f64,
    /// When its process ran.
    pub started: Option<f64>,
    /// When it was ready.
    pub ready: Option<f64>,
    /// When it ended, if it has.
    pub ended: Option<f64>,
    /// Milliseconds of processor time of its cgroup, so far.
    pub cpu: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_short_json() {
        for (request, text) in [
            (Request::Ping, r#"{"op":"ping"}"#),
            (Request::BootReport, r#"{"op":"boot-report"}"#),
            (
                Request::Logs { source: None, last: Some(3), since: None, follow: true },
                r#"{"op":"logs","last":3,"follow":true}"#,
            ),
            (
                Request::Exec {
                    service: "web".into(),
                    argv: vec!["sh".into()],
                    terminal: Some(Window { columns: 80, rows: 24 }),
                },
                r#"{"op":"exec","service":"web","argv":["sh"],"terminal":{"columns":80,"rows":24}}"#,
            ),
            (Request::Events { follow: true }, r#"{"op":"events","follow":true}"#),
            (
                Request::ReadFile { service: None, path: "/etc/hostname".into() },
                r#"{"op":"read-file","path":"/etc/hostname"}"#,
            ),
            (
                Request::Debug {
                    service: None,
                    container: DebugContainer { archive: 512, memory: 4096, ..DebugContainer::default() },
                    terminal: None,
                },
                r#"{"op":"debug","container":{"archive":512,"memory":4096,"argv":[],"env":[],"cwd":""}}"#,
            ),
            (Request::Power { how: Power::Reboot }, r#"{"op":"power","how":"reboot"}"#),
        ] {
            assert_eq!(serde_json::to_string(&request).unwrap(), text);
            assert_eq!(serde_json::from_str::<Request>(text).unwrap(), request);
        }
        serde_json::from_str::<Request>(r#"{"op":"lunch"}"#).unwrap_err();
    }

    #[test]
    fn every_request_but_ping_needs_a_right() {
        assert_eq!(Request::Ping.right(), None);
        assert_eq!(Request::Power { how: Power::Halt }.right(), Some(Right::Power));
        for right in Right::ALL {
            assert_eq!(right.name().parse(), Ok(right));
            assert_eq!(serde_json::to_value(right).unwrap(), right.name());
        }
        assert_eq!("all".parse::<Right>(), Err(()));
    }
}
