//! Extended attributes: each different set of them once, then a table of the sets.

use std::collections::BTreeMap;
use std::io;

use bootwright_oci::Kind;
use bootwright_rootfs::Machine;

use super::compress::Settings;
use super::metadata::{self, MetadataBlocks};

/// What names begin with, by the number that stands for it. There are no others, so POSIX ACLs (`system.`) cannot be held.
const PREFIXES: [&[u8]; 3] = [b"user.", b"trusted.", b"security."];

/// Prefix number and rest of a name; none for a name that cannot be held.
pub(super) fn split(name: &[u8]) -> Option<(u16, &[u8])> {
    let prefixes = (0u16..).zip(PREFIXES);
    let mut known = prefixes.filter_map(|(number, prefix)| Some((number, name.strip_prefix(prefix)?)));
    known.next().filter(|(_, rest)| !rest.is_empty())
}

/// The names that cannot be held, for a warning.
pub(super) fn lost(machine: &Machine) -> Option<String> {
    /// More would hide the first.
    const SHOWN: usize = 20;
    let mut lost = Vec::new();
    for (path, placed) in machine.tree.iter().filter(|(_, p)| !matches!(p.node.kind, Kind::HardLink(_))) {
        let names: Vec<_> = placed.node.meta.xattrs.keys().filter(|name| split(name).is_none()).collect();
        let names: Vec<_> = names.into_iter().map(|name| String::from_utf8_lossy(name)).collect();
        if !names.is_empty() {
            lost.push(format!("`/{path}` ({})", names.join(", ")));
        }
    }
    let more = lost.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let shown = lost[..lost.len().min(SHOWN)].join(", ");
    (!lost.is_empty()).then(|| {
        format!("extended attributes are lost (a squashfs holds `user.`, `trusted.` and `security.`): {shown}{more}")
    })
}

/// The different sets of attributes of a tree.
#[derive(Debug, Default)]
pub(super) struct Sets {
    numbers: BTreeMap<Vec<u8>, u32>,
    /// Each set's bytes and how many attributes it has.
    sets: Vec<(Vec<u8>, u32)>,
}

impl Sets {
    /// The number of a set; none if it is empty.
    pub(super) fn number(&mut self, xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<u32> {
        let mut bytes = Vec::new();
        let mut count = 0;
        for (name, value) in xattrs {
            let Some((prefix, rest)) = split(name) else { continue };
            // `limits` knows the lengths.
            for value in [prefix, rest.len() as u16] {
                bytes.extend(value.to_le_bytes());
            }
            bytes.extend(rest);
            bytes.extend((value.len() as u32).to_le_bytes());
            bytes.extend(value);
            count += 1;
        }
        if count == 0 {
            return None;
        }
        let next = self.sets.len() as u32;
        let number = *self.numbers.entry(bytes).or_insert_with_key(|bytes| {
            self.sets.push((bytes.clone(), count));
            next
        });
        Some(number)
    }

    /// Appends the sets and their table; gives its offset, or none if there are no sets. `base` is the offset of `out` in the
    /// image.
    pub(super) fn write(&self, out: &mut Vec<u8>, base: u64, settings: Settings) -> io::Result<Option<u64>> {
        if self.sets.is_empty() {
            return Ok(None);
        }
        let sets_at = base + out.len() as u64;
        let mut sets = MetadataBlocks::new(settings)?;
        let mut entries = Vec::new();
        for (bytes, count) in &self.sets {
            entries.extend(sets.position().reference().to_le_bytes());
            entries.extend(count.to_le_bytes());
            entries.extend((bytes.len() as u32).to_le_bytes());
            sets.write(bytes)?;
        }
        out.extend(sets.finish()?);
        let count = (self.sets.len() as u32).to_le_bytes();
        let head = [&sets_at.to_le_bytes()[..], &count, &[0; 4]].concat();
        metadata::indexed(out, base, &entries, &head, settings).map(Some)
    }
}
