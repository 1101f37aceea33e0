//! Component images without a container engine: a directory with a `build.yml` becomes an OCI image in the store.
//!
//! Four recipes, one layer each, in this order: `cargo` (a static binary of the workspace), `debian` (packages that the
//! machine's own apt resolves, unpacked without maintainer scripts; `kernel: true` for a kernel image), `kernel` (a kernel
//! compiled from Debian's packaged source), `files`. No root, no engine, no clock: the same inputs are the same bytes and the same tag on every machine. `docs/packages.md` is the
//! user's side of it.

mod apt;
mod assembly;
mod builder;
mod cargo;
mod command;
mod debian;
mod elf;
mod error;
mod files;
mod kconfig;
mod kernel;
mod kernel_build;
mod layer;
mod load;
mod sources;

pub use apt::{AptError, DebianPackage};
pub use assembly::AssemblyError;
pub use builder::{Builder, Built, CONFIG_LABEL, DEBIAN_LABEL};
pub use cargo::CargoError;
pub use command::CommandError;
pub use debian::DebianError;
pub use elf::ElfError;
pub use error::Error;
pub use files::FilesError;
pub use kconfig::{FragmentError, Refused, Request};
pub use kernel::KernelError;
pub use kernel_build::KernelBuildError;
pub use sources::SourceError;
