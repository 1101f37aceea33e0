//! VMDK of subformat `streamOptimized` (VMware's "Virtual Disk Format 5.0"): what ESXi imports and an OVA carries.
//!
//! Order in the file: header, text descriptor, then for each grain table its grains, deflated, and the table itself; then the
//! directory of tables and the header again, now with the directory's place. Each is announced by a marker. Grains of zeros
//! and tables without grains are not there. All numbers are little-endian and count sectors.

mod format;
mod writer;

pub(super) use writer::write;
