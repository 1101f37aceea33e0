//! A file tree in memory: paths, metadata, and for content a reference into the store, never the bytes.
//!
//! One node type from flattened layers to packed roots. Paths are bytes (Linux names are), normalised when they are
//! made, so that nothing behind this module sees `..`, `//` or a leading slash.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::Digest;

/// A path inside a tree: no leading or trailing slash, no empty, `.` or `..` component. The root is empty.
///
/// The order is bytewise, so that a directory comes before what is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TreePath(Vec<u8>);

/// A path that climbs out (`..`) or holds a NUL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path `{0}` leaves its root or holds a NUL byte")]
pub struct PathError(pub String);

impl TreePath {
    /// Normalises a path as found in archives and specs: leading slashes, `.` and empty components vanish.
    ///
    /// # Errors
    ///
    /// A component `..`, or a NUL byte.
    pub fn new(path: impl AsRef<[u8]>) -> Result<Self, PathError> {
        let path = path.as_ref();
        let error = || PathError(String::from_utf8_lossy(path).into_owned());
        if path.contains(&0) {
            return Err(error());
        }
        let mut out = Vec::with_capacity(path.len());
        for part in path.split(|b| *b == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(error()),
                part => {
                    if !out.is_empty() {
                        out.push(b'/');
                    }
                    out.extend_from_slice(part);
                }
            }
        }
        Ok(Self(out))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The directory that it lies in; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.0.is_empty() {
            return None;
        }
        let cut = self.0.iter().rposition(|b| *b == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].to_vec()))
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        let cut = self.0.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        &self.0[cut..]
    }

    /// This path with another below it.
    #[must_use]
    pub fn join(&self, below: &Self) -> Self {
        match (self.0.is_empty(), below.0.is_empty()) {
            (true, _) => below.clone(),
            (_, true) => self.clone(),
            _ => Self([&self.0[..], b"/", &below.0[..]].concat()),
        }
    }

    /// Whether `self` is `directory` or lies below it.
    #[must_use]
    pub fn is_within(&self, directory: &Self) -> bool {
        directory.0.is_empty()
            || self.0.strip_prefix(&directory.0[..]).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// Owner, permissions, time and extended attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metadata {
    /// Permission bits with setuid, setgid and sticky: `0o7777` at most.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Extended attributes by full name (`security.capability`).
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// Everything that can stand in a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A further name of a regular file of the same tree: always the path of a [`Kind::File`], never of a link.
    HardLink(TreePath),
    /// A symbolic link and its target, as it is.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Owner, permissions, time, attributes; of a hard link: those of its target.
    pub meta: Metadata,
    /// What it is.
    pub kind: Kind,
}

/// Where a file's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// In memory: what we generate.
    Inline(Arc<[u8]>),
    /// In an unpacked layer.
    Layer {
        /// The layer's blob, which names the unpacked layer too.
        layer: Digest,
        /// Size of the file in bytes, holes included.
        size: u64,
        /// SHA-256 of the file's bytes, holes as zeros.
        digest: Digest,
        /// Where its data lies; what no extent covers is a hole. In file order, without overlap.
        extents: Arc<[Extent]>,
    },
    /// A file of this machine, checked against its digest while it is read.
    Host {
        /// Where.
        path: PathBuf,
        /// Size in bytes.
        size: u64,
        /// SHA-256 of the bytes.
        digest: Digest,
    },
}

/// A run of a file's bytes in an unpacked layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Offset in the file.
    pub file: u64,
    /// Offset in the unpacked layer.
    pub layer: u64,
    /// Length in bytes.
    pub len: u64,
}

impl Content {
    /// Bytes in memory.
    pub fn inline(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Inline(bytes.into())
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Layer { size, .. } | Self::Host { size, .. } => *size,
        }
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self {
            Self::Inline(bytes) => Digest::of(bytes),
            Self::Layer { digest, .. } | Self::Host { digest, .. } => *digest,
        }
    }
}

/// Turns a [`Content`] into its bytes; the store is one.
pub trait ReadContent: Sync {
    /// Opens the bytes for one reading from start to end, exactly [`Content::size`] of them.
    ///
    /// # Errors
    ///
    /// The unpacked layer or the file is gone or is not what it was.
    fn open(&self, content: &Content) -> io::Result<Box<dyn io::Read + Send + '_>>;
}

/// Reads a tar that is itself a file of an image (`kernel.tar`) as a tree; the store is one.
pub trait UnpackTar: ReadContent {
    /// The tar's tree, hostile entries refused as in layers; whiteouts have no meaning in it.
    ///
    /// # Errors
    ///
    /// It is not a tar, or one that must be refused.
    fn unpack_tar(&self, content: &Content) -> io::Result<Tree>;
}

/// A tree: nodes by path. Every node's parent is there and is a directory; every hard link's target is there and is a
/// file. The root itself (`""`) may be there, for its metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    nodes: BTreeMap<TreePath, Node>,
}

impl Tree {
    /// The node at a path.
    #[must_use]
    pub fn get(&self, path: &TreePath) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// All nodes, directories before what is in them.
    pub fn iter(&self) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.nodes.iter()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Direct access for the modules that keep the invariants (flattening, assembly).
    pub fn nodes_mut(&mut self) -> &mut BTreeMap<TreePath, Node> {
        &mut self.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_normalised_and_never_climb() {
        for (given, want) in [("/usr//bin/./x/", "usr/bin/x"), ("", ""), ("./", ""), ("a b", "a b")] {
            assert_eq!(TreePath::new(given).unwrap().to_string(), want);
        }
        for bad in ["..", "a/../b", "/..", "a\0b"] {
            assert!(TreePath::new(bad).is_err(), "{bad:?}");
        }
        let path = TreePath::new("a/b").unwrap();
        assert_eq!(path.parent().unwrap().to_string(), "a");
        assert!(path.is_within(&TreePath::new("a").unwrap()));
        assert!(!TreePath::new("ab").unwrap().is_within(&TreePath::new("a").unwrap()));
    }
}
