//! VHDX (MS-VHDX), dynamic.
//!
//! Order in the file, in MiB: headers and region tables (0), an empty log (1), metadata (2), the block allocation table (3
//! and more), the blocks that hold anything. All numbers are little-endian; GUIDs begin with three little-endian numbers.

mod format;
mod writer;

pub(super) use writer::write;
