//! Bytes as a few small layers of few names, so that they collide: whatever is accepted keeps a tree's promises.

#![no_main]

use std::path::Path;

use bootwright_oci::layer::{self, Limits};
use bootwright_oci::{Derived, Digest, Kind, Tree, TreePath};
use libfuzzer_sys::fuzz_target;

/// What entries are called and what links lead to.
const NAMES: [&str; 16] =
    ["a", "b", "a/b", "a/b/c", "b/a", "c", "c/d", "a-", "a0", ".", "..", "../a", "/a", "/b/..", "a/../b", "c/d/e"];

fuzz_target!(|bytes: &[u8]| {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = tempfile::tempdir_in(parent).expect("a temporary directory");
    let derived = Derived::new(directory.path());
    let mut layers = Vec::new();
    // Two bytes are an entry; 255 begins a layer.
    for items in bytes.split(|b| *b == 255).take(5) {
        let archive: Vec<u8> = items.chunks_exact(2).take(24).flat_map(|item| entry(item[0], item[1])).collect();
        match layer::unpack(&mut &archive[..], &Digest::of(&archive), &derived, &Limits::default()) {
            Ok(index) => layers.push(index),
            Err(_) => return,
        }
    }
    let Ok(tree) = layer::flatten(&layers) else { return };
    check(&tree);
    // An empty layer changes nothing, and neither does the same work done twice.
    let empty =
        layer::unpack(&mut &[][..], &Digest::of(b""), &derived, &Limits::default()).expect("nothing is a layer");
    layers.push(empty);
    assert_eq!(layer::flatten(&layers).expect("as before"), tree);
});

/// A tar header: the high bits of `what` are the kind, the low ones the name; `to` is a target or a mode.
fn entry(what: u8, to: u8) -> Vec<u8> {
    let name = NAMES[usize::from(what & 15) % 9];
    let (flag, name) = match what >> 4 {
        0..=2 => (b'0', name.to_owned()),
        3..=5 => (b'5', name.to_owned()),
        6..=8 => (b'2', name.to_owned()),
        9..=10 => (b'1', name.to_owned()),
        11 => (b'3', name.to_owned()),
        12 | 13 => {
            let (parent, name) = name.rsplit_once('/').unwrap_or((".", name));
            (b'0', format!("{parent}/.wh.{name}"))
        }
        _ => (b'0', format!("{name}/.wh..wh..opq")),
    };
    let target = match flag {
        b'2' => NAMES[usize::from(to & 15)],
        b'1' => NAMES[usize::from(to & 15) % 9],
        _ => "",
    };
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(format!("{:07o}", u32::from(to) & 0o777).as_bytes());
    block[156] = flag;
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    block[257..262].copy_from_slice(b"ustar");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block.to_vec()
}

/// What a [`Tree`] promises, and that no whiteout is left in it.
fn check(tree: &Tree) {
    for (path, node) in tree.iter() {
        assert_eq!(&TreePath::new(path.as_bytes()).expect("normalised"), path);
        assert!(!path.file_name().starts_with(b".wh."), "{path} is a whiteout");
        if let Some(parent) = path.parent().filter(|parent| !parent.is_root()) {
            assert!(tree.get(&parent).is_some_and(|node| node.kind == Kind::Directory), "{path} has no parent");
        }
        if let Kind::HardLink(target) = &node.kind {
            let target = tree.get(target).expect("a hard link's target is there");
            assert!(matches!(target.kind, Kind::File(_)), "{path} links to no file");
            assert_eq!(target.meta, node.meta, "{path} differs from its target");
        }
    }
}
