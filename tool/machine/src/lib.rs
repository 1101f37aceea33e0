//! Running machines: whatever `bootwright build` writes, in QEMU, watched until it ends.
//!
//! [`MachineConfig`] says what machine it is; [`argv`] turns it into QEMU's arguments and is pure. [`Guest`] is one
//! QEMU: its serial console comes through a pipe, everything else through QMP, and it dies with us. [`run`] is what the
//! verb does: it chooses the accelerator (a KVM that cannot run a kernel is noticed and left), joins the console to the
//! terminal and says as an [`Outcome`] how the machine ended. Nothing here sleeps or polls: threads read, a condition
//! variable wakes whoever waits, and each wait has a deadline.

mod accel;
mod argv;
mod artefact;
mod choose;
mod config;
mod console;
pub mod control;
mod disk;
mod error;
mod guest;
mod log;
mod medium;
mod outcome;
mod process;
mod publish;
mod qmp;
mod run;
mod session;
mod shown;
mod svg;
mod sys;
mod terminal;

pub use accel::{AccelChoice, Accelerator, Verdict, Verdicts};
pub use argv::argv;
pub use artefact::{Artefact, ArtefactError, Boot};
pub use bootwright_bundle::{Ending, READY_PREFIX};
pub use choose::{SILENCE, choose};
pub use config::{Arch, Board, MachineConfig, Network};
pub use console::Console;
pub use disk::{Bus, Disk, DiskFormat};
pub use error::{Error, ParseError};
pub use guest::{Guest, Interrupter, WaitError};
pub use outcome::Outcome;
pub use publish::{Protocol, Publish};
pub use qmp::{Qmp, QmpError};
pub use run::run;
pub use session::{BootMedium, Session};
pub use svg::svg;
pub use terminal::{RawTerminal, Terminal, on_resize, window};
