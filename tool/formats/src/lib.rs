//! Writers of the output formats: an assembled machine in, files out.
//!
//! [`write()`] is the one door. It checks everything that can be known beforehand, packs what the formats share once (the
//! initrd's segments and a decompressed kernel are kept in the cache of derived files), streams each format, and renames all
//! files together when all are whole. One module per byte format ([`cpio`], `tar`), types apart from algorithm; what each format
//! is and guarantees is told in `docs/formats.md`.

pub mod authenticode;
pub mod bios;
mod compress;
mod content;
pub mod cpio;
mod error;
mod format;
mod initrd;
mod kernel;
mod links;
mod memory;
mod output;
mod pe;
#[allow(dead_code, reason = "the disk formats follow")]
mod raw;
mod report;
mod root_image;
mod tar;
pub mod uki;
pub mod verity;
mod write;

pub use compress::{Compression, CompressionError};
pub use error::{Error, Misfit};
pub use format::{Format, FormatError, check_formats};
pub use initrd::{Member, ReadInitrdError, SEGMENT_KIND, read_initrd};
pub use kernel::KernelError;
pub use memory::memory_mib;
pub use output::Output;
pub use pe::PeError;
pub use raw::RawImage;
pub use report::{Artefact, ComponentSize, Report};
pub use root_image::RootImage;
pub use write::{Options, check, check_request, write};

/// Time of everything that a format generates, the same as LinuxKit's: 2017-04-18 16:30:00 UTC.
const GENERATED_MTIME: u32 = 1_492_533_000;
