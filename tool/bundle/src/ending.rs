//! How a machine ended, as init's last console line says it and the host reads it.
//!
//! QEMU's SHUTDOWN reason tells a power off from a reset, but not why. So init's last line, printed exactly once and
//! before `reboot(2)`, is `bootwright: end: <reason>`. Serial lines end in CR LF and may follow other text's newline;
//! [`Ending::in_line`] takes any line as it arrives.

use std::fmt;
use std::str::FromStr;

/// What the last line starts with; an [`Ending`] follows.
pub const ENDING_PREFIX: &str = "bootwright: end: ";
/// What the line starts with that says that the services run; milliseconds since the kernel started and their names follow:
/// `bootwright: ready in 812 ms: dhcp web`.
pub const READY_PREFIX: &str = "bootwright: ready in ";
/// Kernel command line key: seconds between the banner of a failed container and the power off; 30 by default.
pub const ONFAIL_DELAY_ARGUMENT: &str = "bootwright.onfail.delay";

/// Why a machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It was asked to power off.
    Poweroff,
    /// It was asked to reboot, or an `onfail: reboot` did.
    Reboot,
    /// It was asked to halt.
    Halt,
    /// An onboot container failed and its `onfail` ended the machine.
    OnbootFailed,
    /// The root was not whole or the memory less than the machine needs; no container was started.
    Memory,
    /// The root image was not found, could not be mounted, or was refused by dm-verity.
    Root,
    /// Init itself failed; the kernel panics next.
    Panic,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Poweroff, Self::Reboot, Self::Halt, Self::OnbootFailed, Self::Memory, Self::Root, Self::Panic];

    /// The ending that a console line states, if it is init's last line.
    pub fn in_line(line: &str) -> Option<Self> {
        line.trim().strip_prefix(ENDING_PREFIX)?.parse().ok()
    }

    /// Init's last line, without a newline.
    pub fn line(self) -> String {
        format!("{ENDING_PREFIX}{self}")
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Poweroff => "poweroff",
            Self::Reboot => "reboot",
            Self::Halt => "halt",
            Self::OnbootFailed => "onboot-failed",
            Self::Memory => "memory",
            Self::Root => "root",
            Self::Panic => "panic",
        })
    }
}

impl FromStr for Ending {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|e| e.to_string() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_states_its_ending_and_nothing_else_does() {
        for ending in Ending::ALL {
            assert_eq!(Ending::in_line(&format!("{}\r\n", ending.line())), Some(ending));
        }
        for other in ["bootwright: end: ", "bootwright: end: soon", "web: bootwright: end: halt", "reboot"] {
            assert_eq!(Ending::in_line(other), None, "{other}");
        }
    }
}
