use std::sync::atomic::{AtomicUsize, Ordering};

use oci_spec::image::{ConfigBuilder, ImageConfiguration};

use super::*;
use crate::manifest::{Document, OCI_LAYER, OCI_MANIFEST};
use crate::{Layer, Reference, Silent};

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

/// Stores an image with the given layers (any bytes will do where nothing is unpacked).
pub(crate) fn image(store: &Store, name: &str, platform: &Platform, layers: &[&[u8]]) -> Image {
    let mut config = ImageConfiguration::default();
    let labels: std::collections::HashMap<_, _> = ["a", "b", "c", "d"].map(|k| (k.to_owned(), "x".to_owned())).into();
    let ports = ["1/tcp", "2/tcp", "3/tcp"].map(str::to_owned).to_vec();
    config.set_config(Some(ConfigBuilder::default().labels(labels).exposed_ports(ports).build().unwrap()));
    let mut stored = Vec::new();
    for bytes in layers {
        let (digest, size) = store.put_blob(*bytes).unwrap();
        config.rootfs_mut().diff_ids_mut().push(digest.to_string());
        stored.push(Layer { digest, size, media_type: OCI_LAYER.to_owned() });
    }
    store.write_image(name, platform, config, stored).unwrap()
}

#[test]
fn an_assembled_image_has_the_same_bytes_every_time_and_is_found_by_name_and_digest() {
    let directory = tempfile::tempdir().unwrap();
    let amd64 = Platform::linux("amd64");
    let arm64 = Platform::linux("arm64");
    let mut digests = std::collections::BTreeSet::new();
    for run in 0..8 {
        let store = Store::open(directory.path().join(run.to_string())).unwrap();
        let images = [image(&store, "x", &arm64, &[b"l"]), image(&store, "x", &amd64, &[b"l", b"m"])];
        let index = store.write_index("x", &images).unwrap();
        digests.insert(index.digest);
        let found = store.find(&reference("docker.io/library/x:latest")).unwrap().unwrap();
        assert_eq!(found.digest, index.digest);
        let by_digest = store.find(&reference(&format!("other/name:tag@{}", index.digest))).unwrap().unwrap();
        assert_eq!(store.image("x", &by_digest, &amd64).unwrap().layers.len(), 2);
        assert_eq!(store.complete_platforms(&found).unwrap(), [amd64.clone(), arm64.clone()]);
        let error = store.image("x", &found, &Platform::linux("riscv64")).unwrap_err().to_string();
        assert_eq!(error, "there is no image for linux/riscv64; it offers linux/amd64, linux/arm64");
        assert_eq!(store.verify(&Silent).unwrap().problems, Vec::<String>::new());
    }
    assert_eq!(digests.len(), 1, "the bytes depend on nothing but the input");
}

#[test]
fn a_single_image_of_the_wrong_architecture_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let image = image(&store, "x", &Platform::linux("arm64"), &[b"l"]);
    let descriptor = store.describe(&image).unwrap();
    let error = store.image("x", &descriptor, &Platform::linux("amd64")).unwrap_err().to_string();
    assert_eq!(error, "there is no image for linux/amd64; it offers linux/arm64");
}

/// LinuxKit deleted the layers that other images shared with the removed one (parity 13.1, item 13).
#[test]
fn removing_one_image_never_harms_another_and_gc_keeps_what_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Store::open(directory.path()).unwrap();
    let amd64 = Platform::linux("amd64");
    for (name, own) in [("one", b"1"), ("two", b"2")] {
        let image = image(&store, name, &amd64, &[b"shared", own]);
        store.write_index(name, &[image]).unwrap();
    }
    let loose = store.put_bytes(b"named by nobody").unwrap();
    for (kind, key) in [("layer", Digest::of(b"shared")), ("layer", loose), ("segment", loose)] {
        store.derived().get_or_make(kind, &key, |_| Ok::<_, io::Error>(())).unwrap();
    }
    store.remove(&reference("one")).unwrap();
    let missing = store.remove(&reference("one")).unwrap_err();
    assert!(missing.to_string().contains("docker.io/library/one:latest"), "{missing}");
    assert!(store.open_blob(Digest::of(b"1")).is_ok(), "removing a name touches no blob");
    let freed = store.gc(&Silent).unwrap();
    assert_eq!((freed.blobs, freed.derived), (5, 2), "index, manifest, config and layer of `one`, and the loose blob");
    assert!(store.derived().get("layer", &Digest::of(b"shared")).unwrap().is_some());
    let two = store.find(&reference("two")).unwrap().unwrap();
    assert_eq!(store.image("two", &two, &amd64).unwrap().layers.len(), 2);
    assert_eq!(store.verify(&Silent).unwrap(), Verified { blobs: 5, names: 1, problems: Vec::new() });
}

#[test]
fn a_blob_that_is_not_what_was_promised_never_gets_in() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let digest = Digest::of(b"abc");
    for (bytes, size, want) in
        [(&b"abd"[..], 3, "are those of"), (b"ab", 3, "is only 2"), (b"abcd", 3, "is longer"), (b"abc", 4, "is only 3")]
    {
        let error = store.put_expected(digest, size, bytes).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        assert_eq!(store.blob_size(digest).unwrap(), None);
    }
    store.put_expected(digest, 3, &b"abc"[..]).unwrap();
    // A blob cut short by something outside is not taken for the whole, and comes back.
    std::fs::write(store.blob_path(digest), b"a").unwrap();
    assert!(!store.has(digest, 3).unwrap());
    assert_eq!(store.verify(&Silent).unwrap().problems.len(), 1);
    store.put_expected(digest, 3, &b"abc"[..]).unwrap();
    assert!(store.has(digest, 3).unwrap());
}

#[test]
fn a_lying_index_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let arm = image(&store, "x", &Platform::linux("arm64"), &[b"l"]);
    let lie = Image { platform: Platform::linux("amd64"), ..arm.clone() };
    let index = store.write_index("x", &[lie]).unwrap();
    let error = store.image("x", &index, &Platform::linux("amd64")).unwrap_err().to_string();
    assert!(error.contains("says that it is for linux/amd64, its configuration linux/arm64"), "{error}");
    // Indexes that contain each other in a chain end at a bound.
    let mut inner = index;
    for _ in 0..6 {
        let json = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{}","size":{}}}]}}"#,
            inner.media_type, inner.digest, inner.size
        );
        let digest = store.put_bytes(json.as_bytes()).unwrap();
        inner = Descriptor::new(crate::manifest::OCI_INDEX, digest, json.len() as u64);
    }
    let error = store.image("x", &inner, &Platform::linux("arm64")).unwrap_err().to_string();
    assert!(error.contains("more than 4 deep"), "{error}");
    let bytes = store.read_document(&store.describe(&arm).unwrap()).unwrap();
    assert!(matches!(Document::parse(&bytes, OCI_MANIFEST).unwrap(), Document::Manifest(_)));
}

#[test]
fn many_threads_tag_remove_and_collect_without_losing_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let amd64 = Platform::linux("amd64");
    let collections = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (path, amd64) = (directory.path(), &amd64);
            scope.spawn(move || {
                for round in 0..12u8 {
                    let store = Store::open(path).unwrap();
                    let kept = format!("kept-{worker}-{round}");
                    for name in [&kept, &format!("gone-{worker}")] {
                        let image = image(&store, name, amd64, &[b"shared", &[worker, round]]);
                        store.write_index(name, &[image]).unwrap();
                    }
                    store.remove(&reference(&format!("gone-{worker}"))).unwrap();
                    let descriptor = store.find(&reference(&kept)).unwrap().unwrap();
                    store.image(&kept, &descriptor, amd64).unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..10 {
                Store::open(directory.path()).unwrap().gc(&Silent).unwrap();
                collections.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    let store = Store::open(directory.path()).unwrap();
    assert_eq!(collections.into_inner(), 10);
    assert_eq!(store.list().unwrap().len(), 48);
    assert_eq!(store.verify(&Silent).unwrap().problems, Vec::<String>::new());
    assert_eq!(std::fs::read_dir(directory.path().join("tmp")).unwrap().count(), 0);
}
