//! Where things lie on a disk.
//!
//! Partitions begin at whole MiB, in the order given, the first at 1 MiB. A BIOS's boot loader has its own place before that, at
//! sector 40 with either kind of table; a GPT has an entry for it. Nothing is moved by more room: a disk that shall be larger
//! than its contents is free behind the last partition, with the second GPT at the very end.

use super::gpt::{self, READ_ONLY, TAIL};
use super::guid::Guid;
use super::mbr::{self, BOOT_CODE};
use super::{Blob, SECTOR, identity, short_id};
use crate::RawImage;

/// Sectors that partitions' beginnings and the disk's size are multiples of: 1 MiB.
const ALIGNMENT: u64 = (1 << 20) / SECTOR;
/// Sectors that partitions' lengths are multiples of: 4096 bytes, which may be the sectors inside a disk.
const GRANULE: u64 = 8;
/// First sector of the boot loader: behind the table, at a multiple of [`GRANULE`].
const LOADER: u64 = 40;

/// A disk whose partitions have their places.
#[derive(Clone, Debug)]
pub struct DiskPlan {
    table: Table,
    partitions: Vec<Placed>,
    sectors: u64,
}

/// How a disk says what is where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// GUID partition table, with a protective MBR in which a BIOS finds its boot code.
    Gpt,
    /// The four entries of the first sector.
    Mbr,
}

/// A partition that has no place yet.
#[derive(Clone, Copy, Debug)]
pub struct Partition {
    /// What it is for.
    pub kind: Kind,
    /// Bytes of what it will hold.
    pub size: u64,
}

/// What a partition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What a BIOS's boot code loads. It has no entry in an MBR, and its place does not depend on the others.
    BiosBoot,
    /// EFI system partition: a FAT filesystem.
    Esp,
    /// A FAT filesystem with kernel and initrd, which no EFI looks at.
    Boot,
    /// A root image, for the architecture of this partition type.
    Root(Guid),
}

impl Kind {
    /// The root of a machine of an architecture, by its name in OCI images.
    #[must_use]
    pub fn root(architecture: &str) -> Self {
        Self::Root(Guid::new(match architecture {
            "amd64" => 0x4f68bce3_e8cd_4db1_96e7_fbcaf984b709,
            "arm64" => 0xb921b045_1df0_41c3_af44_4c6f280d3fae,
            "riscv64" => 0x72ec70a6_cf74_40e6_bd49_4bda08e8f224,
            // Linux filesystem data, of which no architecture's firmware or init thinks anything.
            _ => 0x0fc63daf_8483_4772_8e79_3d69d8477de4,
        }))
    }

    pub(super) fn guid(self) -> Guid {
        match self {
            // The bytes say `Hah!IdontNeedEFI`.
            Self::BiosBoot => Guid::new(0x21686148_6449_6e6f_744e_656564454649),
            Self::Esp => Guid::new(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b),
            // Extended Boot Loader Partition of the Discoverable Partitions Specification.
            Self::Boot => Guid::new(0xbc13c2ff_59e6_4262_a352_b275fd6f7172),
            Self::Root(guid) => guid,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::BiosBoot => "BIOS boot",
            Self::Esp => "EFI system",
            Self::Boot => "boot",
            Self::Root(_) => "root",
        }
    }

    fn attributes(self) -> u64 {
        match self {
            Self::Root(_) => READ_ONLY,
            _ => 0,
        }
    }

    /// The type in an MBR, if it has an entry there.
    fn mbr(self) -> Option<u8> {
        match self {
            Self::BiosBoot => None,
            Self::Esp => Some(mbr::ESP),
            Self::Boot => Some(mbr::FAT32),
            Self::Root(_) => Some(mbr::LINUX),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Placed {
    kind: Kind,
    /// Bytes of what it holds.
    size: u64,
    /// Its first sector.
    first: u64,
    sectors: u64,
}

/// A disk that there cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// A size was asked for that the contents do not fit into.
    #[error("a disk of {size} bytes is too small for what it holds, which takes {needed} bytes ({} MiB)", .needed.div_ceil(1 << 20))]
    TooSmall {
        /// The size asked for.
        size: u64,
        /// Bytes from the first sector to the last one that is needed.
        needed: u64,
    },
    /// More than the table, or any file, can have.
    #[error("a disk of {size} bytes is too large, {most} bytes at most")]
    TooLarge {
        /// Bytes of the disk.
        size: u64,
        /// Bytes that it may have.
        most: u64,
    },
    /// The boot loader does not fit before the first partition.
    #[error("a boot loader of {size} bytes does not fit before the first partition, where it may have {most}")]
    Loader {
        /// Bytes of the loader.
        size: u64,
        /// Bytes that it may have.
        most: u64,
    },
}

impl DiskPlan {
    /// Gives partitions their places on a disk: as small as can be, or of the size asked for; rounded up to whole MiB.
    ///
    /// # Errors
    ///
    /// See [`DiskError`].
    ///
    /// # Panics
    ///
    /// A partition is empty, or several are [`Kind::BiosBoot`].
    pub fn new(table: Table, partitions: &[Partition], size: Option<u64>) -> Result<Self, DiskError> {
        let most = match table {
            Table::Gpt => i64::MAX as u64 / (ALIGNMENT * SECTOR) * (ALIGNMENT * SECTOR),
            Table::Mbr => u64::from(u32::MAX) / ALIGNMENT * ALIGNMENT * SECTOR,
        };
        let loaders = partitions.iter().filter(|p| p.kind == Kind::BiosBoot).count();
        assert!(loaders <= 1, "a disk has one place for a boot loader");
        let mut next = ALIGNMENT;
        let mut placed = Vec::with_capacity(partitions.len());
        for &Partition { kind, size } in partitions {
            assert!(size > 0, "a partition without a sector");
            let (first, sectors) = match kind {
                Kind::BiosBoot => (LOADER, ALIGNMENT - LOADER),
                _ => (next, size.div_ceil(SECTOR).next_multiple_of(GRANULE)),
            };
            if kind == Kind::BiosBoot && size > sectors * SECTOR {
                return Err(DiskError::Loader { size, most: sectors * SECTOR });
            }
            if size > most - first * SECTOR {
                return Err(DiskError::TooLarge { size, most });
            }
            next = next.max(first + sectors).next_multiple_of(ALIGNMENT);
            placed.push(Placed { kind, size, first, sectors });
        }
        let end = placed.iter().map(|p| p.first + p.sectors).fold(ALIGNMENT, u64::max);
        let needed = (end + if table == Table::Gpt { TAIL } else { 0 }) * SECTOR;
        let size = size.unwrap_or(needed);
        if size < needed {
            return Err(DiskError::TooSmall { size, needed });
        }
        if size > most {
            return Err(DiskError::TooLarge { size, most });
        }
        Ok(Self { table, partitions: placed, sectors: size.div_ceil(SECTOR).next_multiple_of(ALIGNMENT) })
    }

    /// Bytes of the disk.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.sectors * SECTOR
    }

    /// The first sector of each partition, in the order in which they were given.
    #[must_use]
    pub fn sectors(&self) -> Vec<u64> {
        self.partitions.iter().map(|p| p.first).collect()
    }

    /// The disk, with a BIOS's boot code and what each partition holds.
    ///
    /// # Panics
    ///
    /// The contents are not those whose sizes were planned, or there are more partitions than the table has entries.
    #[must_use]
    pub fn image(&self, boot_code: Option<&[u8; BOOT_CODE]>, contents: &[Blob]) -> RawImage {
        assert_eq!(contents.len(), self.partitions.len(), "one content for each partition");
        let mut image = RawImage::new(self.size());
        let mut parts = vec![boot_code.map_or(&[][..], |code| code).to_vec(), self.sectors.to_le_bytes().to_vec()];
        let mut gpt = Vec::new();
        let mut mbr = Vec::new();
        for (number, (place, content)) in self.partitions.iter().zip(contents).enumerate() {
            assert_eq!(content.image.size(), place.size, "partition {number} holds what was planned");
            image.put_image(place.first * SECTOR, &content.image);
            // Two partitions may hold the same.
            let own = [&place.kind.guid().to_bytes()[..], &(number as u64).to_le_bytes(), content.digest.bytes()];
            let own = identity("partition", own);
            parts.push(own.bytes().to_vec());
            gpt.push(gpt::Entry {
                kind: place.kind.guid(),
                guid: Guid::of_digest(&own),
                first: place.first,
                sectors: place.sectors,
                attributes: place.kind.attributes(),
                name: place.kind.name(),
            });
            // Some BIOSes pass over a disk on which nothing is active.
            let active = boot_code.is_some() && mbr.is_empty();
            if let Some(kind) = place.kind.mbr() {
                // A disk with an MBR is small enough for these; with a GPT they are not used.
                let [first, sectors] = [place.first, place.sectors].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
                mbr.push(mbr::Entry { active, kind, first, sectors });
            }
        }
        let disk = identity("disk", parts.iter().map(|part| &part[..]));
        let first = match self.table {
            Table::Gpt => {
                gpt::put(&mut image, Guid::of_digest(&disk), &gpt);
                // The specification wants no disk signature beside a GPT.
                mbr::sector(boot_code, 0, &[mbr::Entry::protective(self.sectors)])
            }
            Table::Mbr => mbr::sector(boot_code, short_id(&disk), &mbr),
        };
        image.put(0, first);
        image
    }
}
