//! Rock Ridge: the fields behind each directory record that say what POSIX knows of a file (SUSP 1.12, RRIP 1.12).
//!
//! A field is two letters, a length, a version and data. A record has room for some of them; a field `CE` tells where the next lie,
//! in a continuation area, and an area may end with another `CE`. Areas lie behind the directory that needs them; the kernel
//! (`fs/isofs/rock.c`) wants each within one sector.

use super::format::{SECTOR, both32, short_time};
use crate::inodes::{Inode, InodeKind};

/// Bytes of a field's letters, length and version.
const FIELD_HEAD: usize = 4;
/// Most data of a field that starts with a byte of flags (`NM`, `SL`).
const FLAGGED_MAX: usize = 255 - FIELD_HEAD - 1;
/// Bytes of a field `CE`.
const CONTINUATION_LEN: usize = 28;
/// Flag of `NM`, `SL` and a component of `SL`: goes on in the next.
const CONTINUE: u8 = 1;
/// Flags of a component of `SL`: `.`, `..`, `/`.
const CURRENT: u8 = 1 << 1;
const PARENT: u8 = 1 << 2;
const ROOT: u8 = 1 << 3;
/// Flag of `TF`: it holds the time of modification, and no other.
const MODIFY: u8 = 1 << 1;

type Field = Vec<u8>;

fn field(letters: [u8; 2], data: &[u8]) -> Field {
    let mut field = Vec::with_capacity(FIELD_HEAD + data.len());
    field.extend(letters);
    field.extend([(FIELD_HEAD + data.len()) as u8, 1]);
    field.extend(data);
    field
}

/// What every record has: mode, links, owner, number (`PX`), time (`TF`), and what the kind of inode needs.
pub(super) fn attributes(inode: &Inode<'_>, number: u32) -> Vec<Field> {
    let meta = inode.meta;
    let posix = [inode.mode(), inode.links, meta.uid, meta.gid, number].map(both32).concat();
    let mut fields = vec![field(*b"PX", &posix)];
    match inode.kind {
        InodeKind::Char(major, minor) | InodeKind::Block(major, minor) => {
            // The halves of a `dev_t`, as all readers take them; Linux takes a low half alone for eight bits of minor number, and
            // two halves for major and minor.
            let is_short = major > 0 && minor < 1 << 8;
            let halves = if is_short { [0, major << 8 | minor] } else { [major, minor] };
            fields.push(field(*b"PN", &halves.map(both32).concat()));
        }
        InodeKind::Symlink(target) => fields.extend(symlink(target)),
        InodeKind::Directory(_) | InodeKind::File(_) | InodeKind::Fifo => {}
    }
    fields.push(field(*b"TF", &[&[MODIFY], &short_time(meta.mtime)[..]].concat()));
    fields
}

/// The real name.
pub(super) fn name(name: &[u8]) -> Vec<Field> {
    let pieces = name.chunks(FLAGGED_MAX);
    let last = pieces.len().saturating_sub(1);
    let piece = |(i, piece): (usize, &[u8])| {
        let flags = if i < last { CONTINUE } else { 0 };
        field(*b"NM", &[&[flags], piece].concat())
    };
    pieces.enumerate().map(piece).collect()
}

/// A target, taken apart at its slashes. An empty component stands for a slash too many, so that nothing is lost.
fn symlink(target: &[u8]) -> Vec<Field> {
    let mut fields: Vec<Vec<u8>> = Vec::new();
    let mut components: Vec<u8> = Vec::new();
    let (is_absolute, relative) = target.strip_prefix(b"/").map_or((false, target), |relative| (true, relative));
    if is_absolute {
        components.extend([ROOT, 0]);
    }
    // Nothing follows a target of just `/`.
    let parts = relative.split(|byte| *byte == b'/').filter(|_| !(is_absolute && relative.is_empty()));
    for part in parts {
        let (flags, mut rest) = match part {
            b"." => (CURRENT, &part[..0]),
            b".." => (PARENT, &part[..0]),
            _ => (0, part),
        };
        loop {
            // A component's head, and a byte if it has any.
            if components.len() + 2 + rest.len().min(1) > FLAGGED_MAX {
                fields.push(std::mem::take(&mut components));
            }
            let (now, later) = rest.split_at(rest.len().min(FLAGGED_MAX - components.len() - 2));
            components.extend([if later.is_empty() { flags } else { CONTINUE }, now.len() as u8]);
            components.extend(now);
            if later.is_empty() {
                break;
            }
            rest = later;
        }
    }
    let last = field(*b"SL", &[&[0], &components[..]].concat());
    let mut fields: Vec<_> =
        fields.into_iter().map(|components| field(*b"SL", &[&[CONTINUE], &components[..]].concat())).collect();
    fields.push(last);
    fields
}

/// What only the root has, first and last: that there are such fields at all (`SP`), and whose they are (`ER`).
pub(super) fn root() -> (Field, Field) {
    const ID: &[u8] = b"IEEE_P1282";
    const DESCRIPTOR: &[u8] = b"THE IEEE P1282 PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
    const SOURCE: &[u8] =
        b"PLEASE CONTACT THE IEEE STANDARDS DEPARTMENT, PISCATAWAY, NJ, USA FOR THE P1282 SPECIFICATION";
    let lengths = [ID.len() as u8, DESCRIPTOR.len() as u8, SOURCE.len() as u8, 1];
    (field(*b"SP", &[0xbe, 0xef, 0]), field(*b"ER", &[&lengths, ID, DESCRIPTOR, SOURCE].concat()))
}

/// The continuation areas of one directory.
#[derive(Debug, Default)]
pub(super) struct Continuation {
    /// First sector.
    pub(super) extent: u32,
    pub(super) bytes: Vec<u8>,
}

impl Continuation {
    /// Puts the fields of one record into so many bytes there and, as far as they do not fit, here; gives the bytes there.
    pub(super) fn place(&mut self, fields: Vec<Field>, room: usize) -> Vec<u8> {
        let mut chunks: Vec<Vec<u8>> = Vec::new();
        let mut fields = fields.as_slice();
        let mut room = room;
        loop {
            let mut count = fields.len();
            if fields.iter().map(Vec::len).sum::<usize>() > room {
                let mut used = CONTINUATION_LEN;
                let fits = |field: &&Field| {
                    used += field.len();
                    used <= room
                };
                count = fields.iter().take_while(fits).count();
            }
            let (now, later) = fields.split_at(count);
            chunks.push(now.concat());
            if later.is_empty() {
                break;
            }
            (fields, room) = (later, SECTOR as usize);
        }
        // Each area lies behind the one that tells of it: libarchive reads in one direction.
        let mut places: Vec<(usize, usize)> = Vec::new();
        for (index, chunk) in chunks.iter().enumerate().skip(1) {
            let len = chunk.len() + if index + 1 < chunks.len() { CONTINUATION_LEN } else { 0 };
            places.push((self.reserve(len), len));
        }
        for ((at, len), chunk) in places.iter().zip(&mut chunks) {
            let extent = self.extent + (at / SECTOR as usize) as u32;
            let place = [extent, (at % SECTOR as usize) as u32, *len as u32];
            chunk.extend(field(*b"CE", &place.map(both32).concat()));
        }
        let here = chunks.remove(0);
        for ((at, len), chunk) in places.iter().zip(&chunks) {
            self.bytes[*at..at + len].copy_from_slice(chunk);
        }
        here
    }

    /// Keeps an area within one sector; gives its offset.
    fn reserve(&mut self, len: usize) -> usize {
        let sector = SECTOR as usize;
        if self.bytes.len() % sector + len > sector {
            self.bytes.resize(self.bytes.len().next_multiple_of(sector), 0);
        }
        let at = self.bytes.len();
        self.bytes.resize(at + len, 0);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Puts a target together again as the kernel does (`get_symlink_chunk`).
    fn target(fields: &[Field]) -> Vec<u8> {
        let mut out = Vec::new();
        for field in fields {
            assert!(field.len() <= 255 && field.len() == field[2] as usize);
            let is_continued = field[4] & CONTINUE != 0;
            let mut rest = &field[5..];
            while let [flags, len, tail @ ..] = rest {
                let (text, tail) = tail.split_at(*len as usize);
                match flags & !CONTINUE {
                    CURRENT => out.push(b'.'),
                    PARENT => out.extend(b".."),
                    ROOT => out.push(b'/'),
                    _ => out.extend(text),
                }
                if flags & (ROOT | CONTINUE) == 0 && (!tail.is_empty() || is_continued) {
                    out.push(b'/');
                }
                rest = tail;
            }
        }
        out
    }

    #[test]
    fn targets_come_back_as_they_were() {
        let long = "a/".repeat(2047) + "b";
        let name = "n".repeat(255);
        for want in
            ["a", "/", "/a", "//a", "a/", "a//b", "../..", "./a/..", "...", &long, &name, &format!("/{name}/{name}")]
        {
            assert_eq!(String::from_utf8(target(&symlink(want.as_bytes()))).unwrap(), *want);
        }
        for len in 230..270 {
            let want = format!("{}/b/{}", "x".repeat(len), "y".repeat(len));
            assert_eq!(target(&symlink(want.as_bytes())), want.as_bytes(), "{len}");
        }
    }

    #[test]
    fn areas_are_within_a_sector_and_found_from_the_record() {
        let mut continuation = Continuation { extent: 100, bytes: Vec::new() };
        for len in [5, 188, 189, 500, 3000, 5000] {
            let fields: Vec<Field> = (0..len / 50).map(|i| field(*b"XX", &[i as u8; 46])).collect();
            let mut here = continuation.place(fields.clone(), 188);
            assert!(here.len() <= 188);
            let mut found: Vec<u8> = Vec::new();
            while let Some(at) = here.len().checked_sub(CONTINUATION_LEN).filter(|at| here[*at..].starts_with(b"CE")) {
                found.extend(&here[..at]);
                let number = |n: usize| u32::from_le_bytes(here[at + 4 + 8 * n..][..4].try_into().unwrap()) as usize;
                let (sector, offset, len) = (number(0) - 100, number(1), number(2));
                assert!(offset + len <= 2048);
                here = continuation.bytes[sector * 2048 + offset..][..len].to_vec();
            }
            found.extend(&here);
            assert_eq!(found, fields.concat());
        }
    }
}
