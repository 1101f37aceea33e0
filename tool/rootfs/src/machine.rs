//! The assembled machine: everything that the format writers need, validated once, so that they cannot fail for reasons
//! of content.

use std::collections::BTreeMap;

use bootwright_bundle::{Corruption, Xattr};
use bootwright_oci::{Content, Kind, Node, Platform, TreePath};
use bootwright_spec::RootKind;

use crate::kernel_config::KernelConfig;

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
    /// The program that is the initrd's `/init` where the root is a root image (label `org.bootwright.init.early`); none
    /// for an init that cannot have such a root.
    pub early: Option<Content>,
    /// What the spec says of the root.
    pub root: Root,
    /// MiB of memory that the kernel itself needs to reach init (label, or a guess).
    pub kernel_floor_mib: u64,
}

/// How the root travels and is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Root {
    /// What it is; none: whatever the init can have.
    pub kind: Option<RootKind>,
    /// Whether dm-verity checks it.
    pub verity: bool,
    /// What a block that fails the check does.
    pub corruption: Corruption,
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

/// Kernel, command line, microcode, and what the kernel is able to.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The kernel's bytes; none for machines without one.
    pub kernel: Option<Content>,
    /// The kernel as a stripped ELF file, where its image has one: what a hypervisor starts without firmware or decompressor.
    pub vmlinux: Option<Content>,
    /// What is built into the kernel, where its image says so.
    pub config: Option<KernelConfig>,
    /// The command line, verbatim.
    pub cmdline: String,
    /// A cpio to be put before the initrd, uncompressed.
    pub ucode: Option<Content>,
    /// What boots the kernel from disks and ISOs.
    pub loader: Loader,
    /// What else lies below `/boot` (device trees of `kernel.tar`), by its path there. Not part of the root.
    pub files: BTreeMap<TreePath, Node>,
}

/// The parts of a boot loader image (`boot:`); those that it lacks are none.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    /// Reference of the image; none if the spec names none.
    pub image: Option<String>,
    /// What a BIOS boots with.
    pub bios: Option<BiosLoader>,
    /// The EFI stub that a UKI is made from.
    pub stub: Option<Content>,
}

/// A boot loader for BIOS.
#[derive(Clone, Debug)]
pub enum BiosLoader {
    /// Ours.
    Ours {
        /// Its first stage.
        stage1: Content,
        /// Its second stage.
        stage2: Content,
    },
    /// GRUB: the files of its directory, by name.
    Grub(BTreeMap<String, Content>),
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
}
