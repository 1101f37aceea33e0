//! The assembled machine: everything that the format writers need, validated once, so that they cannot fail for reasons
//! of content.

use std::collections::BTreeMap;

use bootwright_oci::{Content, Node, Platform, TreePath};

/// A machine, assembled.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What it was built for.
    pub platform: Platform,
    /// Where the nodes came from, in the order of assembly: kernel, init images, volumes, onboot, onshutdown, services,
    /// files.
    pub components: Vec<Component>,
    /// The merged tree. Every parent directory is there; hard links point to files of the same component. `boot/` is not
    /// in it.
    pub tree: BTreeMap<TreePath, Placed>,
    /// What boots it.
    pub boot: Boot,
    /// Whether the init understands the manifest (and so sets extended attributes, checks that all is there).
    pub native_init: bool,
    /// MiB of memory that the kernel itself needs to reach init (label, or a guess).
    pub kernel_floor_mib: u64,
}

/// A node of the merged tree and the component that it came from.
#[derive(Clone, Debug)]
pub struct Placed {
    /// The node.
    pub node: Node,
    /// Index into [`Machine::components`]. Directories belong to the first component that has them.
    pub component: usize,
}

/// One source of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// LinuxKit's PAX `LINUXKIT.location`: `kernel`, `init[0]`, `volume[0]`, `onboot[0]`, `services[1]`, `files[2]`.
    pub location: String,
    /// LinuxKit's PAX `LINUXKIT.source`: the image's reference, `linuxkit.files`, `linuxkit.volumes` or `empty`.
    pub source: String,
    /// Name for people: `services[1] web`.
    pub name: String,
}

/// Kernel, command line, microcode.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The kernel's bytes; none for machines without one.
    pub kernel: Option<Content>,
    /// The command line, verbatim.
    pub cmdline: String,
    /// A cpio to be put before the initrd, uncompressed.
    pub ucode: Option<Content>,
}
