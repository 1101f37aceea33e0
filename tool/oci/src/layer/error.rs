//! Why a layer was not unpacked or not applied. Each problem names the entry that it is about.

use std::io;
use std::path::PathBuf;

use crate::Digest;

/// A layer that could not be used.
#[derive(Debug, thiserror::Error)]
#[error("layer `{layer}` cannot be unpacked")]
pub struct LayerError {
    /// The layer's blob, or the archive file of an image.
    pub layer: Digest,
    /// What is wrong with it.
    #[source]
    pub problem: Problem,
}

impl LayerError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        self.problem.hint()
    }
}

/// What is wrong with a layer. Names are shown with foreign bytes replaced.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The blob cannot be read or decompressed.
    #[error("reading or decompressing failed")]
    Read(#[source] io::Error),
    /// A derived file cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A compression that image layers do not have.
    #[error("compressed with {0}, which image layers may not be")]
    Compression(&'static str),
    /// No header where one must be.
    #[error("no tar header at byte {at}: {why}")]
    NotTar {
        /// Offset in the decompressed archive.
        at: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// The archive ends too early.
    #[error("the archive ends inside `{entry}`")]
    Truncated {
        /// Entry.
        entry: String,
    },
    /// More than [`super::Limits`] allow.
    #[error("`{entry}`: {what} is {value}, over the limit of {allowed}")]
    Limit {
        /// Entry.
        entry: String,
        /// What is limited, for the message.
        what: &'static str,
        /// How many there are, at least.
        value: u64,
        /// How many there may be.
        allowed: u64,
    },
    /// An absolute name.
    #[error("`{entry}` is an absolute name")]
    AbsoluteName {
        /// Entry.
        entry: String,
    },
    /// A hard link with an absolute target.
    #[error("`{entry}` is a hard link to the absolute name `{target}`")]
    AbsoluteLink {
        /// Entry.
        entry: String,
        /// Target.
        target: String,
    },
    /// A name that climbs out by `..`, or holds a NUL byte.
    #[error("`{entry}` climbs out by `..` or holds a NUL byte")]
    Name {
        /// Entry.
        entry: String,
    },
    /// A hard link's target that climbs out by `..`, or holds a NUL byte.
    #[error("`{entry}` is a hard link to `{target}`, which climbs out by `..` or holds a NUL byte")]
    LinkName {
        /// Entry.
        entry: String,
        /// Target.
        target: String,
    },
    /// Something that is not a directory under the root's name.
    #[error("`{entry}` names the root, and is not a directory")]
    Root {
        /// Entry.
        entry: String,
    },
    /// A symbolic link to nothing, or to a name with a NUL byte.
    #[error("the target of the symbolic link `{entry}` is empty or holds a NUL byte")]
    SymlinkTarget {
        /// Entry.
        entry: String,
    },
    /// A type of entry that cannot be unpacked.
    #[error("`{entry}` is of the unknown type `{}`", .flag.escape_ascii())]
    Type {
        /// Entry.
        entry: String,
        /// Type flag of its header.
        flag: u8,
    },
    /// A field of a header that does not say what it must.
    #[error("`{entry}`: the header's {field} is not a valid number")]
    Field {
        /// Entry.
        entry: String,
        /// Field.
        field: &'static str,
    },
    /// An extended header that cannot be understood.
    #[error("`{entry}`: PAX record `{record}`: {why}")]
    Pax {
        /// Entry.
        entry: String,
        /// Keyword of the record.
        record: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A map of a sparse file that contradicts itself or the data.
    #[error("`{entry}`: sparse map: {why}")]
    Sparse {
        /// Entry.
        entry: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An extended attribute that could redirect an overlay mount.
    #[error("`{entry}` has the extended attribute `{name}`, which belongs to overlay mounts")]
    OverlayXattr {
        /// Entry.
        entry: String,
        /// Attribute.
        name: String,
    },
    /// An extended attribute whose name Linux cannot hold.
    #[error("`{entry}` has an extended attribute with the impossible name `{name}`")]
    XattrName {
        /// Entry.
        entry: String,
        /// Attribute.
        name: String,
    },
    /// A whiteout of no name, `.` or `..`.
    #[error("the whiteout `{entry}` removes nothing that can have a name")]
    Whiteout {
        /// Entry.
        entry: String,
    },
    /// An entry behind a symbolic link that leads out of the root.
    #[error("`{entry}` lies behind the symbolic link `{link}`, which leads out of the root")]
    SymlinkEscape {
        /// Entry.
        entry: String,
        /// Link.
        link: String,
    },
    /// An entry behind symbolic links that go round in circles.
    #[error("`{entry}` lies behind the symbolic link `{link}`, which leads nowhere after {steps} steps")]
    SymlinkLoop {
        /// Entry.
        entry: String,
        /// Link.
        link: String,
        /// Steps taken.
        steps: u32,
    },
    /// An entry below something that is not a directory.
    #[error("`{entry}` lies below `{parent}`, which the same archive says is not a directory")]
    NotADirectory {
        /// Entry.
        entry: String,
        /// What is not a directory.
        parent: String,
    },
    /// A hard link whose target is not there or is a directory.
    #[error("`{entry}` is a hard link to `{target}`, which {why}")]
    LinkTarget {
        /// Entry.
        entry: String,
        /// Target.
        target: String,
        /// What is wrong with the target.
        why: &'static str,
    },
}

impl Problem {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::AbsoluteName { .. } | Self::AbsoluteLink { .. } => {
                "build the image with a tool that writes names relative to the root (`usr/bin/app`)".to_owned()
            }
            Self::Compression(_) => "layers are plain tar, tar+gzip or tar+zstd; build the image again".to_owned(),
            Self::Read(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the blob is cut off; remove the image from the cache and pull it again".to_owned()
            }
            _ => return None,
        })
    }

    pub(super) fn of(self, layer: Digest) -> LayerError {
        LayerError { layer, problem: self }
    }
}

/// A name as messages show it: foreign bytes replaced, and short enough to read.
pub(super) fn show(name: &[u8]) -> String {
    const LONGEST: usize = 256;
    if name.len() <= LONGEST {
        return String::from_utf8_lossy(name).into_owned();
    }
    format!("{}…", String::from_utf8_lossy(&name[..LONGEST]))
}
