//! The tables: inodes, listings, fragments, export, ids, extended attributes.
//!
//! The children of a directory have consecutive numbers and their inodes lie together, so that a listing has few headers and
//! `ls -l` reads few blocks. A directory's inode needs its listing's place, and a listing those of its children's inodes:
//! so the deepest directories come first and the root last.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io;

use bootwright_oci::{Kind, Metadata, Node, TreePath};
use bootwright_rootfs::Machine;

use super::compress::Settings;
use super::format::{Body, Head, Listing, NO_TABLE, Position, Superblock, inode, kind};
use super::layout::{Data, Layout};
use super::listing::{self, Entry};
use super::metadata::{self, MetadataBlocks};
use super::xattrs::Sets;
use crate::GENERATED_MTIME;
use crate::links::Links;

/// Name of the root among the directories.
const ROOT: &[u8] = b"";

/// Makes all tables, which will lie at offset `base` of the image; gives them and what the superblock says of them.
pub(super) fn tables(
    machine: &Machine,
    links: &Links<'_>,
    layout: &Layout<'_>,
    base: u64,
    settings: Settings,
) -> io::Result<(Vec<u8>, Superblock)> {
    let mut inodes = Inodes::number(machine, links, layout, settings.block_size);
    let (mut out, directories, references) = inodes.write(settings)?;
    let mut superblock = Superblock {
        inodes: references.len() as u32,
        root: references.last().copied().unwrap_or_default(),
        inode_table: base,
        directory_table: base + out.len() as u64,
        ids: inodes.ids.len() as u16,
        fragments: layout.fragments.len() as u32,
        ..Superblock::default()
    };
    out.extend(directories);

    let fragment = |(start, size): &(u64, u32)| [&start.to_le_bytes()[..], &size.to_le_bytes(), &[0; 4]].concat();
    let fragments: Vec<u8> = layout.fragments.iter().flat_map(fragment).collect();
    superblock.fragment_table = metadata::indexed(&mut out, base, &fragments, &[], settings)?;

    let export: Vec<u8> = references.iter().flat_map(|reference| reference.to_le_bytes()).collect();
    superblock.export_table = metadata::indexed(&mut out, base, &export, &[], settings)?;

    let mut ids: Vec<(u16, u32)> = inodes.ids.iter().map(|(id, index)| (*index, *id)).collect();
    ids.sort_unstable();
    let ids: Vec<u8> = ids.iter().flat_map(|(_, id)| id.to_le_bytes()).collect();
    superblock.id_table = metadata::indexed(&mut out, base, &ids, &[], settings)?;

    superblock.xattr_table = inodes.xattrs.write(&mut out, base, settings)?.unwrap_or(NO_TABLE);
    superblock.bytes_used = base + out.len() as u64;
    Ok((out, superblock))
}

/// A name in a directory.
struct Child<'m> {
    name: &'m [u8],
    /// The path that holds the node: for a file, the one that all its names have in common.
    path: &'m TreePath,
    node: &'m Node,
}

/// The nodes of a machine on their way into the tables.
struct Inodes<'m> {
    links: &'m Links<'m>,
    layout: &'m Layout<'m>,
    block_size: u64,
    /// The directories in the order in which they are written, each with its children by name.
    directories: Vec<(&'m [u8], Vec<Child<'m>>)>,
    root: Metadata,
    /// Inode numbers by the path that holds the node. They count up as inodes are written.
    numbers: BTreeMap<&'m [u8], u32>,
    /// The listings that are written.
    listings: BTreeMap<&'m [u8], Listing>,
    /// Indices of owners and groups in their table.
    ids: BTreeMap<u32, u16>,
    xattrs: Sets,
}

impl<'m> Inodes<'m> {
    /// Gathers the directories and numbers all nodes.
    fn number(machine: &'m Machine, links: &'m Links<'m>, layout: &'m Layout<'m>, block_size: u32) -> Self {
        let mut children: BTreeMap<&[u8], Vec<Child<'_>>> = BTreeMap::from([(ROOT, Vec::new())]);
        // A tree need not say anything of its root.
        let mut root = Metadata { mode: 0o755, mtime: GENERATED_MTIME.into(), ..Metadata::default() };
        for (path, placed) in &machine.tree {
            if placed.node.kind == Kind::Directory {
                children.entry(path.as_bytes()).or_default();
            }
            if path.is_root() {
                root = placed.node.meta.clone();
                continue;
            }
            let holder = links.holder(path);
            let child = Child { name: path.file_name(), path: holder, node: &machine.tree[holder].node };
            children.entry(parent(path)).or_default().push(child);
        }
        let depth = |path: &[u8]| if path.is_empty() { 0 } else { 1 + path.iter().filter(|b| **b == b'/').count() };
        let mut directories: Vec<_> = children.into_iter().collect();
        directories.sort_by_key(|(path, _)| (Reverse(depth(path)), *path));
        let mut numbers = BTreeMap::new();
        for child in directories.iter().flat_map(|(_, children)| children) {
            let next = numbers.len() as u32 + 1;
            numbers.entry(child.path.as_bytes()).or_insert(next);
        }
        Self {
            links,
            layout,
            block_size: block_size.into(),
            directories,
            root,
            numbers,
            listings: BTreeMap::new(),
            ids: BTreeMap::new(),
            xattrs: Sets::default(),
        }
    }

    /// Writes inodes and listings; gives the two tables and the references of all inodes, by number.
    fn write(&mut self, settings: Settings) -> io::Result<(Vec<u8>, Vec<u8>, Vec<u64>)> {
        let (mut inodes, mut listings) = (MetadataBlocks::new(settings)?, MetadataBlocks::new(settings)?);
        let mut places = Vec::with_capacity(self.numbers.len() + 1);
        for (directory, children) in std::mem::take(&mut self.directories) {
            let mut entries = Vec::with_capacity(children.len());
            for Child { name, path, node } in children {
                let number = self.numbers[path.as_bytes()];
                if places.len() < number as usize {
                    places.push(inodes.position());
                    inodes.write(&self.inode(number, path, node))?;
                }
                let at = places[number as usize - 1];
                entries.push(Entry { name, kind: entry_kind(&node.kind), number, at });
            }
            let listing = listing::write(&mut listings, &entries)?;
            self.listings.insert(directory, listing);
        }
        places.push(inodes.position());
        let root = Node { meta: std::mem::take(&mut self.root), kind: Kind::Directory };
        inodes.write(&self.inode(places.len() as u32, &TreePath::default(), &root))?;
        let references = places.into_iter().map(Position::reference).collect();
        Ok((inodes.finish()?, listings.finish()?, references))
    }

    fn inode(&mut self, number: u32, path: &TreePath, Node { meta, kind }: &Node) -> Vec<u8> {
        let head = Head {
            mode: (meta.mode & 0o7777) as u16,
            uid: self.id(meta.uid),
            gid: self.id(meta.gid),
            // The kernel reads it unsigned.
            mtime: u32::try_from(meta.mtime.max(0)).unwrap_or(u32::MAX),
            number,
        };
        let xattrs = self.xattrs.number(&meta.xattrs);
        let (nlink, body) = match kind {
            Kind::Directory => {
                let listing = &self.listings[path.as_bytes()];
                // The root is the last, and its parent's number nobody's.
                let last = self.numbers.len() as u32 + 1;
                let up = if path.is_root() { last + 1 } else { *self.numbers.get(parent(path)).unwrap_or(&last) };
                (2 + listing.subdirectories, Body::Directory { listing, parent: up })
            }
            Kind::File(content) => {
                let Data { start, blocks, fragment } = self.layout.file(path);
                let size = content.size();
                let len = |block: usize| self.block_size.min(size - block as u64 * self.block_size);
                let holes = blocks.iter().enumerate().filter(|(_, size)| **size == 0);
                let sparse = holes.map(|(block, _)| len(block)).sum();
                let nlink = self.links.names(path).map_or(1, <[_]>::len) as u32;
                (nlink, Body::File { start, size, sparse, fragment, blocks })
            }
            Kind::Symlink(target) => (1, Body::Symlink { target }),
            Kind::CharDevice { major, minor } => (1, Body::Device { kind: kind::CHAR, major: *major, minor: *minor }),
            Kind::BlockDevice { major, minor } => (1, Body::Device { kind: kind::BLOCK, major: *major, minor: *minor }),
            Kind::Fifo => (1, Body::Fifo),
            Kind::HardLink(_) => unreachable!("a link stands for the node that it points to"),
        };
        inode(head, nlink, body, xattrs)
    }

    /// Index of an owner or group; `limits` knows that there are not too many.
    fn id(&mut self, id: u32) -> u16 {
        let next = self.ids.len() as u16;
        *self.ids.entry(id).or_insert(next)
    }
}

/// The directory that a path lies in.
fn parent(path: &TreePath) -> &[u8] {
    let path = path.as_bytes();
    &path[..path.iter().rposition(|b| *b == b'/').unwrap_or(0)]
}

/// A node's type, as listings name it.
fn entry_kind(kind: &Kind) -> u16 {
    match kind {
        Kind::Directory => kind::DIRECTORY,
        Kind::File(_) | Kind::HardLink(_) => kind::FILE,
        Kind::Symlink(_) => kind::SYMLINK,
        Kind::BlockDevice { .. } => kind::BLOCK,
        Kind::CharDevice { .. } => kind::CHAR,
        Kind::Fifo => kind::FIFO,
    }
}
