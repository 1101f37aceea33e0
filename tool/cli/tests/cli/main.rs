//! The program as its user meets it: its own process, its own home and store, nothing of the environment around, real
//! registries on loopback. What an image is or a format holds is tested with the crates below; here it is the wiring.

#![allow(clippy::unwrap_used, reason = "a failure of its own is a failure of the test")]

mod build;
mod cache;
mod check;
mod desk;
mod examples;
mod flags;
mod pkg;
mod sources;
// Shared with tool/oci's tests; it makes images with `flate2::write`, `oci_spec::image` and `tar::Builder`.
#[path = "../../../oci/tests/support/mod.rs"]
mod support;
