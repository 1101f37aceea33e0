//! Laying out: which entries each segment has, with their headers, so that sizes and cache keys are known before a byte
//! of content is opened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use bootwright_oci::{Content, Digest, Hasher, Kind, Node, TreePath};
use bootwright_rootfs::Machine;

use crate::content::component_name;
use crate::cpio::{Header, TRAILER, entry_size, kind};
use crate::links::{self, Links};
use crate::{Compression, Error};

/// Raised whenever the same entries give other bytes: a change here, or an update of a compression library that changes
/// the golden digests. The cache's keys hold it.
const WRITER_VERSION: u32 = 1;

/// One component's entries.
#[derive(Debug)]
pub(super) struct Segment<'m> {
    /// Index of the component.
    pub(super) component: usize,
    /// Name for people.
    pub(super) name: String,
    /// Parent directories that belong to other components, then the component's own nodes; each sorted by path.
    pub(super) entries: Vec<Entry<'m>>,
}

/// One cpio entry.
#[derive(Debug)]
pub(super) struct Entry<'m> {
    pub(super) path: &'m TreePath,
    pub(super) node: &'m Node,
    pub(super) header: Header,
    pub(super) data: Data<'m>,
    /// Size of a regular file, also where its data comes with another name; none for everything else.
    pub(super) size: Option<u64>,
    /// A directory that another component has, repeated because something here lies in it.
    pub(super) is_parent: bool,
}

/// What follows an entry's header.
#[derive(Clone, Copy, Debug)]
pub(super) enum Data<'m> {
    None,
    Target(&'m [u8]),
    File(&'m Content),
}

/// Lays out all segments in the initrd's order.
pub(super) fn plan(machine: &Machine) -> Result<Vec<Segment<'_>>, Error> {
    links::check_parents(machine)?;
    let links = Links::of(machine)?;
    let mut owned: BTreeMap<usize, Vec<&TreePath>> = BTreeMap::new();
    for (path, placed) in &machine.tree {
        if !path.is_root() {
            owned.entry(placed.component).or_default().push(path);
        }
    }
    let mut order: Vec<usize> = owned.keys().copied().collect();
    if let Some(init) = init_component(machine) {
        // Stable: all others keep their order.
        order.sort_by_key(|component| *component != init);
    }
    Ok(order.into_iter().map(|component| segment(machine, &links, component, &owned[&component])).collect())
}

/// The component that holds `/init`, or else the first init image.
fn init_component(machine: &Machine) -> Option<usize> {
    let init = TreePath::new("init").ok().and_then(|path| machine.tree.get(&path));
    init.map(|placed| placed.component)
        .or_else(|| machine.components.iter().position(|c| c.location.starts_with("init[")))
}

fn segment<'m>(machine: &'m Machine, links: &Links<'m>, component: usize, owned: &[&'m TreePath]) -> Segment<'m> {
    let mine: BTreeSet<&TreePath> = owned.iter().copied().collect();
    let mut first: BTreeSet<TreePath> = BTreeSet::new();
    for path in owned {
        let mut parent = path.parent();
        let mut foreign = false;
        while let Some(path) = parent.take_if(|path| !first.contains(path)) {
            parent = path.parent();
            foreign |= !mine.contains(&path);
            // Once one is another's, so is usually the rest of the way up; and if not, it must still come before.
            if foreign {
                first.insert(path);
            }
        }
    }
    let parents = first.iter().filter_map(|path| machine.tree.get_key_value(path)).map(|(path, _)| path);
    let paths = parents.chain(owned.iter().copied().filter(|path| !first.contains(path)));
    let mut entries: Vec<Entry<'m>> = Vec::with_capacity(owned.len());
    let mut inodes: BTreeMap<&TreePath, u32> = BTreeMap::new();
    for path in paths {
        let placed = &machine.tree[path];
        let node = &placed.node;
        let mut ino = u32::try_from(entries.len() + 1).unwrap_or(u32::MAX);
        let mut header = header(node);
        let mut data = match &node.kind {
            Kind::Symlink(target) => Data::Target(target),
            _ => Data::None,
        };
        let file = links::content(machine, path, placed);
        if let Some((target, content)) = file {
            data = Data::File(content);
            let names: Vec<&TreePath> =
                links.names(target).unwrap_or_default().iter().copied().filter(|name| mine.contains(name)).collect();
            if names.len() > 1 {
                ino = *inodes.entry(target).or_insert(ino);
                header.nlink = u32::try_from(names.len()).unwrap_or(u32::MAX);
                // As GNU cpio does it: the data comes with the last name.
                if names.last() != Some(&path) {
                    data = Data::None;
                }
            }
        }
        header.ino = ino;
        header.file_size = match data {
            Data::None => 0,
            Data::Target(target) => u32::try_from(target.len()).unwrap_or(u32::MAX),
            Data::File(content) => u32::try_from(content.size()).unwrap_or(u32::MAX),
        };
        entries.push(Entry {
            path,
            node,
            header,
            data,
            size: file.map(|(_, content)| content.size()),
            is_parent: !mine.contains(path),
        });
    }
    Segment { component, name: component_name(machine, component), entries }
}

/// A node's header, but for inode number, links and size.
pub(crate) fn header(node: &Node) -> Header {
    let (kind, rdev_major, rdev_minor) = match node.kind {
        Kind::Directory => (kind::DIRECTORY, 0, 0),
        Kind::File(_) | Kind::HardLink(_) => (kind::FILE, 0, 0),
        Kind::Symlink(_) => (kind::SYMLINK, 0, 0),
        Kind::CharDevice { major, minor } => (kind::CHAR, major, minor),
        Kind::BlockDevice { major, minor } => (kind::BLOCK, major, minor),
        Kind::Fifo => (kind::FIFO, 0, 0),
    };
    Header {
        mode: kind | node.meta.mode & 0o7777,
        uid: node.meta.uid,
        gid: node.meta.gid,
        // The kernel reads it unsigned; there is no time before 1970 in an initrd.
        mtime: u32::try_from(node.meta.mtime.max(0)).unwrap_or(u32::MAX),
        nlink: if kind == self::kind::DIRECTORY { 2 } else { 1 },
        rdev_major,
        rdev_minor,
        ..Header::default()
    }
}

impl Entry<'_> {
    /// The name in the archive: no leading slash, `.` for the root.
    pub(super) fn name(&self) -> &[u8] {
        if self.path.is_root() { b"." } else { self.path.as_bytes() }
    }
}

impl Segment<'_> {
    /// Size of the archive, uncompressed.
    pub(super) fn archive_size(&self) -> u64 {
        let entries: u64 = self.entries.iter().map(|e| entry_size(e.name().len(), u64::from(e.header.file_size))).sum();
        entries + entry_size(TRAILER.len(), 0)
    }

    /// Digest of everything that decides the segment's bytes.
    pub(super) fn key(&self, compression: Compression, level: i32) -> Digest {
        let mut hasher = Hasher::new(io::sink());
        self.describe(compression, level, &mut hasher).expect("a hasher takes everything");
        hasher.finish().1
    }

    fn describe(&self, compression: Compression, level: i32, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "segment {WRITER_VERSION} {compression} {} {level}", compression.library())?;
        write!(out, "{} ", self.entries.len())?;
        for Entry { header, data, .. } in &self.entries {
            // The name's length comes first, so that no two listings read alike.
            let Header { ino, mode, uid, gid, nlink, mtime, file_size, rdev_major, rdev_minor } = header;
            write!(out, "{ino} {mode:o} {uid} {gid} {nlink} {mtime} {file_size} {rdev_major} {rdev_minor} ")?;
            match data {
                Data::None => write!(out, "- ")?,
                Data::Target(target) => {
                    out.write_all(target)?;
                    write!(out, " ")?;
                }
                Data::File(content) => write!(out, "{} ", content.digest())?,
            }
        }
        // Names last and each behind its length.
        for entry in &self.entries {
            write!(out, "{} ", entry.name().len())?;
            out.write_all(entry.name())?;
        }
        Ok(())
    }
}
