//! Writers of the output formats: an assembled machine in, files out.
//!
//! [`write()`] is the one door. It checks everything that can be known beforehand, packs what the formats share once (the
//! initrd's segments and a decompressed kernel are kept in the cache of derived files), streams each format, and renames all
//! files together when all are whole. One module per byte format ([`cpio`], [`iso`], [`erofs`], `tar`), types apart from
//! algorithm; what each format is and guarantees is told in `docs/formats.md`.

pub mod authenticode;
pub mod bios;
mod build;
mod compress;
pub mod container;
mod content;
pub mod cpio;
mod crc32c;
pub mod disk;
pub mod erofs;
mod error;
mod firecracker;
mod format;
mod initrd;
mod inodes;
mod ipxe;
pub mod iso;
mod kernel;
mod limits;
mod links;
mod memory;
mod output;
mod pe;
mod raw;
mod report;
mod root_image;
mod squashfs;
mod tar;
pub mod uki;
pub mod vdisk;
pub mod verity;

pub use build::{Options, check, check_request, write};
pub use compress::{Compression, CompressionError};
pub use error::{Error, Fault, LayoutError, Misfit};
pub use firecracker::{Drive, MicroVm};
pub use format::{Format, FormatError, Named, check_formats};
pub use initrd::{Member, ReadInitrdError, SEGMENT_KIND, read_initrd};
pub use ipxe::{IpxeError, ipxe_script};
pub use kernel::KernelError;
pub use memory::memory_mib;
pub use output::Output;
pub use pe::PeError;
pub use raw::RawImage;
pub use report::{Artefact, ComponentSize, Report};
pub use root_image::RootImage;
pub use squashfs::{
    SQUASHFS_SEGMENT_KIND, Squashfs, SquashfsComponent, SquashfsCompression, SquashfsOptions, SquashfsOptionsError,
    check_squashfs, pack_squashfs,
};

/// Time of everything that a format generates, the same as LinuxKit's: 2017-04-18 16:30:00 UTC.
const GENERATED_MTIME: u32 = 1_492_533_000;
