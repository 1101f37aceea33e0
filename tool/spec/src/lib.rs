//! The YAML spec a machine is built from: LinuxKit's keys with LinuxKit's documented meaning, and ours beside them.
//!
//! One way through: text, `node` (YAML as a tree of nodes with spans), `keys` (one table of every key, its type and its
//! help, from which both the validation and the JSON Schema are made), [`Spec`]. Every problem of a file is a
//! [`Diagnostic`] with a [`Span`]; none stops the search for the next.

mod diagnostic;
mod model;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, SourceId, Sources, Span, Spanned};
pub use model::{
    Bind, BindNs, CargoRecipe, Container, ContainerConfig, DebianRecipe, Device, FileContents, FileEntry, IdMapping,
    Interface, Kernel, MetadataFormat, Mount, Namespaces, OnFail, Owner, Package, ProcessConfig, Rlimit, RuntimeConfig,
    Spec, Volume, VolumeFormat,
};
