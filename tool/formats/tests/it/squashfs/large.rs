//! Large files, large directories, and memory.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use bootwright_formats::{SquashfsCompression, SquashfsOptions};
use bootwright_oci::{Content, Digest, Kind};

use super::{OnDisk, bytes, image, noise, try_pack, with};
use crate::machine::{Builder, Place};
use crate::memory::peak_kib;
use crate::output::{child, child_directory};

const GIB: u64 = 1 << 30;

#[test]
fn a_sparse_file_of_5_gib_takes_its_data_only() {
    let place = Place::new();
    let path = place.dir.path().join("sparse");
    let size = 5 * GIB + 77;
    let parts = [(0, &b"start"[..]), (4 * GIB + 5, b"beyond 4 GiB"), (size - 3, b"end")];
    let file = File::create(&path).unwrap();
    file.set_len(size).unwrap();
    for (at, part) in parts {
        file.write_all_at(part, at).unwrap();
    }
    let content = Content::Host { path, size, digest: Digest::of(b"not looked at") };
    let machine = Builder::new(&[("init[0]", "i")])
        .node(0, "sparse", Kind::File(content), |_| {})
        .link(0, "twice", "sparse")
        .file(0, "behind", "it")
        .0;
    let squashfs = try_pack(&place, &machine, &SquashfsOptions::default()).unwrap();
    assert!(squashfs.size() <= 8192, "{}", squashfs.size());
    let disk = OnDisk::new(&bytes(&squashfs));
    let unpacked = disk.directory.path().join("unpacked");
    disk.unsquashfs(&["-no-progress", "-quiet", "-d", unpacked.to_str().unwrap()]);
    let mounted = disk.mount();
    for directory in [Some(unpacked.as_path()), mounted.as_ref().map(|m| Path::new(&m.0))].into_iter().flatten() {
        let file = File::open(directory.join("twice")).unwrap();
        let found = file.metadata().unwrap();
        assert_eq!((found.len(), found.nlink()), (size, 2));
        // Two blocks of 128 KiB and a short one have data; a file system that is written to keeps its own lists besides.
        assert!(found.blocks() <= 600, "{} blocks", found.blocks());
        for (at, part) in parts {
            let mut got = vec![1; part.len() + 40];
            let start = at.saturating_sub(40);
            let len = file.read_at(&mut got, start).unwrap();
            assert!(len >= part.len());
            let before = (at - start) as usize;
            assert_eq!(&got[before..before + part.len()], part);
            assert!(got[..before].iter().all(|b| *b == 0));
        }
        assert_eq!(fs::read(directory.join("behind")).unwrap(), b"it");
    }
}

#[test]
fn a_directory_of_100_000_entries_with_a_file_from_far_away() {
    let mut builder = Builder::new(&[("init[0]", "i")]).file(0, "a/b/c/first", "numbered first");
    for number in 0..100_000 {
        // Names of many lengths, so that headers and blocks of the listing end in many places.
        let name = format!("large/{number:06}{}", "-".repeat(number % 97));
        builder = match number % 1000 {
            0 => builder.node(0, name, Kind::Directory, |_| {}),
            1 => builder.file(0, name, [number as u8; 3]),
            // Its number is more than 32767 away from those of its neighbours.
            500 => builder.link(0, name, "a/b/c/first"),
            _ => builder.node(0, name, Kind::Fifo, |_| {}),
        };
    }
    let machine = builder.0;
    let disk = OnDisk::new(&image(&machine, &SquashfsOptions { level: Some(1), ..SquashfsOptions::default() }));
    let listing = disk.unsquashfs(&["-ls", "-d", ""]);
    let want: Vec<String> = machine.tree.keys().map(|path| format!("/{path}")).collect();
    let mut got: Vec<&str> = listing.lines().filter(|line| !line.is_empty()).collect();
    got.sort_unstable();
    let mut want: Vec<&str> = want.iter().map(String::as_str).collect();
    want.sort_unstable();
    assert!(got == want, "{} of {} names", got.len(), want.len());

    let Some(mounted) = disk.mount() else { return };
    let large = Path::new(&mounted.0).join("large");
    assert_eq!(fs::read_dir(&large).unwrap().count(), 100_000);
    assert_eq!(fs::metadata(&large).unwrap().nlink(), 2 + 100);
    let first = fs::metadata(Path::new(&mounted.0).join("a/b/c/first")).unwrap();
    assert_eq!(first.nlink(), 101);
    for path in machine.tree.keys().filter(|p| p.as_bytes().starts_with(b"large/")).step_by(7) {
        let found = fs::metadata(Path::new(&mounted.0).join(path.to_string()));
        let found = found.unwrap_or_else(|e| panic!("{path}: {e}"));
        assert_eq!(found.ino() == first.ino(), found.nlink() == 101, "{path}");
    }
    for missing in ["0", "050000x", "099999~", "~", "000000-"] {
        assert!(!large.join(missing).exists(), "{missing}");
    }
}

const SIZE: usize = 300 << 20;

#[test]
fn packing_300_mb_takes_a_few_blocks_of_memory() {
    for (test, most_mib) in [("squashfs::large::child_packs_zstd", 48), ("squashfs::large::child_packs_lz4", 32)] {
        let directory = tempfile::tempdir().unwrap();
        let ended = child(test, ":", directory.path());
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        let peak: u64 = fs::read_to_string(directory.path().join("peak")).unwrap().parse().unwrap();
        eprintln!("{test}: {} MiB", peak >> 10);
        assert!(peak >> 10 < most_mib, "{test}: {} MiB", peak >> 10);
    }
}

fn pack(compression: SquashfsCompression) {
    let directory = child_directory();
    let piece = noise(3)(1 << 20);
    let mut builder = Builder::new(&[("init[0]", "i"), ("init[1]", "j")]);
    // A large file, and as much in small ones.
    let large = directory.join("large");
    let mut file = File::create(&large).unwrap();
    for number in 0..SIZE / 2 / piece.len() {
        file.write_all(&number.to_le_bytes()).unwrap();
        file.write_all(&piece[8..]).unwrap();
    }
    let host = |path, size, digest: Digest| Kind::File(Content::Host { path, size, digest });
    builder = builder.node(0, "large", host(large, SIZE as u64 / 2, Digest::of(b"large")), |_| {});
    let small = directory.join("small");
    fs::write(&small, &piece[..50_000]).unwrap();
    for number in 0..SIZE / 2 / 50_000 {
        let digest = Digest::of(&number.to_le_bytes());
        builder = builder.node(1, format!("small/{number}"), host(small.clone(), 50_000, digest), |_| {});
    }
    let place = Place::new();
    let options = SquashfsOptions { level: Some(1), threads: std::num::NonZero::new(4), ..with(compression) };
    let squashfs = try_pack(&place, &builder.0, &options).unwrap();
    let mut out = File::create(directory.join("image")).unwrap();
    squashfs.write_to(&mut out, &mut bootwright_oci::Silent).unwrap();
    fs::write(directory.join("peak"), peak_kib().to_string()).unwrap();
}

#[test]
#[ignore = "run by another test"]
fn child_packs_zstd() {
    pack(SquashfsCompression::Zstd);
}

#[test]
#[ignore = "run by another test"]
fn child_packs_lz4() {
    pack(SquashfsCompression::Lz4);
}
