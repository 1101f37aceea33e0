//! The YAML spec a machine is built from: LinuxKit's keys with LinuxKit's documented meaning, and ours beside them.
//!
//! One way through: text, `node` (YAML as a tree of nodes with spans), `keys` (one table of every key, its type and its
//! help, from which the validation, the JSON Schema and the documentation are made), `read`, `load` (merging, and the checks
//! that need the whole), [`Spec`]. Every problem of a file is a [`Diagnostic`] with a [`Span`]; none stops the search for
//! the next. Nothing here touches a disk, a network or the environment.

mod diagnostic;
mod emit;
mod findings;
mod keys;
mod load;
mod markdown;
mod model;
mod nearest;
mod node;
mod over;
mod package;
mod read;
mod render;
mod schema;
mod validate;
mod values;

pub use diagnostic::{Diagnostic, Diagnostics, Severity, SourceId, Sources, Span, Spanned};
pub use emit::{to_json, to_metadata, to_yaml};
pub use load::{Input, load, parse_label};
pub use markdown::markdown;
pub use model::{
    Bind, BindNs, CargoRecipe, Check, Container, ContainerConfig, Control, DebianRecipe, Device, Expectation,
    FileContent, FileContents, FileEntry, Forward, Health, IdMapping, Interface, Kernel, KernelRecipe, Landlock,
    Logging, MetadataFormat, Mount, Namespaces, OnFail, Owner, Package, ProcessConfig, Ready, Restart, RestartPolicy,
    Rlimit, Root, RootKind, RuntimeConfig, Spec, Stop, Test, TestCheck, Volume, VolumeFormat, Watchdog,
};
pub use nearest::nearest;
pub use node::MAX_BYTES;
pub use package::parse_package;
pub use schema::schema;

/// The number of a signal, given as in `stop.signal`: `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
#[must_use]
pub fn signal(text: &str) -> Option<i32> {
    values::signal(text).ok()
}

/// The capabilities that Linux knows, in the kernel's order: bit 0 first.
#[must_use]
pub fn capabilities() -> &'static [&'static str] {
    values::CAPABILITIES
}
