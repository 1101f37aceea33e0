//! The control channel in the machine (`docs/control.md`): what a host, or a program inside, may ask of it.
//!
//! Foreign bytes never reach PID 1. A child, the same binary, holds the lines (a virtio-serial port, a vsock, a unix socket), speaks
//! the protocol of `bootwright_bundle::control`, and passes on what PID 1 alone can answer (`link`). Programs that are executed in
//! a service are children of that child (`exec`), and so are debug containers (`debug`). PID 1's part is the [`Desk`].

mod ctl;
mod debug;
mod desk;
mod exec;
mod hatch;
mod job;
mod line;
mod link;
mod program;
mod read;
mod server;

pub use ctl::run as ctl;
pub use debug::{inside as debug_inside, run as debug};
pub use desk::Desk;
pub use exec::run as exec;
#[cfg(test)]
pub use link::pair;
pub use link::{Call, Whereabouts};
pub use read::{open_in_root, run as read};
pub use server::run as serve;
