//! What a device or file holds, by its first block and the one behind its filesystem.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use bootwright_bundle::{ROOT_BLOCK, RootFilesystem, RootMark};

/// A root image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its filesystem.
    pub filesystem: RootFilesystem,
    /// Its mark, whose length of the filesystem is that of the filesystem's own superblock.
    pub mark: RootMark,
}

/// What a device or file holds. Displayed as what follows its name in a sentence.
#[derive(Debug)]
pub enum Held {
    /// A root image.
    Image(Image),
    /// A filesystem that a root image could have, and no mark behind it.
    Unmarked(RootFilesystem),
    /// Something else.
    Other,
    /// It cannot be known.
    Unreadable(io::Error),
}

impl Held {
    /// Reads what is there.
    pub fn of(file: &File) -> Self {
        let mut block = [0; ROOT_BLOCK as usize];
        match file.read_exact_at(&mut block, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Self::Other,
            Err(error) => return Self::Unreadable(error),
        }
        let Some((filesystem, bytes)) = RootFilesystem::of(&block) else { return Self::Other };
        match file.read_exact_at(&mut block, bytes) {
            Ok(()) => {}
            // It ends before its mark, or before what no file can hold.
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidInput) => {
                return Self::Unmarked(filesystem);
            }
            Err(error) => return Self::Unreadable(error),
        }
        match RootMark::decode(&block) {
            Some(mark) if mark.filesystem == bytes => Self::Image(Image { filesystem, mark }),
            _ => Self::Unmarked(filesystem),
        }
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => write!(f, "holds the root image {}", image.mark.id),
            Self::Unmarked(filesystem) => write!(f, "holds a {} that is no root image", filesystem.name()),
            Self::Other => f.write_str("holds no root image"),
            Self::Unreadable(error) => write!(f, "cannot be read ({error})"),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use bootwright_bundle::RootId;
    use std::io::Write;

    /// A squashfs of 8192 bytes, as far as its superblock goes, and its mark.
    pub fn image(id: RootId) -> Vec<u8> {
        let mut bytes = vec![0; 8192];
        bytes[..4].copy_from_slice(b"hsqs");
        bytes[40..48].copy_from_slice(&8000_u64.to_le_bytes());
        bytes.extend(RootMark { id, filesystem: 8192, verity: 0 }.encode());
        bytes
    }

    pub fn held(bytes: &[u8]) -> Held {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Held::of(&file)
    }

    #[test]
    fn an_image_is_a_filesystem_and_its_mark() {
        let whole = image(RootId([7; 16]));
        let mark = RootMark { id: RootId([7; 16]), filesystem: 8192, verity: 0 };
        let found = Image { filesystem: RootFilesystem::Squashfs, mark };
        assert!(matches!(held(&whole), Held::Image(image) if image == found));
        let mut longer = whole.clone();
        longer.resize(1 << 16, 1);
        assert!(matches!(held(&longer), Held::Image(image) if image == found), "a partition is longer");
    }

    #[test]
    fn what_is_none_is_told_apart() {
        let whole = image(RootId([7; 16]));
        let changed = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x80;
            bytes
        };
        for (bytes, what) in [
            (&whole[..8192 + 4095], "holds a squashfs that is no root image"),
            (&changed(8192), "holds a squashfs that is no root image"),
            // The mark's length, the superblock's, and one that is beyond what can be read.
            (&changed(8192 + 25), "holds a squashfs that is no root image"),
            (&changed(41), "holds a squashfs that is no root image"),
            (&changed(47), "holds a squashfs that is no root image"),
            (&changed(0), "holds no root image"),
            (&whole[..4095], "holds no root image"),
            (&[], "holds no root image"),
        ] {
            assert_eq!(held(bytes).to_string(), what);
        }
    }
}
