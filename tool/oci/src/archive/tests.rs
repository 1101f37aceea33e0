use std::fs;

use super::*;
use crate::Silent;
use crate::manifest::OCI_LAYER;
use crate::{Digest, Layer};
use oci_spec::image::ImageConfiguration;

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        add(&mut builder, tar::EntryType::Regular, name, bytes.len() as u64, bytes);
    }
    builder.into_inner().unwrap()
}

/// Adds an entry as it is, however wrong.
fn add(builder: &mut tar::Builder<Vec<u8>>, kind: tar::EntryType, name: &str, size: u64, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    builder.append(&header, bytes).unwrap();
}

fn scratch() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    (directory, store)
}

/// `name` for amd64 and arm64 with one real layer each.
fn two_platforms(store: &Store, name: &str) -> Descriptor {
    let images: Vec<Image> = ["amd64", "arm64"]
        .iter()
        .map(|arch| {
            let tar = tar_of(&[("arch", arch.as_bytes()), ("etc/motd", b"hello")]);
            let (digest, size) = store.put_blob(&tar[..]).unwrap();
            let mut config = ImageConfiguration::default();
            config.rootfs_mut().diff_ids_mut().push(digest.to_string());
            let layer = Layer { digest, size, media_type: OCI_LAYER.to_owned() };
            store.write_image(name, &Platform::linux(arch), config, vec![layer]).unwrap()
        })
        .collect();
    store.write_index(name, &images).unwrap()
}

fn exported(store: &Store, name: &str, format: ExportFormat, platform: Option<&str>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = ExportOptions { format, platform: platform.map(|p| p.parse().unwrap()), name: None };
    export(store, &name.parse().unwrap(), &options, &mut bytes, &Silent).unwrap();
    bytes
}

fn import_bytes(store: &Store, mut bytes: &[u8], name: Option<&str>) -> Result<Vec<Imported>, ArchiveError> {
    let name = name.map(|n| n.parse().unwrap());
    import_stream(store, &mut bytes, name.as_ref(), &ArchiveLimits::default(), &Silent)
}

#[test]
fn what_is_exported_comes_back_and_is_the_same_bytes_everywhere() {
    let (_one, store) = scratch();
    let (_two, other) = scratch();
    let root = two_platforms(&store, "x/y:1");
    two_platforms(&other, "x/y:1");
    for (format, platform, platforms) in [
        (ExportFormat::Oci, None, 2),
        (ExportFormat::Oci, Some("linux/arm64"), 1),
        (ExportFormat::Docker, Some("linux/amd64"), 1),
    ] {
        let bytes = exported(&store, "x/y:1", format, platform);
        assert_eq!(bytes, exported(&other, "x/y:1", format, platform), "{format:?}");
        let (_three, third) = scratch();
        let imported = import_bytes(&third, &bytes, None).unwrap();
        assert_eq!((imported.len(), imported[0].platforms.len()), (1, platforms), "{format:?}");
        assert_eq!(imported[0].name.to_string(), "docker.io/x/y:1");
        if platforms == 2 {
            assert_eq!(imported[0].descriptor.digest, root.digest);
        }
        let wanted = &imported[0].platforms[0];
        let image = third.image("x", &imported[0].descriptor, wanted).unwrap();
        let tree = third.flatten(&image, &Silent).unwrap();
        assert!(tree.get(&crate::TreePath::new("etc/motd").unwrap()).is_some());
        assert_eq!(third.verify(&Silent).unwrap().problems, Vec::<String>::new());
        // A compressed archive is one, too.
        let zstd = zstd::encode_all(&bytes[..], 0).unwrap();
        import_bytes(&third, &zstd, Some("again")).unwrap();
        assert!(third.find(&"again".parse().unwrap()).unwrap().is_some());
    }
    let files = exported(&store, "x/y:1", ExportFormat::Filesystem, Some("linux/arm64"));
    let mut archive = tar::Archive::new(&files[..]);
    let names: Vec<_> = archive.entries().unwrap().map(|e| e.unwrap().path().unwrap().display().to_string()).collect();
    assert_eq!(names, ["arch", "etc", "etc/motd"]);
}

/// LinuxKit did not truncate what it overwrote, and called a manifest an index (parity 1.3).
#[test]
fn an_exported_file_is_whole_and_says_what_it_is() {
    let (directory, store) = scratch();
    two_platforms(&store, "x");
    let path = directory.path().join("out.tar");
    fs::write(&path, vec![0xff; 1 << 20]).unwrap();
    let options = ExportOptions { format: ExportFormat::Oci, platform: Some(Platform::linux("amd64")), name: None };
    export_file(&store, &"x".parse().unwrap(), &options, &path, &Silent).unwrap();
    let scanned = open(&store, &path, &ArchiveLimits::default()).unwrap();
    let index = String::from_utf8(scanned.small("index.json").unwrap().unwrap()).unwrap();
    assert!(index.contains(r#""mediaType":"application/vnd.oci.image.manifest.v1+json","platform""#), "{index}");
    assert!(fs::metadata(&path).unwrap().len() < 1 << 16);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "nothing is left beside it");
    let missing = export_file(&store, &"none".parse().unwrap(), &options, &path, &Silent).unwrap_err();
    assert!(missing.to_string().contains("docker.io/library/none:latest"));
    assert!(fs::metadata(&path).unwrap().len() > 0, "a failed export leaves the file that was there");
}

#[test]
fn a_digest_reference_is_satisfied_by_an_import_under_a_tag() {
    let (_one, store) = scratch();
    let root = two_platforms(&store, "x/y:1");
    let bytes = exported(&store, "x/y:1", ExportFormat::Oci, None);
    let (_two, other) = scratch();
    import_bytes(&other, &bytes, None).unwrap();
    let options = crate::FetchOptions { offline: true, ..crate::FetchOptions::new(Platform::linux("amd64"), "/") };
    let fetcher = crate::Fetcher::new(&other, options);
    let image = fetcher.fetch(&format!("x/y:1@{}", root.digest), &Silent).unwrap();
    assert_eq!(image.platform, Platform::linux("amd64"));
    let wrong = format!("x/y:1@{}", Digest::of(b"other"));
    let error = fetcher.fetch(&wrong, &Silent).unwrap_err().to_string();
    assert!(error.contains("--offline"), "{error}");
}

const CONFIG: &str = r#"{"os":"linux","architecture":"amd64","rootfs":{"type":"layers","diff_ids":[DIFFS]}}"#;

/// What Docker before 25 wrote, with `layers` as (entry, bytes) and links as (entry, target).
fn docker_save(layers: &[(&str, &[u8])], links: &[(&str, &str)], order: &[&str]) -> Vec<u8> {
    let bytes_of = |entry: &str| {
        let resolve = |(_, target): &(&str, &str)| target.trim_start_matches("../").to_owned();
        let target = links.iter().find(|(name, _)| *name == entry).map_or(entry.to_owned(), resolve);
        layers.iter().find(|(name, _)| *name == target).unwrap().1
    };
    let diffs: Vec<String> = order.iter().map(|entry| format!("\"{}\"", Digest::of(bytes_of(entry)))).collect();
    let config = CONFIG.replace("DIFFS", &diffs.join(","));
    let manifest =
        format!(r#"[{{"Config":"c.json","RepoTags":["foo:1","bar:2"],"Layers":{}}}]"#, serde_json::json!(order));
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in layers {
        add(&mut builder, tar::EntryType::Regular, name, bytes.len() as u64, bytes);
    }
    for (name, target) in links {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, name, target).unwrap();
    }
    add(&mut builder, tar::EntryType::Regular, "c.json", config.len() as u64, config.as_bytes());
    add(&mut builder, tar::EntryType::Regular, "manifest.json", manifest.len() as u64, manifest.as_bytes());
    builder.into_inner().unwrap()
}

#[test]
fn what_docker_saved_is_read_with_its_links() {
    let (directory, store) = scratch();
    let layer = tar_of(&[("x", b"1")]);
    let bytes =
        docker_save(&[("a/layer.tar", &layer)], &[("b/layer.tar", "../a/layer.tar")], &["a/layer.tar", "b/layer.tar"]);
    let imported = import_bytes(&store, &bytes, None).unwrap();
    let names: Vec<String> = imported.iter().map(|i| i.name.to_string()).collect();
    assert_eq!(names, ["docker.io/library/foo:1", "docker.io/library/bar:2"]);
    let path = directory.path().join("saved.tar");
    fs::write(&path, &bytes).unwrap();
    let from = |reference: Option<&str>, platform: &str| {
        let reference = reference.map(|r| r.parse().unwrap());
        let (platform, limits) = (Platform::linux(platform), ArchiveLimits::default());
        from_docker_archive(&store, &path, reference.as_ref(), &platform, &limits)
    };
    assert_eq!(from(None, "amd64").unwrap().layers.len(), 2);
    assert_eq!(from(Some("bar:2"), "amd64").unwrap().digest, imported[0].descriptor.digest);
    assert!(from(Some("baz"), "amd64").unwrap_err().to_string().contains("it holds docker.io/library/foo:1"));
    assert_eq!(
        from(None, "arm64").unwrap_err().to_string(),
        "there is no image for linux/arm64; it offers linux/amd64"
    );
}

#[test]
fn hostile_archives_are_refused_by_name() {
    let layer = tar_of(&[("x", b"1")]);
    let other = tar_of(&[("y", b"2")]);
    let entry = |kind, name: &str, size: u64, bytes: &[u8]| {
        let mut builder = tar::Builder::new(Vec::new());
        add(&mut builder, kind, name, size, bytes);
        builder.into_inner().unwrap()
    };
    use tar::EntryType::{GNULongName, Regular, XHeader};
    let long = vec![b'a'; 2 << 20];
    let save = |order: &[&str]| {
        docker_save(&[("a/layer.tar", &layer)], &[("l", "../../etc/passwd"), ("m", "/etc/passwd")], order)
    };
    let two = {
        let mut bytes = docker_save(&[("a/layer.tar", &layer)], &[], &["a/layer.tar"]);
        bytes.truncate(bytes.len() - 1024);
        bytes.extend(tar_of(&[("c.json", b"{}")]));
        bytes
    };
    let swapped = {
        // The layer is not the one that the configuration names.
        let bytes = docker_save(&[("a/layer.tar", &layer)], &[], &["a/layer.tar"]);
        let at = bytes.windows(layer.len()).position(|w| w == layer).unwrap();
        [&bytes[..at], &other, &bytes[at + layer.len()..]].concat()
    };
    let mut damaged = tar_of(&[("index.json", b"{}")]);
    damaged[20] ^= 1;
    for (what, bytes, want) in [
        ("nothing", Vec::new(), "it is not a tar"),
        ("noise", vec![7; 4096], "it is not a tar"),
        ("damaged", damaged, "it is not a tar"),
        ("climbs", entry(Regular, "a/../../x", 1, b"1"), "`a/../../x` leads out"),
        ("absolute", entry(Regular, "/etc/passwd", 1, b"1"), "`/etc/passwd` is absolute"),
        ("lying size", entry(Regular, "x", 1 << 40, b"1"), "`x` claims 1099511627776 bytes"),
        ("long name", entry(GNULongName, "././@LongLink", long.len() as u64, &long), "long name"),
        ("bad PAX", entry(XHeader, "p", 5, b"hello"), "PAX record"),
        ("sparse", entry(XHeader, "p", 22, b"22 GNU.sparse.major=1\n"), "sparse"),
        ("twice", two, "`c.json` twice"),
        ("cut short", tar_of(&[("x", b"1")])[..1024].to_vec(), "cut short"),
        ("nothing in it", tar_of(&[("x", b"1")]), "neither `index.json` nor `manifest.json`"),
        ("another layer", swapped, "are those of"),
        ("index that is none", tar_of(&[("index.json", b"[]")]), "is not a manifest"),
        ("missing blob", tar_of(&[("index.json", index_of(&layer).as_bytes())]), "does not hold `blobs/sha256/"),
    ] {
        let (_directory, store) = scratch();
        let result = import_bytes(&store, &bytes, Some("x"));
        let error = crate::registry::chain(&result.unwrap_err());
        assert!(error.contains(want), "{what}: {error}");
        assert!(store.list().unwrap().is_empty(), "{what}");
    }
    for (link, want) in [("l", "`l` is a link to `../../etc/passwd`"), ("m", "`m` is a link to `/etc/passwd`")] {
        let (_directory, store) = scratch();
        let mut bytes = save(&["a/layer.tar"]);
        let at = bytes.windows(13).rposition(|w| w == b"\"a/layer.tar\"").unwrap();
        bytes[at..at + 13].copy_from_slice(format!("\"{link}\"{}", " ".repeat(10)).as_bytes());
        let error = import_bytes(&store, &bytes, Some("x")).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    let (_directory, store) = scratch();
    let limits = ArchiveLimits { entries: 3, spooled: 1 << 16 };
    let many = tar_of(&[("a", b""), ("b", b""), ("c", b""), ("d", b"")]);
    let error = import_stream(&store, &mut &many[..], None, &limits, &Silent).unwrap_err().to_string();
    assert!(error.contains("more than 3 entries"), "{error}");
    let bomb = zstd::encode_all(&vec![0; 1 << 20][..], 0).unwrap();
    let error = import_stream(&store, &mut &bomb[..], None, &limits, &Silent).unwrap_err().to_string();
    assert!(error.contains("longer than 65536 bytes"), "{error}");
}

fn index_of(bytes: &[u8]) -> String {
    format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{}","size":{}}}]}}"#,
        Digest::of(bytes),
        bytes.len()
    )
}

#[test]
fn a_layout_with_several_images_wants_a_tag() {
    let (directory, store) = scratch();
    two_platforms(&store, "one:1");
    two_platforms(&store, "two:2");
    // The store itself is such a layout.
    let (_other, other) = scratch();
    let from =
        |tag: Option<&str>| from_oci_directory(&other, &directory.path().join("store"), tag, &Platform::linux("arm64"));
    let error = from(None).unwrap_err();
    assert!(error.to_string().contains("several images: docker.io/library/one:1, docker.io/library/two:2"), "{error}");
    assert!(error.hint().is_some());
    assert_eq!(from(Some("two:2")).unwrap().platform, Platform::linux("arm64"));
    assert!(from(Some("three")).unwrap_err().to_string().contains("has no `three`"));
    let error = from_oci_directory(&other, &directory.path().join("none"), None, &Platform::host()).unwrap_err();
    assert!(error.to_string().contains("does not hold `index.json`"), "{error}");
}
