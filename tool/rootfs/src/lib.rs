//! A spec and its images, assembled into a machine: the merged file tree, who put what there, and how it boots.
//!
//! [`assemble`] lays kernel, init images, volumes, containers and files over each other ([`Machine`]); [`check`] looks at
//! what the spec and its images say that cannot work or probably was not meant. Both report all problems at once, with
//! the places in the spec; neither touches a disk but through [`Inputs`].

mod accounts;
mod assemble;
mod capabilities;
mod check;
mod config_json;
mod containers;
mod devices;
mod drivers;
mod early;
mod effective;
mod files;
mod inputs;
mod kernel;
mod kernel_config;
mod kmod_index;
mod loader;
mod machine;
mod merge;
mod modules;
mod modules_index;
mod mounts;
mod problems;
mod process;
mod program;
mod resolve;
#[cfg(test)]
mod runc_tests;
mod seccomp;
mod settings;
mod stubs;
mod supervision;
#[cfg(test)]
mod testing;
mod volumes;

pub use assemble::assemble;
pub use check::check;
pub use early::Reach;
pub use inputs::{Inputs, Layout, host_file};
pub use kernel_config::{KernelConfig, Support};
pub use machine::{BiosLoader, Boot, Component, Loader, Machine, Placed, Root};
