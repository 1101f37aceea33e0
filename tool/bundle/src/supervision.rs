//! `bootwright.json`: how our init looks after one container.
//!
//! Version 1 knows `onfail` alone; whatever else is said makes it version 2, because an init that passed over an order or a
//! check would run another machine than the one that was asked for. Times are whole milliseconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Landlock;

/// The file, as JSON in the bundle. A bundle without it is one with the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervision {
    /// Version of this format: 1, or [`Supervision::VERSION`] when it says more than `onfail`.
    pub version: u32,
    /// What happens when the container fails; none: `stop` for onboot, `continue` for services and onshutdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onfail: Option<OnFail>,
    /// The only files that it may use; none: no such bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock: Option<Landlock>,
    /// When a service is started again. None: always; with `onfail`, never, or on failure if that is `retry`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Services that are ready, or down for good, before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Services that are ready before this one starts, which stays down without them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// When a service is ready; none: when it has started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
    /// How a service that is ready is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// How it is asked to end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Whether an onboot container runs beside its neighbours of which the same is said.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub parallel: bool,
}

impl Supervision {
    /// The version of this format that has everything.
    pub const VERSION: u32 = 2;

    /// With the version that what it says needs; none if it says nothing.
    #[must_use]
    pub fn versioned(mut self) -> Option<Self> {
        self.version = 0;
        let nothing = Self::default();
        if self == nothing {
            return None;
        }
        let old = Self { onfail: self.onfail, ..nothing };
        self.version = if self == old { 1 } else { Self::VERSION };
        Some(self)
    }
}

/// When a service that has ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Restart {
    /// After which ends.
    pub policy: RestartPolicy,
    /// The first pause; each further one is twice as long.
    #[serde(rename = "delay_ms", with = "milliseconds")]
    pub delay: Duration,
    /// The longest pause.
    #[serde(rename = "max_delay_ms", with = "milliseconds")]
    pub max_delay: Duration,
    /// How often within the window; none: as often as it takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// The window.
    #[serde(rename = "window_ms", with = "milliseconds")]
    pub window: Duration,
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Always,
            delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(30),
            limit: None,
            window: Duration::from_secs(600),
        }
    }
}

/// After which ends a service is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    /// After every one.
    #[default]
    Always,
    /// After an exit code other than 0, a signal, a start that failed.
    OnFailure,
    /// After none.
    Never,
}

/// When a service is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// What has to succeed.
    pub check: Check,
    /// How long that may take; then the service has failed.
    #[serde(rename = "timeout_ms", with = "milliseconds")]
    pub timeout: Duration,
}

impl Ready {
    /// The timeout where none is said.
    pub const TIMEOUT: Duration = Duration::from_secs(60);
}

/// How a service that is ready is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What has to succeed, again and again.
    pub check: Check,
    /// Time from one check's end to the next.
    #[serde(rename = "interval_ms", with = "milliseconds")]
    pub interval: Duration,
    /// How long one may take.
    #[serde(rename = "timeout_ms", with = "milliseconds")]
    pub timeout: Duration,
    /// Failures in a row after which the service is ended.
    pub threshold: u32,
    /// Time from ready to the first check.
    #[serde(rename = "start_period_ms", with = "milliseconds")]
    pub start_period: Duration,
}

impl Health {
    /// The interval where none is said.
    pub const INTERVAL: Duration = Duration::from_secs(10);
    /// The timeout where none is said.
    pub const TIMEOUT: Duration = Duration::from_secs(5);
    /// The threshold where none is said.
    pub const THRESHOLD: u32 = 3;
}

/// What is tried to learn how a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// A command in the container exits with 0.
    Exec(Vec<String>),
    /// A port of the container's network accepts a connection.
    Tcp(u16),
    /// A GET on a port of the container's network is answered with 2xx or 3xx.
    Http {
        /// The port.
        port: u16,
        /// The path, with its slash.
        path: String,
    },
    /// A path of the container's root exists.
    File(String),
    /// The service says `READY=1`, or of its health `WATCHDOG=1` once in each interval (sd_notify(3)).
    Notify,
}

/// How a container is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stop {
    /// The signal's number.
    pub signal: i32,
    /// How long it may take to end then; after that it is killed.
    #[serde(rename = "grace_ms", with = "milliseconds")]
    pub grace: Duration,
}

impl Default for Stop {
    /// SIGTERM and 10 s.
    fn default() -> Self {
        Self { signal: 15, grace: Duration::from_secs(10) }
    }
}

/// Where init makes the directory of each service's sd_notify socket, in the machine.
pub const NOTIFY_DIRECTORY: &str = "/run/bootwright/notify";
/// Where that directory is bound in the container.
pub const NOTIFY_MOUNT: &str = "/run/bootwright";
/// The socket's name in it.
pub const NOTIFY_SOCKET: &str = "notify";

/// Durations as whole milliseconds.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Ok(Duration::from_millis(u64::deserialize(deserializer)?))
    }
}

/// What happens when a container fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFail {
    /// Go on as if nothing had happened.
    Continue,
    /// Run it again.
    Retry,
    /// Say so on every console and power off after 30 s.
    Stop,
    /// Reboot.
    Reboot,
    /// Power off at once.
    Poweroff,
    /// A shell on the console, then go on.
    Shell,
}

impl OnFail {
    /// All of them, in the order in which they are documented.
    pub const ALL: [Self; 6] = [Self::Continue, Self::Retry, Self::Stop, Self::Reboot, Self::Poweroff, Self::Shell];
}

impl fmt::Display for OnFail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Continue => "continue",
            Self::Retry => "retry",
            Self::Stop => "stop",
            Self::Reboot => "reboot",
            Self::Poweroff => "poweroff",
            Self::Shell => "shell",
        })
    }
}

impl FromStr for OnFail {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|o| o.to_string() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_written_and_an_old_file_stays_what_it_was() {
        let onfail = Supervision { onfail: Some(OnFail::Reboot), ..Supervision::default() };
        assert_eq!(Supervision::default().versioned(), None);
        let written = serde_json::to_string(&onfail.versioned().unwrap()).unwrap();
        assert_eq!(written, r#"{"version":1,"onfail":"reboot"}"#);
        let all = Supervision {
            restart: Some(Restart { policy: RestartPolicy::OnFailure, limit: Some(5), ..Restart::default() }),
            ready: Some(Ready { check: Check::Notify, timeout: Ready::TIMEOUT }),
            stop: Some(Stop::default()),
            parallel: true,
            ..Supervision::default()
        };
        let all = all.versioned().unwrap();
        let written = serde_json::to_string(&all).unwrap();
        assert_eq!(
            written,
            concat!(
                r#"{"version":2,"#,
                r#""restart":{"policy":"on-failure","delay_ms":1000,"max_delay_ms":30000,"limit":5,"window_ms":600000},"#,
                r#""ready":{"check":"notify","timeout_ms":60000},"stop":{"signal":15,"grace_ms":10000},"parallel":true}"#
            )
        );
        assert_eq!(serde_json::from_str::<Supervision>(&written).unwrap(), all);
    }

    #[test]
    fn a_restart_that_others_wrote_may_say_little() {
        let restart: Restart = serde_json::from_str(r#"{"policy":"never"}"#).unwrap();
        assert_eq!(restart, Restart { policy: RestartPolicy::Never, ..Restart::default() });
    }
}
