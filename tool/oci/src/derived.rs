//! What was computed from content once and may be thrown away at any time: unpacked layers, packed segments.
//!
//! A file is named by a kind and the digest of everything that it depends on, written beside and renamed: whoever sees
//! it sees the whole of it, however many builds run and whenever one is killed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::Digest;

/// A directory of derived files.
#[derive(Clone, Debug)]
pub struct Derived {
    root: PathBuf,
}

impl Derived {
    /// Uses a directory, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where all of them are.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// An empty file without a name, for what is made in passing; it is on the same disk.
    ///
    /// # Errors
    ///
    /// Whatever making it says.
    pub fn scratch(&self) -> io::Result<File> {
        fs::create_dir_all(&self.root)?;
        tempfile::tempfile_in(&self.root)
    }

    /// Where the file of a kind and key is or would be.
    #[must_use]
    pub fn path(&self, kind: &str, key: &Digest) -> PathBuf {
        self.root.join(kind).join(key.hex())
    }

    /// Opens the file of a kind and key, if it is there.
    ///
    /// # Errors
    ///
    /// Whatever opening says, but for "not found".
    pub fn get(&self, kind: &str, key: &Digest) -> io::Result<Option<File>> {
        match File::open(self.path(kind, key)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the file of a kind and key; `make` writes it first if it is not there.
    ///
    /// # Errors
    ///
    /// Those of `make`, and of the files.
    pub fn get_or_make<E: From<io::Error>>(
        &self,
        kind: &str,
        key: &Digest,
        make: impl FnOnce(&mut File) -> Result<(), E>,
    ) -> Result<File, E> {
        if let Some(file) = self.get(kind, key)? {
            return Ok(file);
        }
        let path = self.path(kind, key);
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)?;
        let mut temporary = tempfile::Builder::new().prefix(".part-").tempfile_in(directory)?;
        make(temporary.as_file_mut())?;
        temporary.persist(&path).map_err(|e| e.error)?;
        Ok(File::open(&path)?)
    }
}
