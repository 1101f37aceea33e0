//! The recipes `files` and `cargo`, tags, and what is refused: no network, packages of a few lines.

#![allow(clippy::unwrap_used, reason = "a failure of its own is a failure of the test")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use support::{Workshop, causes};

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn package(directory: &Path, build_yml: &str) {
    write(&directory.join("build.yml"), build_yml);
}

const FILES: &str = r#"
image: files
arches: [amd64, arm64]
config:
  capabilities: [CAP_NET_RAW]
  readonly: true
process:
  entrypoint: [/bin/a]
  env: [A=1]
  user: app
labels:
  z: "1"
  a: "2"
files:
  - {path: etc/passwd, contents: "app:x:7:8::/:/bin/false\n", mode: "0644"}
  - {path: srv, source: tree}
  - {path: bin, symlink: usr/bin}
  - {path: bin/a, source: tree/run, mode: "4711"}
  - {path: data, directory: true, uid: app}
  - {path: secret, contents: x}
  - {path: maybe, source: absent, optional: true}
"#;

fn sources(directory: &Path) {
    package(directory, FILES);
    write(&directory.join("tree/page"), "page");
    write(&directory.join("tree/run"), "#!/bin/sh\n");
    write(&directory.join("tree/deep/er"), "");
    fs::set_permissions(directory.join("tree/run"), fs::Permissions::from_mode(0o700)).unwrap();
    symlink("../page", directory.join("tree/deep/link")).unwrap();
}

#[test]
fn files_are_as_written_and_sources_bring_only_the_executable_bit() {
    let scratch = tempfile::tempdir().unwrap();
    let shop = Workshop { epoch: 5, ..Workshop::new(scratch.path()) };
    sources(&scratch.path().join("p"));
    let built = shop.build(&scratch.path().join("p"));
    let listing: Vec<String> =
        shop.listing(&built.images[0]).into_iter().map(|(path, meta)| format!("{path}: {meta}")).collect();
    assert_eq!(
        listing,
        [
            "bin: 777 0:0 5 -> usr/bin",
            "data: 700 7:0 5 dir",
            "etc: 755 0:0 5 dir",
            "etc/passwd: 644 0:0 5 \"app:x:7:8::/:/bin/false\\n\"",
            "secret: 600 0:0 5 \"x\"",
            "srv: 755 0:0 5 dir",
            "srv/deep: 755 0:0 5 dir",
            "srv/deep/er: 644 0:0 5 \"\"",
            "srv/deep/link: 777 0:0 5 -> ../page",
            "srv/page: 644 0:0 5 \"page\"",
            "srv/run: 755 0:0 5 \"#!/bin/sh\\n\"",
            "usr: 755 0:0 5 dir",
            "usr/bin: 755 0:0 5 dir",
            "usr/bin/a: 4711 0:0 5 \"#!/bin/sh\\n\"",
        ]
    );
    let image = &built.images[0];
    let label: serde_json::Value = serde_json::from_str(image.label("org.mobyproject.config").unwrap()).unwrap();
    assert_eq!(label, serde_json::json!({"capabilities": ["CAP_NET_RAW"], "readonly": true}));
    assert_eq!((image.label("z"), image.label("a")), (Some("1"), Some("2")));
    let config = image.config.config().as_ref().unwrap();
    assert_eq!(config.user().as_deref(), Some("app"));
    assert_eq!(config.entrypoint().as_ref().unwrap(), &["/bin/a"]);
}

#[test]
fn the_tag_is_a_hash_of_the_inputs_and_of_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let shop = Workshop::new(scratch.path());
    let here = scratch.path().join("p");
    sources(&here);
    let tag = || shop.builder(&["linux/amd64"]).show_tag(&here).unwrap();
    let first = shop.build(&here);
    assert_eq!(first.name, tag());
    assert!(first.name.starts_with("docker.io/bootwright/files:") && first.name.len() == 67, "{}", first.name);
    assert!(!first.cached);
    let again = shop.build(&here);
    assert!(again.cached);
    assert_eq!(again.digest, first.digest);

    let elsewhere = scratch.path().join("other/place");
    sources(&elsewhere);
    assert_eq!(shop.builder(&["linux/amd64"]).show_tag(&elsewhere).unwrap(), first.name, "another directory");
    package(&here, &format!("# a comment\n{FILES}\n\n"));
    assert_eq!(tag(), first.name, "a comment");
    fs::set_permissions(here.join("tree/page"), fs::Permissions::from_mode(0o660)).unwrap();
    assert_eq!(tag(), first.name, "a umask");

    let mut tags = vec![first.name.clone()];
    let mut changed = |what: &str| {
        let now = tag();
        assert!(!tags.contains(&now), "{what} does not change the tag");
        tags.push(now);
    };
    fs::set_permissions(here.join("tree/page"), fs::Permissions::from_mode(0o755)).unwrap();
    changed("an executable bit");
    write(&here.join("tree/page"), "other");
    changed("contents");
    write(&here.join("absent"), "");
    changed("an optional source that comes up");
    for (what, from, to) in [
        ("a mode", "4711", "4755"),
        ("a label", "\"2\"", "\"3\""),
        ("config", "readonly: true", "readonly: false"),
        ("process", "A=1", "A=2"),
        ("the name", "image: files", "image: filed"),
        ("an owner", "uid: app", "uid: 9"),
    ] {
        package(&here, &FILES.replacen(from, to, 1));
        changed(what);
    }
    assert_ne!(shop.builder(&["linux/arm64"]).show_tag(&here).unwrap(), tag(), "the platform");
    let later = Workshop { epoch: 1, ..Workshop::new(&scratch.path().join("later")) };
    assert_ne!(later.builder(&["linux/amd64"]).show_tag(&here).unwrap(), tag(), "SOURCE_DATE_EPOCH");
}

/// A kernel takes minutes and gigabytes: nobody builds it twice, and what a killed build left does not stay.
#[test]
fn of_several_that_want_a_package_one_builds_it() {
    let scratch = tempfile::tempdir().unwrap();
    let shop = Workshop::new(scratch.path());
    let directory = scratch.path().join("p");
    package(&directory, "image: files\nfiles: [{path: a, contents: a}]\n");
    let left = shop.cache.join("tmp/bootwright-files");
    write(&left.join("linux/Makefile"), "");
    let cached: Vec<bool> = std::thread::scope(|scope| {
        let builds: Vec<_> = (0..4).map(|_| scope.spawn(|| shop.build(&directory).cached)).collect();
        builds.into_iter().map(|build| build.join().unwrap()).collect()
    });
    assert_eq!(cached.iter().filter(|cached| !**cached).count(), 1, "{cached:?}");
    assert!(!left.exists());
}

#[test]
fn several_platforms_are_one_index_and_each_is_found_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let shop = Workshop::new(scratch.path());
    sources(&scratch.path().join("p"));
    let both = shop.builder(&["linux/arm64", "linux/amd64"]).build(&scratch.path().join("p")).unwrap();
    let platforms: Vec<String> = both.images.iter().map(|i| i.platform.to_string()).collect();
    assert_eq!(platforms, ["linux/amd64", "linux/arm64"]);
    let resolved = shop.builder(&["linux/arm64"]).resolve("@pkg:p", scratch.path()).unwrap();
    let found = shop.store.find(&resolved.parse().unwrap()).unwrap().unwrap();
    let image = shop.store.image(&resolved, &found, &"linux/arm64".parse().unwrap()).unwrap();
    assert_eq!(image.digest, both.images[1].digest);
    assert_eq!(shop.builder(&[]).resolve("redis:7", scratch.path()).unwrap(), "redis:7");
}

#[test]
fn what_cannot_be_built_is_said_with_its_cause() {
    let scratch = tempfile::tempdir().unwrap();
    let shop = Workshop { offline: true, ..Workshop::new(scratch.path()) };
    let here = scratch.path().join("p");
    for (build_yml, platform, wants) in [
        (
            "image: a\nfiles: [{path: x, contents: y}]",
            "linux/riscv64",
            &["not made for linux/riscv64", "amd64, arm64"][..],
        ),
        ("image: a\nfiels: []", "linux/amd64", &["build.yml:2:1", "files"]),
        ("image: a", "linux/amd64", &["no recipe"]),
        ("image: a\nfiles: [{path: x, source: absent}]", "linux/amd64", &["recipe `files`", "absent", "No such file"]),
        ("image: a\nfiles: [{path: x, contents: y, uid: nobody}]", "linux/amd64", &["`nobody`", "/etc/passwd"]),
        (
            "image: a\nfiles: [{path: x, contents: y}, {path: x/z, contents: y}]",
            "linux/amd64",
            &["`/x/z`", "`/x` is not a directory"],
        ),
        (
            "image: a\ncargo: {package: nothing, path: x}",
            "linux/amd64",
            &["recipe `cargo`", "could not find `Cargo.toml`"],
        ),
        (
            "image: a\nkernel: {source: linux-source-6.12, config: [absent]}",
            "linux/amd64",
            &["recipe `kernel`", "p/absent", "No such file"],
        ),
        (
            "image: a\nkernel: {source: linux-source-6.12, config: [build.yml]}",
            "linux/amd64",
            &["`build.yml` line 1", "CONFIG_NAME=value"],
        ),
        ("image: a\nkernel: {source: linux-source-6.12, config: [absent]}", "linux/arm64", &["amd64 only", "`arm64`"]),
    ] {
        package(&here, build_yml);
        let error = causes(&shop.builder(&[platform]).build(&here).unwrap_err());
        for want in wants {
            assert!(error.contains(want), "{build_yml}\n{error}\n lacks {want}");
        }
    }
    let error = causes(&shop.builder(&["linux/amd64"]).build(&scratch.path().join("nowhere")).unwrap_err());
    assert!(error.contains("is no package"), "{error}");
    assert_eq!(shop.store.list().unwrap().len(), 0, "nothing half done");
}

fn workspace(directory: &Path) {
    write(
        &directory.join("Cargo.toml"),
        "[workspace]\nmembers = [\"app\", \"dep\", \"other\"]\nresolver = \"3\"\n\
         [profile.image]\ninherits = \"release\"\npanic = \"abort\"\n",
    );
    let member = |name: &str, rest: &str| {
        write(
            &directory.join(name).join("Cargo.toml"),
            &format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n{rest}"),
        );
    };
    member("app", "[dependencies]\ndep = { path = \"../dep\" }\n");
    member("dep", "");
    member("other", "");
    write(&directory.join("app/src/main.rs"), "fn main() { println!(\"{} {}\", dep::word(), file!()); panic!() }\n");
    write(&directory.join("dep/src/lib.rs"), "pub fn word() -> &'static str { \"first\" }\n");
    write(&directory.join("other/src/lib.rs"), "");
    let lock = |name: &str, rest: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n{rest}\n");
    let locks = [lock("app", "dependencies = [\n \"dep\",\n]\n"), lock("dep", ""), lock("other", "")];
    write(&directory.join("Cargo.lock"), &format!("version = 4\n\n{}", locks.concat()));
}

#[test]
fn a_cargo_package_is_a_static_binary_that_knows_nothing_of_this_machine() {
    let scratch = tempfile::tempdir().unwrap();
    let mut digests = Vec::new();
    for (place, libc) in [("one", "musl"), ("two/other-name", "musl"), ("one", "gnu")] {
        let root = scratch.path().join(place);
        workspace(&root);
        package(
            &root.join("app"),
            &format!("image: app\ncargo: {{package: app, path: usr/bin/app, links: [sbin/a], target: {libc}}}\n"),
        );
        let shop = Workshop::new(&scratch.path().join("shops").join(place));
        let built = shop.build(&root.join("app"));
        digests.push(built.digest);
        let listing = shop.listing(&built.images[0]);
        assert_eq!(listing["usr/bin/app"], "755 0:0 0 file");
        assert_eq!(listing["sbin/a"], "777 0:0 0 -> ../usr/bin/app");
        let out = scratch.path().join(format!("out-{libc}-{}", digests.len()));
        shop.unpack(&built.images[0], &out);
        let binary = fs::read(out.join("usr/bin/app")).unwrap();
        let path = root.display().to_string();
        assert!(!binary.windows(path.len()).any(|w| w == path.as_bytes()), "the binary names {path}");
        let said = std::process::Command::new(out.join("sbin/a")).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stdout), "first app/src/main.rs\n");
    }
    assert_eq!(digests[0], digests[1], "the same bytes in another directory");
    assert_ne!(digests[0], digests[2], "gnu is another binary");

    // Several binaries are one layer.
    let root = scratch.path().join("one");
    package(
        &root.join("app"),
        "image: app\ncargo:\n  - {package: app, path: a}\n  - {package: app, target: gnu, path: b, links: [c]}\n",
    );
    let shop = Workshop::new(&scratch.path().join("shops/both"));
    let built = shop.build(&root.join("app"));
    let listing = shop.listing(&built.images[0]);
    let both: Vec<_> = listing.iter().map(|(path, meta)| (path.as_str(), meta.as_str())).collect();
    assert_eq!(both, [("a", "755 0:0 0 file"), ("b", "755 0:0 0 file"), ("c", "777 0:0 0 -> b")]);
    assert_eq!(built.images[0].layers.len(), 1);

    // What the binary is made from counts, and nothing else.
    let root = scratch.path().join("one");
    let shop = Workshop::new(&scratch.path().join("shops/one"));
    let tag = || shop.builder(&["linux/amd64"]).show_tag(&root.join("app")).unwrap();
    let first = tag();
    write(&root.join("other/src/lib.rs"), "// not a dependency\n");
    assert_eq!(tag(), first);
    write(&root.join("dep/src/lib.rs"), "pub fn word() -> &'static str { \"second\" }\n");
    assert_ne!(tag(), first);
}
