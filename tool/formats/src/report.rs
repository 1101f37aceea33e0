//! What a build made: for the user's eyes and, as JSON, for scripts.

use std::path::PathBuf;

use bootwright_oci::{Digest, Kind};
use bootwright_rootfs::Machine;
use serde::{Serialize, Serializer};

use crate::Format;

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The files.
    pub artefacts: Vec<Artefact>,
    /// What each component weighs, in the machine's order.
    pub components: Vec<ComponentSize>,
    /// MiB of memory that the machine needs, if an initrd was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// What the user should know; the reporter was told, too.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Artefact {
    /// The format that it belongs to.
    pub format: Format,
    /// Where it is; none for standard output.
    #[serde(serialize_with = "lossy")]
    pub path: Option<PathBuf>,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of them.
    pub digest: Digest,
}

/// What a component weighs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ComponentSize {
    /// Name for people: `services[1] web`.
    pub name: String,
    /// The image's reference, or who else made it.
    pub source: String,
    /// Nodes of the tree that are its.
    pub nodes: u64,
    /// Bytes of its files.
    pub unpacked: u64,
    /// Bytes of its segment of the initrd, if one was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packed: Option<u64>,
    /// Whether the segment came from the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached: Option<bool>,
}

/// Weighs a machine's components.
pub(crate) fn weigh(machine: &Machine) -> Vec<ComponentSize> {
    let empty = |c: &bootwright_rootfs::Component| ComponentSize {
        name: c.name.clone(),
        source: c.source.clone(),
        nodes: 0,
        unpacked: 0,
        packed: None,
        cached: None,
    };
    let mut sizes: Vec<_> = machine.components.iter().map(empty).collect();
    for placed in machine.tree.values() {
        if let Some(size) = sizes.get_mut(placed.component) {
            size.nodes += 1;
            if let Kind::File(content) = &placed.node.kind {
                size.unpacked += content.size();
            }
        }
    }
    sizes
}

/// Paths that are not UTF-8 cannot stand in JSON.
fn lossy<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}
