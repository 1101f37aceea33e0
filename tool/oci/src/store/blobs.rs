//! Blobs: content under its digest, written beside and renamed.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, PoisonError};

use super::{Store, StoreError};
use crate::manifest::{DOCUMENT_MAX, Descriptor, ManifestError};
use crate::{Digest, Hasher};

/// A blob on its way in: hashed and counted as it is written, in the store only after [`Incoming::commit`].
#[derive(Debug)]
pub struct Incoming<'a> {
    store: &'a Store,
    expected: Option<(Digest, u64)>,
    writer: Hasher<tempfile::NamedTempFile>,
}

impl Incoming<'_> {
    /// Bytes so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.writer.size()
    }

    /// The digest that was promised, or that of no bytes.
    pub(crate) fn wanted(&self) -> Digest {
        self.expected.map_or_else(|| Digest::of(b""), |(digest, _)| digest)
    }

    /// Checks what came against what was promised and puts it into its place.
    ///
    /// # Errors
    ///
    /// Another digest or size than promised, or the file system.
    pub fn commit(self) -> Result<(Digest, u64), StoreError> {
        let (temporary, digest, size) = self.writer.finish();
        if let Some((expected, expected_size)) = self.expected {
            if size != expected_size {
                return Err(StoreError::Size { digest: expected, expected: expected_size, actual: size });
            }
            if digest != expected {
                return Err(StoreError::Digest { expected, actual: digest });
            }
        }
        let path = self.store.blob_path(digest);
        temporary.as_file().sync_data().map_err(StoreError::io(&path))?;
        temporary.persist(&path).map_err(|e| StoreError::Io { path, source: e.error })?;
        Ok((digest, size))
    }
}

impl Write for Incoming<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some((digest, expected)) = self.expected {
            let actual = self.writer.size() + bytes.len() as u64;
            if actual > expected {
                return Err(io::Error::other(StoreError::Size { digest, expected, actual }));
            }
        }
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Store {
    /// Where a blob is or would be.
    #[must_use]
    pub fn blob_path(&self, digest: Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether a blob is here in full.
    ///
    /// # Errors
    ///
    /// The file system.
    pub fn has(&self, digest: Digest, size: u64) -> Result<bool, StoreError> {
        Ok(self.blob_size(digest)? == Some(size))
    }

    /// The size of a blob, if it is here.
    ///
    /// # Errors
    ///
    /// The file system.
    pub fn blob_size(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        let path = self.blob_path(digest);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// Opens a blob.
    ///
    /// # Errors
    ///
    /// It is not here.
    pub fn open_blob(&self, digest: Digest) -> Result<File, StoreError> {
        let path = self.blob_path(digest);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { digest },
            _ => StoreError::Io { path, source },
        })
    }

    /// Starts writing a blob; with `expected`, only exactly that is taken.
    ///
    /// # Errors
    ///
    /// The file system.
    pub fn incoming(&self, expected: Option<(Digest, u64)>) -> Result<Incoming<'_>, StoreError> {
        Ok(Incoming { store: self, expected, writer: Hasher::new(self.temporary()?) })
    }

    /// Stores what a reader gives and says what it was.
    ///
    /// # Errors
    ///
    /// The reader's, and the file system's.
    pub fn put_blob(&self, mut reader: impl Read) -> Result<(Digest, u64), StoreError> {
        let mut incoming = self.incoming(None)?;
        io::copy(&mut reader, &mut incoming).map_err(StoreError::io(self.root.join("tmp")))?;
        incoming.commit()
    }

    /// Stores what a reader gives if it is exactly what is expected; does not read at all if that is here already.
    ///
    /// # Errors
    ///
    /// Another digest or size, the reader's, and the file system's.
    pub fn put_expected(&self, digest: Digest, size: u64, reader: impl Read) -> Result<(), StoreError> {
        if self.has(digest, size)? {
            return Ok(());
        }
        let mut incoming = self.incoming(Some((digest, size)))?;
        // One byte more than promised is enough to know.
        let mut reader = reader.take(size.saturating_add(1));
        io::copy(&mut reader, &mut incoming).map_err(|source| match source.downcast::<StoreError>() {
            Ok(error) => error,
            Err(source) => StoreError::Io { path: self.root.join("tmp"), source },
        })?;
        incoming.commit().map(drop)
    }

    /// Stores bytes of a document. One that is there but damaged is replaced.
    ///
    /// # Errors
    ///
    /// The file system.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        if self.read_document(&Descriptor::new("", digest, size)).is_err() {
            let mut incoming = self.incoming(Some((digest, size)))?;
            incoming.write_all(bytes).map_err(StoreError::io(self.root.join("tmp")))?;
            incoming.commit()?;
        }
        Ok(digest)
    }

    /// Reads an index, manifest or configuration and checks it against its descriptor.
    ///
    /// # Errors
    ///
    /// It is missing, too large, or not what the descriptor says.
    pub fn read_document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, StoreError> {
        let digest = descriptor.digest;
        if descriptor.size > DOCUMENT_MAX {
            return Err(ManifestError::TooLarge { digest, size: descriptor.size }.into());
        }
        let mut bytes = Vec::new();
        let file = self.open_blob(digest)?;
        file.take(DOCUMENT_MAX + 1).read_to_end(&mut bytes).map_err(StoreError::io(self.blob_path(digest)))?;
        check(descriptor, &bytes)?;
        Ok(bytes)
    }

    /// Runs `fetch` for a blob unless it is here, and only once at a time within this process.
    pub(crate) fn once<E: From<StoreError>>(
        &self,
        digest: Digest,
        size: u64,
        fetch: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let _flight = self.flights.board(digest);
        if self.has(digest, size)? { Ok(()) } else { fetch() }
    }
}

/// Checks a document's bytes against its descriptor.
pub(crate) fn check(descriptor: &Descriptor, bytes: &[u8]) -> Result<(), StoreError> {
    let (digest, expected, actual) = (descriptor.digest, descriptor.size, bytes.len() as u64);
    if actual != expected {
        return Err(StoreError::Size { digest, expected, actual });
    }
    match Digest::of(bytes) {
        actual if actual == digest => Ok(()),
        actual => Err(StoreError::Digest { expected: digest, actual }),
    }
}

/// The blobs that threads of this process are fetching: two images that share a layer download it once.
#[derive(Debug, Default)]
pub(super) struct Flights {
    under_way: Mutex<BTreeSet<Digest>>,
    landed: Condvar,
}

pub(super) struct Flight<'a>(&'a Flights, Digest);

impl Flights {
    fn board(&self, digest: Digest) -> Flight<'_> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        while !under_way.insert(digest) {
            under_way = self.landed.wait(under_way).unwrap_or_else(PoisonError::into_inner);
        }
        Flight(self, digest)
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
        self.0.landed.notify_all();
    }
}
