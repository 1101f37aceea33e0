//! depmod's binary indexes (`modules.dep.bin` and its like), which are all that kmod's modprobe reads.
//!
//! A trie of big-endian offsets (kmod, libkmod-index.c): magic, version, offset of the root; a node is its prefix, a table
//! of children from the first to the last byte, and its values by priority, of which an offset's top bits say what is
//! there. Children are written before their parents.

use std::collections::BTreeMap;

const MAGIC: u32 = 0xB007_F457;
const VERSION: u32 = 0x0002_0001;
const PREFIX: u32 = 0x8000_0000;
const VALUES: u32 = 0x4000_0000;
const CHILDREN: u32 = 0x2000_0000;

/// Keys longer than this are left out: nothing asks for them, and depth is bounded.
const LONGEST: usize = 1024;

/// A key and its values.
type Entry<'a> = (&'a [u8], &'a [(u32, String)]);

/// An index in the making. Bytes above 127 cannot be in a key.
#[derive(Debug, Default)]
pub(crate) struct KmodIndex {
    entries: BTreeMap<String, Vec<(u32, String)>>,
}

impl KmodIndex {
    /// Adds a value under a key; of equal keys the lowest priority is read first.
    pub(crate) fn insert(&mut self, key: &str, value: &str, priority: u32) {
        if key.is_ascii() && key.len() <= LONGEST {
            let values = self.entries.entry(key.to_owned()).or_default();
            if !values.iter().any(|(_, v)| v == value) {
                values.push((priority, value.to_owned()));
                values.sort_by_key(|(priority, _)| *priority);
            }
        }
    }

    /// The file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for word in [MAGIC, VERSION, 0] {
            out.extend_from_slice(&word.to_be_bytes());
        }
        let entries: Vec<Entry<'_>> = self.entries.iter().map(|(k, v)| (k.as_bytes(), v.as_slice())).collect();
        let root = node(&mut out, &entries, 0);
        if let Some(place) = out.get_mut(8..12) {
            place.copy_from_slice(&root.to_be_bytes());
        }
        out
    }
}

/// Writes the node of entries that share their first `from` bytes, which stand in its parents; its offset with the flags.
fn node(out: &mut Vec<u8>, entries: &[Entry<'_>], from: usize) -> u32 {
    let rest = |key: &[u8]| key.get(from..).unwrap_or_default().to_vec();
    // Sorted, so that the first and the last differ where any two do. depmod's root never has a prefix.
    let shared = match (entries.first(), entries.last()) {
        (Some((first, _)), Some((last, _))) if from > 0 => {
            rest(first).iter().zip(rest(last)).take_while(|(a, b)| **a == *b).count()
        }
        _ => 0,
    };
    let end = from + shared;
    let prefix = entries.first().and_then(|(key, _)| key.get(from..end)).unwrap_or_default();
    let (values, below) = match entries.split_first() {
        Some(((key, values), below)) if key.len() == end => (*values, below),
        _ => (&[][..], entries),
    };
    let mut children: BTreeMap<u8, u32> = BTreeMap::new();
    for group in below.chunk_by(|(a, _), (b, _)| a.get(end) == b.get(end)) {
        if let Some(byte) = group.first().and_then(|(key, _)| key.get(end)) {
            children.insert(*byte, node(out, group, end + 1));
        }
    }
    let mut offset = u32::try_from(out.len()).unwrap_or(0);
    if !prefix.is_empty() {
        offset |= PREFIX;
        out.extend_from_slice(prefix);
        out.push(0);
    }
    if let (Some((low, _)), Some((high, _))) = (children.first_key_value(), children.last_key_value()) {
        offset |= CHILDREN;
        out.extend_from_slice(&[*low, *high]);
        for byte in *low..=*high {
            out.extend_from_slice(&children.get(&byte).copied().unwrap_or(0).to_be_bytes());
        }
    }
    if !values.is_empty() {
        offset |= VALUES;
        out.extend_from_slice(&u32::try_from(values.len()).unwrap_or(0).to_be_bytes());
        for (priority, value) in values {
            out.extend_from_slice(&priority.to_be_bytes());
            out.extend_from_slice(value.as_bytes());
            out.push(0);
        }
    }
    offset
}
