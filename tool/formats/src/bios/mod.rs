//! Booting by BIOS: our own loader, and what is written into it.
//!
//! The loader's two stages are flat binaries of the component package `pkg/boot`, whose sources say what they do. Here is the
//! other half: [`Loader`] checks the stages and writes into them where things lie on the disk, and [`KernelHeader`] reads from a
//! bzImage (`Documentation/arch/x86/boot.rst`) whether it can be booted so at all. Nothing here knows what a disk looks like:
//! a layout asks how many sectors stage 2 takes, places everything, and then asks for the bytes. `docs/boot.md` tells the rest.

mod cmdline;
mod error;
mod format;
mod kernel;
mod loader;
mod parameters;

pub use error::BiosError;
pub use format::{BOOT_CODE, CD_IMAGE, CD_LOAD_SECTORS, CD_LOAD_SEGMENT, Extent, UNIT};
pub use kernel::KernelHeader;
pub use loader::Loader;
pub use parameters::Parameters;
