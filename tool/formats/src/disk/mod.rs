//! Disks: partition tables, the FAT32 filesystem of a boot partition, and where everything lies.
//!
//! Specifications: UEFI 2.10, chapter 5 (MBR and GPT), Microsoft's FAT specification, and for partition types the Discoverable
//! Partitions Specification. A disk is planned first and filled afterwards: [`FatPlan`] and [`DiskPlan`] say from sizes alone where
//! each file and partition lies, so that a boot loader that reads by sector can be told before anything is written; then they take
//! the contents and give a [`RawImage`]. All files and partitions are contiguous. Ids come from the contents: what has the same
//! bytes has the same ids.

mod fat;
mod gpt;
mod guid;
mod hybrid;
mod layout;
mod mbr;

use bootwright_oci::Digest;

pub use fat::{FatError, FatFile, FatPlan};
pub use guid::Guid;
pub use hybrid::{TABLE_TAIL, hybrid_tables};
pub use layout::{DiskError, DiskPlan, Kind, Partition, Table};
pub use mbr::BOOT_CODE;

use crate::RawImage;

/// Bytes of a sector, on every disk that we write.
pub const SECTOR: u64 = 512;

/// What a file or a partition holds.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its bytes.
    pub image: RawImage,
    /// Digest of the bytes, or of all that decides them. Ids are made of it, so that nothing needs to be read for them.
    pub digest: Digest,
}

impl Blob {
    /// Bytes that are in memory.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut image = RawImage::new(bytes.len() as u64);
        image.put(0, bytes);
        Self { image, digest: Digest::of(bytes) }
    }
}

/// What several parts are together, for one purpose.
fn identity<'a>(purpose: &'a str, parts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut text = Vec::new();
    for part in std::iter::once(purpose.as_bytes()).chain(parts) {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    }
    Digest::of(&text)
}

/// The first four bytes of a digest, for ids that are no longer than that.
fn short_id(digest: &Digest) -> u32 {
    let [a, b, c, d, ..] = *digest.bytes();
    u32::from_le_bytes([a, b, c, d])
}
