//! The machine's tree as a tar in PAX form: formats `tar` and `docker`, and the envelope of `tar-kernel-initrd`.
//!
//! Every entry of the tree has LinuxKit's records `LINUXKIT.source` and `LINUXKIT.location`. Order: what boots (`boot/`)
//! comes first, so that a reader of the stream finds it without the rest; then the tree once, sorted by path, so that
//! each directory comes before what is in it. Of a file with several names the first has the data.

mod old_gnu;
mod pax;
mod tree;

pub(crate) use old_gnu::old_gnu_sparse_header;
pub(crate) use pax::{Entry, EntryKind, Writer};
pub(crate) use tree::{Extra, check, write, write_layer};
