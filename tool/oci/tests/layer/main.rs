//! Layers end to end: archives from the `tar` crate, GNU tar, Python and by hand, unpacked and flattened.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod archive;
mod engines;
mod flatten;
mod hostile;
mod random;
mod unpack;
