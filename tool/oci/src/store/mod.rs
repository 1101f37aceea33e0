//! The content store: an OCI image layout (image-spec 1.1, `image-layout.md`) in a directory, and what is derived from it.
//!
//! Any tool that reads OCI layouts reads it. Many processes use it at once and any may be killed at any moment:
//!
//! - A blob is written under `tmp/`, hashed on the way, flushed to disk, and renamed to its digest: it is whole or absent,
//!   also after a power cut. Two writers of one blob write the same bytes.
//! - Names live in `index.json`, replaced by rename (flushed, then its directory) under the lock file `.index.lock`.
//!   Readers take no lock: they see the old or the new index.
//! - Whoever has the store open holds a shared lock on `.lock`; only `gc`, which deletes, takes it exclusively. So a blob
//!   that a running build has fetched but not yet named cannot go away under it.
//!
//! Removing a name touches `index.json` only; blobs go by `gc`, which keeps what any name reaches.

mod blobs;
mod flatten;
mod gc;
mod names;
mod write;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

pub use blobs::Incoming;
pub(crate) use blobs::check;
pub use gc::{Collected, Verified};
pub use names::Named;

use crate::manifest::{Descriptor, ManifestError};
use crate::resolve::resolve;
use crate::{Derived, Digest, Image, Platform};

/// What the store cannot do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system says no.
    #[error("the image store cannot use `{}`", .path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Not a layout of a version that we know.
    #[error("`{}` is an OCI layout of version `{version}`; only 1.0.0 is known", .path.display())]
    Version {
        /// The layout.
        path: PathBuf,
        /// What it says.
        version: String,
    },
    /// `index.json` is not one.
    #[error("`{}` is not an OCI index", .path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A blob is not there.
    #[error("the blob `{digest}` is missing from the image store")]
    Missing {
        /// Which.
        digest: Digest,
    },
    /// Bytes are not what their digest says.
    #[error("the bytes of `{expected}` are those of `{actual}`")]
    Digest {
        /// What was promised.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// There are more or fewer bytes than were promised.
    #[error("`{digest}` should be {expected} bytes long, but {}", if *.actual > *.expected { "is longer".to_owned() } else { format!("is only {actual}") })]
    Size {
        /// The blob.
        digest: Digest,
        /// What was promised.
        expected: u64,
        /// What came.
        actual: u64,
    },
    /// No such name.
    #[error("the image store has no `{name}`")]
    Name {
        /// The name.
        name: String,
        /// Names that resemble it.
        near: Vec<String>,
    },
    /// A document is wrong.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A layer cannot be unpacked.
    #[error("the layer `{layer}` of `{image}` cannot be unpacked")]
    Layer {
        /// The image.
        image: String,
        /// The layer's blob.
        layer: Digest,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The layers do not go together.
    #[error("the layers of `{image}` cannot be put together")]
    Flatten {
        /// The image.
        image: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An unpacked layer is not the one that the configuration names.
    #[error("the layer `{layer}` of `{image}` unpacks to `{actual}`, but its configuration says `{expected}`")]
    DiffId {
        /// The image.
        image: String,
        /// The layer's blob.
        layer: Digest,
        /// What the configuration says.
        expected: String,
        /// What it is.
        actual: Digest,
    },
    /// An image to be written is not consistent.
    #[error("`{name}` cannot be written: {rule}")]
    Image {
        /// Its name.
        name: String,
        /// Why.
        rule: String,
    },
}

impl StoreError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// What helps, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { near, .. } if !near.is_empty() => Some(format!("it has {}", near.join(", "))),
            Self::Missing { .. } | Self::Digest { .. } => Some("pull the image again".to_owned()),
            _ => None,
        }
    }
}

/// A content store; see the module for what it promises.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
    derived: Derived,
    lock: File,
    flights: blobs::Flights,
}

impl Store {
    /// Opens the store in a directory, making it if it is not there; waits while a `gc` runs.
    ///
    /// # Errors
    ///
    /// The directory cannot be used or holds a layout of another version.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = directory.into();
        for below in ["blobs/sha256", "tmp", "derived"] {
            let path = root.join(below);
            fs::create_dir_all(&path).map_err(StoreError::io(path))?;
        }
        let lock = lock_file(&root.join(".lock"))?;
        flock(&lock, rustix::fs::FlockOperation::LockShared).map_err(StoreError::io(root.join(".lock")))?;
        let store =
            Self { derived: Derived::new(root.join("derived")), root, lock, flights: blobs::Flights::default() };
        store.layout()?;
        Ok(store)
    }

    fn layout(&self) -> Result<(), StoreError> {
        let path = self.root.join("oci-layout");
        match fs::read(&path) {
            Ok(bytes) => {
                let value: serde_json::Value = serde_json::from_slice(&bytes)
                    .map_err(|source| StoreError::Index { path: path.clone(), source })?;
                match value.get("imageLayoutVersion").and_then(|v| v.as_str()) {
                    Some("1.0.0") => Ok(()),
                    other => Err(StoreError::Version { path, version: other.unwrap_or_default().to_owned() }),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.replace(&path, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
                self.make_index()
            }
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What is computed from its content.
    #[must_use]
    pub fn derived(&self) -> &Derived {
        &self.derived
    }

    /// The image of a platform below a descriptor, all of whose documents and blobs must be here.
    ///
    /// # Errors
    ///
    /// Something is missing or wrong, or the image does not come for the platform.
    pub fn image(&self, name: &str, root: &Descriptor, platform: &Platform) -> Result<Image, StoreError> {
        let found = resolve(root, platform, &mut |descriptor| self.read_document(descriptor))?;
        for layer in &found.manifest.layers {
            if !self.has(layer.digest, layer.size)? {
                return Err(StoreError::Missing { digest: layer.digest });
            }
        }
        Ok(found.into_image(name))
    }

    /// Writes a small file beside its place, flushes it, and renames it there.
    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        let mut temporary = self.temporary()?;
        io::Write::write_all(&mut temporary, bytes).map_err(StoreError::io(path))?;
        temporary.as_file().sync_all().map_err(StoreError::io(path))?;
        temporary.persist(path).map_err(|e| StoreError::Io { path: path.to_owned(), source: e.error })?;
        let directory = File::open(&self.root).and_then(|d| d.sync_all());
        directory.map_err(StoreError::io(&self.root))
    }

    pub(crate) fn temporary(&self) -> Result<tempfile::NamedTempFile, StoreError> {
        let directory = self.root.join("tmp");
        tempfile::Builder::new().prefix("part-").tempfile_in(&directory).map_err(StoreError::io(directory))
    }
}

fn lock_file(path: &Path) -> Result<File, StoreError> {
    let mut options = File::options();
    options.create(true).read(true).write(true).truncate(false);
    options.open(path).map_err(StoreError::io(path))
}

fn flock(file: &File, operation: rustix::fs::FlockOperation) -> io::Result<()> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(rustix::io::Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

#[cfg(test)]
mod tests;
