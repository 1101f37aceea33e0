//! What newc and the kernel's unpacker cannot hold. The kernel skips most of it without a word, so it is refused here.

use bootwright_oci::Kind;
use bootwright_rootfs::Machine;

use crate::cpio::{NAME_MAX, TRAILER};
use crate::error::Misfit;
use crate::limits;

/// Every node that an initrd cannot hold.
pub(crate) fn misfits(machine: &Machine) -> Vec<Misfit> {
    limits::misfits(machine, |path, placed| {
        if path.as_bytes() == TRAILER {
            return Some("a name that ends cpio archives".to_owned());
        }
        match &placed.node.kind {
            Kind::File(content) if content.size() > u64::from(u32::MAX) => {
                Some(format!("{} bytes, 4 GiB - 1 byte at most", content.size()))
            }
            _ => limits::exceeded(path, placed, NAME_MAX),
        }
    })
}
