//! Laying out: where each directory and file lies, and everything that comes before the files.
//!
//! System area, descriptors, path tables (little, then big endian), boot catalog, directories in the path tables' order, each
//! with its continuation areas, files in the order of inodes, and at the end what the caller keeps free there.

use std::collections::BTreeMap;

use super::directory::{self, Encoded};
use super::el_torito::{self, Image};
use super::format::{DIRECTORY, Primary, Record, SECTOR, SELF, SYSTEM_AREA, path_table_entry, sectors, terminator};
use super::identifiers::Identifiers;
use crate::inodes::{InodeKind, Inodes, ROOT};

/// Highest number of a directory that a path table can name as a parent.
const PARENT_MAX: usize = u16::MAX as usize;

/// Places of everything.
#[derive(Debug)]
pub(super) struct Layout {
    /// First sector of each inode; 0 for those that have none, and while it is not known.
    pub(super) extents: Vec<u32>,
    /// Each directory's records, by inode.
    pub(super) listings: BTreeMap<usize, Listing>,
    /// Directories in the path tables' order.
    order: Vec<Place>,
    /// Directories that the path tables hold.
    listed: usize,
    /// Bytes of a path table.
    path_table: u32,
    /// First sectors of the path tables.
    path_tables: [u32; 2],
    /// First sector of the boot catalog, if there is one.
    catalog: Option<u32>,
    /// Sectors of the volume.
    sectors: u32,
}

/// What is in a directory, as plain ISO 9660 orders it.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Sorted identifiers, each with the index of its entry in the directory.
    pub(super) identifiers: Vec<(Vec<u8>, usize)>,
    /// Bytes of the records, without continuation areas.
    pub(super) records: u32,
}

/// A directory among all directories.
#[derive(Debug)]
struct Place {
    inode: usize,
    identifier: Vec<u8>,
    /// Number of the parent, counted from 1.
    parent: usize,
}

/// What a layout has to respect besides the inodes.
#[derive(Clone, Debug, Default)]
pub(super) struct Request {
    /// Whether there is a boot catalog.
    pub(super) is_bootable: bool,
    /// Alignment in bytes of files that have one; a multiple of a sector.
    pub(super) alignments: BTreeMap<usize, u64>,
    /// Bytes to keep free at the end.
    pub(super) tail: u64,
}

impl Layout {
    pub(super) fn of(inodes: &Inodes<'_>, request: &Request) -> Self {
        let mut layout = Self::without_places(inodes);
        layout.place(inodes, request);
        layout
    }

    /// Orders and names everything.
    fn without_places(inodes: &Inodes<'_>) -> Self {
        let mut listings: BTreeMap<usize, Listing> = BTreeMap::new();
        for (inode, directory) in inodes.directories() {
            let mut identifiers = Identifiers::default();
            let identifier = |(index, (name, inode)): (usize, &(&[u8], usize))| {
                (identifiers.add(name, inodes.get(*inode).directory().is_some()), index)
            };
            let mut identifiers: Vec<_> = directory.entries.iter().enumerate().map(identifier).collect();
            identifiers.sort_unstable();
            listings.insert(inode, Listing { identifiers, ..Listing::default() });
        }
        let mut layout = Self {
            extents: vec![0; inodes.len()],
            listings,
            order: vec![Place { inode: ROOT, identifier: SELF.to_vec(), parent: 1 }],
            listed: 0,
            path_table: 0,
            path_tables: [0; 2],
            catalog: None,
            sectors: 0,
        };
        layout.order_directories(inodes);
        layout
    }

    /// Level by level, by parent, by identifier: the order of path tables (ECMA-119, 6.9.1).
    fn order_directories(&mut self, inodes: &Inodes<'_>) {
        let mut number = 0;
        while let Some(Place { inode, .. }) = self.order.get(number) {
            number += 1;
            let (Some(names), listing) = (inodes.get(*inode).directory(), &self.listings[inode]) else { continue };
            let children = listing.identifiers.iter().map(|(identifier, entry)| Place {
                inode: names.entries[*entry].1,
                identifier: identifier.clone(),
                parent: number,
            });
            let children: Vec<_> = children.filter(|child| inodes.get(child.inode).directory().is_some()).collect();
            self.order.extend(children);
        }
        // A parent's number has 16 bits. Readers that follow records, as all of today's do, miss nothing.
        self.listed = self.order.partition_point(|place| place.parent <= PARENT_MAX);
        self.path_table = u32::try_from(self.path_table(true).len()).unwrap_or(u32::MAX);
    }

    /// Gives everything its place.
    fn place(&mut self, inodes: &Inodes<'_>, request: &Request) {
        // Primary descriptor, terminator, and between them the boot record.
        let mut at = SYSTEM_AREA / SECTOR + 2 + u64::from(request.is_bootable);
        let mut take = |sectors: u64| {
            let first = at;
            at += sectors;
            u32::try_from(first).unwrap_or(u32::MAX)
        };
        let path_table = sectors(self.path_table.into());
        self.path_tables = [take(path_table), take(path_table)];
        self.catalog = request.is_bootable.then(|| take(1));
        for place in &self.order {
            let Encoded { records, continuation } = directory::encode(inodes, self, place.inode);
            if let Some(listing) = self.listings.get_mut(&place.inode) {
                listing.records = u32::try_from(records.len()).unwrap_or(u32::MAX);
            }
            self.extents[place.inode] = take(sectors((records.len() + continuation.len()) as u64));
        }
        for (inode, size) in files(inodes) {
            let alignment = request.alignments.get(&inode).map_or(1, |bytes| sectors(*bytes).max(1));
            at = at.next_multiple_of(alignment);
            self.extents[inode] = u32::try_from(at).unwrap_or(u32::MAX);
            at += sectors(size);
        }
        self.sectors = u32::try_from(at + sectors(request.tail)).unwrap_or(u32::MAX);
    }

    /// Bytes of the volume.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.sectors) * SECTOR
    }

    /// Descriptors, path tables and boot catalog: what lies between the system area and the directories.
    pub(super) fn descriptors(
        &self,
        inodes: &Inodes<'_>,
        volume_id: &str,
        bios: Option<Image>,
        efi: Option<Image>,
    ) -> Vec<u8> {
        let root = inodes.get(ROOT);
        let primary = Primary {
            volume_id,
            sectors: self.sectors,
            path_table: self.path_table,
            path_tables: self.path_tables,
            root: Record {
                extent: self.extents[ROOT],
                size: self.listings[&ROOT].records,
                time: root.meta.mtime,
                flags: DIRECTORY,
            },
        };
        let mut bytes = primary.encode();
        bytes.extend(self.catalog.map(el_torito::boot_record).unwrap_or_default());
        bytes.extend(terminator());
        for is_little in [true, false] {
            bytes.extend(self.path_table(is_little));
            bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
        }
        if self.catalog.is_some() {
            bytes.extend(el_torito::catalog(bios, efi));
        }
        bytes
    }

    fn path_table(&self, is_little: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for Place { inode, identifier, parent } in &self.order[..self.listed] {
            let parent = u16::try_from(*parent).unwrap_or(u16::MAX);
            bytes.extend(path_table_entry(identifier, self.extents[*inode], parent, is_little));
        }
        bytes
    }

    /// Each directory in the order in which they lie.
    pub(super) fn directories(&self, inodes: &Inodes<'_>) -> impl Iterator<Item = Encoded> {
        self.order.iter().map(|place| directory::encode(inodes, self, place.inode))
    }
}

/// The files and their sizes in the order in which they lie.
pub(super) fn files(inodes: &Inodes<'_>) -> impl Iterator<Item = (usize, u64)> {
    inodes.iter().filter_map(|(inode, node)| match node.kind {
        InodeKind::File(size) => Some((inode, size)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inodes::{Directory, GENERATED_DIRECTORY};

    #[test]
    fn path_tables_end_where_their_numbers_do() {
        let names: Vec<String> = (0..PARENT_MAX + 2).map(|number| format!("{number:05}")).collect();
        let mut inodes = Inodes::new(&GENERATED_DIRECTORY);
        let mut add = |parent, name| {
            let kind = InodeKind::Directory(Directory { parent, entries: Vec::new() });
            inodes.add(parent, name, &GENERATED_DIRECTORY, kind)
        };
        let directories: Vec<usize> = names.iter().map(|name| add(ROOT, name.as_bytes())).collect();
        // The root has number 1: these are the last parent that has a number, and the first that has none.
        add(directories[PARENT_MAX - 2], b"in");
        add(directories[PARENT_MAX - 1], b"out");
        let layout = Layout::without_places(&inodes);
        assert_eq!((layout.order.len(), layout.listed), (names.len() + 3, names.len() + 2));
        let entries = layout.path_table(false);
        assert_eq!(entries.len(), layout.path_table as usize);
        assert_eq!(entries[entries.len() - 4..], *b"\xff\xffIN");
    }
}
