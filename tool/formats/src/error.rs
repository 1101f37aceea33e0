//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::{CompressionError, Format};

/// A build's artefacts could not be written; none of them was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A format of LinuxKit's that this version does not build.
    #[error("format `{format}` is not built yet")]
    NotBuilt {
        /// The format.
        format: Format,
    },
    /// Two formats of one build would write one file.
    #[error("formats `{first}` and `{second}` would both write `{file}`")]
    Clash {
        /// Name of the file.
        file: String,
        /// One format.
        first: Format,
        /// The other.
        second: Format,
    },
    /// A single file or standard output, and formats that are not one stream.
    #[error("{output} takes exactly one format, `tar` or `docker`")]
    NotStreamable {
        /// Which output.
        output: String,
    },
    /// No format was asked for.
    #[error("no output format was asked for")]
    NoFormat,
    /// A format that boots a kernel, of a machine without one.
    #[error("format `{format}` needs a kernel, and the machine has none")]
    NoKernel {
        /// The format.
        format: Format,
    },
    /// Files that a format cannot carry.
    #[error("format `{format}` cannot hold {}", list(.misfits))]
    Misfit {
        /// The format.
        format: Format,
        /// The files.
        misfits: Vec<Misfit>,
    },
    /// The machine's tree breaks one of its own rules.
    #[error("the machine's tree is broken at `{path}` ({component}): {what}")]
    Tree {
        /// Where.
        path: String,
        /// Whose.
        component: String,
        /// What is wrong.
        what: &'static str,
    },
    /// A compression or level that there is not.
    #[error(transparent)]
    Compression(#[from] CompressionError),
    /// The directory to write into is not there.
    #[error("output directory `{}` does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// Where a file shall be there is a directory.
    #[error("`{}` is a directory", .0.display())]
    IsDirectory(PathBuf),
    /// A file's bytes could not be read.
    #[error("cannot read `{path}` ({component})")]
    Read {
        /// Path in the machine.
        path: String,
        /// Whose.
        component: String,
        /// Why.
        source: io::Error,
    },
    /// The cache of packed segments fails.
    #[error("cannot keep {what} in the cache at `{}`", .path.display())]
    Cache {
        /// What was to be kept.
        what: String,
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An artefact cannot be written.
    #[error("cannot write `{path}`")]
    Write {
        /// The artefact.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The kernel cannot be decompressed.
    #[error("cannot decompress the kernel")]
    Kernel(#[source] crate::kernel::KernelError),
}

/// A file that a format cannot carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Path in the machine.
    pub path: String,
    /// Whose it is.
    pub component: String,
    /// What is too much, such as `5 GiB, 4 GiB - 1 byte at most`.
    pub what: String,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}): {}", self.path, self.component, self.what)
    }
}

fn list(misfits: &[Misfit]) -> String {
    /// More would hide the first.
    const SHOWN: usize = 10;
    let mut out: Vec<String> = misfits.iter().take(SHOWN).map(Misfit::to_string).collect();
    if misfits.len() > SHOWN {
        out.push(format!("and {} more", misfits.len() - SHOWN));
    }
    out.join("; ")
}

impl Error {
    /// What would help, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let full = |source: &io::Error| {
            matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
                .then(|| "make room there, or write elsewhere; nothing was left behind".to_owned())
        };
        match self {
            Self::NotBuilt { .. } => {
                let built: Vec<_> = Format::built().map(Format::name).collect();
                Some(format!("this version builds {}", built.join(", ")))
            }
            Self::Clash { .. } => Some("build them one after the other under different names".to_owned()),
            Self::NotStreamable { .. } => Some("write into a directory instead".to_owned()),
            Self::NoKernel { .. } => Some("add a `kernel:` to the spec, or build `tar`".to_owned()),
            Self::Misfit { .. } => Some("format `tar` holds them".to_owned()),
            Self::NoDirectory(path) => Some(format!("mkdir -p {}", path.display())),
            Self::Cache { source, .. } if full(source).is_some() => {
                Some("make room there (`bootwright cache gc`), or choose another cache with `--cache`".to_owned())
            }
            Self::Write { source, .. } => full(source),
            Self::Kernel(error) => error.hint(),
            _ => None,
        }
    }
}

/// What a writer that copies content into a sink ends with; the sink's owner says which artefact it was.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The sink failed.
    Sink(io::Error),
    /// Something else did.
    Other(Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Sink(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Fault {
    /// The error, where the sink is the artefact of that name.
    pub(crate) fn at(self, path: &str) -> Error {
        match self {
            Self::Sink(source) => Error::Write { path: path.to_owned(), source },
            Self::Other(error) => error,
        }
    }
}
