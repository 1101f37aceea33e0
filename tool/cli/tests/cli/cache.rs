//! `cache`: the store against a real registry, and against skopeo as the other client.

use base64::Engine as _;
use insta::assert_snapshot;

use crate::desk::{Desk, list};
use crate::flags::full_name;
use crate::support::{Registry, run, skopeo};

/// A Docker configuration with this password for a registry.
fn log_in(desk: &Desk, registry: &Registry, user: &str, password: &str) {
    let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    let config = format!("{{\"auths\": {{\"127.0.0.1:{}\": {{\"auth\": \"{auth}\"}}}}}}", registry.port);
    desk.write("home/.docker/config.json", config);
}

#[test]
fn push_and_pull_with_a_password() {
    let registry = Registry::with_password("ann", "secret");
    let desk = Desk::with_machine();
    desk.ok("pkg build app");
    let app = full_name(&desk);
    let remote = registry.name("team/app:1");
    let push = format!("cache push --remote-name {remote} {app}");
    let refused = desk.run(&push);
    assert_eq!(refused.code, 3, "{}", refused.err);
    log_in(&desk, &registry, "ann", "wrong");
    let refused = desk.run(&push);
    assert_eq!(refused.code, 3, "{}", refused.err);
    assert!(!refused.err.contains("wrong:") && !refused.err.contains("YW5u"), "{}", refused.err);
    log_in(&desk, &registry, "ann", "secret");
    desk.ok(&push);
    assert!(desk.run(&push).err.contains("the registry has"), "it is there already");
    // Another image under that name is kept unless `--override`.
    desk.ok("pkg build init");
    let names = String::from_utf8(desk.command().args(["cache", "ls"]).output().unwrap().stdout).unwrap();
    let init = names.lines().find(|l| l.contains("/init:")).unwrap().split(' ').next().unwrap().to_owned();
    let other = format!("cache push --remote-name {remote} {init}");
    let kept = desk.run(&other);
    assert_eq!(kept.code, 1, "{}", kept.err);
    assert!(kept.err.contains("hint: --override"), "{}", kept.err);
    desk.ok(&format!("cache push --override --with-arch-tags --remote-name {remote} {init}"));
    let credentials = ["--creds", "ann:secret", "--tls-verify=false"];
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    for name in [remote.clone(), format!("{remote}-{arch}")] {
        let seen = skopeo(&[&["inspect"][..], &credentials, &[&format!("docker://{name}")]].concat());
        assert!(seen.contains(&format!("\"Architecture\": \"{arch}\"")), "{seen}");
    }
    // Somebody else pulls it.
    let other = Desk::new();
    assert_eq!(other.run(&format!("cache pull {remote}")).code, 3);
    log_in(&other, &registry, "ann", "secret");
    assert!(other.ok(&format!("cache pull {remote}")).contains("/team/app:1@sha256:[hash]"));
    other.ok(&format!("cache export --format filesystem --outfile fs.tar {remote}"));
    assert_eq!(run("tar", &["-tf", other.path("fs.tar").to_str().unwrap()]), "init\n");
}

#[test]
fn archives_go_to_skopeo_and_come_back() {
    let desk = Desk::with_machine();
    desk.ok("pkg build app");
    let app = full_name(&desk);
    let before = desk.ok("cache ls");
    for (format, transport) in [("oci", "oci-archive"), ("docker", "docker-archive")] {
        let file = desk.path(format);
        desk.ok(&format!("cache export --format {format} --name example.org/x:1 --outfile {} {app}", file.display()));
        desk.ok(&format!("cache export --format {format} --name example.org/x:1 -o again {app}"));
        assert!(desk.read(format) == desk.read("again"), "the same bytes every time");
        let from = format!("{transport}:{}", file.display());
        assert!(skopeo(&["inspect", &from]).contains("org.mobyproject.config"));
        let back = desk.path(&format!("back-{format}"));
        let named = format!("{transport}:{}:example.org/back:{format}", back.display());
        skopeo(&["copy", "--quiet", &from, &named]);
        let imported = desk.ok(&format!("cache import {}", back.display()));
        assert!(imported.starts_with(&format!("example.org/back:{format}@sha256:")), "{imported}");
        // The same files, whichever way they went.
        for name in [app.as_str(), &format!("example.org/back:{format}")] {
            desk.ok(&format!("cache export --format filesystem -o {format}.fs {name}"));
            let listing = run("tar", &["-tvf", desk.path(&format!("{format}.fs")).to_str().unwrap()]);
            assert!(listing.contains("bin/app"), "{listing}");
        }
    }
    let piped = desk.command().args(["cache", "export", "-o", "-", &app]).output().unwrap();
    let done = desk.fed("cache import --name example.org/piped -", &piped.stdout);
    assert_eq!(done.code, 0, "{}", done.err);
    let after = desk.ok("cache ls");
    let names: Vec<&str> = after.lines().collect();
    assert!(names.is_sorted() && names.len() == 4 && after.contains(before.trim()), "{after}");
    let done = desk.fed("cache import -", b"this is no archive");
    assert_eq!(done.code, 1, "{}", done.err);
    // A long file that is written over leaves nothing behind.
    desk.write("again", vec![0; 10 << 20]);
    desk.ok(&format!("cache export --format oci --name example.org/x:1 -o again {app}"));
    assert!(desk.read("again") == desk.read("oci"));
    assert_eq!(desk.run(&format!("cache export -o nowhere/x {app}")).code, 1);
}

#[test]
fn removing_one_image_harms_no_other() {
    let desk = Desk::with_machine();
    desk.ok("pkg build --archive out app");
    let app = full_name(&desk);
    desk.ok("cache import --name example.org/one out/app.tar");
    desk.ok("cache import --name docker.io/library/two:latest out/app.tar");
    desk.ok("cache rm two");
    desk.ok(&format!("cache rm {app}"));
    desk.ok("cache gc");
    desk.ok("cache export --format docker -o one.tar example.org/one");
    assert_snapshot!(desk.ok("cache ls"), @"example.org/one:latest  sha256:[hash]");
    let missing = desk.run("cache rm one");
    assert_eq!(missing.code, 1);
    assert_snapshot!(missing.err, @"
    error: the image store has no `docker.io/library/one:latest`
    hint: it has example.org/one:latest
    ");
    // What a container engine gave has a name that is no reference.
    let index = String::from_utf8(desk.read("cache/index.json")).unwrap();
    desk.write(
        "cache/index.json",
        index.replace("example.org/one:latest", "docker-daemon:docker.io/library/one:latest"),
    );
    assert_eq!(desk.run("cache rm --published-only docker-daemon:one").code, 0);
    assert!(desk.ok("cache ls").contains("docker-daemon:"), "no registry has it");
    desk.ok("cache rm docker-daemon:one");
    assert_eq!(desk.ok("cache ls"), "");
    desk.ok("cache gc");
    assert!(list(&desk.path("cache/blobs/sha256")).is_empty());
}

#[test]
fn clean_takes_everything_or_what_is_published() {
    let registry = Registry::start();
    let desk = Desk::with_machine();
    desk.ok("pkg build --archive out app");
    let kept = full_name(&desk);
    let there = registry.name("x:1");
    desk.ok(&format!("cache import --name {there} out/app.tar"));
    desk.ok(&format!("cache push {there}"));
    // The registry of the other one is unknown here, so only this one is asked about.
    assert_eq!(desk.run(&format!("cache rm --published-only {there}")).code, 0);
    assert_eq!(full_name(&desk), kept);
    let freed: serde_json::Value = serde_json::from_str(&desk.ok("cache clean --json")).unwrap();
    assert!(freed["blobs"].as_u64().unwrap() > 0, "{freed}");
    assert_eq!(desk.ok("cache ls"), "");
}

#[test]
fn offline_asks_nobody_and_pull_always_asks() {
    let registry = Registry::start();
    let desk = Desk::with_machine();
    desk.ok("pkg build --archive out app init");
    let remote = registry.name("app:1");
    let push = |archive: &str| {
        let from = format!("oci-archive:{}", desk.path(archive).display());
        skopeo(&["copy", "--quiet", "--dest-tls-verify=false", &from, &format!("docker://{remote}")]);
    };
    push("out/app.tar");
    desk.write("r.yml", format!("init: [\"{remote}\"]\n"));
    assert_eq!(desk.run("build --offline --format tar r.yml").code, 1, "not here yet");
    desk.ok("build --format tar r.yml");
    let first = desk.read("r.tar");
    push("out/init.tar");
    desk.ok("build --format tar r.yml");
    assert!(desk.read("r.tar") == first, "a hit in the store asks nobody");
    desk.ok("build --pull --format tar r.yml");
    assert!(desk.read("r.tar") != first, "`--pull` asks");
    drop(registry);
    desk.ok("build --offline --format tar r.yml");
    assert_eq!(desk.run("build --pull --format tar r.yml").code, 3, "the registry is gone");
    assert_eq!(desk.run("build --pull --offline r.yml").code, 2);
}
