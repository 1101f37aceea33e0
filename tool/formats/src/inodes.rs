//! A machine's tree as a file system has it: inodes, and directories that name them.
//!
//! The machine knows paths; what is written to a disk knows inodes with a link count, and directories with the inode of their
//! parent. All names of a file are one inode.

use std::collections::BTreeMap;

use bootwright_oci::{Content, Kind, Metadata, TreePath};
use bootwright_rootfs::{Machine, Placed};

use crate::content::Owner;
use crate::cpio::kind;
use crate::links::{self, Links};
use crate::{Error, GENERATED_MTIME};

/// What a root has that the machine says nothing about, and every directory that is generated.
pub(crate) static GENERATED_DIRECTORY: Metadata =
    Metadata { mode: 0o755, uid: 0, gid: 0, mtime: GENERATED_MTIME as i64, xattrs: BTreeMap::new() };

/// Index of the root.
pub(crate) const ROOT: usize = 0;

/// All inodes, the root first, directories before what is in them.
#[derive(Debug)]
pub(crate) struct Inodes<'m> {
    list: Vec<Inode<'m>>,
}

/// One inode.
#[derive(Debug)]
pub(crate) struct Inode<'m> {
    pub(crate) meta: &'m Metadata,
    pub(crate) kind: InodeKind<'m>,
    /// Names that it has; a directory has two, and one more per directory in it.
    pub(crate) links: u32,
    /// Of a file of the machine: the path that holds its content.
    pub(crate) path: Option<&'m TreePath>,
}

/// What an inode is.
#[derive(Debug)]
pub(crate) enum InodeKind<'m> {
    Directory(Directory<'m>),
    /// A file of that size.
    File(u64),
    Symlink(&'m [u8]),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// A directory.
#[derive(Debug)]
pub(crate) struct Directory<'m> {
    pub(crate) parent: usize,
    /// Names and inodes, by name.
    pub(crate) entries: Vec<(&'m [u8], usize)>,
}

impl<'m> Inodes<'m> {
    /// A root and nothing in it.
    pub(crate) fn new(root: &'m Metadata) -> Self {
        let kind = InodeKind::Directory(Directory { parent: ROOT, entries: Vec::new() });
        Self { list: vec![Inode { meta: root, kind, links: 2, path: None }] }
    }

    /// Those of a machine, with the names of its files.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] for a node without a directory to be in.
    pub(crate) fn of(machine: &'m Machine, links: &Links<'m>) -> Result<Self, Error> {
        links::check_parents(machine)?;
        let root = machine.tree.get(&TreePath::default());
        let mut inodes = Self::new(root.map_or(&GENERATED_DIRECTORY, |placed| &placed.node.meta));
        let mut directories: BTreeMap<&[u8], usize> = BTreeMap::from([(&b""[..], ROOT)]);
        let mut files: BTreeMap<&TreePath, usize> = BTreeMap::new();
        for (path, placed) in machine.tree.iter().filter(|(path, _)| !path.is_root()) {
            let (parent, name) = split(path.as_bytes());
            let parent = directories[parent];
            let kind = match &placed.node.kind {
                Kind::File(_) | Kind::HardLink(_) => {
                    let holder = links.holder(path);
                    let Placed { node, .. } = &machine.tree[holder];
                    let Kind::File(content) = &node.kind else { continue };
                    if let Some(inode) = files.get(holder) {
                        inodes.link(parent, name, *inode);
                    } else {
                        let inode = inodes.add(parent, name, &node.meta, InodeKind::File(content.size()));
                        inodes.list[inode].path = Some(holder);
                        files.insert(holder, inode);
                    }
                    continue;
                }
                Kind::Directory => InodeKind::Directory(Directory { parent, entries: Vec::new() }),
                Kind::Symlink(target) => InodeKind::Symlink(target),
                Kind::CharDevice { major, minor } => InodeKind::Char(*major, *minor),
                Kind::BlockDevice { major, minor } => InodeKind::Block(*major, *minor),
                Kind::Fifo => InodeKind::Fifo,
            };
            let is_directory = matches!(kind, InodeKind::Directory(_));
            let inode = inodes.add(parent, name, &placed.node.meta, kind);
            if is_directory {
                directories.insert(path.as_bytes(), inode);
            }
        }
        Ok(inodes)
    }

    /// Adds an inode under its first name.
    pub(crate) fn add(&mut self, parent: usize, name: &'m [u8], meta: &'m Metadata, kind: InodeKind<'m>) -> usize {
        let inode = self.list.len();
        let links = if let InodeKind::Directory(_) = kind {
            self.list[parent].links += 1;
            2
        } else {
            1
        };
        self.list.push(Inode { meta, kind, links, path: None });
        self.name(parent, name, inode);
        inode
    }

    /// Gives an inode a further name.
    fn link(&mut self, parent: usize, name: &'m [u8], inode: usize) {
        self.list[inode].links += 1;
        self.name(parent, name, inode);
    }

    fn name(&mut self, parent: usize, name: &'m [u8], inode: usize) {
        let InodeKind::Directory(directory) = &mut self.list[parent].kind else {
            unreachable!("parents are directories (checked)")
        };
        let index = directory.entries.partition_point(|(other, _)| *other < name);
        directory.entries.insert(index, (name, inode));
    }

    pub(crate) fn len(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn get(&self, inode: usize) -> &Inode<'m> {
        &self.list[inode]
    }

    /// All of them with their indices.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Inode<'m>)> {
        self.list.iter().enumerate()
    }

    /// All directories with their indices.
    pub(crate) fn directories(&self) -> impl Iterator<Item = (usize, &Directory<'m>)> {
        self.iter().filter_map(|(index, inode)| match &inode.kind {
            InodeKind::Directory(directory) => Some((index, directory)),
            _ => None,
        })
    }
}

impl<'m> Inode<'m> {
    /// The directory that it is, if it is one.
    pub(crate) fn directory(&self) -> Option<&Directory<'m>> {
        match &self.kind {
            InodeKind::Directory(directory) => Some(directory),
            _ => None,
        }
    }

    /// Type and permissions as in `stat`.
    pub(crate) fn mode(&self) -> u32 {
        let kind = match self.kind {
            InodeKind::Directory(_) => kind::DIRECTORY,
            InodeKind::File(_) => kind::FILE,
            InodeKind::Symlink(_) => kind::SYMLINK,
            InodeKind::Char(..) => kind::CHAR,
            InodeKind::Block(..) => kind::BLOCK,
            InodeKind::Fifo => kind::FIFO,
        };
        kind | self.meta.mode & 0o7777
    }

    /// The content of a file of the machine, and whose it is.
    pub(crate) fn content(&self, machine: &'m Machine) -> Option<(&'m Content, Owner<'m>)> {
        let path = self.path?;
        let placed = machine.tree.get(path)?;
        match &placed.node.kind {
            Kind::File(content) => Some((content, Owner::Node(machine, path, placed.component))),
            _ => None,
        }
    }
}

/// A path's directory and its last part.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    }
}
