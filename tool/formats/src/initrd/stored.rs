//! A file of the initrd that is compressed already, the root image. It is an archive of its own, the last one, not compressed,
//! and is not copied into the cache.
//!
//! The kernel takes an archive that is not compressed only at a multiple of four bytes (`kernel-boot.md`, section 3), where
//! every segment ends.

use std::io;

use bootwright_bundle::Segment as Listing;
use bootwright_oci::TreePath;

use crate::cpio::{self, Header, kind};
use crate::raw::RawImage;
use crate::{Error, GENERATED_MTIME};

/// Permission bits: nobody but init has business with it.
const MODE: u32 = 0o400;

/// A file that is stored as it is.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Absolute path in the machine.
    pub(crate) path: &'static str,
    /// Its bytes.
    pub(crate) image: RawImage,
}

impl Stored {
    /// What the manifest says of it.
    pub(super) fn listing(&self) -> Listing {
        Listing {
            name: "root image".to_owned(),
            count: 1,
            files: vec![(self.path.to_owned(), self.image.size())],
            others: Vec::new(),
        }
    }

    /// The whole archive.
    ///
    /// # Errors
    ///
    /// The file is larger than newc can say.
    pub(super) fn archive(&self) -> Result<RawImage, Error> {
        let write = || -> io::Result<RawImage> {
            let path = TreePath::new(self.path).map_err(io::Error::other)?;
            let mut above: Vec<TreePath> =
                std::iter::successors(path.parent(), TreePath::parent).filter(|p| !p.is_root()).collect();
            above.reverse();
            let mut head = cpio::Writer::new(Vec::new());
            let generated = |mode, ino, nlink| Header { ino, mode, nlink, mtime: GENERATED_MTIME, ..Header::default() };
            for (ino, directory) in (1..).zip(&above) {
                head.entry(&generated(kind::DIRECTORY | 0o755, ino, 2), directory.as_bytes())?;
            }
            let ino = u32::try_from(above.len() + 1).map_err(io::Error::other)?;
            let size = self.image.size();
            let file_size = u32::try_from(size)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "it is larger than 4 GiB - 1 byte"))?;
            head.entry(&Header { file_size, ..generated(kind::FILE | MODE, ino, 1) }, path.as_bytes())?;
            let head = head.interrupt()?;
            let padding = (4 - size % 4) % 4;
            let (tail, _) = cpio::Writer::new(Vec::new()).finish()?;
            let data = head.len() as u64;
            let mut image = RawImage::new(data + size + padding + tail.len() as u64);
            image.put(0, head);
            image.put_image(data, &self.image);
            image.put(data + size + padding, tail);
            Ok(image)
        };
        write().map_err(|source| Error::Write { path: self.path.to_owned(), source })
    }
}
