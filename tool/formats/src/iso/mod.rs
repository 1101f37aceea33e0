//! ISO 9660 with Rock Ridge: a machine's root that the kernel mounts, and media that firmware boots.
//!
//! Specifications: ECMA-119 (ISO 9660, interchange level 3), SUSP 1.12 and RRIP 1.12 (Rock Ridge: POSIX names, owners, links,
//! devices), El Torito 1.0 and UEFI 2.10 section 13.3.2 (booting). A volume is a run of sectors of 2048 bytes: 16 for the
//! system's use, descriptors, path tables, directories, then files, each contiguous. Numbers stand in both byte orders.
//!
//! Everything but the content of files is computed first, so that sizes and places are known before a byte is written: the
//! content may hold them (a boot loader's list of sectors), and a machine's files are streamed.

mod directory;
mod el_torito;
mod format;
mod identifiers;
mod layout;
mod machine;
mod media;
mod system_use;

pub use el_torito::BiosEntry;
pub use format::SYSTEM_AREA;
pub use machine::{MachineIso, lost_xattrs, misfits};
pub use media::{Media, MediaFile, PlannedMedia};

/// A volume's name as ECMA-119 wants it (8.4.7): capitals, digits and `_`, 32 at most.
fn volume_id(name: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    name.chars().take(32).map(letter).collect()
}
