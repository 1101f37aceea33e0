//! A root image: a read-only filesystem, its mark, and with dm-verity the hash tree over both.
//!
//! What it is and how it is found is told in `tool/bundle/src/root.rs`. The filesystem is not copied: the image is
//! pieces, laid into an initrd, a partition or a disk as they are.

use std::io;
use std::num::NonZero;

use bootwright_bundle::{Corruption, ROOT_BLOCK, RootId, RootMark};
use bootwright_oci::{Hasher, Task};

use crate::RawImage;
use crate::verity::{HashTree, device_argument, hash_tree, tree_len};

/// A root image, ready to be written any number of times.
#[derive(Clone, Debug)]
pub struct RootImage {
    /// Filesystem, mark, and what follows; whole blocks of 4096 bytes.
    pub image: RawImage,
    /// Its name.
    pub id: RootId,
    /// Bytes of the filesystem, with the zeros up to a whole block.
    pub filesystem_len: u64,
    /// The root hash, with dm-verity.
    pub verity: Option<[u8; 32]>,
}

impl RootImage {
    /// Makes the image around a squashfs or EROFS. It is read once for its name, and with dm-verity once more by all threads.
    ///
    /// # Errors
    ///
    /// It cannot be read, or the hash tree not be written into a temporary file.
    pub fn new(
        filesystem: &RawImage,
        verity: bool,
        threads: NonZero<usize>,
        progress: &mut dyn Task,
    ) -> io::Result<Self> {
        let filesystem_len = filesystem.size().next_multiple_of(ROOT_BLOCK);
        let data_len = filesystem_len + ROOT_BLOCK;
        let mut data = RawImage::new(data_len);
        data.put_image(0, filesystem);

        let mut hasher = Hasher::new(io::sink());
        data.part(0, filesystem_len).write_to(&mut hasher, progress)?;
        let (_, digest, _) = hasher.finish();
        let mut id = RootId([0; 16]);
        id.0.copy_from_slice(&digest.bytes()[..16]);

        let verity_len = if verity { tree_len(data_len / ROOT_BLOCK) } else { 0 };
        let mark = RootMark { id, filesystem: filesystem_len, verity: verity_len };
        data.put(filesystem_len, mark.encode());
        if !verity {
            return Ok(Self { image: data, id, filesystem_len, verity: None });
        }
        let HashTree { root_hash, image: tree, .. } = hash_tree(&data, threads, progress)?;
        let mut image = RawImage::new(data_len + verity_len);
        image.put_image(0, &data);
        image.put_image(data_len, &tree);
        Ok(Self { image, id, filesystem_len, verity: Some(root_hash) })
    }

    /// With dm-verity, the argument by which a kernel without an initrd sets it up: [`device_argument`].
    #[must_use]
    pub fn device_argument(&self, device: &str, corruption: Corruption) -> Option<String> {
        let data_blocks = self.filesystem_len / ROOT_BLOCK + 1;
        self.verity.map(|root_hash| device_argument(device, data_blocks, &root_hash, corruption))
    }
}
