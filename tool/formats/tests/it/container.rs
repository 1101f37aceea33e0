//! Container images, read by skopeo and by our own importer.

use std::fs;
use std::path::Path;

use bootwright_formats::Fault;
use bootwright_formats::container::{check, docker_archive, oci_archive};
use bootwright_oci::archive::{ArchiveLimits, import};
use bootwright_oci::{Content, Digest, Kind, Platform, ReadContent, Reference, Silent, Store};
use bootwright_rootfs::Machine;
use serde_json::{Value, json};

use crate::machine::{Builder, Store as Inline, everything, path};
use crate::tools::{run, text};

const KINDS: [&str; 2] = ["oci-archive", "docker-archive"];

fn name() -> Reference {
    "example.org/machines/web:1".parse().unwrap()
}

fn bytes(kind: &str, machine: &Machine, store: &Inline) -> Vec<u8> {
    let mut out = Vec::new();
    let written: Result<(), Fault> = match kind {
        "oci-archive" => {
            let spool = tempfile::tempfile().unwrap();
            oci_archive(machine, &name(), store, spool, &mut out, &mut Silent)
        }
        _ => docker_archive(machine, &name(), store, &mut out, &mut Silent),
    };
    written.unwrap();
    out
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

#[test]
fn skopeo_reads_copies_and_checks_it() {
    let mut machine = everything();
    machine.platform = Platform { variant: Some("v8".to_owned()), ..Platform::linux("arm64") };
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("m.tar");
        fs::write(&archive, bytes(kind, &machine, &Inline::default())).unwrap();
        let source = format!("{kind}:{}", archive.display());
        let config = json(&run("skopeo", &["inspect", "--config", &source], b""));
        assert_eq!(
            (&config["architecture"], &config["os"], &config["variant"]),
            (&json!("arm64"), &json!("linux"), &json!("v8"))
        );
        assert_eq!(config["config"]["Entrypoint"], json!(["/init"]));
        assert_eq!(config["created"], "2017-04-18T16:30:00Z");
        assert_eq!(text("date", &["-ud", "2017-04-18T16:30:00Z", "+%s"], b""), "1492533000\n");

        // skopeo checks every digest on the way.
        let copy = directory.path().join("copy");
        run("skopeo", &["copy", "--quiet", "--insecure-policy", &source, &format!("dir:{}", copy.display())], b"");
        let manifest = json(&fs::read(copy.join("manifest.json")).unwrap());
        let layers = manifest["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1);
        let layer = layers[0]["digest"].as_str().unwrap().trim_start_matches("sha256:");
        let packed = fs::read(copy.join(layer)).unwrap();
        let plain = if kind == "oci-archive" { run("gzip", &["-dc"], &packed) } else { packed };
        assert_eq!(config["rootfs"]["diff_ids"], json!([Digest::of(&plain).to_string()]));
        let listing = text("tar", &["--warning=no-unknown-keyword", "-tf", "-"], &plain);
        assert!(!plain.windows(9).any(|bytes| bytes == b"LINUXKIT."), "no records of ours");
        assert_eq!(listing.lines().count(), machine.tree.len(), "{listing}");
        assert!(!listing.lines().any(|line| line.starts_with("boot")), "{listing}");
    }
}

#[test]
fn a_name_for_skopeo_and_containerd() {
    let directory = tempfile::tempdir().unwrap();
    let archive = directory.path().join("m.tar");
    fs::write(&archive, bytes("oci-archive", &everything(), &Inline::default())).unwrap();
    let source = format!("oci-archive:{}:example.org/machines/web:1", archive.display());
    let manifest = json(&run("skopeo", &["inspect", "--raw", &source], b""));
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    fs::write(&archive, bytes("docker-archive", &everything(), &Inline::default())).unwrap();
    let source = format!("docker-archive:{}:example.org/machines/web:1", archive.display());
    run("skopeo", &["inspect", "--raw", &source], b"");
}

/// Imports and flattens, as a spec does that names the image.
fn imported(archive: &Path, machine: &Machine, directory: &Path) {
    let store = Store::open(directory.join("store")).unwrap();
    let imported = import(&store, archive, None, &ArchiveLimits::default(), &Silent).unwrap();
    assert_eq!(imported.len(), 1);
    assert_eq!(imported[0].name, name());
    let image = store.image("web", &imported[0].descriptor, &machine.platform).unwrap();
    let tree = store.flatten(&image, &Silent).unwrap();
    let content = |store: &dyn ReadContent, content: &Content| {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut store.open(content).unwrap(), &mut bytes).unwrap();
        bytes
    };
    for (at, placed) in &machine.tree {
        let node = tree.get(at).unwrap_or_else(|| panic!("no {at}"));
        assert_eq!(node.meta, placed.node.meta, "{at}");
        // Which of a file's names holds its content is the writer's choice.
        let file = |kind: &Kind, get: &dyn Fn(&bootwright_oci::TreePath) -> Kind| match kind {
            Kind::HardLink(target) => get(target),
            kind => kind.clone(),
        };
        let ours = file(&placed.node.kind, &|target| machine.tree[target].node.kind.clone());
        let theirs = file(&node.kind, &|target| tree.get(target).unwrap().kind.clone());
        match (&ours, &theirs) {
            (Kind::File(a), Kind::File(b)) => assert_eq!(content(&Inline::default(), a), content(&store, b), "{at}"),
            (a, b) => assert_eq!(format!("{a:?}"), format!("{b:?}"), "{at}"),
        }
    }
    assert_eq!(tree.iter().filter(|(path, _)| !path.is_root()).count(), machine.tree.len() - 1);
}

#[test]
fn an_import_gives_the_tree_back() {
    let mut machine = everything();
    // GNU tar's escape of `=` is not known to importers, ours and Go's alike.
    for placed in machine.tree.values_mut() {
        placed.node.meta.xattrs.retain(|name, _| !name.contains(&b'='));
    }
    // All names of a file have its owner, mode and time.
    let metas = machine.tree.clone();
    for placed in machine.tree.values_mut() {
        if let Kind::HardLink(target) = &placed.node.kind {
            placed.node.meta = metas[target].node.meta.clone();
        }
    }
    for kind in KINDS {
        let directory = tempfile::tempdir().unwrap();
        let archive = directory.path().join("m.tar");
        fs::write(&archive, bytes(kind, &machine, &Inline::default())).unwrap();
        imported(&archive, &machine, directory.path());
    }
}

#[test]
fn linuxkits_init_is_preferred_and_none_is_no_entry_point() {
    let builder = Builder::new(&[("init[0]", "i")]).file(0, "init", "").file(0, "bin/rc.init", "");
    for (machine, want) in [(builder.0, json!(["/bin/rc.init"])), (Builder::new(&[]).0, json!([]))] {
        let archive = bytes("docker-archive", &machine, &Inline::default());
        let config = run("tar", &["-xOf", "-", "--wildcards", "*.json", "--exclude=manifest.json"], &archive);
        assert_eq!(json(&config)["config"]["Entrypoint"], want);
    }
}

#[test]
fn neither_pieces_nor_who_put_a_file_there_change_a_byte() {
    let mut other = everything();
    for component in &mut other.components {
        component.source += "-renamed";
    }
    for kind in KINDS {
        let want = bytes(kind, &everything(), &Inline::default());
        assert!(bytes(kind, &other, &Inline { piece: 7, ..Inline::default() }) == want, "{kind}");
    }
}

/// If this fails although nothing was meant to change, everybody's images change with this version.
#[test]
fn golden() {
    let digests = KINDS.map(|kind| Digest::of(&bytes(kind, &everything(), &Inline::default())).hex());
    assert_eq!(
        digests,
        [
            "57a3ef68cce705811fe9629b67750e45af2dde55b32441441b13041381e5e75e",
            "0e2fe17fa18bbda6e6c4edd6c00174ecd98336baf369b11d1d161da27f83814c",
        ]
    );
}

#[test]
fn a_tree_that_is_broken_is_refused() {
    let machine = Builder::new(&[("init[0]", "i")]).link(0, "a", "nowhere").0;
    let want = "the machine's tree is broken at `a` (init[0] name): a hard link to nothing";
    assert_eq!(check(&machine).unwrap_err().to_string(), want);
    let written = docker_archive(&machine, &name(), &Inline::default(), &mut Vec::new(), &mut Silent);
    assert_eq!(written.unwrap_err().at("m.tar").to_string(), want);
    let content = Content::Host { path: "/nowhere".into(), size: 1, digest: Digest::of(b"") };
    let machine = Builder::new(&[("init[0]", "i")]).node(0, "a", Kind::File(content), |_| {}).0;
    assert!(check(&machine).is_ok());
    let written = docker_archive(&machine, &name(), &Inline::default(), &mut Vec::new(), &mut Silent);
    assert_eq!(written.unwrap_err().at("m.tar").to_string(), "cannot read `a` (init[0] name)");
    assert!(machine.tree.contains_key(&path("a")));
}
