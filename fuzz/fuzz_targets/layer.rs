//! Bytes as a layer's blob: refused or unpacked, never a panic, never much memory, and what was unpacked reads back.
//!
//! The first byte says whether the rest is the blob, or an archive whose checksums are to be made right first, and what
//! it is to be compressed with: no fuzzer guesses those.

#![no_main]

use std::io::{Read, Write};
use std::path::Path;

use bootwright_oci::layer::{self, Limits};
use bootwright_oci::{Content, Derived, Digest, Kind, Tree};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((mode, bytes)) = bytes.split_first() else { return };
    let blob = match mode % 4 {
        0 => bytes.to_vec(),
        1 => sealed(bytes),
        2 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&sealed(bytes)).expect("memory");
            encoder.finish().expect("memory")
        }
        _ => zstd::bulk::compress(&sealed(bytes), 1).expect("memory"),
    };
    let limits = Limits {
        unpacked: 1 << 20,
        content: 1 << 20,
        entries: 64,
        devices: 4,
        extended: 8 << 10,
        extents: 64,
        metadata: 64 << 10,
        ratio: 50,
        ratio_floor: 64 << 10,
        absolute_names: false,
        ..Limits::default()
    };
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let directory = tempfile::tempdir_in(parent).expect("a temporary directory");
    let derived = Derived::new(directory.path());
    let key = Digest::of(&blob);
    let Ok(index) = layer::unpack(&mut &blob[..], &key, &derived, &limits) else {
        let left =
            ["layer", "layer-index"].iter().filter_map(|kind| std::fs::read_dir(directory.path().join(kind)).ok());
        assert_eq!(left.flatten().count(), 0, "a refused layer left something behind");
        return;
    };
    assert_eq!(layer::load(&key, &derived).expect("readable").as_ref(), Some(&index), "the index reads back");
    if let Ok(tree) = layer::flatten(&[index]) {
        check(&tree);
        for (path, node) in tree.iter() {
            if let Kind::File(content) = &node.kind {
                read(content, &derived, &path.to_string());
            }
        }
    }
});

/// The archive with right checksums in whatever looks like a header.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(512).filter(|block| &block[257..262] == b"ustar") {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    bytes
}

fn read(content: &Content, derived: &Derived, path: &str) {
    let mut bytes = Vec::new();
    layer::open(content, derived).expect("unpacked").read_to_end(&mut bytes).expect("whole");
    assert_eq!(bytes.len() as u64, content.size(), "{path}");
    assert_eq!(Digest::of(&bytes), content.digest(), "{path}");
}

/// What a [`Tree`] promises.
fn check(tree: &Tree) {
    for (path, node) in tree.iter() {
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
