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
    /// A single file or standard output, and formats that are not one stream.
    #[error("{output} takes exactly one format that is one stream: `docker`, `docker-archive`, `oci` or `tar`")]
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
    /// A root image, and an init that cannot have one.
    #[error("the root cannot be a squashfs: the init (`{init}`) does not say that it can mount one")]
    NoEarly {
        /// The last init image.
        init: String,
    },
    /// dm-verity, and a root that is no image.
    #[error("dm-verity checks a root image, and this machine's root is its initrd")]
    VerityRoot,
    /// dm-verity was asked for, and what the machine would mount is not checked.
    #[error("format `{format}` would mount a root that dm-verity does not check: {why}")]
    Unverified {
        /// The format.
        format: Format,
        /// Why not.
        why: &'static str,
    },
    /// A kernel that cannot mount the root by itself, and nothing that would do it.
    #[error("format `{format}` has no initrd, and the kernel cannot mount the root by itself: it lacks {}", .lacks.join(", "))]
    KernelLacks {
        /// The format.
        format: Format,
        /// What is not built in.
        lacks: Vec<String>,
    },
    /// A format that firmware boots, and no boot loader.
    #[error("format `{format}` needs the {part}, and {}", lacking(.image.as_deref()))]
    NoLoader {
        /// The format.
        format: Format,
        /// What of the boot loader.
        part: &'static str,
        /// The spec's boot image, which lacks it; none if it names none.
        image: Option<String>,
    },
    /// A format for a BIOS, and an architecture without one.
    #[error("format `{format}` boots by BIOS, which {architecture} machines do not have")]
    NoBios {
        /// The format.
        format: Format,
        /// The machine's.
        architecture: String,
    },
    /// A build whose name no container image can have.
    #[error("format `{format}` needs a name that an image can have, and `{name}` is none")]
    ImageName {
        /// The format.
        format: Format,
        /// The build's name.
        name: String,
        /// Why.
        source: bootwright_oci::ReferenceError,
    },
    /// What boots does not fit together.
    #[error("format `{format}` cannot be laid out")]
    Layout {
        /// The format.
        format: Format,
        /// Why.
        source: LayoutError,
    },
    /// A way to pack a squashfs that there is not.
    #[error(transparent)]
    SquashfsOptions(#[from] crate::squashfs::SquashfsOptionsError),
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

/// Why a boot medium cannot be laid out.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each says itself what it is")]
pub enum LayoutError {
    #[error(transparent)]
    Bios(#[from] crate::bios::BiosError),
    #[error(transparent)]
    Uki(#[from] crate::uki::UkiError),
    #[error(transparent)]
    Signing(#[from] crate::authenticode::SigningError),
    #[error(transparent)]
    Fat(#[from] crate::disk::FatError),
    #[error(transparent)]
    Disk(#[from] crate::disk::DiskError),
    #[error(transparent)]
    Ipxe(#[from] crate::ipxe::IpxeError),
    #[error("kernel or initrd is {0} bytes, 4 GiB - 1 byte at most")]
    Large(u64),
}

/// Why there is no boot loader.
fn lacking(image: Option<&str>) -> String {
    match image {
        None => "the spec names no `boot:` image".to_owned(),
        Some(image) => format!("`{image}` has none"),
    }
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
            Self::NotStreamable { .. } => Some("write into a directory instead".to_owned()),
            Self::NoKernel { .. } => Some("add a `kernel:` to the spec, or build `tar`".to_owned()),
            Self::NoEarly { .. } => Some(
                "drop `root:` (or `--root`) for the initrd root, or use bootwright's init: `@pkg:../pkg/init`"
                    .to_owned(),
            ),
            Self::Unverified { .. } => Some(
                "leave out `root: {verity: true}` (or `--verity`), or build `kernel+squashfs` without `root=`"
                    .to_owned(),
            ),
            Self::VerityRoot => Some("leave out `root: {kind: initrd}` (or `--root initrd`)".to_owned()),
            Self::KernelLacks { format: Format::KernelIso, .. } => {
                Some("`kernel/tiny` has it all built in; `kernel+initrd` needs nothing of it".to_owned())
            }
            Self::KernelLacks { .. } => Some(
                "`kernel/tiny` has it all built in; modules do as well where `kernel.modules` keeps them, as in \
                 `modules: [cloud, erofs]`"
                    .to_owned(),
            ),
            Self::NoLoader { image: None, .. } => Some(
                "add `boot: {image: \"@pkg:../pkg/boot\"}` to the spec, with the path of bootwright's pkg/boot"
                    .to_owned(),
            ),
            Self::ImageName { .. } => Some("give another name with `--name`".to_owned()),
            Self::NoBios { .. } => Some("its formats for UEFI are raw-efi, qcow2-efi, iso-efi and uki".to_owned()),
            Self::Layout { source: LayoutError::Bios(error), .. } => error.hint().map(str::to_owned),
            Self::Layout { source: LayoutError::Uki(error), .. } => error.hint(),
            Self::Layout { source: LayoutError::Signing(error), .. } => error.hint(),
            Self::Layout { source: LayoutError::Disk(crate::disk::DiskError::TooSmall { needed, .. }), .. } => Some(
                format!("leave `--size` out, or give at least {needed} bytes (`--size {}M`)", needed.div_ceil(1 << 20)),
            ),
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
pub enum Fault {
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
    #[must_use]
    pub fn at(self, path: &str) -> Error {
        match self {
            Self::Sink(source) => Error::Write { path: path.to_owned(), source },
            Self::Other(error) => error,
        }
    }
}
