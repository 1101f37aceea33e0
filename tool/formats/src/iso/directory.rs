//! A directory as it stands on the medium: records that do not cross sectors, and the continuation areas of their fields.

use super::format::{DIRECTORY, MULTI_EXTENT, PARENT, Record, SECTION_MAX, SECTOR, SELF, sectors};
use super::layout::Layout;
use super::system_use::{self, Continuation};
use crate::inodes::{InodeKind, Inodes, ROOT};

/// A directory's bytes; both parts are whole sectors, and one follows the other.
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) records: Vec<u8>,
    pub(super) continuation: Vec<u8>,
}

/// Encodes a directory. Its length does not depend on where anything lies, so a layout without places gives the sizes.
pub(super) fn encode(inodes: &Inodes<'_>, layout: &Layout, directory: usize) -> Encoded {
    let listing = &layout.listings[&directory];
    let mut records: Vec<u8> = Vec::new();
    let extent = layout.extents[directory] + sectors(u64::from(listing.records)) as u32;
    let mut continuation = Continuation { extent, bytes: Vec::new() };
    let mut put = |inode: usize, identifier: &[u8], names: Vec<Vec<u8>>| {
        for record in sections(inodes, layout, inode) {
            let mut fields = system_use::attributes(inodes.get(inode), number(inode));
            fields.extend(names.iter().cloned());
            if inode == ROOT && identifier == SELF {
                let (first, last) = system_use::root();
                fields.insert(0, first);
                fields.push(last);
            }
            let system_use = continuation.place(fields, Record::room(identifier));
            let record = record.encode(identifier, &system_use);
            if records.len() % SECTOR as usize + record.len() > SECTOR as usize {
                fill(&mut records);
            }
            records.extend(record);
        }
    };
    let Some(names) = inodes.get(directory).directory() else { unreachable!("only directories have listings") };
    put(directory, SELF, Vec::new());
    put(names.parent, PARENT, Vec::new());
    for (identifier, entry) in &listing.identifiers {
        let (name, inode) = names.entries[*entry];
        put(inode, identifier, system_use::name(name));
    }
    fill(&mut records);
    fill(&mut continuation.bytes);
    Encoded { records, continuation: continuation.bytes }
}

/// Inode number of an inode. The kernel has its own; other readers see by it which names are one file.
fn number(inode: usize) -> u32 {
    u32::try_from(inode + 1).unwrap_or(u32::MAX)
}

fn fill(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(SECTOR as usize), 0);
}

/// The records of an inode: several if it is a file of 4 GiB or more.
fn sections(inodes: &Inodes<'_>, layout: &Layout, inode: usize) -> Vec<Record> {
    let node = inodes.get(inode);
    let record = Record { extent: layout.extents[inode], size: 0, time: node.meta.mtime, flags: 0 };
    match node.kind {
        InodeKind::Directory(_) => vec![Record { size: layout.listings[&inode].records, flags: DIRECTORY, ..record }],
        InodeKind::File(size) => {
            let count = size.div_ceil(SECTION_MAX).max(1);
            let section = |index: u64| Record {
                extent: record.extent + (index * (SECTION_MAX / SECTOR)) as u32,
                size: (size - index * SECTION_MAX).min(SECTION_MAX) as u32,
                flags: if index + 1 < count { MULTI_EXTENT } else { 0 },
                ..record
            };
            (0..count).map(section).collect()
        }
        InodeKind::Symlink(_) | InodeKind::Char(..) | InodeKind::Block(..) | InodeKind::Fifo => vec![record],
    }
}
