//! How a container is looked after. What is `None` was not said.

use std::time::Duration;

/// `restart`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    /// `policy`, or the short form.
    pub policy: Option<RestartPolicy>,
    /// `delay`.
    pub delay: Option<Duration>,
    /// `max-delay`.
    pub max_delay: Option<Duration>,
    /// `limit`.
    pub limit: Option<u32>,
    /// `window`.
    pub window: Option<Duration>,
}

/// After which ends a service is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestartPolicy {
    /// After every one.
    Always,
    /// After those that are failures.
    OnFailure,
    /// After none.
    Never,
}

/// `ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What has to succeed.
    pub check: Check,
    /// `timeout`.
    pub timeout: Option<Duration>,
}

/// `health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What has to succeed.
    pub check: Check,
    /// `interval`.
    pub interval: Option<Duration>,
    /// `timeout`.
    pub timeout: Option<Duration>,
    /// `threshold`.
    pub threshold: Option<u32>,
    /// `start-period`.
    pub start_period: Option<Duration>,
}

/// What is tried to learn how a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// `exec`: a command.
    Exec(Vec<String>),
    /// `tcp`: a port.
    Tcp(u16),
    /// `http`: a page.
    Http {
        /// `port`.
        port: u16,
        /// `path`.
        path: String,
    },
    /// `file`: a path of the container's root.
    File(String),
    /// `notify`: the service says so itself.
    Notify,
}

/// `stop`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stop {
    /// `signal`, as a number.
    pub signal: Option<i32>,
    /// `grace`.
    pub grace: Option<Duration>,
}

/// `watchdog`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchdog {
    /// `device`.
    pub device: Option<String>,
    /// `timeout`.
    pub timeout: Duration,
}
