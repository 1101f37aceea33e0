//! What the machine's root must hold, so that init can tell a whole root from one that did not fit.
//!
//! The kernel's initramfs unpacker prints an error and boots on with half a root; and newc carries no extended attributes.
//! So the first segment of an initrd carries this list, init compares and sets, and only then starts a container.

use serde::{Deserialize, Serialize};

/// The manifest, as JSON at [`crate::MANIFEST_PATH`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format: 1.
    pub version: u32,
    /// MiB of memory that the machine needs, as computed by the builder.
    pub memory_mib: u64,
    /// The segments of the initrd, in order; the first holds init and this file and lists all but this file.
    pub segments: Vec<Segment>,
    /// Extended attributes that init sets before onboot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<Xattr>,
}

/// One cpio segment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// What it came from, such as `services[0] web`.
    pub name: String,
    /// Number of entries, without parents and TRAILER.
    pub count: u64,
    /// Every regular file: absolute path and size in bytes.
    pub files: Vec<(String, u64)>,
    /// Every other entry's absolute path.
    pub others: Vec<String>,
}

/// One extended attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Xattr {
    /// Absolute path.
    pub path: String,
    /// Full name, such as `security.capability`.
    pub name: String,
    /// The value's bytes in lower-case hex.
    pub value: String,
}
