//! VHD ("Virtual Hard Disk Image Format Specification", Microsoft, 2006), fixed and dynamic.
//!
//! A fixed disk is its bytes and a footer. A dynamic one has the footer also in front, then a header, the block allocation table
//! and the blocks that hold anything, each behind a bitmap of its sectors. All numbers are big-endian.

mod format;
mod writer;

pub(super) use writer::{write_dynamic, write_fixed};
