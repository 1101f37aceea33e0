//! A directory's listing: runs of sorted names, each behind a header that says what they have in common.
//!
//! A run ends after 256 names, where the next inode lies in another metadata block or has a number too far away, and where the
//! listing itself goes on in another metadata block: there the index points to, so that a name is found by unpacking one.

use std::io;

use super::format::{ENTRY_LEN, HEADER_LEN, IndexEntry, Listing, METADATA_LEN, Position, RUN_MAX, kind};
use super::metadata::MetadataBlocks;

/// One name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a [u8],
    /// A basic type.
    pub(super) kind: u16,
    /// Of its inode, in the table of inodes.
    pub(super) at: Position,
    /// Its inode number.
    pub(super) number: u32,
}

/// Writes a listing of names in their order.
pub(super) fn write(out: &mut MetadataBlocks, entries: &[Entry<'_>]) -> io::Result<Listing> {
    let at = out.position();
    let mut listing = Listing { at, ..Listing::default() };
    listing.subdirectories = entries.iter().filter(|entry| entry.kind == kind::DIRECTORY).count() as u32;
    // Which of its metadata blocks the byte at an offset of the listing lies in.
    let block_of = |offset: u32| (usize::from(at.offset) + offset as usize) / METADATA_LEN;
    let mut indexed = 0;
    let mut rest = entries;
    while let [first, ..] = rest {
        let block = block_of(listing.size);
        if block > indexed {
            indexed = block;
            listing.index.push(IndexEntry {
                offset: listing.size,
                block: out.position().block as u32,
                name: first.name.to_vec(),
            });
        }
        let mut size = listing.size + HEADER_LEN as u32;
        let mut count = 0;
        for entry in rest.iter().take(RUN_MAX) {
            let near = i16::try_from(i64::from(entry.number) - i64::from(first.number)).is_ok();
            let is_same = near && entry.at.block == first.at.block && block_of(size) == block;
            if count > 0 && !is_same {
                break;
            }
            count += 1;
            size += (ENTRY_LEN + entry.name.len()) as u32;
        }
        let (run, later) = rest.split_at(count);
        let mut bytes = Vec::with_capacity((size - listing.size) as usize);
        for word in [count as u32 - 1, first.at.block as u32, first.number] {
            bytes.extend(word.to_le_bytes());
        }
        for entry in run {
            let delta = entry.number.wrapping_sub(first.number) as u16;
            for half in [entry.at.offset, delta, entry.kind, entry.name.len() as u16 - 1] {
                bytes.extend(half.to_le_bytes());
            }
            bytes.extend(entry.name);
        }
        out.write(&bytes)?;
        listing.size = size;
        rest = later;
    }
    Ok(listing)
}
