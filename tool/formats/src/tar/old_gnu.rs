//! A sparse file in GNU tar's old format (GNU tar manual, "Old GNU Format"): a map of its data stands in the header, and in
//! blocks behind it.

use super::pax::{BLOCK, seal};

/// Runs that the header holds, and each of the blocks behind it.
const IN_HEADER: usize = 4;
const IN_EXTENSION: usize = 21;

/// The header of a sparse file, with as many extensions as its map needs. Its data come next: the runs, by offset and length,
/// without what lies between them. Runs are whole blocks.
pub(crate) fn old_gnu_sparse_header(name: &str, mtime: u32, size: u64, runs: &[(u64, u64)]) -> Vec<u8> {
    let stored: u64 = runs.iter().map(|(_, len)| len).sum();
    let mut map = runs.to_vec();
    // A hole at the end shows as a run of nothing.
    if map.last().is_none_or(|(at, len)| at + len < size) {
        map.push((size, 0));
    }
    let (first, rest) = map.split_at(map.len().min(IN_HEADER));

    let mut header = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    // Owner and group.
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, &number(stored));
    put(136, &number(mtime.into()));
    put(156, b"S");
    put(257, b"ustar  \0");
    put(386, &entries(first));
    put(482, &[u8::from(!rest.is_empty())]);
    put(483, &number(size));
    let mut out = seal(header).to_vec();

    let mut extensions = rest.chunks(IN_EXTENSION).peekable();
    while let Some(extension) = extensions.next() {
        let mut block = [0; BLOCK];
        let entries = entries(extension);
        block[..entries.len()].copy_from_slice(&entries);
        block[504] = u8::from(extensions.peek().is_some());
        out.extend(block);
    }
    out
}

fn entries(runs: &[(u64, u64)]) -> Vec<u8> {
    runs.iter().flat_map(|(at, len)| [number(*at), number(*len)].concat()).collect()
}

/// Octal with a zero behind, or GNU's base 256 for what needs more than eleven digits.
fn number(value: u64) -> [u8; 12] {
    let mut field = [0; 12];
    if value < 1 << 33 {
        field[..11].copy_from_slice(format!("{value:011o}").as_bytes());
    } else {
        field[0] = 0x80;
        field[4..].copy_from_slice(&value.to_be_bytes());
    }
    field
}
