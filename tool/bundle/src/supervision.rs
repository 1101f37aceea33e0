//! `bootwright.json`: how our init looks after one container.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Landlock;

/// The file, as JSON in the bundle. A bundle without it is one with the defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Supervision {
    /// Version of this format: 1.
    pub version: u32,
    /// What happens when the container fails; none: `stop` for onboot, `continue` for services and onshutdown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub onfail: Option<OnFail>,
    /// The only files that it may use; none: no such bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landlock: Option<Landlock>,
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
