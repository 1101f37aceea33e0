//! Archives and layouts on disk: OCI layout directories and tars, and what `docker save` writes.
//!
//! A tar is walked once, header by header, into a table of names; nothing of it is extracted, and its entries are read
//! in place, so memory stays small whatever its size. Where the archive is a stream or compressed it is spooled first.
//! Hostile archives (names that climb, links out of it, sizes beyond its end, entries twice) are refused by name.

mod docker;
mod export;
mod layout;
mod scan;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use export::{ExportFormat, ExportOptions, export, export_file};

use crate::manifest::{Descriptor, ManifestError};
use crate::{Image, Platform, Reference, ReferenceError, Reporter, Store, StoreError};
use scan::{Archive, Scanned};

/// What is read at most.
#[derive(Clone, Copy, Debug)]
pub struct ArchiveLimits {
    /// Entries of a tar.
    pub entries: usize,
    /// Bytes that a stream may bring (the disk is the other limit), or a compressed archive unpack to.
    pub spooled: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { entries: 200_000, spooled: 1 << 40 }
    }
}

/// Why an archive or a layout is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("`{}` cannot be read", .path.display())]
    Io {
        /// The archive or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It breaks a rule.
    #[error("`{}` is refused: {rule}", .path.display())]
    Refused {
        /// The archive or directory.
        path: PathBuf,
        /// The rule.
        rule: String,
    },
    /// Something that it speaks of is not in it.
    #[error("`{}` does not hold `{entry}`", .path.display())]
    Missing {
        /// The archive or directory.
        path: PathBuf,
        /// What is missing.
        entry: String,
    },
    /// It does not say which image is meant.
    #[error("`{}` {rule}", .path.display())]
    Choice {
        /// The archive or directory.
        path: PathBuf,
        /// What it offers.
        rule: String,
    },
    /// JSON that is none.
    #[error("`{entry}` in `{}` is not what it should be", .path.display())]
    Json {
        /// The archive or directory.
        path: PathBuf,
        /// Which file of it.
        entry: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A name in it is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// A document is wrong, or the platform is not there.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The store refuses it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ArchiveError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn refused(path: &Path, rule: impl Into<String>) -> Self {
        Self::Refused { path: path.to_owned(), rule: rule.into() }
    }

    pub(crate) fn choice(path: &Path, rule: impl Into<String>) -> Self {
        Self::Choice { path: path.to_owned(), rule: rule.into() }
    }

    /// What helps, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Choice { .. } => Some("name one after a further `:`, or give a name".to_owned()),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }
}

/// An image that was imported under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Its name.
    pub name: Reference,
    /// Its index or manifest.
    pub descriptor: Descriptor,
    /// The platforms that came with it.
    pub platforms: Vec<Platform>,
}

/// A file's bytes and how many they are.
pub(crate) type Opened<'a> = (Box<dyn Read + 'a>, u64);

/// Files by name: a directory or a scanned tar.
pub(crate) trait Files {
    /// What to call it in messages.
    fn path(&self) -> &Path;
    /// Opens a file; none where it is not there.
    fn open(&self, name: &str) -> Result<Option<Opened<'_>>, ArchiveError>;

    /// Reads a small file whole.
    fn small(&self, name: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some((reader, size)) = self.open(name)? else { return Ok(None) };
        if size > crate::manifest::DOCUMENT_MAX {
            return Err(ArchiveError::refused(self.path(), format!("`{name}` is {size} bytes long")));
        }
        let mut bytes = Vec::new();
        reader.take(size).read_to_end(&mut bytes).map_err(ArchiveError::io(self.path()))?;
        Ok(Some(bytes))
    }
}

/// Takes the image of a platform from a layout directory into the store.
///
/// # Errors
///
/// It is no layout, does not say which image is meant, lacks the platform, or is not consistent.
pub fn from_oci_directory(
    store: &Store,
    path: &Path,
    tag: Option<&str>,
    platform: &Platform,
) -> Result<Image, ArchiveError> {
    let name = format!("oci:{}{}", path.display(), tag.map(|t| format!(":{t}")).unwrap_or_default());
    layout::image(store, &layout::Directory::new(path)?, &name, tag, platform)
}

/// Takes the image of a platform from a layout in a tar into the store.
///
/// # Errors
///
/// As [`from_oci_directory`]; or the tar is hostile.
pub fn from_oci_archive(
    store: &Store,
    path: &Path,
    tag: Option<&str>,
    platform: &Platform,
    limits: &ArchiveLimits,
) -> Result<Image, ArchiveError> {
    let name = format!("oci-archive:{}{}", path.display(), tag.map(|t| format!(":{t}")).unwrap_or_default());
    layout::image(store, &open(store, path, limits)?, &name, tag, platform)
}

/// Takes an image from what `docker save` wrote into the store.
///
/// # Errors
///
/// As [`from_oci_archive`].
pub fn from_docker_archive(
    store: &Store,
    path: &Path,
    reference: Option<&Reference>,
    platform: &Platform,
    limits: &ArchiveLimits,
) -> Result<Image, ArchiveError> {
    let name = format!("docker-archive:{}{}", path.display(), reference.map(|r| format!(":{r}")).unwrap_or_default());
    docker::image(store, &open(store, path, limits)?, &name, reference, false, platform)
}

/// As [`from_docker_archive`], from a stream out of `place`; a single image in it is the one that was asked for, whatever
/// its name (Podman puts `localhost/` before short names).
///
/// # Errors
///
/// As there.
pub(crate) fn from_docker_stream(
    store: &Store,
    stream: &mut dyn Read,
    place: &str,
    name: &str,
    reference: &Reference,
    platform: &Platform,
    limits: &ArchiveLimits,
) -> Result<Image, ArchiveError> {
    let archive = spool(store, stream, Path::new(place), limits)?;
    docker::image(store, &archive, name, Some(reference), true, platform)
}

/// Imports all images of an archive, an OCI layout or a `docker save`, under the names that it gives them; `name` is for
/// an archive of one image.
///
/// # Errors
///
/// As [`from_oci_archive`]; or an image has no name.
pub fn import(
    store: &Store,
    path: &Path,
    name: Option<&Reference>,
    limits: &ArchiveLimits,
    reporter: &dyn Reporter,
) -> Result<Vec<Imported>, ArchiveError> {
    import_scanned(store, &open(store, path, limits)?, name, reporter)
}

/// As [`import`], from a stream.
///
/// # Errors
///
/// As there.
pub fn import_stream(
    store: &Store,
    stream: &mut dyn Read,
    name: Option<&Reference>,
    limits: &ArchiveLimits,
    reporter: &dyn Reporter,
) -> Result<Vec<Imported>, ArchiveError> {
    import_scanned(store, &spool(store, stream, Path::new("standard input"), limits)?, name, reporter)
}

fn import_scanned(
    store: &Store,
    archive: &Archive,
    name: Option<&Reference>,
    reporter: &dyn Reporter,
) -> Result<Vec<Imported>, ArchiveError> {
    // Where Docker writes both, the layout says more: all platforms, and the digests that the registry knows.
    if archive.open("index.json")?.is_some() {
        layout::import(store, archive, name, reporter)
    } else if archive.open("manifest.json")?.is_some() {
        docker::import(store, archive, name)
    } else {
        Err(ArchiveError::refused(archive.path(), "it holds neither `index.json` nor `manifest.json`"))
    }
}

fn open(store: &Store, path: &Path, limits: &ArchiveLimits) -> Result<Archive, ArchiveError> {
    let io = |source| ArchiveError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if metadata.is_dir() {
        return Err(ArchiveError::refused(path, "it is a directory; `oci:` reads those"));
    }
    let mut magic = [0; 4];
    let seekable = metadata.is_file();
    if seekable {
        let read = read_up_to(&mut file, &mut magic).map_err(io)?;
        io::Seek::rewind(&mut file).map_err(io)?;
        if !is_compressed(&magic[..read]) {
            return Scanned::new(file, path, limits);
        }
    }
    // What images hold shrinks to a third or a tenth; far more is a bomb.
    let plausible = (1 << 30) + metadata.len().saturating_mul(200);
    let spooled = if seekable { limits.spooled.min(plausible) } else { limits.spooled };
    spool(store, &mut file, path, &ArchiveLimits { spooled, ..*limits })
}

/// Writes a stream, decompressed if need be, to a file that nobody else sees.
fn spool(store: &Store, stream: &mut dyn Read, path: &Path, limits: &ArchiveLimits) -> Result<Archive, ArchiveError> {
    let mut magic = [0; 4];
    let read = read_up_to(stream, &mut magic).map_err(ArchiveError::io(path))?;
    let head = io::Cursor::new(magic[..read].to_vec()).chain(stream);
    let mut head: Box<dyn Read> = match &magic[..read] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(head)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Decoder::new(head).map_err(ArchiveError::io(path))?),
        _ => Box::new(head),
    };
    let mut file = store.temporary()?;
    let written = io::copy(&mut head.by_ref().take(limits.spooled + 1), &mut file).map_err(ArchiveError::io(path))?;
    if written > limits.spooled {
        return Err(ArchiveError::refused(path, format!("it is longer than {} bytes", limits.spooled)));
    }
    // The name goes at once: the space is freed with the last handle, also if we are killed.
    let file = file.into_file();
    Scanned::new(file, path, limits)
}

fn is_compressed(magic: &[u8]) -> bool {
    magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd]
}

fn read_up_to(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests;
