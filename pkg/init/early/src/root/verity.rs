//! dm-verity for a root image (Documentation/admin-guide/device-mapper/verity.rst; the superblock is that of `veritysetup`).
//!
//! What is verified is filesystem and mark. The block behind them is the superblock, which names the salt, and the hash tree
//! follows. None of that is trusted: the root hash comes from the kernel's command line, and anything that is not as it was
//! when that hash was made leads to another one.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bootwright_bundle::{Corruption, ROOT_BLOCK};

use super::dm::Mapped;
use super::error::RootError;
use super::image::Image;

const MAGIC: &[u8] = b"verity\0\0";
/// Longest salt of a superblock.
const SALT: usize = 256;
/// Bytes of the sectors that device-mapper counts in.
const SECTOR: u64 = 512;

/// A SHA-256, in lower-case hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootHash(String);

impl RootHash {
    /// Reads it as the command line has it.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| Self(text.to_ascii_lowercase()))
    }
}

/// A root image under dm-verity.
#[derive(Debug)]
pub struct Verity {
    mapped: Mapped,
    place: String,
    hash: RootHash,
}

impl Verity {
    /// Sets it up for the image on a device, which people know as `place`.
    pub fn set_up(
        device: &Path,
        place: &str,
        image: &Image,
        hash: RootHash,
        corruption: Corruption,
    ) -> Result<Self, RootError> {
        let step = |what| move |error| RootError::Mapping { place: place.to_owned(), what, error };
        let superblock = |problem| RootError::Superblock { place: place.to_owned(), problem };
        let blocks = image.mark.filesystem / ROOT_BLOCK + 1;
        let (number, salt) = read(device, blocks).map_err(step("reading the superblock"))?;
        let salt = salt.map_err(superblock)?;
        let table = table(&number, blocks, &hash, &salt, corruption);
        let mapped = Mapped::make("root", "verity", blocks * (ROOT_BLOCK / SECTOR), &table);
        let mapped = mapped.map_err(|(what, error)| match error.raw_os_error() {
            // What the kernel says of a device that is too small for the tree (`verity_ctr` in dm-verity-target.c).
            Some(libc::E2BIG) => superblock("it ends within its hash tree".to_owned()),
            _ => step(what)(error),
        })?;
        Ok(Self { mapped, place: place.to_owned(), hash })
    }

    /// The node of the device that holds what is verified.
    pub fn device(&self) -> PathBuf {
        self.mapped.device.clone()
    }

    /// The error that says that the root hash does not vouch for this image.
    pub fn refused(&self) -> RootError {
        RootError::Refused { place: self.place.clone(), hash: self.hash.0.clone() }
    }

    /// Whether it has refused a block: then its status is `C` instead of `V`.
    pub fn has_refused(&self) -> bool {
        self.mapped.status().is_ok_and(|status| status.starts_with('C'))
    }
}

/// Reads the superblock of the image on a device: the device's number, and the salt or what is wrong.
fn read(device: &Path, blocks: u64) -> io::Result<(String, Result<Vec<u8>, String>)> {
    let file = File::open(device)?;
    let number = file.metadata()?.rdev();
    let mut superblock = [0; ROOT_BLOCK as usize];
    let salt = match file.read_exact_at(&mut superblock, blocks.saturating_mul(ROOT_BLOCK)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err("it ends before its hash tree".to_owned()),
        other => other.map(|()| salt(&superblock, blocks))?,
    };
    Ok((format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number)), salt))
}

/// The salt that a superblock names, or what is wrong with the superblock: signature, version, type, a UUID of 16 bytes, the
/// algorithm's name in 32, sizes of data and hash blocks, number of data blocks, size of the salt, padding, salt.
fn salt(superblock: &[u8], blocks: u64) -> Result<Vec<u8>, String> {
    let bytes = |at: usize, size: usize| superblock.get(at..at + size).unwrap_or_default();
    let number = |at, size| bytes(at, size).iter().rev().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let (version, kind) = (number(8, 4), number(12, 4));
    let algorithm = String::from_utf8_lossy(bytes(32, 32));
    let algorithm = algorithm.trim_end_matches('\0');
    let (data_block, hash_block) = (number(64, 4), number(68, 4));
    if bytes(0, 8) != MAGIC {
        return Err("there is no hash tree behind it".to_owned());
    }
    if (version, kind) != (1, 1) {
        return Err(format!("its hash tree is of version {version} and type {kind}, and 1 and 1 are known"));
    }
    if (algorithm, data_block, hash_block) != ("sha256", ROOT_BLOCK, ROOT_BLOCK) {
        let needed = "and sha256 of blocks of 4096 and 4096 bytes is needed";
        return Err(format!(
            "its hash tree is {algorithm:?} of blocks of {data_block} and {hash_block} bytes, {needed}"
        ));
    }
    if number(72, 8) != blocks {
        return Err(format!("its hash tree is of {} blocks, and filesystem and mark are {blocks}", number(72, 8)));
    }
    match usize::try_from(number(80, 2)) {
        Ok(size @ ..=SALT) => Ok(bytes(88, size).to_vec()),
        _ => Err("the salt of its hash tree is too long".to_owned()),
    }
}

/// The parameters of the target: version, data and hash device, their block sizes, number of data blocks, first block of the
/// tree, algorithm, root hash, salt, optional arguments.
fn table(device: &str, blocks: u64, hash: &RootHash, salt: &[u8], corruption: Corruption) -> String {
    let tree = blocks + 1;
    let salt: String = if salt.is_empty() {
        "-".to_owned()
    } else {
        salt.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|n| char::from_digit(n.into(), 16)).collect()
    };
    let optional = match corruption {
        Corruption::Eio => "",
        Corruption::Restart => " 1 restart_on_corruption",
    };
    format!("1 {device} {device} {ROOT_BLOCK} {ROOT_BLOCK} {blocks} {tree} sha256 {} {salt}{optional}", hash.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn superblock(blocks: u64, salt: &[u8]) -> Vec<u8> {
        let mut block = vec![0; 4096];
        block[..8].copy_from_slice(MAGIC);
        block[8] = 1;
        block[12] = 1;
        block[32..38].copy_from_slice(b"sha256");
        block[64..68].copy_from_slice(&4096_u32.to_le_bytes());
        block[68..72].copy_from_slice(&4096_u32.to_le_bytes());
        block[72..80].copy_from_slice(&blocks.to_le_bytes());
        block[80] = salt.len() as u8;
        block[88..88 + salt.len()].copy_from_slice(salt);
        block
    }

    #[test]
    fn a_superblock_names_its_salt() {
        assert_eq!(salt(&superblock(3, &[1, 0xab]), 3), Ok(vec![1, 0xab]));
        assert_eq!(salt(&superblock(3, &[]), 3), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_with_a_superblock_is_said() {
        for (at, value, problem) in [
            (0, b'V', "no hash tree"),
            (8, 2, "version 2 and type 1"),
            (12, 0, "version 1 and type 0"),
            (35, b'5', "\"sha556\""),
            (65, 2, "blocks of 512 and 4096"),
            (69, 4, "blocks of 4096 and 1024"),
            (72, 4, "of 4 blocks, and filesystem and mark are 3"),
            (81, 2, "too long"),
        ] {
            let mut block = superblock(3, &[1]);
            block[at] = value;
            let said = salt(&block, 3).unwrap_err();
            assert!(said.contains(problem), "{at}: {said}");
        }
    }

    #[test]
    fn the_table_is_as_the_kernel_reads_it() {
        let hash = RootHash::parse(&"AB".repeat(32)).unwrap();
        let digits = "ab".repeat(32);
        assert_eq!(
            table("254:1", 10, &hash, &[0, 0x1f], Corruption::Eio),
            format!("1 254:1 254:1 4096 4096 10 11 sha256 {digits} 001f")
        );
        assert_eq!(
            table("7:0", 10, &hash, &[], Corruption::Restart),
            format!("1 7:0 7:0 4096 4096 10 11 sha256 {digits} - 1 restart_on_corruption")
        );
        for wrong in ["", "ab", &"ag".repeat(32), &"ab".repeat(33)] {
            assert_eq!(RootHash::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn superblocks_of_veritysetup_are_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(10 * 4096).unwrap();
        let made = Command::new("veritysetup")
            .args(["format", "--hash-offset", "40960", "--data-blocks", "10", "--salt", "00c0ffee"])
            .args([file.path(), file.path()])
            .output()
            // Of Debian's package cryptsetup-bin.
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut block = [0; 4096];
        file.as_file().read_exact_at(&mut block, 40960).unwrap();
        assert_eq!(salt(&block, 10), Ok(vec![0, 0xc0, 0xff, 0xee]));
    }
}
