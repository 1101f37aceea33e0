//! `regex-lite` by the name of `regex` (`[patch.crates-io]` in the workspace's `Cargo.toml`).
//!
//! The container library and `oci-spec` check three lines of configuration that hardly anybody writes with regular
//! expressions, and `regex` with its automata and its tables of Unicode would be a quarter of init for it. The Rust project's own
//! `regex-lite` has the same syntax and interface, for ASCII classes, and is small.

pub use regex_lite::*;
