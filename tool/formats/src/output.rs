//! Where artefacts go: into a directory, a single file, or standard output.
//!
//! Files are written beside their place and renamed when all of a build are whole, so that nobody sees half a build and what
//! was there before stays until then. Until then they have no name at all where the file system can do that (`O_TMPFILE`), so
//! that not even a killed build leaves anything behind. Their mode is 0644 under every umask.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Seek, SeekFrom, Stdout, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bootwright_oci::Hasher;
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use tempfile::NamedTempFile;

use crate::format::Named;
use crate::{Artefact, Error, Format};

/// Mode of every artefact.
const MODE: u32 = 0o644;
/// So many zeros in a row become a hole.
const HOLE: usize = 64 << 10;

/// Where a build's artefacts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Files of the formats' names in a directory, which must exist.
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the files' names begin with.
        name: String,
    },
    /// One file of any name, for a streamable format.
    File(PathBuf),
    /// Standard output, for a streamable format.
    Stdout,
}

impl Output {
    /// The name of the build.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Directory { name, .. } => name,
            Self::File(_) | Self::Stdout => "",
        }
    }

    /// Where a file of a format goes; none for standard output.
    fn path(&self, file: &str) -> Option<PathBuf> {
        match self {
            Self::Directory { directory, .. } => Some(directory.join(file)),
            Self::File(path) => Some(path.clone()),
            Self::Stdout => None,
        }
    }

    /// Refuses what cannot be written, before anything is.
    pub(crate) fn check(&self, formats: &[Named]) -> Result<(), Error> {
        let single = |output: String| match formats {
            [named] if named.format.is_streamable() => Ok(()),
            _ => Err(Error::NotStreamable { output }),
        };
        match self {
            Self::Directory { directory, .. } => {
                if !directory.is_dir() {
                    return Err(Error::NoDirectory(directory.clone()));
                }
                let files = formats.iter().flat_map(Named::files);
                match files.map(|file| directory.join(file)).find(|path| path.is_dir()) {
                    Some(path) => Err(Error::IsDirectory(path)),
                    None => Ok(()),
                }
            }
            Self::File(path) => {
                single(format!("the file `{}`", path.display()))?;
                if path.is_dir() {
                    return Err(Error::IsDirectory(path.clone()));
                }
                match parent(path) {
                    directory if directory.is_dir() => Ok(()),
                    directory => Err(Error::NoDirectory(directory.to_owned())),
                }
            }
            Self::Stdout => single("standard output".to_owned()),
        }
    }
}

/// The directory that a path lies in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// All artefacts of one build on their way.
#[derive(Debug)]
pub(crate) struct Stage<'o> {
    output: &'o Output,
    written: Vec<(Artefact, Option<Beside>)>,
}

impl<'o> Stage<'o> {
    pub(crate) fn new(output: &'o Output) -> Self {
        Self { output, written: Vec::new() }
    }

    /// Starts an artefact; [`Stage::keep`] ends it.
    pub(crate) fn create(&self, format: Format, file: &str) -> Result<Sink, Error> {
        let path = self.output.path(file);
        let label = path.as_ref().map_or_else(|| "standard output".to_owned(), |p| p.display().to_string());
        let failed = |source| Error::Write { path: label.clone(), source };
        let target = match &path {
            None => Target::Stdout(io::stdout()),
            Some(path) => {
                // Through a symbolic link, as `>` of a shell does; a device or pipe is written as it is.
                let path = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                match fs::metadata(&path) {
                    Ok(metadata) if !metadata.is_file() => {
                        Target::Special(File::options().write(true).open(&path).map_err(failed)?)
                    }
                    _ => Target::File(Beside::new(path).map_err(failed)?),
                }
            }
        };
        Ok(Sink { format, path, label, out: Hasher::new(BufWriter::with_capacity(256 << 10, target)) })
    }

    /// Takes an artefact that is whole.
    pub(crate) fn keep(&mut self, sink: Sink) -> Result<(), Error> {
        let Sink { format, path, label, out } = sink;
        let failed = |source| Error::Write { path: label.clone(), source };
        let (buffered, digest, size) = out.finish();
        let target = buffered.into_inner().map_err(|e| failed(e.into_error()))?;
        let mut artefact = Artefact { format, path, size, digest };
        let file = match target {
            Target::Stdout(mut out) => out.flush().map(|()| None),
            Target::Special(mut out) => out.flush().map(|()| None),
            Target::File(mut file) => {
                artefact.path = Some(file.path.clone());
                file.end().map(|()| Some(file))
            }
        };
        self.written.push((artefact, file.map_err(failed)?));
        Ok(())
    }

    /// Gives all artefacts their names.
    pub(crate) fn commit(self) -> Result<Vec<Artefact>, Error> {
        let mut artefacts = Vec::new();
        for (artefact, file) in self.written {
            if let Some(file) = file {
                let label = file.path.display().to_string();
                file.rename().map_err(|source| Error::Write { path: label, source })?;
            }
            artefacts.push(artefact);
        }
        Ok(artefacts)
    }
}

/// One artefact on its way.
#[derive(Debug)]
pub(crate) struct Sink {
    format: Format,
    path: Option<PathBuf>,
    /// What errors call it.
    pub(crate) label: String,
    out: Hasher<BufWriter<Target>>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A file beside its place.
#[derive(Debug)]
struct Beside {
    file: Unplaced,
    /// Its place.
    path: PathBuf,
    /// Bytes written so far, holes included.
    len: u64,
}

#[derive(Debug)]
enum Unplaced {
    /// Without a name.
    Unnamed(File),
    /// With a name of its own, where the file system has no files without.
    Named(NamedTempFile),
}

impl Beside {
    fn new(path: PathBuf) -> io::Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        // A name is given through /proc later.
        let can_name = Path::new("/proc/self/fd").is_dir();
        let file = match rustix::fs::open(parent(&path), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) if can_name => Unplaced::Unnamed(file.into()),
            _ => Unplaced::Named(temporary().tempfile_in(parent(&path))?),
        };
        Ok(Self { file, path, len: 0 })
    }

    fn file(&mut self) -> &mut File {
        match &mut self.file {
            Unplaced::Unnamed(file) => file,
            Unplaced::Named(file) => file.as_file_mut(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(HOLE)];
        let written = if piece.len() == HOLE && piece.iter().all(|byte| *byte == 0) {
            self.file().seek(SeekFrom::Current(HOLE as i64))?;
            HOLE
        } else {
            self.file().write(piece)?
        };
        self.len += written as u64;
        Ok(written)
    }

    /// Gives the file its length, where it ends with a hole, and its mode.
    fn end(&mut self) -> io::Result<()> {
        let len = self.len;
        self.file().set_len(len)?;
        self.set_mode()
    }

    fn set_mode(&self) -> io::Result<()> {
        let permissions = Permissions::from_mode(MODE);
        match &self.file {
            Unplaced::Unnamed(file) => file.set_permissions(permissions),
            Unplaced::Named(file) => file.as_file().set_permissions(permissions),
        }
    }

    fn rename(self) -> io::Result<()> {
        match self.file {
            Unplaced::Named(file) => drop(file.persist(&self.path).map_err(|e| e.error)?),
            // A link replaces nothing, a rename does: so first a name beside, then the right one.
            Unplaced::Unnamed(file) => {
                let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
                let link = |to: &Path| Ok(rustix::fs::linkat(CWD, &handle, CWD, to, AtFlags::SYMLINK_FOLLOW)?);
                let named = temporary().make_in(parent(&self.path), link)?;
                named.persist(&self.path).map_err(|e| e.error)?;
            }
        }
        Ok(())
    }
}

/// Names that files have before they have their own.
fn temporary() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bootwright-").suffix(".part");
    builder
}

#[derive(Debug)]
enum Target {
    File(Beside),
    Special(File),
    Stdout(Stdout),
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(file) => file.write(bytes),
            Self::Special(file) => file.write(bytes),
            Self::Stdout(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File(file) => file.file().flush(),
            Self::Special(file) => file.flush(),
            Self::Stdout(out) => out.flush(),
        }
    }
}
