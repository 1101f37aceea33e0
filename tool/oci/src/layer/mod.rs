//! Image layers: from a blob to an unpacked layer and an index of it, and from indexes to one tree.
//!
//! Specification: OCI image-spec 1.1, layer.md; POSIX 1003.1 pax for ustar and PAX; GNU tar's manual for its own kinds.
//!
//! The idea: a layer is never extracted. Its decompressed archive is kept as it is, one file, and the index says where
//! in it each file's bytes lie. So nothing that an archive names is ever created on this machine, no owner, device or
//! attribute needs a privilege, and flattening is work on names alone. Both files are derived from the blob, made in
//! one pass, and found again by its digest.
//!
//! The reader is our own because the input is hostile and must be read in bounded memory: `tar::Archive` collects GNU
//! long names and PAX records whatever their size, misreads negative base-256 numbers, knows one kind of sparse map of
//! four, and tells no offsets of data within sparse files. What engines do where specifications are silent is taken
//! from Go's `archive/tar` and containerd, for images are made to work with those.

mod decompress;
mod error;
mod flatten;
mod header;
mod index;
mod limits;
mod pax;
mod read;
mod scan;
mod source;
mod sparse;

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

pub use error::{LayerError, Problem};
pub use flatten::flatten;
pub use index::LayerIndex;
pub use limits::Limits;
pub use read::open;

use crate::{Content, Derived, Digest, ReadContent, Tree};

/// Kind of derived file: the decompressed archive.
pub const KIND_LAYER: &str = "layer";
/// Kind of derived file: the index of a decompressed archive.
pub const KIND_INDEX: &str = "layer-index";

/// Unpacks a blob, gzip, zstd or plain by its first bytes, unless that was done before; then nothing is read.
///
/// The blob is read to its end, so that a reader that checks its digest there has its say.
///
/// # Errors
///
/// The blob cannot be read, is no archive, or one that must be refused; or the cache cannot be written. Nothing is kept
/// then.
pub fn unpack(
    blob: &mut dyn Read,
    key: &Digest,
    derived: &Derived,
    limits: &Limits,
) -> Result<Arc<LayerIndex>, LayerError> {
    if let Some(index) = load(key, derived)? {
        return Ok(index);
    }
    let mut archive = Part::new(derived, KIND_LAYER, key).map_err(|problem| problem.of(*key))?;
    let path = archive.path.clone();
    let file = archive.file.as_file_mut();
    let (entries, diff_id, size) = source::stream(blob, file, path, limits, |source| scan::scan(source, *key, limits))
        .map_err(|problem| problem.of(*key))?;
    let index = LayerIndex { key: *key, diff_id, size, entries };
    // The index goes last: who sees it sees the archive. Both replace what was there, for another build may be using
    // it, or it may be half of what a crash left.
    archive
        .publish()
        .and_then(|()| {
            let mut part = Part::new(derived, KIND_INDEX, key)?;
            part.file
                .write_all(&index.encode())
                .map_err(|source| Problem::Write { path: part.path.clone(), source })?;
            part.publish()
        })
        .map_err(|problem| problem.of(*key))?;
    Ok(Arc::new(index))
}

/// The index of a layer that was unpacked before. A damaged one, or one of another version, counts as absent.
///
/// # Errors
///
/// The cache cannot be read.
pub fn load(key: &Digest, derived: &Derived) -> Result<Option<Arc<LayerIndex>>, LayerError> {
    let read = || -> io::Result<Option<LayerIndex>> {
        let (Some(mut index), Some(archive)) = (derived.get(KIND_INDEX, key)?, derived.get(KIND_LAYER, key)?) else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        index.read_to_end(&mut bytes)?;
        let size = archive.metadata()?.len();
        Ok(LayerIndex::decode(key, &bytes).filter(|index| index.size == size))
    };
    read().map(|index| index.map(Arc::new)).map_err(|error| Problem::Read(error).of(*key))
}

/// Reads a tar that is a file of an image, compressed or not, as a tree. Whiteouts have no meaning in it.
///
/// # Errors
///
/// It is no archive, or one that must be refused as layers are; or the cache cannot be written.
pub fn unpack_tar(content: &Content, read: &dyn ReadContent, derived: &Derived) -> io::Result<Tree> {
    let key = content.digest();
    let index = match load(&key, derived).map_err(io::Error::other)? {
        Some(index) => index,
        None => unpack(&mut read.open(content)?, &key, derived, &Limits::default()).map_err(io::Error::other)?,
    };
    flatten::plain(&index).map_err(io::Error::other)
}

/// A derived file in the making: beside its place, put there whole, gone if it never is.
struct Part {
    file: tempfile::NamedTempFile,
    path: std::path::PathBuf,
}

impl Part {
    fn new(derived: &Derived, kind: &str, key: &Digest) -> Result<Self, Problem> {
        let path = derived.path(kind, key);
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)
            .and_then(|()| tempfile::Builder::new().prefix(".part-").tempfile_in(directory))
            .map(|file| Self { file, path: path.clone() })
            .map_err(|source| Problem::Write { path, source })
    }

    fn publish(self) -> Result<(), Problem> {
        let Self { file, path } = self;
        file.persist(&path).map(|_| ()).map_err(|error| Problem::Write { path, source: error.error })
    }
}
