//! How a machine ended: QEMU's reason, what our init said last, and what the kernel said, put together.
//!
//! Init's last line on the console is `bootwright: end: REASON` ([`Ending`]). It must stand at the start of a line (after a
//! kernel timestamp at most), because services' output is prefixed with their
//! names and so cannot pretend.

use std::fmt;

use bootwright_bundle::Ending;

/// How a machine ended, and so how the verb exits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It powered itself off, or was asked to and did.
    PoweredOff,
    /// It halted: the CPUs stand still, and so QEMU was ended.
    Halted,
    /// An onboot container failed, and that ended the boot.
    OnbootFailed,
    /// The kernel panicked.
    Panicked,
    /// It rebooted.
    Rebooted,
    /// It ran for longer than it was given, and was ended.
    TimedOut,
    /// It had too little memory for its root, and its init said so.
    OutOfMemory,
    /// It did not find its root image, or did not trust it, and said so.
    NoRoot,
    /// The user ended it from the console.
    Quit,
    /// A signal to us ended it.
    Interrupted(i32),
}

impl Outcome {
    /// The verb's exit code.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::PoweredOff | Self::Halted | Self::Quit => 0,
            Self::OnbootFailed => 10,
            Self::Panicked => 11,
            Self::Rebooted => 12,
            Self::TimedOut => 13,
            Self::OutOfMemory => 14,
            Self::NoRoot => 15,
            Self::Interrupted(signal) => 128u8.wrapping_add(signal as u8),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PoweredOff => "the machine powered off",
            Self::Halted => "the machine halted",
            Self::OnbootFailed => "an onboot container failed",
            Self::Panicked => "the kernel panicked",
            Self::Rebooted => "the machine rebooted",
            Self::TimedOut => "the machine ran for longer than `--timeout` allows",
            Self::OutOfMemory => "the machine has too little memory",
            Self::NoRoot => "the machine has no root that it can use",
            Self::Quit => "the machine was ended from its console",
            Self::Interrupted(signal) => return write!(f, "the machine was ended by signal {signal}"),
        })
    }
}

/// The ending that a console line states.
pub(crate) fn ending_of_line(line: &str) -> Option<Ending> {
    Ending::in_line(without_timestamp(line))
}

/// What the kernel says about its own end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KernelWord {
    /// The first line of a panic.
    Panic,
    /// The last line of a panic.
    PanicEnd,
    /// The CPUs stop.
    Halted,
}

impl KernelWord {
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let text = without_timestamp(line);
        if text.starts_with("Kernel panic - not syncing") {
            Some(Self::Panic)
        } else if text.starts_with("---[ end Kernel panic") {
            Some(Self::PanicEnd)
        } else if text.trim_end() == "reboot: System halted" {
            Some(Self::Halted)
        } else {
            None
        }
    }
}

/// Strips `[   12.345678] `, also with a CPU or thread (`[   12.345678][    T1] `).
fn without_timestamp(line: &str) -> &str {
    let mut rest = line;
    while let Some((stamp, after)) = rest.strip_prefix('[').and_then(|r| r.split_once(']')) {
        if stamp.is_empty() || !stamp.bytes().all(|b| b.is_ascii_digit() || b" .TC".contains(&b)) {
            break;
        }
        rest = after.strip_prefix(' ').unwrap_or(after);
    }
    rest
}

/// Puts together why QEMU shut down (QMP's reason), what init said and whether the kernel panicked. `mute` says that a kernel
/// whose console is the serial port wrote nothing to it: then it did not get as far as having a console.
pub(crate) fn judge(reason: &str, ending: Option<Ending>, panicked: bool, mute: bool) -> Outcome {
    if panicked || reason == "guest-panic" || mute && reason == "guest-reset" {
        return Outcome::Panicked;
    }
    match ending {
        Some(Ending::OnbootFailed) => Outcome::OnbootFailed,
        Some(Ending::Memory) => Outcome::OutOfMemory,
        Some(Ending::Root) => Outcome::NoRoot,
        Some(Ending::Panic) => Outcome::Panicked,
        _ if reason == "guest-reset" => Outcome::Rebooted,
        Some(Ending::Halt) => Outcome::Halted,
        _ => Outcome::PoweredOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_read_from_lines() {
        for (line, ending) in [
            ("bootwright: end: poweroff", Some(Ending::Poweroff)),
            ("[    1.234567] bootwright: end: reboot", Some(Ending::Reboot)),
            ("[    1.234567][    T1] bootwright: end: memory", Some(Ending::Memory)),
            ("bootwright: end: onboot-failed ", Some(Ending::OnbootFailed)),
            ("bootwright: end: halt", Some(Ending::Halt)),
            ("bootwright: end: root", Some(Ending::Root)),
            ("bootwright: end: panic\r", Some(Ending::Panic)),
            ("web: bootwright: end: memory", None),
            ("[web] bootwright: end: memory", None),
            ("bootwright: end: lunch", None),
            ("bootwright: end:", None),
            ("[", None),
            ("", None),
        ] {
            assert_eq!(ending_of_line(line), ending, "{line}");
        }
        for (line, word) in [
            ("Kernel panic - not syncing: VFS: Unable to mount root fs", Some(KernelWord::Panic)),
            ("[    0.9] Kernel panic - not syncing: System is deadlocked on memory", Some(KernelWord::Panic)),
            ("[    0.9] ---[ end Kernel panic - not syncing: x ]---", Some(KernelWord::PanicEnd)),
            ("[    3.1] reboot: System halted", Some(KernelWord::Halted)),
            ("log: Kernel panic - not syncing", None),
        ] {
            assert_eq!(KernelWord::of_line(line), word, "{line}");
        }
    }

    #[test]
    fn outcomes_and_exit_codes() {
        for (reason, ending, panicked, outcome, code) in [
            ("guest-shutdown", None, false, Outcome::PoweredOff, 0),
            ("guest-shutdown", Some(Ending::Poweroff), false, Outcome::PoweredOff, 0),
            ("guest-shutdown", Some(Ending::OnbootFailed), false, Outcome::OnbootFailed, 10),
            ("guest-reset", Some(Ending::OnbootFailed), false, Outcome::OnbootFailed, 10),
            ("guest-panic", None, false, Outcome::Panicked, 11),
            ("guest-reset", None, true, Outcome::Panicked, 11),
            ("guest-panic", Some(Ending::Poweroff), true, Outcome::Panicked, 11),
            ("guest-reset", None, false, Outcome::Rebooted, 12),
            ("guest-reset", Some(Ending::Reboot), false, Outcome::Rebooted, 12),
            ("guest-shutdown", Some(Ending::Memory), false, Outcome::OutOfMemory, 14),
            ("guest-shutdown", Some(Ending::Root), false, Outcome::NoRoot, 15),
            ("guest-shutdown", Some(Ending::Panic), false, Outcome::Panicked, 11),
            ("halted", Some(Ending::Halt), false, Outcome::Halted, 0),
        ] {
            assert_eq!(judge(reason, ending, panicked, false), outcome, "{reason} {ending:?} {panicked}");
            assert_eq!(outcome.exit_code(), code);
        }
        // With very little memory the kernel panics before it has a console, and `panic=-1` resets.
        assert_eq!(judge("guest-reset", None, false, true), Outcome::Panicked);
        assert_eq!(judge("guest-shutdown", None, false, true), Outcome::PoweredOff);
        assert_eq!(Outcome::TimedOut.exit_code(), 13);
        assert_eq!(Outcome::Interrupted(15).exit_code(), 143);
    }
}
