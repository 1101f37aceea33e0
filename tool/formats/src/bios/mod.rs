//! Booting by BIOS: a loader, and what is written into it.
//!
//! A loader is a component's: our own, two flat binaries of `pkg/boot` whose sources say what they do, or GRUB. Here is the
//! other half: [`Loader`] checks its files and writes into them where things lie on the disk, and [`KernelHeader`] reads from a
//! bzImage (`Documentation/arch/x86/boot.rst`) whether it can be booted so at all. Nothing here knows what a disk looks like:
//! a layout asks how many sectors stage 2 takes, places everything, and then asks for the bytes. `docs/boot.md` tells the rest.

mod cmdline;
mod error;
mod format;
mod grub;
mod kernel;
mod loader;
mod parameters;
mod stages;

pub use error::BiosError;
pub use format::{BOOT_CODE, CD_IMAGE, CD_LOAD_SECTORS, CD_LOAD_SEGMENT, Extent, UNIT};
pub use kernel::KernelHeader;
pub use loader::Loader;
pub use parameters::Parameters;
