//! What an initrd holds, read without our own reader: Debian's `zstd` unpacks it, and its cpio segments (newc,
//! `Documentation/driver-api/early-userspace/buffer-format.rst`) are walked here.

use std::fs;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::Command;

/// Bytes of a header: a magic of six and thirteen numbers of eight hex digits.
const HEADER: usize = 110;

/// An entry of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpioEntry {
    /// Path without a leading slash.
    pub name: String,
    /// Inode number, of meaning within its segment only.
    pub inode: u32,
    /// Names of this inode.
    pub links: u32,
    /// Content of a file, target of a link.
    pub data: Vec<u8>,
}

/// How a packed segment begins; the builder's default is zstd.
const PACKED: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whatever begins as zstd packs it, up to where the next does, each with its offset.
pub(crate) fn frames(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let starts = || (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&PACKED));
    starts().zip(starts().skip(1).chain([bytes.len()])).map(|(start, end)| (start, &bytes[start..end]))
}

/// The file that an initrd carries in an archive that is not packed, which begins with it.
pub(crate) fn stored(bytes: &[u8], name: &str) -> Vec<u8> {
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes());
    let header = at.and_then(|at| at.checked_sub(HEADER)).unwrap_or_else(|| panic!("there is no {name}"));
    let entries = walk(&bytes[header..]).remove(0);
    entries.into_iter().find(|entry| entry.name == name).expect("its header comes before the name").data
}

/// The entries of each segment. Each is padded with zeros, on which the program `zstd` stops: it gets them one by one.
pub(crate) fn segments(initrd: &Path) -> Vec<Vec<CpioEntry>> {
    let bytes = fs::read(initrd).unwrap_or_else(|e| panic!("cannot read {}: {e}", initrd.display()));
    let starts: Vec<usize> = (0..bytes.len()).step_by(4).filter(|at| bytes[*at..].starts_with(&PACKED)).collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    starts.iter().zip(ends).flat_map(|(start, end)| walk(&unpack(&bytes[*start..end]))).collect()
}

/// The entries of the first segment. What follows may be a root image, whose bytes look like anything.
pub(crate) fn first_segment(initrd: &Path) -> Vec<CpioEntry> {
    let bytes = fs::read(initrd).unwrap_or_else(|e| panic!("cannot read {}: {e}", initrd.display()));
    walk(&unpack(&bytes[..second(&bytes)])).remove(0)
}

/// The program that an initrd with a root image starts: in the second segment, behind the manifest's.
pub(crate) fn early(initrd: &Path) -> Vec<u8> {
    let bytes = fs::read(initrd).unwrap_or_else(|e| panic!("cannot read {}: {e}", initrd.display()));
    let (_, frame) = frames(&bytes[second(&bytes)..]).next().expect("it begins there");
    let entries = walk(&unpack(frame)).remove(0);
    entries.into_iter().find(|entry| entry.name == "init").expect("an initrd has one").data
}

/// Copies an initrd with a manifest, first in it and no longer packed, that says that 1 MiB is enough.
pub(crate) fn copy_without_figure(initrd: &Path, copy: &Path) {
    const KEY: &[u8] = b"\"memory_mib\":";
    let bytes = fs::read(initrd).unwrap_or_else(|e| panic!("cannot read {}: {e}", initrd.display()));
    let (first, rest) = bytes.split_at(second(&bytes));
    let mut first = unpack(first);
    let key = first.windows(KEY.len()).position(|window| window == KEY).expect("the manifest is first");
    let digits = first[key + KEY.len()..].iter_mut().skip_while(|byte| !byte.is_ascii_digit());
    // Sizes stay: JSON may have spaces before a number.
    let mut digits: Vec<_> = digits.take_while(|byte| byte.is_ascii_digit()).collect();
    let last = digits.pop().expect("the key has a number");
    *last = b'1';
    digits.into_iter().for_each(|byte| *byte = b' ');
    first.resize(first.len().next_multiple_of(4), 0);
    fs::write(copy, [&first, rest].concat()).expect("room on the disk");
}

/// Where the second segment begins.
fn second(bytes: &[u8]) -> usize {
    let starts = (4..bytes.len()).step_by(4).find(|at| bytes[*at..].starts_with(&PACKED));
    starts.expect("init is in a segment of its own")
}

/// Unpacks one segment. The padding makes `zstd` fail in the end; what came out before is whole, or has no trailer.
pub(crate) fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = tempfile::tempfile().expect("room on the disk");
    packed.write_all(bytes).and_then(|()| packed.rewind()).expect("room on the disk");
    let output = Command::new("zstd").args(["-dcq"]).stdin(packed).output();
    output.unwrap_or_else(|e| panic!("cannot start zstd: {e}")).stdout
}

fn walk(bytes: &[u8]) -> Vec<Vec<CpioEntry>> {
    let (mut segments, mut segment, mut at) = (Vec::new(), Vec::new(), 0);
    // Between segments there may be zeros.
    while let Some(start) = bytes[at..].iter().position(|byte| *byte != 0).map(|skip| at + skip) {
        assert_eq!(&bytes[start..start + 6], b"070701", "no header at byte {start}");
        let field = |n: usize| {
            let digits = &bytes[start + 6 + 8 * n..][..8];
            u32::from_str_radix(str::from_utf8(digits).expect("ASCII"), 16).expect("hex digits")
        };
        let (inode, links) = (field(0), field(4));
        let (size, name_size) = (field(6) as usize, field(11) as usize);
        let name = String::from_utf8_lossy(&bytes[start + HEADER..][..name_size - 1]).into_owned();
        let data = (start + HEADER + name_size).next_multiple_of(4);
        at = (data + size).next_multiple_of(4).min(bytes.len());
        if name == "TRAILER!!!" {
            segments.push(std::mem::take(&mut segment));
        } else {
            segment.push(CpioEntry { name, inode, links, data: bytes[data..data + size].to_vec() });
        }
    }
    assert!(segment.is_empty(), "the last segment has no trailer");
    segments
}
