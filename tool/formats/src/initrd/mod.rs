//! The initrd: a run of separately compressed cpio archives, one per component of the machine.
//!
//! The kernel unpacks concatenated archives one after the other, each compressed in its own way (`init/initramfs.c`), so
//! a component whose files did not change is copied from the cache instead of being compressed again. Order:
//!
//! 1. microcode, uncompressed (the callers put it there: it must be at the very start);
//! 2. for an init that understands it, the manifest, an archive of its own, because it changes with every build;
//! 3. the component that holds `/init`;
//! 4. the other components in the machine's order. A component without nodes has no segment;
//! 5. where the root is a root image that travels in the initrd, that image, stored as it is ([`Stored`]).
//!
//! So 2 and 3 are what a machine with too little memory gets first, and can tell about it. Each archive starts with its
//! parent directories and ends with its own trailer, without which equal inode numbers of two segments would become hard
//! links; and each is padded with zeros to a multiple of four bytes, LZ4 with four at least (`crate::compress`).

mod limits;
mod manifest;
mod pack;
mod plan;
mod reader;
mod stored;

pub(crate) use limits::misfits;
pub use pack::SEGMENT_KIND;
pub(crate) use pack::{Packed, pack};
pub(crate) use plan::header;
pub use reader::{Member, ReadInitrdError, read_initrd};
pub(crate) use stored::Stored;

use bootwright_rootfs::Machine;

use crate::Error;

/// Refuses a tree that cannot be laid out, before anything is read or written.
pub(crate) fn check(machine: &Machine) -> Result<(), Error> {
    plan::plan(machine)?;
    if machine.native_init {
        manifest::archive(machine, &bootwright_bundle::Manifest::default())?;
    }
    Ok(())
}
