//! `pkg`: packages into the store and into archives.

use std::process::Command;

use insta::assert_snapshot;

use crate::desk::Desk;
use crate::support::skopeo;

#[test]
fn a_tag_changes_with_its_sources_only() {
    let desk = Desk::with_machine();
    let tag = |line: &str| {
        let output = desk.command().args(line.split(' ')).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let first = tag("pkg show-tag app");
    assert!(first.starts_with("docker.io/bootwright/app:"), "{first}");
    assert!(tag("pkg build app").starts_with(&format!("{first}@sha256:")));
    assert!(!desk.run("pkg build app").err.contains("building"), "what did not change is not built again");
    assert!(desk.run("pkg build --force app").err.contains("building"));
    // The same length and, as far as a clock can tell, the same time: only the content counts.
    let mut elf = desk.read("app/elf");
    let time = std::fs::metadata(desk.path("app/elf")).unwrap().modified().unwrap();
    *elf.last_mut().unwrap() ^= 1;
    desk.write("app/elf", &elf);
    std::fs::File::options().write(true).open(desk.path("app/elf")).unwrap().set_modified(time).unwrap();
    assert_ne!(tag("pkg show-tag app"), first);
    *elf.last_mut().unwrap() ^= 1;
    desk.write("app/elf", &elf);
    assert_eq!(tag("pkg show-tag app"), first);
    assert_ne!(tag("pkg show-tag app kern"), first, "one line each");
    assert_eq!(tag("pkg show-tag app kern").lines().count(), 2);
}

#[test]
fn archives_serve_a_spec_elsewhere() {
    let desk = Desk::with_machine();
    desk.ok("pkg build --archive made/here app init kern");
    assert_eq!(desk.list("made/here"), ["app.tar", "init.tar", "kern.tar"]);
    assert!(
        skopeo(&["inspect", &format!("oci-archive:{}", desk.path("made/here/app.tar").display())]).contains("linux")
    );
    let other = Desk::new();
    let at = |name: &str| format!("\"oci-archive:{}\"", desk.path("made/here").join(name).display());
    let spec = format!(
        "kernel: {{image: {}, tar: none}}\ninit: [{}]\nservices: [{{name: app, image: {}}}]\n",
        at("kern.tar"),
        at("init.tar"),
        at("app.tar")
    );
    other.write("m.yml", spec);
    other.ok("build --offline m.yml");
}

#[test]
fn nobody_can_build_with_a_home_of_their_own() {
    if !rustix::process::geteuid().is_root() {
        return; // whoever runs this is nobody already
    }
    let desk = Desk::with_machine();
    let user = Some(65534);
    for path in ["", "home"] {
        std::os::unix::fs::chown(desk.path(path), user, user).unwrap();
    }
    let run = |line: &str| {
        let mut command = desk.dress(Command::new("setpriv"));
        command.args("--reuid 65534 --regid 65534 --clear-groups --".split(' '));
        desk.finish(command.arg(env!("CARGO_BIN_EXE_bootwright")).args(line.split(' ')))
    };
    for line in ["pkg build --archive out app", "build m.yml", "check m.yml", "cache ls", "cache gc"] {
        let done = run(line);
        assert_eq!(done.code, 0, "{line}: {}", done.err);
    }
    // A store that belongs to somebody else is said to be so.
    desk.ok("--cache roots cache ls");
    std::os::unix::fs::chown(desk.path("roots"), Some(0), Some(0)).unwrap();
    let done = run("--cache roots pkg build app");
    assert_eq!(done.code, 3, "{}", done.err);
    assert!(done.err.contains("roots") && done.err.contains("Permission denied"), "{}", done.err);
}

#[test]
fn what_is_wrong_with_a_package_has_a_place() {
    let desk = Desk::with_machine();
    desk.write(
        "bad/build.yml",
        "image: Bad Name\nfiles: [{path: a, contnts: b}]\ncargo: {package: 7x, libc: dietlibc}\n",
    );
    let done = desk.run("pkg build bad");
    assert_eq!(done.code, 1);
    assert_snapshot!(done.err, @"
    error: an entry of `files` does not say what the file is
     --> bad/build.yml:2:10
      |
    2 | files: [{path: a, contnts: b}]
      |          ^^^^ needs one of `directory: true`, `symlink`, `contents`, `source` or `metadata`

    error: unknown key `contnts` in `files[0]`
     --> bad/build.yml:2:19
      |
    2 | files: [{path: a, contnts: b}]
      |                   ^^^^^^^ did you mean `contents`?
      = hint: allowed here: `contents`, `directory`, `gid`, `metadata`, `mode`, `optional`, `path`,
              `source`, `symlink`, `uid`

    error: `path` is missing in `cargo`
     --> bad/build.yml:3:9
      |
    3 | cargo: {package: 7x, libc: dietlibc}
      |         ^^^^^^^ `cargo` needs it
      = hint: `path`: Where the binary goes

    error: unknown key `libc` in `cargo`
     --> bad/build.yml:3:22
      |
    3 | cargo: {package: 7x, libc: dietlibc}
      |                      ^^^^ not a key of `cargo`
      = hint: allowed here: `bin`, `features`, `links`, `package`, `path`, `pie`, `profile`, `target`

    error: `bad` has 4 problems in its `build.yml`
    ");
    std::fs::create_dir(desk.path("empty")).unwrap();
    let done = desk.run("pkg build empty");
    assert_eq!(done.code, 1);
    assert_snapshot!(done.err, @"
    error: `empty` is no package: its `build.yml` cannot be read
      caused by: No such file or directory (os error 2)
    hint: give it a `build.yml` (docs/packages.md)
    ");
    desk.write("lost/build.yml", "image: lost\nfiles: [{path: a, source: nowhere}]\n");
    let done = desk.run("pkg build lost");
    assert_eq!(done.code, 1);
    assert_snapshot!(done.err, @"
    error: package `lost`, recipe `files`
      caused by: cannot read the source `[here]/lost/nowhere`
      caused by: No such file or directory (os error 2)
    ");
    let done = desk.run("pkg build --arch riscv64 app");
    assert_eq!(done.code, 1);
    assert_snapshot!(done.err, @"error: `app` is not made for linux/riscv64; it offers amd64, arm64");
    let json: serde_json::Value = serde_json::from_str(&desk.run("--json pkg build bad").out).unwrap();
    assert_eq!(json["diagnostics"][0]["file"], "bad/build.yml");
}
