//! A spec and its images, assembled into a machine: the merged file tree, who put what there, and how it boots.

mod machine;

pub use machine::{Boot, Component, Machine, Placed};
