//! The first program of a machine whose root is an image, and what it shares with init, the second.
//!
//! An initrd holds [`run`] as `/init`, the modules that reach the root, and perhaps the root image itself. Everything that both
//! programs do is here once: the consoles, the kernel's command line, the check of the manifest, modules, device events and the
//! end of the machine. Like init it has one thread, except while modules are loaded, and no panic path; unlike init it knows no
//! containers, and so is small.

#![cfg_attr(test, allow(clippy::indexing_slicing, clippy::expect_used, reason = "a test may panic"))]

mod cmdline;
mod console;
mod end;
pub mod manifest;
pub mod modules;
pub mod mounts;
mod program;
mod root;
mod sys;
mod uevents;

pub use cmdline::{Cmdline, Watchdog};
pub use console::{Consoles, SaidLine};
pub use end::{end, say_panics};
pub use program::run;
pub use uevents::{Uevent, read_uevents, uevents};
