//! The two ends that a machine's console is joined to: whoever looks at it, and whoever types.

use std::io;
use std::os::fd::OwnedFd;

/// Shows a machine's console.
pub trait Console: Send {
    /// Bytes of the machine's serial console, as they came.
    fn output(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// A line of ours about the machine.
    fn notice(&mut self, line: &str);

    /// Where what is typed for the machine is read from, if anything is.
    fn keyboard(&mut self) -> Option<Keyboard> {
        None
    }
}

/// What is typed.
#[derive(Debug)]
pub struct Keyboard {
    /// Read from here.
    pub input: OwnedFd,
    /// Whether a person types, so that Ctrl-A begins a command to us.
    pub person: bool,
}

/// What a key said to us, not to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// End the machine.
    Quit,
    /// Press its power button.
    Power,
    /// Say what there is.
    Help,
}

/// What Ctrl-A does; said on Ctrl-A h.
pub(crate) const HELP: &str =
    "Ctrl-A x ends the machine, Ctrl-A p presses its power button, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h says this";

const CTRL_A: u8 = 1;

/// Takes the commands out of what is typed.
#[derive(Debug, Default)]
pub(crate) struct Escape {
    begun: bool,
}

impl Escape {
    /// What is for the machine, and the commands, in order.
    pub(crate) fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, Vec<Command>) {
        let (mut bytes, mut commands) = (Vec::new(), Vec::new());
        for &byte in typed {
            match (std::mem::take(&mut self.begun), byte) {
                (false, CTRL_A) => self.begun = true,
                (false, _) => bytes.push(byte),
                (true, b'x' | b'X') => commands.push(Command::Quit),
                (true, b'p' | b'P') => commands.push(Command::Power),
                (true, b'h' | b'H' | b'?') => commands.push(Command::Help),
                (true, CTRL_A | b'a') => bytes.push(CTRL_A),
                (true, _) => {}
            }
        }
        (bytes, commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_taken_out_of_what_is_typed() {
        for (typed, bytes, commands) in [
            (&[b"ls\r".as_slice()][..], &b"ls\r"[..], &[][..]),
            (&[b"\x03"], b"\x03", &[]),
            (&[b"\x01x"], b"", &[Command::Quit]),
            (&[b"a\x01", b"pb"], b"ab", &[Command::Power]),
            (&[b"\x01\x01\x01a"], b"\x01\x01", &[]),
            (&[b"\x01h\x01?"], b"", &[Command::Help, Command::Help]),
            (&[b"\x01zq"], b"q", &[]),
        ] {
            let mut escape = Escape::default();
            let (mut out, mut found) = (Vec::new(), Vec::new());
            for part in typed {
                let (b, c) = escape.filter(part);
                out.extend(b);
                found.extend(c);
            }
            assert_eq!((out.as_slice(), found.as_slice()), (bytes, commands), "{typed:?}");
        }
    }
}
