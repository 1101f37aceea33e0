//! The tables that make an ISO a disk as well: a first sector with a BIOS's boot code, and where UEFI boots it, a GPT whose one
//! partition is the ESP that lies in the ISO as a file. Both fit into what ISO 9660 leaves free: 32 KiB at the beginning, and
//! the end.

use bootwright_oci::Digest;

use super::layout::Kind;
use super::mbr::{self, BOOT_CODE};
use super::{Guid, SECTOR, gpt, identity, short_id};
use crate::RawImage;

/// Bytes at the end of an ISO that the second GPT takes.
pub const TABLE_TAIL: u64 = gpt::TAIL * SECTOR;
/// Sectors at the beginning: first sector, header, entries.
const HEAD: u64 = gpt::TAIL + 1;
/// Type of a partition that no system mounts, as other hybrid ISOs have it.
const HIDDEN: u8 = 0x17;

/// The first bytes of an ISO of `size` bytes, and the last [`TABLE_TAIL`] ones. `esp` is the first sector and the bytes of the
/// ESP; ids are made of the digest.
///
/// # Panics
///
/// The size is not whole sectors.
#[must_use]
pub fn hybrid_tables(
    size: u64,
    esp: Option<(u64, u64)>,
    boot_code: Option<&[u8; BOOT_CODE]>,
    digest: &Digest,
) -> (Vec<u8>, Vec<u8>) {
    assert!(size.is_multiple_of(SECTOR), "an ISO is whole sectors");
    let sectors = size / SECTOR;
    let id = |purpose| identity(purpose, [&digest.bytes()[..], &size.to_le_bytes()]);
    let mut image = RawImage::new(size);
    let first = match esp {
        Some((first, bytes)) => {
            let kind = Kind::Esp.guid();
            let sectors_of_esp = bytes.div_ceil(SECTOR);
            let guid = Guid::of_digest(&id("ISO partition"));
            let name = "EFI system";
            let entry = gpt::Entry { kind, guid, first, sectors: sectors_of_esp, attributes: 0, name };
            gpt::put(&mut image, Guid::of_digest(&id("ISO")), &[entry]);
            mbr::sector(boot_code, 0, &[mbr::Entry::protective(sectors)])
        }
        None => {
            let sectors = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
            let whole = mbr::Entry { active: true, kind: HIDDEN, first: 1, sectors };
            mbr::sector(boot_code, short_id(&id("ISO")), &[whole])
        }
    };
    image.put(0, first);
    let part = |at, len: u64| {
        let mut bytes = vec![0; len as usize];
        image.read_at(at, &mut bytes).expect("the tables are in memory");
        bytes
    };
    (part(0, HEAD * SECTOR), part(size - TABLE_TAIL, TABLE_TAIL))
}
