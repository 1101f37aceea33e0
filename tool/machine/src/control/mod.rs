//! The host's side of a machine's control channel (`docs/control.md`).
//!
//! QEMU gives the virtio-serial port to one caller. So whoever runs the machine holds it, as a [`Hub`] that others call by a unix
//! socket; [`Machines`] are the sockets of what runs, by name.

mod hub;
mod machines;

pub use bootwright_bundle::control::*;
pub use hub::Hub;
pub use machines::{Listed, Machines, connect, greet};
