//! What becomes of a blob: compression, the two derived files, and what is read back from them.

use std::io::{self, Cursor, Read, Write};
use std::sync::Arc;

use bootwright_oci::layer::{self, KIND_INDEX, KIND_LAYER, Limits};
use bootwright_oci::{Content, Derived, Digest, Kind, ReadContent};

use crate::archive::{Cache, chain, content, ended, entry, header, link, node, octal, padded, paths, pax, seal};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

/// About 1.5 MB that does not compress well, over several of the reader's chunks.
fn large() -> Vec<u8> {
    let mut state = 1u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let sizes = [0, 1, 511, 512, 513, 300_000, 1_200_000];
    ended(
        sizes
            .iter()
            .flat_map(|n| entry(format!("f{n}").as_bytes(), b'0', &(0..*n).map(|_| noise()).collect::<Vec<_>>()))
            .collect(),
    )
}

/// Gives a byte or two at a time.
struct Drip<'a>(&'a [u8]);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(2).min(self.0.len());
        buffer[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

#[test]
fn every_compression_gives_the_same_layer() {
    let tar = large();
    let (first, second) = tar.split_at(tar.len() / 2);
    let skippable = [b"\x53\x2a\x4d\x18\x05\0\0\0hello".to_vec(), zstd(&tar)].concat();
    let blobs = [
        ("plain", tar.clone()),
        ("gzip", gzip(&tar)),
        ("gzip of two members", [gzip(first), gzip(second)].concat()),
        ("gzip with an empty member", [gzip(b""), gzip(&tar)].concat()),
        ("zstd", zstd(&tar)),
        ("zstd of two frames", [zstd(first), zstd(second)].concat()),
        ("zstd behind a skippable frame", skippable),
        ("zstd with a skippable frame at its end", [zstd(&tar), b"\x50\x2a\x4d\x18\0\0\0\0".to_vec()].concat()),
    ];
    for (name, blob) in blobs {
        let cache = Cache::new();
        let key = Digest::of(&blob);
        let index = layer::unpack(&mut Drip(&blob), &key, &cache.derived, &Limits::default()).unwrap();
        assert_eq!((index.key, index.diff_id, index.size), (key, Digest::of(&tar), tar.len() as u64), "{name}");
        assert_eq!(std::fs::read(cache.derived.path(KIND_LAYER, &key)).unwrap(), tar, "{name}");
        let tree = layer::flatten(&[index]).unwrap();
        assert_eq!(tree.len(), 7, "{name}");
        for (path, _) in tree.iter() {
            cache.read(&tree, &path.to_string());
        }
    }
}

#[test]
fn bytes_behind_the_archive_s_end_count_for_its_digest() {
    let tar = [ended(entry(b"a", b'0', b"x")), b"garbage".repeat(99)].concat();
    let index = Cache::new().unpack(&gzip(&tar)).unwrap();
    assert_eq!((index.diff_id, index.len()), (Digest::of(&tar), 1));
}

#[test]
fn archives_without_an_end_and_without_anything_are_accepted() {
    for (tar, entries) in
        [(entry(b"a", b'0', b"x"), 1), (vec![0; 512], 0), (vec![0; 700], 0), (vec![0; 1024], 0), (vec![], 0)]
    {
        assert_eq!(Cache::new().unpack(&tar).unwrap().len(), entries);
    }
}

/// Fails whoever reads it.
struct Untouchable;

impl Read for Untouchable {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        panic!("the blob was read again")
    }
}

#[test]
fn what_was_unpacked_is_not_read_again() {
    let cache = Cache::new();
    let blob = gzip(&large());
    let key = Digest::of(&blob);
    assert!(layer::load(&key, &cache.derived).unwrap().is_none());
    let first = cache.unpack(&blob).unwrap();
    let again = layer::unpack(&mut Untouchable, &key, &cache.derived, &Limits::default()).unwrap();
    assert_eq!(first, again);
    assert_eq!(cache.files().len(), 2);
}

#[test]
fn damaged_derived_files_are_made_again() {
    let blob = gzip(&large());
    let key = Digest::of(&blob);
    type Damage = fn(&Derived, &Digest);
    let damages: [(&str, Damage); 5] = [
        ("index gone", |derived, key| std::fs::remove_file(derived.path(KIND_INDEX, key)).unwrap()),
        ("index empty", |derived, key| std::fs::write(derived.path(KIND_INDEX, key), b"").unwrap()),
        ("index of another version", |derived, key| {
            let path = derived.path(KIND_INDEX, key);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[11] += 1;
            std::fs::write(path, bytes).unwrap();
        }),
        ("layer gone", |derived, key| std::fs::remove_file(derived.path(KIND_LAYER, key)).unwrap()),
        ("layer cut off", |derived, key| {
            std::fs::File::options().write(true).open(derived.path(KIND_LAYER, key)).unwrap().set_len(512).unwrap();
        }),
    ];
    for (name, damage) in damages {
        let cache = Cache::new();
        let first = cache.unpack(&blob).unwrap();
        damage(&cache.derived, &key);
        assert!(layer::load(&key, &cache.derived).unwrap().is_none(), "{name}");
        assert_eq!(cache.unpack(&blob).unwrap(), first, "{name}");
        assert_eq!(layer::load(&key, &cache.derived).unwrap().as_ref(), Some(&first), "{name}");
        let tree = layer::flatten(&[first]).unwrap();
        cache.read(&tree, "f300000");
    }
}

#[test]
fn builds_at_the_same_time_do_not_disturb_each_other() {
    let cache = Cache::new();
    let blob = gzip(&large());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let tree = cache.tree(std::slice::from_ref(&blob)).unwrap();
                cache.read(&tree, "f1200000");
            });
        }
    });
    assert_eq!(cache.files().len(), 2, "{:?}", cache.files());
}

/// What fails half-way, as a store does whose blob has rotted.
struct Rotten(Cursor<Vec<u8>>);

impl Read for Rotten {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the digest is wrong")),
            n => Ok(n),
        }
    }
}

#[test]
fn an_error_at_the_blob_s_end_refuses_the_layer() {
    for blob in [large(), gzip(&large()), zstd(&large())] {
        let cache = Cache::new();
        let key = Digest::of(&blob);
        let error =
            layer::unpack(&mut Rotten(Cursor::new(blob)), &key, &cache.derived, &Limits::default()).unwrap_err();
        assert!(chain(&error).contains("the digest is wrong"), "{}", chain(&error));
        assert_eq!(cache.files(), Vec::<String>::new());
    }
}

#[test]
fn metadata_arrives_as_written() {
    let mut device = header(b"dev/null", b'3', &octal(0));
    device[100..108].copy_from_slice(b"0020666\0");
    device[329..337].copy_from_slice(b"0000001\0");
    device[337..345].copy_from_slice(b"0000003\0");
    let mut old = header(b"old/", 0, &octal(0));
    old[257..].fill(0);
    let mut su = header(b"bin/su", b'0', &octal(0));
    su[100..108].copy_from_slice(b"0104755\0");
    su[136..148].copy_from_slice(&[0xff; 12]);
    let mut big = header(b"big-ids", b'0', &octal(0));
    big[108..116].copy_from_slice(b"\x80\0\0\0\xff\xff\xff\xfe");
    let archive = [
        entry(b"./", b'5', b""),
        seal(device).to_vec(),
        seal(old).to_vec(),
        seal(su).to_vec(),
        seal(big).to_vec(),
        entry(b"pipe", b'6', b""),
        pax(
            &[
                ("mtime", b"-1.25"),
                ("uid", b"70000"),
                ("gid", b"4294967295"),
                ("SCHILY.xattr.security.capability", b"\x01\0\0\x02"),
            ],
            &entry(b"cap", b'0', b"x"),
        ),
        pax(&[("path", "p/".repeat(120).as_bytes())], &entry(b"short", b'5', b"")),
        [entry(b"@", b'K', &b"t".repeat(300)), link(b"long-link", b'2', b"t")].concat(),
    ];
    let cache = Cache::new();
    let tree = cache.tree(&[archive.concat()]).unwrap();
    assert_eq!(node(&tree, "").kind, Kind::Directory);
    assert_eq!(node(&tree, "dev/null").kind, Kind::CharDevice { major: 1, minor: 3 });
    assert_eq!(node(&tree, "dev/null").meta.mode, 0o666);
    assert_eq!(node(&tree, "old").kind, Kind::Directory);
    assert_eq!((node(&tree, "bin/su").meta.mode, node(&tree, "bin/su").meta.mtime), (0o4755, -1));
    assert_eq!(node(&tree, "big-ids").meta.uid, u32::MAX - 1);
    assert_eq!(node(&tree, "pipe").kind, Kind::Fifo);
    let meta = &node(&tree, "cap").meta;
    assert_eq!((meta.mtime, meta.uid, meta.gid), (-2, 70_000, u32::MAX));
    assert_eq!(meta.xattrs[&b"security.capability"[..]], b"\x01\0\0\x02");
    assert_eq!(node(&tree, &"p/".repeat(120)).kind, Kind::Directory);
    assert_eq!(node(&tree, "long-link").kind, Kind::Symlink(b"t".repeat(300)));
    let missing = node(&tree, "dev");
    assert_eq!(
        (missing.meta.mode, missing.meta.uid, missing.meta.mtime),
        (0o755, 0, 0),
        "a parent that the archive left out"
    );
}

#[test]
fn a_global_header_sets_owners_until_the_next_one() {
    let archive = [
        entry(b"@", b'g', b"9 uid=55\n9 gid=66\n20 comment=a commit\n"),
        entry(b"a", b'0', b""),
        pax(&[("gid", b"7")], &entry(b"b", b'0', b"")),
        entry(b"@", b'g', b"9 uid=56\n"),
        entry(b"c", b'0', b""),
    ];
    let tree = Cache::new().tree(&[archive.concat()]).unwrap();
    let ids = ["a", "b", "c"].map(|path| (node(&tree, path).meta.uid, node(&tree, path).meta.gid));
    assert_eq!(ids, [(55, 66), (55, 7), (56, 66)]);
}

#[test]
fn a_file_of_over_eight_gib_is_its_holes_and_its_data() {
    const SIZE: u64 = (8 << 30) + 7;
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"disk"),
        ("GNU.sparse.realsize", b"8589934599"),
    ];
    let map = padded(format!("2\n1024\n3\n{}\n2\n", SIZE - 2).as_bytes());
    let archive = ended(pax(&records, &entry(b"GNUSparseFile.0/disk", b'0', &[map, b"abcde".to_vec()].concat())));
    let cache = Cache::new();
    let tree = cache.tree(&[gzip(&archive)]).unwrap();
    let content = content(&tree, "disk");
    assert_eq!(content.size(), SIZE);
    // sha256sum of: truncate -s 8589934599, "abc" at 1024, "de" at 8589934597.
    assert_eq!(content.digest().hex(), "46a84aeda52cb00cbb3f48053a431ee53a53ab18d932b35f50f2758e00365a14");
    let mut reader = layer::open(content, &cache.derived).unwrap();
    let mut start = [1; 2048];
    reader.read_exact(&mut start).unwrap();
    assert_eq!((&start[1024..1027], start.iter().filter(|b| **b != 0).count()), (&b"abc"[..], 3));
}

#[test]
fn contents_of_memory_and_of_this_machine_are_read_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    std::fs::write(&path, b"hello").unwrap();
    let derived = Derived::new(directory.path());
    let read = |content: &Content| {
        let mut bytes = Vec::new();
        layer::open(content, &derived)?.read_to_end(&mut bytes).map(|_| bytes)
    };
    let host = |size, digest| Content::Host { path: path.clone(), size, digest: Digest::of(digest) };
    assert_eq!(read(&Content::inline(*b"in memory")).unwrap(), b"in memory");
    assert_eq!(read(&host(5, b"hello")).unwrap(), b"hello");
    for (name, content) in [
        ("other bytes", host(5, b"HELLO")),
        ("longer than said", host(4, b"hell")),
        ("shorter than said", host(6, b"hello!")),
        ("shorter than nothing", host(0, b"")),
    ] {
        let error = read(&content).unwrap_err().to_string();
        assert!(error.contains("file` changed"), "{name}: {error}");
    }
    // Who takes exactly as many bytes as there are never sees the end, and must be told all the same.
    let mut exact = [0; 5];
    assert!(layer::open(&host(5, b"HELLO"), &derived).unwrap().read_exact(&mut exact).is_err());
    let gone = Content::Layer { layer: Digest::of(b"gone"), size: 0, digest: Digest::of(b""), extents: Arc::new([]) };
    assert_eq!(layer::open(&gone, &derived).err().unwrap().kind(), io::ErrorKind::NotFound);
}

struct Store(Derived);

impl ReadContent for Store {
    fn open(&self, content: &Content) -> io::Result<Box<dyn Read + Send + '_>> {
        layer::open(content, &self.0)
    }
}

#[test]
fn an_archive_inside_a_layer_becomes_a_tree() {
    let modules = ended([entry(b"lib/modules/6.1/x.ko", b'0', b"module"), entry(b"lib/.wh.x", b'0', b"kept")].concat());
    let cache = Cache::new();
    let image = cache
        .tree(&[ended([entry(b"kernel.tar", b'0', &gzip(&modules)), entry(b"bad.tar", b'0', b"no tar")].concat())])
        .unwrap();
    let store = Store(cache.derived.clone());
    for _ in 0..2 {
        let tree = layer::unpack_tar(content(&image, "kernel.tar"), &store, &cache.derived).unwrap();
        assert_eq!(paths(&tree), ["lib", "lib/.wh.x", "lib/modules", "lib/modules/6.1", "lib/modules/6.1/x.ko"]);
        assert_eq!(cache.read(&tree, "lib/modules/6.1/x.ko"), b"module");
    }
    let error = layer::unpack_tar(content(&image, "bad.tar"), &store, &cache.derived).unwrap_err();
    assert!(chain(error.get_ref().unwrap()).contains("no tar header at byte 0"));
}
