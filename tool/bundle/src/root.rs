//! How a root image is found and checked: a read-only filesystem, its mark, and with dm-verity its hash tree.
//!
//! A root image is, in blocks of 4096 bytes: the filesystem (squashfs or EROFS), one block with the [`RootMark`], and with
//! dm-verity a block with the superblock of `veritysetup` and the hash tree, which covers filesystem and mark. It lies in the
//! initrd as [`ROOT_IMAGE`], in a partition, or on a disk of its own; wherever that is, its mark is found at the end of the
//! filesystem, whose own superblock says how long it is. So a root is known by what it is and never by a device's name.

use std::fmt;
use std::str::FromStr;

/// Bytes of a block of a root image.
pub const ROOT_BLOCK: u64 = 4096;
/// Where the root image lies in an initrd.
pub const ROOT_IMAGE: &str = "/usr/lib/bootwright/root.img";
/// Image label of an init image that can have a root image as its root: the path, in the image, of the program that is the
/// initrd's `/init` then. It finds, checks and mounts the root and executes the root's `/init`.
pub const EARLY_LABEL: &str = "org.bootwright.init.early";
/// Kernel command line key: the [`RootId`] to look for on block devices.
pub const ROOT_ARGUMENT: &str = "bootwright.root";
/// Kernel command line key: seconds to wait for a block device that holds it; 30 by default.
pub const ROOT_WAIT_ARGUMENT: &str = "bootwright.root.wait";
/// Kernel command line key: the root hash of dm-verity, in hexadecimal. With it nothing else is accepted as a root.
pub const VERITY_ARGUMENT: &str = "bootwright.verity";
/// Kernel command line key: what a block that dm-verity refuses does, [`Corruption`].
pub const CORRUPTION_ARGUMENT: &str = "bootwright.verity.corruption";
/// Kernel command line key: MiB of memory that the machine needs.
pub const MEMORY_ARGUMENT: &str = "bootwright.memory";

/// First bytes of a mark.
const MAGIC: &[u8; 16] = b"bootwright root\0";
/// Version of the mark.
const VERSION: u32 = 1;

/// Name of a root image: the first half of the SHA-256 of its filesystem.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootId(pub [u8; 16]);

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for RootId {
    type Err = RootIdError;

    fn from_str(text: &str) -> Result<Self, RootIdError> {
        let digits = text.as_bytes();
        let mut id = [0; 16];
        if digits.len() != 2 * id.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(RootIdError);
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| RootIdError)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| RootIdError)?;
        }
        Ok(Self(id))
    }
}

/// Not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootIdError;

impl fmt::Display for RootIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a root's name is 32 hexadecimal digits")
    }
}

impl std::error::Error for RootIdError {}

/// What a block that dm-verity refuses does to the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Corruption {
    /// The read fails, and the kernel says so on the console (`eio`).
    #[default]
    Eio,
    /// The machine restarts at once (`restart`).
    Restart,
}

impl Corruption {
    /// The value of [`CORRUPTION_ARGUMENT`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Eio => "eio",
            Self::Restart => "restart",
        }
    }
}

impl FromStr for Corruption {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        [Self::Eio, Self::Restart].into_iter().find(|c| c.name() == text).ok_or(())
    }
}

/// The block behind the filesystem of a root image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootMark {
    /// Which root it is.
    pub id: RootId,
    /// Bytes of the filesystem, a multiple of [`ROOT_BLOCK`].
    pub filesystem: u64,
    /// Bytes of what follows the mark: verity superblock and hash tree; 0 without dm-verity.
    pub verity: u64,
}

impl RootMark {
    /// The block's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(ROOT_BLOCK as usize);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&VERSION.to_le_bytes());
        block.extend_from_slice(&[0; 4]);
        block.extend_from_slice(&self.filesystem.to_le_bytes());
        block.extend_from_slice(&self.verity.to_le_bytes());
        block.extend_from_slice(&self.id.0);
        block.resize(ROOT_BLOCK as usize, 0);
        block
    }

    /// Reads a block; none if it is no mark.
    #[must_use]
    pub fn decode(block: &[u8]) -> Option<Self> {
        let rest = block.strip_prefix(MAGIC)?;
        let (version, rest) = rest.split_first_chunk()?;
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (filesystem, rest) = rest.split_first_chunk()?;
        let (verity, rest) = rest.split_first_chunk()?;
        let (id, _) = rest.split_first_chunk()?;
        (u32::from_le_bytes(*version) == VERSION).then_some(Self {
            id: RootId(*id),
            filesystem: u64::from_le_bytes(*filesystem),
            verity: u64::from_le_bytes(*verity),
        })
    }
}

/// A filesystem that a root image can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootFilesystem {
    /// Squashfs 4.0.
    Squashfs,
    /// EROFS.
    Erofs,
}

impl RootFilesystem {
    /// The kernel's name of it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
        }
    }

    /// Reads the first 4096 bytes of a device or file: which filesystem begins there, and its bytes rounded up to
    /// [`ROOT_BLOCK`], which is where the mark lies.
    #[must_use]
    pub fn of(head: &[u8]) -> Option<(Self, u64)> {
        let (kind, bytes) = if head.starts_with(b"hsqs") {
            // `bytes_used` of the superblock.
            (Self::Squashfs, u64::from_le_bytes(*head.get(40..48)?.first_chunk()?))
        } else {
            // `struct erofs_super_block` at 1024: magic, then `blkszbits` at 12 and `blocks` at 36.
            let superblock = head.get(1024..1152)?.strip_prefix(&[0xe2, 0xe1, 0xf5, 0xe0])?;
            let bits = *superblock.get(8)?;
            let blocks = u32::from_le_bytes(*superblock.get(32..36)?.first_chunk()?);
            (Self::Erofs, (9..=16).contains(&bits).then(|| u64::from(blocks) << bits)?)
        };
        Some((kind, bytes.checked_next_multiple_of(ROOT_BLOCK)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_back_and_nothing_else_is_one() {
        let mark = RootMark { id: RootId([0xa5; 16]), filesystem: 8192, verity: 4096 };
        let block = mark.encode();
        assert_eq!(block.len() as u64, ROOT_BLOCK);
        assert_eq!(RootMark::decode(&block), Some(mark));
        for at in 0..20 {
            let mut other = block.clone();
            other[at] ^= 1;
            assert_eq!(RootMark::decode(&other), None, "byte {at}");
        }
        assert_eq!(RootMark::decode(&block[..40]), None);
    }

    #[test]
    fn names_of_roots_are_read_back() {
        let id = RootId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "zz", &"0".repeat(31), &"+1".repeat(16)] {
            assert_eq!(bad.parse::<RootId>(), Err(RootIdError), "{bad}");
        }
    }

    #[test]
    fn what_corruption_does_is_one_of_two_words() {
        for corruption in [Corruption::Eio, Corruption::Restart] {
            assert_eq!(corruption.name().parse(), Ok(corruption));
        }
        assert_eq!("reboot".parse::<Corruption>(), Err(()));
    }

    #[test]
    fn filesystems_are_known_by_their_superblocks() {
        let mut squashfs = vec![0; 4096];
        squashfs[..4].copy_from_slice(b"hsqs");
        squashfs[40..48].copy_from_slice(&5000_u64.to_le_bytes());
        assert_eq!(RootFilesystem::of(&squashfs), Some((RootFilesystem::Squashfs, 8192)));
        let mut erofs = vec![0; 4096];
        erofs[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
        erofs[1036] = 12;
        erofs[1060..1064].copy_from_slice(&7_u32.to_le_bytes());
        assert_eq!(RootFilesystem::of(&erofs), Some((RootFilesystem::Erofs, 7 * 4096)));
        erofs[1036] = 99;
        assert_eq!(RootFilesystem::of(&erofs), None);
        assert_eq!(RootFilesystem::of(&[0; 4096]), None);
        assert_eq!(RootFilesystem::of(b"hsqs"), None);
        squashfs[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(RootFilesystem::of(&squashfs), None);
    }
}
