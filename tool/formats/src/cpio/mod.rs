//! cpio archives in the "new ASCII" form (newc), which is the only one that the kernel unpacks.
//!
//! Specification: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst` and `init/initramfs.c`. An
//! archive is a run of entries, each a header of 13 eight-digit hex numbers, the name with its NUL, and the data, name
//! and data each padded to four bytes; an entry called `TRAILER!!!` ends it. Hard links are entries with one inode number
//! and a link count over one. The kernel forgets inode numbers at the trailer, so an archive may be followed by another.

mod format;
mod reader;
mod tree;
mod writer;

pub use format::{Header, MAGIC, NAME_MAX, PATH_MAX, TRAILER, entry_size};
pub use reader::{Entry, ReadError, Reader};
pub use tree::TreeArchive;
pub use writer::Writer;

/// File type bits of [`Header::mode`].
pub mod kind {
    /// Mask of the file type.
    pub const MASK: u32 = 0o170_000;
    /// Named pipe.
    pub const FIFO: u32 = 0o010_000;
    /// Character device.
    pub const CHAR: u32 = 0o020_000;
    /// Directory.
    pub const DIRECTORY: u32 = 0o040_000;
    /// Block device.
    pub const BLOCK: u32 = 0o060_000;
    /// Regular file.
    pub const FILE: u32 = 0o100_000;
    /// Symbolic link.
    pub const SYMLINK: u32 = 0o120_000;
}
