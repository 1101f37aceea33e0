//! The tree, from its leaves to its root: each level is read 128 blocks at a time, and becomes one block of the next.

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bootwright_oci::{Digest, Task};

use super::format::{BLOCK, HASH, HASHES, levels, superblock, tree_len};
use crate::RawImage;

/// Superblock and tree of some data.
#[derive(Clone, Debug)]
pub struct HashTree {
    /// The hash that all others follow from.
    pub root_hash: [u8; 32],
    /// Blocks of 4096 bytes that it is about.
    pub data_blocks: u64,
    /// The superblock and, from byte 4096, the tree.
    pub image: RawImage,
}

/// Hashes data, which is whole blocks of 4096 bytes and at least one.
///
/// # Errors
///
/// The data cannot be read, or the temporary file not be written.
///
/// # Panics
///
/// The data is not whole blocks.
pub fn hash_tree(data: &RawImage, threads: NonZero<usize>, progress: &mut dyn Task) -> io::Result<HashTree> {
    assert!(data.size() > 0 && data.size().is_multiple_of(BLOCK), "{} bytes are not whole blocks", data.size());
    let data_blocks = data.size() / BLOCK;
    let file = Arc::new(tempfile::tempfile()?);
    let progress = Mutex::new(progress);
    let mut below = data.clone();
    for level in levels(data_blocks) {
        hash_level(&below, &file, level.at, threads, &progress)?;
        below = RawImage::of_file(&file, level.at, level.blocks * BLOCK);
    }
    let mut top = [0; BLOCK as usize];
    below.read_at(0, &mut top)?;
    let root_hash = *Digest::of(&top).bytes();

    let mut image = RawImage::new(tree_len(data_blocks));
    image.put(0, superblock(data_blocks, &root_hash));
    image.put_file(BLOCK, &file, BLOCK, image.size() - BLOCK);
    Ok(HashTree { root_hash, data_blocks, image })
}

/// Hashes one level and writes the next to its place in the file.
fn hash_level(
    below: &RawImage,
    file: &File,
    at: u64,
    threads: NonZero<usize>,
    progress: &Mutex<&mut dyn Task>,
) -> io::Result<()> {
    let hash_blocks = (below.size() / BLOCK).div_ceil(HASHES);
    let next = AtomicU64::new(0);
    let work = || -> io::Result<()> {
        let mut buffer = vec![0; (HASHES * BLOCK) as usize];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= hash_blocks {
                return Ok(());
            }
            let from = index * HASHES * BLOCK;
            let data = &mut buffer[..(below.size() - from).min(HASHES * BLOCK) as usize];
            let done =
                below.read_at(from, data).and_then(|()| file.write_all_at(&hash_block(data), at + index * BLOCK));
            if let Err(error) = done {
                // The others need not go on.
                next.store(hash_blocks, Ordering::Relaxed);
                return Err(error);
            }
            progress.lock().unwrap_or_else(PoisonError::into_inner).advance(data.len() as u64);
        }
    };
    let threads = threads.get().min(usize::try_from(hash_blocks).unwrap_or(usize::MAX));
    if threads == 1 {
        return work();
    }
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended =
            running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        ended.collect::<Vec<_>>().into_iter().collect()
    })
}

/// The hashes of up to 128 blocks, padded with zeros to a block.
fn hash_block(data: &[u8]) -> [u8; BLOCK as usize] {
    let mut block = [0; BLOCK as usize];
    for (hash, data) in block.chunks_exact_mut(HASH).zip(data.chunks_exact(BLOCK as usize)) {
        hash.copy_from_slice(Digest::of(data).bytes());
    }
    block
}
