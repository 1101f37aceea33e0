//! The assembled machine: everything that the format writers need, validated once, so that they cannot fail for reasons
//! of content.

use std::collections::BTreeMap;

use bootwright_bundle::Xattr;
use bootwright_oci::{Content, Kind, Node, Platform, TreePath};

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
    /// What else lies below `/boot` (device trees of `kernel.tar`), by its path there. Not part of the root.
    pub files: BTreeMap<TreePath, Node>,
}

impl Machine {
    /// The nodes of one component, directories before what is in them.
    pub fn nodes(&self, component: usize) -> impl Iterator<Item = (&TreePath, &Node)> {
        self.tree.iter().filter(move |(_, placed)| placed.component == component).map(|(path, p)| (path, &p.node))
    }

    /// All nodes by component, in one pass: the n-th list belongs to the n-th of [`Machine::components`].
    #[must_use]
    pub fn by_component(&self) -> Vec<Vec<(&TreePath, &Node)>> {
        let mut out: Vec<Vec<(&TreePath, &Node)>> = vec![Vec::new(); self.components.len()];
        for (path, placed) in &self.tree {
            if let Some(list) = out.get_mut(placed.component) {
                list.push((path, &placed.node));
            }
        }
        out
    }

    /// Every extended attribute, in the order of paths and names. Further names of a file share its attributes and are not
    /// listed.
    #[must_use]
    pub fn xattrs(&self) -> Vec<Xattr> {
        let mut out = Vec::new();
        for (path, placed) in &self.tree {
            if matches!(placed.node.kind, Kind::HardLink(_)) {
                continue;
            }
            for (name, value) in &placed.node.meta.xattrs {
                out.push(Xattr {
                    path: format!("/{path}"),
                    name: String::from_utf8_lossy(name).into_owned(),
                    value: value.iter().map(|b| format!("{b:02x}")).collect(),
                });
            }
        }
        out
    }

    /// Bytes of tmpfs that the tree's files take once they are unpacked: whole pages.
    #[must_use]
    pub fn unpacked_bytes(&self) -> u64 {
        let size = |node: &Node| match &node.kind {
            Kind::File(content) => content.size().next_multiple_of(PAGE),
            _ => 0,
        };
        self.tree.values().map(|placed| size(&placed.node)).sum()
    }

    /// MiB of memory that the machine needs when its root is an initrd of `packed_bytes`.
    ///
    /// ```text
    /// max(floor + packed + unpacked + nodes, 2/3 floor + packed + 2 x unpacked)
    /// ```
    ///
    /// Kernel, packed and unpacked root must fit side by side; and the kernel's rootfs is a tmpfs of at most half of the
    /// memory that it manages when it mounts that, when neither the packed initrd nor its own reservations (two thirds of
    /// what it needs to reach init) are managed yet. `root=` or `rootfstype=` on the command line makes the rootfs a ramfs,
    /// which has no limit. Measured (`kernel-boot.md` 4, tiny kernel): 60 MB unpacked needs more than 160, 200 MB more
    /// than 496.
    #[must_use]
    pub fn memory_mib(&self, packed_bytes: u64) -> u64 {
        let floor = self.kernel_floor_mib << 20;
        let unpacked = self.unpacked_bytes();
        let words = || self.boot.cmdline.split_ascii_whitespace();
        let ramfs = words().any(|w| w.starts_with("root="))
            || words().any(|w| w.strip_prefix("rootfstype=").is_some_and(|types| !types.contains("tmpfs")));
        let to_run = floor + packed_bytes + unpacked + self.tree.len() as u64 * NODE;
        let to_unpack = if ramfs { 0 } else { floor / 3 * 2 + packed_bytes + 2 * unpacked };
        to_run.max(to_unpack).div_ceil(1 << 20)
    }
}

/// A page of memory, the unit in which a tmpfs takes it.
const PAGE: u64 = 4096;

/// About what the kernel keeps of one file: a shmem inode and a directory entry.
const NODE: u64 = 1024;
