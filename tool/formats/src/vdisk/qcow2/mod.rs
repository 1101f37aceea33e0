//! qcow2 version 3 (QEMU's `docs/interop/qcow2.txt`).
//!
//! Order in the file: header, refcount table, refcount blocks, L1 table, L2 tables, clusters stored as they are, clusters
//! stored deflated. All numbers are big-endian.

mod format;
mod writer;

pub(super) use writer::{write, write_compressed};
