//! The machine of an initrd whose root is a root image: the program that mounts it, and the modules that it takes to get
//! there. Where the image travels in the initrd, it is put behind this.
//!
//! It is a [`Machine`] like any other, so that whatever packs an initrd packs this one. All other modules are in the root.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bootwright_oci::{Content, Kind, Metadata, Node, ReadContent, Tree, TreePath};

use crate::loader;
use crate::machine::{Boot, Component, Machine, Placed};
use crate::merge::MTIME;
use crate::modules::{cut, directories, index, texts};

/// What mounts a root image, wherever it lies.
const MOUNT: [&str; 4] = ["loop", "squashfs", "erofs", "dm_verity"];

/// Where the kernel keeps the drivers between a processor and a disk.
const DISK: [&str; 14] = [
    "kernel/drivers/ata/",
    "kernel/drivers/block/",
    "kernel/drivers/cdrom/",
    "kernel/drivers/hv/",
    "kernel/drivers/message/",
    "kernel/drivers/mmc/",
    "kernel/drivers/nvme/host/",
    "kernel/drivers/pci/",
    "kernel/drivers/scsi/",
    "kernel/drivers/ufs/",
    "kernel/drivers/usb/host/",
    "kernel/drivers/usb/storage/",
    "kernel/drivers/virtio/",
    "kernel/drivers/xen/",
];

/// Where the root image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// In the initrd.
    Initrd,
    /// On a disk, behind one of the drivers that the machine has.
    Disk,
}

/// The program of that name in an init image, and the image without it: it is of use in front of a root, and not in one.
pub(crate) fn take(image: &Tree, name: &str) -> (Option<Content>, Tree) {
    let program = loader::file(image, name);
    let mut rest = image.clone();
    let linked =
        |path: &TreePath| image.iter().any(|(_, node)| matches!(&node.kind, Kind::HardLink(target) if target == path));
    if let Some(path) = TreePath::new(name).ok().filter(|path| program.is_some() && !linked(path)) {
        rest.nodes_mut().remove(&path);
    }
    (program, rest)
}

impl Machine {
    /// The machine of the initrd; none for an init that cannot have a root image.
    ///
    /// # Errors
    ///
    /// The tables of the kernel's modules cannot be read.
    pub fn early(&self, reach: Reach, store: &dyn ReadContent) -> io::Result<Option<Machine>> {
        let Some(program) = &self.early else { return Ok(None) };
        let mut early = Early::default();
        let init = early.component("init[0]", "early");
        for directory in ["dev", "proc", "sys"] {
            early.put(init, directory, Kind::Directory, 0o755);
        }
        early.put(init, "init", Kind::File(program.clone()), 0o755);
        let kernel = early.component("kernel", "modules");
        for (path, node) in self.boot_modules(reach == Reach::Disk, store)?.iter() {
            early.node(kernel, path, node.clone());
        }
        Ok(Some(Machine {
            platform: self.platform.clone(),
            components: early.components,
            tree: early.tree,
            boot: Boot { files: BTreeMap::new(), ..self.boot.clone() },
            native_init: true,
            early: None,
            root: self.root,
            kernel_floor_mib: self.kernel_floor_mib,
        }))
    }

    /// The modules that are needed before the root is there, in `lib/modules`, with depmod's text files of them.
    fn boot_modules(&self, disk: bool, store: &dyn ReadContent) -> io::Result<Tree> {
        let homes = ["lib/modules", "usr/lib/modules"].map(|p| TreePath::new(p).unwrap_or_default());
        let mut tree = Tree::default();
        for (path, placed) in &self.tree {
            let home = homes.iter().find(|home| path.is_within(home));
            if let Some(below) = home.and_then(|home| path.as_bytes().get(home.as_bytes().len()..)) {
                let at = homes[0].join(&TreePath::new(below).unwrap_or_default());
                tree.nodes_mut().insert(at, placed.node.clone());
            }
        }
        for directory in &directories(&tree) {
            let texts = texts(&tree, directory, store)
                .map_err(|(path, error)| io::Error::new(error.kind(), format!("reading `/{path}`: {error}")))?;
            let Some(index) = index(&texts) else { continue };
            let wanted = |name: &String, path: &str| {
                MOUNT.contains(&name.as_str()) || disk && DISK.iter().any(|home| path.starts_with(home))
            };
            let start = index.modules.iter().filter(|(name, module)| wanted(name, &module.path));
            let kept = index.closure(start.map(|(name, _)| name.clone()).collect());
            cut(&mut tree, directory, &index, &kept, &texts);
        }
        let tables = ["modules.dep", "modules.alias", "modules.softdep", "modules.devname"];
        let used = |path: &TreePath| {
            let name = String::from_utf8_lossy(path.file_name()).into_owned();
            !name.starts_with("modules.") || tables.contains(&name.as_str())
        };
        tree.nodes_mut().retain(|path, node| matches!(node.kind, Kind::Directory) || used(path));
        // A kernel with everything built in has directories and nothing in them.
        let files: Vec<TreePath> =
            tree.iter().filter(|(_, n)| !matches!(n.kind, Kind::Directory)).map(|(path, _)| path.clone()).collect();
        let above: BTreeSet<TreePath> =
            files.iter().flat_map(|path| std::iter::successors(path.parent(), TreePath::parent)).collect();
        tree.nodes_mut().retain(|path, node| !matches!(node.kind, Kind::Directory) || above.contains(path));
        Ok(tree)
    }
}

/// A small tree in the making.
#[derive(Default)]
struct Early {
    components: Vec<Component>,
    tree: BTreeMap<TreePath, Placed>,
}

impl Early {
    fn component(&mut self, location: &str, name: &str) -> usize {
        let (location, name) = (location.to_owned(), format!("{location} {name}"));
        self.components.push(Component { location, source: "empty".to_owned(), name });
        self.components.len() - 1
    }

    fn put(&mut self, component: usize, path: &str, kind: Kind, mode: u32) {
        let meta = Metadata { mode, mtime: MTIME, ..Metadata::default() };
        self.node(component, &TreePath::new(path).unwrap_or_default(), Node { meta, kind });
    }

    /// Puts a node, and the directories above it that are not there yet.
    fn node(&mut self, component: usize, path: &TreePath, node: Node) {
        for parent in std::iter::successors(path.parent(), TreePath::parent).filter(|p| !p.is_root()) {
            let meta = Metadata { mode: 0o755, mtime: MTIME, ..Metadata::default() };
            let node = Node { meta, kind: Kind::Directory };
            self.tree.entry(parent).or_insert(Placed { node, component });
        }
        self.tree.insert(path.clone(), Placed { node, component });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Root;
    use crate::testing::{Memory, tree};

    fn machine(lines: &[&str]) -> Machine {
        let tree = tree(lines);
        let placed = tree.iter().map(|(path, node)| (path.clone(), Placed { node: node.clone(), component: 0 }));
        Machine {
            platform: bootwright_oci::Platform::linux("amd64"),
            components: Vec::new(),
            tree: placed.collect(),
            boot: Boot::default(),
            native_init: true,
            early: Some(Content::inline(*b"early")),
            root: Root::default(),
            kernel_floor_mib: 64,
        }
    }

    fn paths(machine: &Machine) -> Vec<String> {
        let files = machine.tree.iter().filter(|(_, placed)| !matches!(placed.node.kind, Kind::Directory));
        files.map(|(path, _)| path.to_string()).collect()
    }

    #[test]
    fn it_has_what_reaches_the_root_and_nothing_else() {
        let dep = "kernel/drivers/block/loop.ko:\nkernel/fs/squashfs/squashfs.ko:\nkernel/drivers/virtio/virtio.ko:\n\
                   kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko\nkernel/fs/xfs/xfs.ko:\n";
        let mut lines: Vec<String> =
            dep.lines().map(|l| format!("usr/lib/modules/6/{}=ELF", l.split(':').next().unwrap())).collect();
        lines.push(format!("usr/lib/modules/6/modules.dep={dep}"));
        lines.push("usr/lib/modules/6/modules.alias=alias fs-xfs xfs\nalias virtio:d2 virtio_blk\n".to_owned());
        lines.push("usr/lib/modules/6/modules.builtin=kernel/fs/ext4.ko\n".to_owned());
        lines.push("usr/bin/x=y".to_owned());
        let machine = machine(&lines.iter().map(String::as_str).collect::<Vec<_>>());

        let early = machine.early(Reach::Initrd, &Memory::default()).unwrap().unwrap();
        let expected = [
            "init",
            "lib/modules/6/kernel/drivers/block/loop.ko",
            "lib/modules/6/kernel/fs/squashfs/squashfs.ko",
            "lib/modules/6/modules.alias",
            "lib/modules/6/modules.dep",
        ];
        assert_eq!(paths(&early), expected);
        let alias = crate::testing::read(&early, "lib/modules/6/modules.alias");
        assert_eq!(alias, "", "aliases of what is not there");

        let disk = machine.early(Reach::Disk, &Memory::default()).unwrap().unwrap();
        let more: Vec<_> = paths(&disk).into_iter().filter(|p| p.contains("virtio")).collect();
        assert_eq!(more.len(), 2, "{more:?}");
    }

    #[test]
    fn its_program_is_not_in_the_root_unless_something_else_is_the_same_file() {
        let mut image = tree(&["usr/lib/early=1", "init=2"]);
        let left = |image: &Tree, name| {
            let (program, rest) = take(image, name);
            (program.is_some(), rest.get(&TreePath::new("usr/lib/early").unwrap()).is_some(), rest.iter().count())
        };
        let all = image.iter().count();
        assert_eq!(left(&image, "usr/lib/early"), (true, false, all - 1));
        assert_eq!(left(&image, "usr/lib/late"), (false, true, all));
        let link = Kind::HardLink(TreePath::new("usr/lib/early").unwrap());
        let node = Node { meta: Metadata::default(), kind: link };
        image.nodes_mut().insert(TreePath::new("sbin").unwrap(), node);
        assert_eq!(left(&image, "usr/lib/early"), (true, true, all + 1));
    }

    #[test]
    fn a_kernel_without_modules_needs_none_and_a_foreign_init_has_none() {
        let machine = machine(&["lib/modules/6/modules.builtin=kernel/fs/squashfs/squashfs.ko\n"]);
        let early = machine.early(Reach::Disk, &Memory::default()).unwrap().unwrap();
        assert_eq!(paths(&early), ["init"]);
        let foreign = Machine { early: None, ..machine };
        assert!(foreign.early(Reach::Disk, &Memory::default()).unwrap().is_none());
    }
}
