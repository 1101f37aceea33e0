//! `build`: what it writes where, what it says, and how it ends.

use std::process::Command;

use insta::assert_snapshot;

use crate::desk::{Desk, SPEC, list};

#[test]
fn each_format_has_linuxkits_file_names() {
    let desk = Desk::with_machine();
    for (flags, files) in [
        ("", &["m-cmdline", "m-initrd.img", "m-kernel"][..]),
        ("--format kernel+initrd --compress gzip", &["m-cmdline", "m-initrd.img", "m-kernel"]),
        ("--format tar", &["m.tar"]),
        ("--format tar-kernel-initrd", &["m-initrd.tar"]),
        ("--format docker", &["m.docker"]),
        ("--format tar --name other", &["other.tar"]),
        ("--format kernel+initrd,tar-kernel-initrd", &["m-cmdline", "m-initrd.img", "m-initrd.tar", "m-kernel"]),
        (
            "--format tar-kernel-initrd --format kernel+initrd",
            &["m-cmdline", "m-initrd.img", "m-initrd.tar", "m-kernel"],
        ),
    ] {
        let out = tempfile::tempdir().unwrap();
        desk.ok(&format!("build {flags} --dir {} m.yml", out.path().display()));
        assert_eq!(list(out.path()), files, "{flags}");
    }
    assert_eq!(desk.list(""), ["app", "cache", "home", "init", "kern", "m.yml"], "nothing beside `--dir`");
}

#[test]
fn one_stream_goes_to_a_file_or_to_standard_output() {
    let desk = Desk::with_machine();
    for flags in ["--o a.tar", "-o b.tar", "--output c.tar --format tar", "-o=d.tar"] {
        desk.ok(&format!("build {flags} m.yml"));
    }
    let file = desk.read("a.tar");
    for other in ["b.tar", "c.tar", "d.tar"] {
        assert_eq!(desk.read(other), file, "{other}");
    }
    let piped = desk.command().args(["build", "--o", "-", "m.yml"]).output().unwrap();
    assert_eq!(piped.stdout, file, "{}", String::from_utf8_lossy(&piped.stderr));
    desk.write("sub/x.yml", SPEC.replace("@pkg:", "@pkg:../"));
    desk.ok("build --format tar sub/x.yml");
    assert!(desk.path("x.tar").exists(), "named after the spec, in the working directory");
    desk.ok("build --format docker --o docker.tar m.yml");
    assert_ne!(desk.read("docker.tar"), file);
}

/// Its own description, which `files: metadata` puts into a machine, included.
#[test]
fn what_is_asked_of_a_machine_does_not_change_it() {
    let desk = Desk::with_machine();
    let spec = format!("{SPEC}files: [{{path: etc/spec, metadata: yaml}}]\n");
    desk.write("plain.yml", spec.clone());
    let tests = "tests: [{name: a, memory: 96M, formats: [iso], checks: [{console: up}]}]\n";
    desk.write("tested.yml", format!("{spec}{tests}"));
    desk.ok("build --format tar,kernel+initrd --name plain plain.yml");
    desk.ok("build --format tar,kernel+initrd --name tested tested.yml");
    for ending in [".tar", "-kernel", "-initrd.img", "-cmdline"] {
        assert_eq!(desk.read(&format!("plain{ending}")), desk.read(&format!("tested{ending}")), "{ending}");
    }
}

#[test]
fn exit_codes_say_whose_fault_it_is() {
    let desk = Desk::with_machine();
    desk.write("bad.yml", "kernelx: {}\n");
    desk.write("none.yml", "services: [{name: a, image: \"@pkg:nowhere\"}]\n");
    desk.write("down.yml", "init: [\"127.0.0.1:1/x\"]\n");
    desk.write("alone.yml", "init: [\"@pkg:init\"]\n");
    desk.write("file", "");
    for (line, code) in [
        ("build --format tar m.yml", 0),
        ("build --dry-run m.yml", 0),
        ("--help", 0),
        ("build --help", 0),
        ("help cache export", 0),
        ("version", 0),
        ("build bad.yml", 1),
        ("build missing.yml", 1),
        ("build none.yml", 1),
        ("build --offline down.yml", 1),
        ("build alone.yml", 1),
        ("build --format iso-bios m.yml", 1),
        ("build --dir nowhere m.yml", 1),
        ("cache rm nothing", 1),
        ("run nothing", 1),
        ("build", 2),
        ("", 2),
        ("nonsense", 2),
        ("build --nonsense m.yml", 2),
        ("build --format nonsense m.yml", 2),
        ("build --format kernel+initrd,tar --o x m.yml", 2),
        ("build --o x --name y m.yml", 2),
        ("build --o x --dir . m.yml", 2),
        ("build --pull --input-tar x m.yml", 2),
        ("build --compress zstd:99 m.yml", 2),
        ("build - -", 2),
        ("-q -v 2 version", 2),
        ("-v 7 version", 2),
        ("build down.yml", 3),
        ("build --format tar --o /dev/full/x m.yml", 1),
        ("--cache file build m.yml", 3),
        ("--cert-file missing.pem build down.yml", 3),
    ] {
        let done = desk.run(line);
        assert_eq!(done.code, code, "{line}: {}", done.err);
        assert!(code == 0 || !done.err.is_empty(), "{line} says nothing");
        assert!(code == 0 || done.out.is_empty(), "{line}: errors belong on standard error: {}", done.out);
    }
}

#[test]
fn a_refused_build_leaves_what_was_there() {
    let desk = Desk::with_machine();
    desk.ok("build --dir . m.yml");
    let before: Vec<_> = ["m-kernel", "m-initrd.img", "m-cmdline"].map(|name| desk.read(name)).to_vec();
    let listing = desk.list("");
    for (extra, why) in [
        ("files: [{path: big, source: nowhere}]\n", "cannot"),
        ("onboot: [{name: x, image: \"@pkg:app\", command: [/bin/none]}]\n", "/bin/none"),
        ("onboot: [{name: x, image: \"@pkg:app\", capabilities: [CAP_NOPE]}]\n", "CAP_NOPE"),
    ] {
        desk.write("m.yml", format!("{SPEC}{extra}"));
        let done = desk.run("build --dir . m.yml");
        assert_eq!(done.code, 1, "{}", done.err);
        assert!(done.err.contains(why) && done.err.contains("m.yml:8"), "{}", done.err);
        assert_eq!(desk.list(""), listing);
        let after: Vec<_> = ["m-kernel", "m-initrd.img", "m-cmdline"].map(|name| desk.read(name)).to_vec();
        assert_eq!(after, before);
    }
    // A pipe that closes early is the world's.
    desk.write("m.yml", SPEC);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let done = desk.finish(desk.command().args(["build", "--o", "-", "m.yml"]).stdout(full));
    assert_eq!(done.code, 3, "{}", done.err);
    assert!(done.err.contains("No space left on device"), "{}", done.err);
}

#[test]
fn the_same_bytes_from_every_directory_user_and_umask() {
    let spec = format!(
        "{SPEC}onboot: [{{name: arch, image: \"oci-archive:sub/app.tar\"}}]\nfiles:\n  - {{path: etc/spec, metadata: yaml}}\n  - {{path: etc/here, source: sub/text}}\n"
    );
    let build = |below: &str, from: &str, umask: &str, user: Option<u32>| {
        let desk = Desk::new();
        desk.machine(below);
        desk.write(&format!("{below}sub/text"), "text");
        desk.write(&format!("{below}m.yml"), &spec);
        std::fs::create_dir_all(desk.path("out")).unwrap();
        if let Some(user) = user {
            own(&desk.path(""), user);
        }
        let run = |line: String| {
            let as_user = user.map_or_else(String::new, |u| format!("setpriv --reuid {u} --regid {u} --clear-groups "));
            let program = env!("CARGO_BIN_EXE_bootwright");
            let script = format!("umask {umask} && exec {as_user}{program} {line}");
            let done = desk.finish(desk.dress(Command::new("sh")).arg("-c").arg(script).current_dir(desk.path(from)));
            assert_eq!(done.code, 0, "{line}: {}", done.err);
        };
        let root = desk.path(below);
        let root = root.display();
        run(format!("pkg build --archive {root}/sub {root}/app"));
        let out = desk.path("out");
        let spec = if below == from { "m.yml".to_owned() } else { format!("{root}/m.yml") };
        for format in ["kernel+initrd,tar-kernel-initrd", "tar", "docker"] {
            run(format!("build --format {format} --dir {} {spec}", out.display()));
        }
        let files = ["m-kernel", "m-initrd.img", "m-cmdline", "m-initrd.tar", "m.tar", "m.docker"];
        files.map(|file| desk.read(&format!("out/{file}")))
    };
    let first = build("", "", "022", None);
    assert!(first == build("deep/er/", "", "077", None), "another directory and umask");
    assert!(first == build("x/", "x/", "000", None), "the same again");
    if rustix::process::geteuid().is_root() {
        assert!(first == build("", "", "027", Some(65534)), "another user");
    }
}

fn own(path: &std::path::Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            own(&entry.unwrap().path(), user);
        }
    }
}

#[test]
fn what_is_said_while_building() {
    let desk = Desk::with_machine();
    let cold = desk.run("build m.yml");
    assert_snapshot!(sorted(&cold.err), @"
    building docker.io/bootwright/app:[hash] for linux/amd64
    building docker.io/bootwright/init:[hash] for linux/amd64
    building docker.io/bootwright/kern:[hash] for linux/amd64
    packing init[0] docker.io/bootwright/init:[hash]
    packing services[0] app
    unpacking docker.io/bootwright/app:[hash] [hash]
    unpacking docker.io/bootwright/init:[hash] [hash]
    unpacking docker.io/bootwright/kern:[hash] [hash]
    writing ./m-cmdline
    writing ./m-initrd.img
    writing ./m-kernel
    ");
    let warm = desk.run("build m.yml");
    assert_snapshot!(warm.err, @"
    writing ./m-kernel
    writing ./m-initrd.img
    writing ./m-cmdline
    ");
    assert_snapshot!(warm.out, @"
            6 B  [here]/m-kernel
        3.9 KiB  [here]/m-initrd.img
           13 B  [here]/m-cmdline
    needs 65 MiB of memory
    ");
    let quiet = desk.run("build -q m.yml");
    assert_eq!(quiet.err, "");
    let linuxkits_quiet = desk.run("build -v 0 --no-sbom m.yml");
    assert_eq!(linuxkits_quiet.err, "");
    // Warnings are said even then.
    desk.write("warn.yml", SPEC.replace("init: [\"@pkg:init\"]\n", ""));
    let quiet = desk.run("build -q warn.yml");
    assert!(quiet.err.contains("warning: the kernel will not find an init"), "{}", quiet.err);
}

/// Images are packed and unpacked by several threads: their order is nobody's promise.
fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn json_is_one_document_on_standard_output() {
    let desk = Desk::with_machine();
    desk.write("bad.yml", "kernelx: {}\nservice: []\n");
    desk.write("warn.yml", SPEC.replace("init: [\"@pkg:init\"]\n", ""));
    // `clean` has replaced digests by words, which are as good.
    let built: serde_json::Value = serde_json::from_str(&desk.ok("--json build warn.yml")).unwrap();
    assert_eq!(built["artefacts"].as_array().unwrap().len(), 3);
    assert_eq!(built["diagnostics"][0]["severity"], "warning");
    let done = desk.run("build --json bad.yml");
    assert_eq!((done.code, done.err.as_str()), (1, ""));
    let refused: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(refused["exit"], 1);
    assert_eq!(refused["diagnostics"][0]["file"], "bad.yml");
    assert_eq!(refused["diagnostics"][1]["line"], 2);
    let merged: serde_json::Value = serde_json::from_str(&desk.ok("--json build --dry-run m.yml")).unwrap();
    assert_eq!(merged["services"][0]["name"], "app");
}
