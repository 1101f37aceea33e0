//! What the cache saves, what components share, and what must not be in an image.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::sync::Mutex;

use bootwright_formats::{SQUASHFS_SEGMENT_KIND, Squashfs, SquashfsCompression, SquashfsOptions, pack_squashfs};
use bootwright_oci::{Content, Digest, Kind, ReadContent, Reporter, Silent, Task};
use bootwright_rootfs::Machine;

use super::{OnDisk, bytes, image, machine, noise, try_pack, with};
use crate::machine::{Builder, Place, names, path};
use crate::tools::run;

/// Layers in memory, that remember what was read.
#[derive(Default)]
struct Layers {
    contents: BTreeMap<Digest, Vec<u8>>,
    opened: Mutex<Vec<Digest>>,
}

impl ReadContent for Layers {
    fn open(&self, content: &Content) -> io::Result<Box<dyn Read + Send + '_>> {
        self.opened.lock().unwrap().push(content.digest());
        Ok(Box::new(&self.contents[&content.digest()][..]))
    }
}

impl Layers {
    /// A file of a layer.
    fn file(&mut self, layer: &str, bytes: Vec<u8>) -> Kind {
        let (size, digest) = (bytes.len() as u64, Digest::of(&bytes));
        self.contents.insert(digest, bytes);
        let layer = Digest::of(layer.as_bytes());
        Kind::File(Content::Layer { layer, size, digest, extents: [].into() })
    }

    /// What was read since the last time, sorted.
    fn opened(&self) -> Vec<Digest> {
        let mut opened = std::mem::take(&mut *self.opened.lock().unwrap());
        opened.sort_unstable();
        opened
    }

    fn pack(&self, place: &Place, machine: &Machine, options: &SquashfsOptions) -> Squashfs {
        pack_squashfs(machine, options, self, &place.derived(), &Silent).unwrap()
    }
}

fn cached(squashfs: &Squashfs) -> Vec<(usize, bool)> {
    squashfs.components.iter().map(|c| (c.component, c.cached)).collect()
}

const LZ4: SquashfsOptions =
    SquashfsOptions { compression: SquashfsCompression::Lz4, level: None, block_size: 128 << 10, threads: None };

fn digest_of(kind: &Kind) -> Digest {
    match kind {
        Kind::File(content) => content.digest(),
        _ => panic!("no file"),
    }
}

#[test]
fn a_second_write_opens_nothing_and_a_change_only_its_layer() {
    let mut layers = Layers::default();
    let mut noise = noise(1);
    let mut builder = Builder::new(&[("kernel", "k"), ("services[0]", "a"), ("services[1]", "b")]);
    for (component, layer) in [(0, "kernel"), (1, "base"), (1, "a"), (2, "b")] {
        for number in 0..5 {
            let file = layers.file(layer, noise(if number == 0 { 400_000 } else { 30_000 }));
            builder = builder.node(component, format!("{layer}/{number}"), file, |_| {});
        }
    }
    let place = Place::new();
    let before = builder.0.clone();
    let first = layers.pack(&place, &before, &LZ4);
    assert_eq!(layers.opened().len(), 20);
    assert_eq!(cached(&first), [(0, false), (1, false), (2, false)]);
    let packed: u64 = first.components.iter().map(|c| c.packed).sum();
    assert!(packed < first.size() && first.size() < packed + 8192, "{packed} of {}", first.size());

    let second = layers.pack(&place, &before, &LZ4);
    assert_eq!(layers.opened(), []);
    assert_eq!(cached(&second), [(0, true), (1, true), (2, true)]);
    assert!(bytes(&second) == bytes(&first));

    let change = layers.file("a", noise(30_000));
    let after = builder.node(1, "a/3", change, |_| {}).0;
    let third = layers.pack(&place, &after, &LZ4);
    let of_a = |machine: &Machine| {
        let mut digests: Vec<_> = (0..5).map(|n| digest_of(&machine.tree[&path(format!("a/{n}"))].node.kind)).collect();
        digests.sort_unstable();
        digests
    };
    assert_eq!(layers.opened(), of_a(&after), "all of that layer, and nothing else");
    assert_eq!(cached(&third), [(0, true), (1, false), (2, true)]);

    // The image does not depend on what the cache held.
    assert!(bytes(&third) == bytes(&layers.pack(&Place::new(), &after, &LZ4)));
    layers.opened();

    // Nor do metadata and names concern the segments.
    let mut renamed = after.clone();
    renamed.tree.get_mut(&path("b/0")).unwrap().node.meta.mode = 0o400;
    let node = renamed.tree.remove(&path("b/4")).unwrap();
    renamed.tree.insert(path("b/5"), node);
    layers.pack(&place, &renamed, &LZ4);
    assert_eq!(layers.opened(), []);
}

#[test]
fn a_layer_that_is_built_again_with_the_same_files_costs_nothing() {
    let (mut layers, mut noise) = (Layers::default(), noise(2));
    let contents: Vec<_> = (0..10).map(|_| noise(50_000)).collect();
    let mut build = |layer| {
        let mut builder = Builder::new(&[("services[0]", "a")]);
        for (number, bytes) in contents.iter().enumerate() {
            builder = builder.node(0, format!("{number}"), layers.file(layer, bytes.clone()), |_| {});
        }
        builder.0
    };
    let (one, two) = (build("one"), build("two"));
    let place = Place::new();
    let first = layers.pack(&place, &one, &LZ4);
    assert_eq!(layers.opened().len(), 10);
    let second = layers.pack(&place, &two, &LZ4);
    assert_eq!(layers.opened(), []);
    assert!(bytes(&first) == bytes(&second));
}

#[test]
fn a_small_change_of_a_large_layer_repacks_its_surroundings() {
    let (mut layers, mut noise) = (Layers::default(), noise(3));
    // 48 MiB in small files.
    let contents: Vec<_> = (0..768).map(|_| noise(64 << 10)).collect();
    let mut builder = Builder::new(&[("services[0]", "a"), ("services[1]", "b")]);
    for (number, bytes) in contents.iter().enumerate() {
        builder = builder.node(1, format!("{number:03}"), layers.file("b", bytes.clone()), |_| {});
    }
    let place = Place::new();
    layers.pack(&place, &builder.0, &LZ4);
    assert_eq!(layers.opened().len(), contents.len());
    let segments = names(&place.dir.path().join("cache").join(SQUASHFS_SEGMENT_KIND)).len();
    assert!((4..=12).contains(&segments), "{segments} segments");

    let mut without = builder.0.clone();
    without.tree.remove(&path("400"));
    let mut with_more = builder.0.clone();
    let more = layers.file("b", noise(10));
    let node =
        bootwright_rootfs::Placed { node: bootwright_oci::Node { meta: Default::default(), kind: more }, component: 1 };
    with_more.tree.insert(path("100-more"), node);
    // An earlier component begins to have one of the files, and so stores it.
    let of_an_earlier = builder.node(0, "aaa", layers.file("a", contents[600].clone()), |_| {}).0;
    for (what, machine) in [("less", without), ("more", with_more), ("elsewhere", of_an_earlier)] {
        let squashfs = layers.pack(&place, &machine, &LZ4);
        let opened = layers.opened().len();
        assert!(opened > 0 && opened < contents.len() / 2, "{what}: {opened} files were read");
        assert!(bytes(&squashfs) == bytes(&layers.pack(&Place::new(), &machine, &LZ4)), "{what}");
        layers.opened();
    }
}

#[test]
fn a_file_of_several_components_is_stored_once() {
    let (mut layers, mut noise) = (Layers::default(), noise(4));
    let (large, small) = (noise(1_000_000), noise(90_000));
    let mut builder = Builder::new(&[("services[0]", "a"), ("services[1]", "b"), ("files[0]", "f")]);
    for component in 0..2 {
        // Other layers, other metadata, same bytes; and twice in the same.
        let layer = format!("layer {component}");
        for name in ["x", "y"] {
            let large = layers.file(&layer, large.clone());
            builder = builder.node(component, format!("{component}/{name}"), large, |m| m.uid = component as u32);
        }
        builder = builder.node(component, format!("{component}/small"), layers.file(&layer, small.clone()), |_| {});
    }
    let machine = builder.node(2, "inline", Kind::File(Content::inline(small.clone())), |_| {}).0;
    let squashfs = layers.pack(&Place::new(), &machine, &LZ4);
    assert_eq!(layers.opened().len(), 2);
    assert!(squashfs.size() < 1_200_000, "{}", squashfs.size());
    assert_eq!(cached(&squashfs), [(0, false)]);
    let disk = OnDisk::new(&bytes(&squashfs));
    for (file, want) in [("0/x", &large), ("1/x", &large), ("1/y", &large), ("1/small", &small), ("inline", &small)] {
        assert!(run("unsquashfs", &["-cat", &disk.image(), file], b"") == *want, "{file}");
    }
}

/// Everything that a zstd squashfs holds: each frame that begins anywhere, and the raw bytes for what is stored.
fn all_bytes(image: &[u8]) -> Vec<u8> {
    let mut all = image.to_vec();
    for at in 0..image.len().saturating_sub(4) {
        if image[at..].starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(&image[at..]).unwrap().single_frame();
            let mut frame = Vec::new();
            if decoder.read_to_end(&mut frame).is_ok() {
                all.extend(frame);
            }
        }
    }
    all
}

fn has(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn removed_content_is_in_no_block() {
    let secret = b"the password that a later layer has removed";
    let kept = b"what is kept must be found by the same search";
    let (mut layers, mut noise) = (Layers::default(), noise(5));
    let mut builder = Builder::new(&[("services[0]", "a")]);
    let large = |text: &[u8]| [&vec![b'.'; 200_000][..], text].concat();
    for (name, bytes) in [
        ("1", b"a neighbour".to_vec()),
        ("2-secret", secret.to_vec()),
        ("3", kept.to_vec()),
        ("4-secret", large(secret)),
        ("5", large(kept)),
        ("6", noise(40_000)),
    ] {
        builder = builder.node(0, name, layers.file("layer", bytes), |_| {});
    }
    let place = Place::new();
    let options = with(SquashfsCompression::Zstd);
    let before = all_bytes(&bytes(&layers.pack(&place, &builder.0, &options)));
    assert!(has(&before, secret) && has(&before, kept));
    // The cache has what must not come back.
    let mut machine = builder.0;
    machine.tree.retain(|path, _| !path.to_string().ends_with("secret"));
    let after = all_bytes(&bytes(&layers.pack(&place, &machine, &options)));
    assert!(!has(&after, secret) && has(&after, kept));
}

#[test]
fn a_damaged_segment_is_packed_again_and_told() {
    #[derive(Default)]
    struct Notes(Mutex<Vec<String>>);
    impl Reporter for Notes {
        fn start(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
            Box::new(Silent)
        }
        fn note(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
        fn warn(&self, line: &str) {
            panic!("{line}");
        }
    }
    let machine = machine();
    let options = with(SquashfsCompression::Lz4);
    let want = image(&machine, &options);
    for damage in ["empty", "cut", "zeros", "longer"] {
        let place = Place::new();
        try_pack(&place, &machine, &options).unwrap();
        let directory = place.dir.path().join("cache").join(SQUASHFS_SEGMENT_KIND);
        for name in names(&directory) {
            let file = directory.join(name);
            let bytes = fs::read(&file).unwrap();
            let damaged = match damage {
                "empty" => Vec::new(),
                "cut" => bytes[..bytes.len() - 1].to_vec(),
                "zeros" => [&bytes[..bytes.len() / 2], &vec![0; bytes.len() - bytes.len() / 2][..]].concat(),
                _ => [&bytes[..], b"x"].concat(),
            };
            fs::write(&file, damaged).unwrap();
        }
        let notes = Notes::default();
        let squashfs = pack_squashfs(&machine, &options, &place.store, &place.derived(), &notes).unwrap();
        assert!(bytes(&squashfs) == want, "{damage}");
        assert!(squashfs.components.iter().all(|c| !c.cached));
        let notes = notes.0.into_inner().unwrap();
        assert_eq!(notes.len(), squashfs.components.len());
        assert_eq!(notes[0], "a segment of kernel name in the cache is damaged; packing it again");
    }
}
