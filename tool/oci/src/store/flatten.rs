//! From an image in the store to its files: layers unpacked side by side, checked against the configuration, put on top
//! of each other.
//!
//! A blob is hashed once more while it is unpacked, and what it unpacks to is compared with the `diff_id` that the
//! configuration names; the configuration itself was checked against the manifest's digest. So a file of a tree is what
//! the image's digest promises, whatever happened to the disk in between.

use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Store, StoreError};
use crate::layer::{self, LayerIndex, Limits};
use crate::{Content, Digest, Hasher, Image, ReadContent, Reporter, Task, Tree, UnpackTar};

/// How many layers are unpacked at a time.
const CONCURRENT_LAYERS: usize = 4;

impl Store {
    /// The files of an image.
    ///
    /// # Errors
    ///
    /// A layer is missing, hostile, or not what the configuration says.
    pub fn flatten(&self, image: &Image, reporter: &dyn Reporter) -> Result<Tree, StoreError> {
        let next = AtomicUsize::new(0);
        let unpacked: Mutex<Vec<Option<Arc<LayerIndex>>>> = Mutex::new(vec![None; image.layers.len()]);
        let failed = Mutex::new(None);
        let workers = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, CONCURRENT_LAYERS);
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= image.layers.len() {
                    return;
                }
                match self.unpack_layer(image, at, reporter) {
                    Ok(index) => unpacked.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(index),
                    Err(error) => {
                        next.store(image.layers.len(), Ordering::Relaxed);
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..workers.min(image.layers.len()) {
                scope.spawn(work);
            }
            work();
        });
        if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let layers: Vec<_> =
            unpacked.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect();
        layer::flatten(&layers)
            .map_err(|source| StoreError::Flatten { image: image.name.clone(), source: Box::new(source) })
    }

    fn unpack_layer(&self, image: &Image, at: usize, reporter: &dyn Reporter) -> Result<Arc<LayerIndex>, StoreError> {
        let blob = &image.layers[at];
        let key = blob.digest;
        let error = |source| StoreError::Layer { image: image.name.clone(), layer: key, source };
        let index = match layer::load(&key, &self.derived).map_err(|e| error(Box::new(e)))? {
            Some(index) => index,
            None => {
                let task = reporter.start(&format!("unpacking {} {}", image.name, &key.hex()[..12]), Some(blob.size));
                let mut reader = Checked::new(self.open_blob(key)?, key, Some(task));
                let unpacked = layer::unpack(&mut reader, &key, &self.derived, &Limits::default());
                if reader.damaged {
                    // The disk has changed it. Away with it, so that the next pull brings it again.
                    let path = self.blob_path(key);
                    std::fs::remove_file(&path).map_err(StoreError::io(path))?;
                }
                unpacked.map_err(|e| error(Box::new(e)))?
            }
        };
        let expected = image.config.rootfs().diff_ids().get(at).cloned().unwrap_or_default();
        if index.diff_id.to_string() != expected {
            return Err(StoreError::DiffId { image: image.name.clone(), layer: key, expected, actual: index.diff_id });
        }
        Ok(index)
    }
}

impl ReadContent for Store {
    fn open(&self, content: &Content) -> io::Result<Box<dyn Read + Send + '_>> {
        layer::open(content, &self.derived)
    }
}

impl UnpackTar for Store {
    fn unpack_tar(&self, content: &Content) -> io::Result<Tree> {
        layer::unpack_tar(content, self, &self.derived)
    }
}

/// Reads a blob and fails at its end if it is not what its digest says.
struct Checked<R> {
    inner: R,
    expected: Digest,
    hasher: Option<Hasher<io::Sink>>,
    task: Option<Box<dyn Task>>,
    damaged: bool,
}

impl<R: Read> Checked<R> {
    fn new(inner: R, expected: Digest, task: Option<Box<dyn Task>>) -> Self {
        Self { inner, expected, hasher: Some(Hasher::new(io::sink())), task, damaged: false }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            if let Some(hasher) = self.hasher.take() {
                let (_, actual, _) = hasher.finish();
                if actual != self.expected {
                    self.damaged = true;
                    return Err(io::Error::other(StoreError::Digest { expected: self.expected, actual }));
                }
            }
        } else if let Some(hasher) = &mut self.hasher {
            io::Write::write_all(hasher, &buffer[..read])?;
        }
        if let Some(task) = &mut self.task {
            task.advance(read as u64);
        }
        Ok(read)
    }
}
