//! The control channel: what a running machine is asked and what it answers, as bytes.
//!
//! One [`Session`] of frames ([`Frame`]) runs over any stream of bytes: a virtio-serial port, a vsock or a unix socket. It begins with
//! a greeting in each direction; then the host sends requests ([`Request`]), each under a number of its own, and any number of
//! them may be in flight. A request is answered by items (JSON) and data (bytes of a process's stream) and then by one
//! [`End`]. No side sends more for a request than the other has granted, so that a reader that is slow holds up its own
//! request and nothing else. The page `docs/control.md` tells the whole protocol.

mod client;
mod frame;
mod message;
mod program;
mod session;
mod show;

pub use client::{Answer, Client, ClientError};
pub use frame::{Decoder, FRAME, Frame, FrameKind};
pub use message::{
    Control, DebugContainer, End, Event, FILE, Greeting, LogLine, Order, Phase, Power, Refusal, Report, Request, Right,
    State, UnitReport, UnitStatus, VERSION, Window,
};
pub use program::{Program, Typist};
pub use session::{Heard, Session, WINDOW};
pub use show::{event_line, log_line, status_table, timestamp};

/// Name of the virtio-serial port.
pub const CONTROL_PORT: &str = "org.bootwright.control.0";
/// The unix socket inside the machine.
pub const CONTROL_SOCKET: &str = "/run/bootwright/control.sock";
/// Where [`Control`] lies in the machine, if the spec says anything.
pub const CONTROL_JSON: &str = "/usr/lib/bootwright/control.json";

/// Bytes of a process, in a frame of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// To the process.
    Stdin,
    /// From it.
    Stdout,
    /// From it, apart.
    Stderr,
}

impl Stream {
    const ALL: [Self; 3] = [Self::Stdin, Self::Stdout, Self::Stderr];

    /// The first byte of a frame of data.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
        }
    }

    /// The stream of a number.
    #[must_use]
    pub fn of(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|stream| stream.number() == number)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}
