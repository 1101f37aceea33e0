//! FAT32 with long names, for the partition that a machine boots from: a handful of files, each contiguous.
//!
//! Specification: Microsoft's "FAT32 File System Specification" of 2000. A volume is reserved sectors (boot sector, free space
//! summary, copies of both), two equal tables with one number for each cluster, and the clusters. The number of clusters, and
//! nothing else, makes a FAT a FAT32: there are never fewer than that takes. Times are the epoch of FAT, 1980-01-01. A volume is
//! planned first ([`FatPlan`]), from names and sizes, and filled afterwards.

mod format;
mod name;
mod plan;
mod writer;

pub use plan::{FatFile, FatPlan};

/// Files that cannot be in a FAT filesystem.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FatError {
    /// A name that FAT has not.
    #[error("a FAT filesystem cannot hold `{path}`: {what}")]
    Name {
        /// The file.
        path: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A file too large.
    #[error("a FAT filesystem cannot hold `{path}` of {len} bytes, 4 GiB - 1 byte at most")]
    TooLarge {
        /// The file.
        path: String,
        /// Bytes of it.
        len: u64,
    },
    /// Two files with one name, or a file where there is a directory.
    #[error("a FAT filesystem cannot hold both `{first}` and `{second}`; upper and lower case are the same there")]
    Clash {
        /// One path.
        first: String,
        /// The other.
        second: String,
    },
    /// A directory with too much in it.
    #[error("a FAT filesystem cannot hold directory `{path}`, whose names take {entries} entries, 65536 at most")]
    Directory {
        /// The directory.
        path: String,
        /// Entries of 32 bytes; a long name takes several.
        entries: u64,
    },
    /// All of it is too large.
    #[error("a FAT filesystem of {size} bytes is too large, 2 TiB - 512 bytes at most")]
    Volume {
        /// Bytes of the filesystem.
        size: u64,
    },
}
