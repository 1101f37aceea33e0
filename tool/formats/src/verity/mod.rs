//! dm-verity: a tree of hashes over a read-only device, by which the kernel checks every block that it reads.
//!
//! The format is the kernel's (`Documentation/admin-guide/device-mapper/verity.rst`) with version 1 of the superblock of
//! cryptsetup (its wiki, "DMVerity"): SHA-256 over blocks of 4096 bytes, 128 hashes to a block of the tree, the level that is
//! nearest to the root first. Superblock and tree are known in size before the first block is read, the tree is written into an
//! unnamed temporary file (0.8 % of the data), and every thread count gives the same bytes.
//!
//! There is no salt. It is there to make trees of equal devices differ, which is what a reproducible build must not do; one
//! derived from the content would be known to whoever has the content, and add nothing.

mod format;
mod writer;

pub use format::{device_argument, tree_len};
pub use writer::{HashTree, hash_tree};
