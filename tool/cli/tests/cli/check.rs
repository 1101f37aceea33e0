//! `check`, and what `build` says of the same: every problem with its place.

use insta::assert_snapshot;

use crate::desk::{Desk, SPEC};
use crate::support::{Registry, skopeo};

#[test]
fn six_mistakes_make_six_reports() {
    let desk = Desk::with_machine();
    desk.write(
        "six.yml",
        "kernel: {image: k, cmdlin: quiet}\nservices:\n  - name: web\n    image: nginx\n    capabilities: [CAP_NET_ADMIM]\n    readonly: sometimes\n    binds: [\"data:/srv\"]\n  - {name: web, image: redis}\nfiles:\n  - {path: ../etc/passwd, contents: root}\n",
    );
    let checked = desk.run("check six.yml");
    assert_eq!(checked.code, 1);
    assert_snapshot!(checked.err, @r#"
    error: unknown key `cmdlin` in `kernel`
     --> six.yml:1:20
      |
    1 | kernel: {image: k, cmdlin: quiet}
      |                    ^^^^^^ did you mean `cmdline`?
      = hint: allowed here: `binary`, `cmdline`, `image`, `modules`, `tar`, `ucode`

    error: `services[0].capabilities[0]`: unknown capability `CAP_NET_ADMIM`
     --> six.yml:5:20
      |
    5 |     capabilities: [CAP_NET_ADMIM]
      |                    ^^^^^^^^^^^^^ did you mean `CAP_NET_ADMIN`?

    error: `services[0].readonly` must be `true` or `false`
     --> six.yml:6:15
      |
    6 |     readonly: sometimes
      |               ^^^^^^^^^ this is a string

    error: there is no volume `data`
     --> six.yml:7:13
      |
    7 |     binds: ["data:/srv"]
      |             ^^^^^^^^^^^ no `volumes:` are defined
      = hint: a source that does not start with `/` names a volume

    error: two services are named `web`
     --> six.yml:8:12
      |
    8 |   - {name: web, image: redis}
      |            ^^^ the first is at six.yml:3:11

    error: `files[0].path`: `../etc/passwd` leads out of where it starts
      --> six.yml:10:12
       |
    10 |   - {path: ../etc/passwd, contents: root}
       |            ^^^^^^^^^^^^^ no `..` in the path of a file

    error: the spec has 6 errors; nothing was built
    "#);
    assert_eq!(checked.out, "");
    let built = desk.run("build six.yml");
    assert_eq!((built.code, &built.err), (1, &checked.err), "build says the same");
    assert_eq!(checked.err.matches("error: ").count(), 7, "six, and how many they were");
}

#[test]
fn mistakes_that_only_the_images_show() {
    let desk = Desk::with_machine();
    desk.write("script/build.yml", "image: script\nfiles:\n  - {path: run, contents: \"#!/bin/none\\n\", mode: \"0755\"}\n  - {path: plain, contents: x, mode: \"0644\"}\nprocess: {cmd: [/run]}\n");
    let services = [
        "  - {name: missing, image: \"@pkg:app\", command: [/bin/apt]}\n",
        "  - {name: script, image: \"@pkg:script\"}\n",
        "  - {name: plain, image: \"@pkg:script\", command: [/plain]}\n",
        "  - {name: user, image: \"@pkg:app\", uid: nobody}\n",
    ]
    .concat();
    desk.write("m.yml", format!("{SPEC}{services}"));
    let checked = desk.run("check -q m.yml");
    assert_eq!(checked.code, 1);
    assert_snapshot!(checked.err, @r#"
    error: `missing` cannot start: `/bin/apt` does not exist in the image
     --> m.yml:8:50
      |
    8 |   - {name: missing, image: "@pkg:app", command: [/bin/apt]}
      |                                                  ^^^^^^^^

    error: `script` cannot start: `/run` is run by `/bin/none`, which the image lacks
     --> m.yml:9:27
      |
    9 |   - {name: script, image: "@pkg:script"}
      |                           ^^^^^^^^^^^^^

    error: `plain` cannot start: `/plain` is not executable (mode 0644)
      --> m.yml:10:51
       |
    10 |   - {name: plain, image: "@pkg:script", command: [/plain]}
       |                                                   ^^^^^^
       = hint: set its mode in the image: chmod +x

    error: user `nobody` is neither a container of this spec nor in the users of image `docker.io/bootwright/app:[hash]`
      --> m.yml:11:42
       |
    11 |   - {name: user, image: "@pkg:app", uid: nobody}
       |                                          ^^^^^^
       = hint: write the number

    error: the spec has 4 errors; nothing was built
    "#);
    // What needs the whole machine is looked at when there is one.
    desk.write("m.yml", format!("{SPEC}  - {{name: bind, image: \"@pkg:app\", binds: [\"/srv/none:/srv\"]}}\n"));
    let checked = desk.run("check -q m.yml");
    assert_eq!(checked.code, 1);
    assert!(checked.err.contains("`bind` binds `/srv/none`, which is not in the machine"), "{}", checked.err);
}

#[test]
fn check_shows_notes_and_build_only_with_v() {
    let desk = Desk::with_machine();
    desk.write(
        "bare/build.yml",
        "image: bare\nfiles:\n  - {path: bin/app, source: ../app/elf, mode: \"0755\"}\nprocess: {cmd: [/bin/app]}\n",
    );
    desk.write("m.yml", format!("{SPEC}  - {{name: bare, image: \"@pkg:bare\"}}\n"));
    let checked = desk.run("check -q m.yml");
    assert_eq!(checked.code, 0);
    assert_snapshot!(checked.err, @r#"
    note: image `docker.io/bootwright/bare:[hash]` has no label `org.mobyproject.config`: it runs without capabilities
     --> m.yml:8:25
      |
    8 |   - {name: bare, image: "@pkg:bare"}
      |                         ^^^^^^^^^^^
      = hint: list what it needs, such as `capabilities: [CAP_NET_BIND_SERVICE, CAP_SETUID, CAP_SETGID,
              CAP_CHOWN]`
    "#);
    assert_snapshot!(checked.out, @"m.yml: no errors; warnings: 0, notes: 1");
    assert_eq!(desk.run("build -q m.yml").err, "");
    assert!(desk.run("build -v m.yml").err.contains("note: image"));
    let json: serde_json::Value = serde_json::from_str(&desk.ok("check --json m.yml")).unwrap();
    assert_eq!((&json[0]["severity"], &json[0]["line"]), (&"note".into(), &8.into()));
    assert_eq!(
        desk.list(""),
        ["app", "bare", "cache", "home", "init", "kern", "m-cmdline", "m-initrd.img", "m-kernel", "m.yml"]
    );
}

#[test]
fn a_package_that_fails_is_loud_and_has_a_place() {
    let desk = Desk::with_machine();
    desk.write("m.yml", SPEC.replace("@pkg:app", "@pkg:ap"));
    let done = desk.run("check m.yml");
    assert_eq!(done.code, 1);
    assert_snapshot!(done.err.lines().filter(|l| !l.starts_with("building")).collect::<Vec<_>>().join("\n"), @r#"
    error: the package `./ap` cannot be had
     --> m.yml:7:24
      |
    7 |   - {name: app, image: "@pkg:ap"}
      |                        ^^^^^^^^^

    error: `./ap` is no package: its `build.yml` cannot be read
      caused by: No such file or directory (os error 2)
    hint: did you mean `app`?
    "#);
    desk.write("m.yml", SPEC);
    desk.write("app/build.yml", "image: app\nfile: []\n");
    let done = desk.run("check -q m.yml");
    assert_eq!(done.code, 1);
    assert_snapshot!(done.err, @r#"
    error: the package `./app` cannot be had
     --> m.yml:7:24
      |
    7 |   - {name: app, image: "@pkg:app"}
      |                        ^^^^^^^^^^

    error: the package has no recipe: packages made by a Dockerfile are not built yet
     --> ./app/build.yml:1:8
      |
    1 | image: app
      |        ^^^ nothing here says how it is made
      = hint: give one of `cargo:`, `debian:`, `kernel:` and `files:`, or several

    error: unknown key `file`
     --> ./app/build.yml:2:1
      |
    2 | file: []
      | ^^^^ did you mean `files`?
      = hint: allowed here: `arches`, `cargo`, `config`, `debian`, `files`, `image`, `kernel`, `labels`,
              `org`, `process`

    error: `./app` has 2 problems in its `build.yml`
    "#);
}

#[test]
fn an_image_that_is_nowhere_says_where_it_was_looked_for() {
    let registry = Registry::start();
    let desk = Desk::with_machine();
    let image = registry.name("no/such");
    desk.write("m.yml", format!("{SPEC}  - {{name: gone, image: \"{image}\"}}\n"));
    let done = desk.run("build -q m.yml");
    assert_eq!(done.code, 1, "{}", done.err);
    assert_snapshot!(done.err, @r#"
    error: the image `127.0.0.1:[port]/no/such` cannot be had
     --> m.yml:8:25
      |
    8 |   - {name: gone, image: "127.0.0.1:[port]/no/such"}
      |                         ^^^^^^^^^^^^^^^^^^^^^^^^^

    error: the image `127.0.0.1:[port]/no/such:latest` was not found
      the image store at [here]/cache: it has no such name
      the registry of 127.0.0.1:[port]: `127.0.0.1:[port]` has no `127.0.0.1:[port]/no/such:latest`
    hint: check the spelling of its name, and give its tag if it has none called `latest`; if it was built on this machine, give `--docker`
    "#);
    let pulled = desk.run("build -q --pull m.yml").err;
    assert!(pulled.ends_with("none called `latest`\n"), "the engine has no say in what is pulled: {pulled}");
    let done = desk.run("build -q --offline m.yml");
    assert_eq!(done.code, 1, "{}", done.err);
    assert_snapshot!(done.err.lines().skip(6).collect::<Vec<_>>().join("\n"), @"
    error: the image `127.0.0.1:[port]/no/such:latest` was not found
      the image store at [here]/cache: it has no such name
      the registry of 127.0.0.1:[port]: not asked, because of --offline
    hint: fetch it once with `bootwright cache pull 127.0.0.1:[port]/no/such:latest`, or do without `--offline`
    ");
    let done =
        desk.finish(desk.command().args("build -q --docker m.yml".split(' ')).env("DOCKER_HOST", "unix:///none"));
    assert_eq!(done.code, 1, "{}", done.err);
    assert_snapshot!(done.err.lines().skip_while(|l| !l.starts_with("error: the image `127.0.0.1:[port]/no/such:latest` was")).collect::<Vec<_>>().join("\n"), @"
    error: the image `127.0.0.1:[port]/no/such:latest` was not found
      the container engine: the container engine at `/none` cannot be reached: No such file or directory (os error 2)
      the image store at [here]/cache: it has no such name
      the registry of 127.0.0.1:[port]: `127.0.0.1:[port]` has no `127.0.0.1:[port]/no/such:latest`
    hint: start the engine, or say where its socket is: `DOCKER_HOST=unix:///PATH`
    ");
    // A registry that cannot be asked is not the spec's fault.
    desk.write("m.yml", format!("{SPEC}  - {{name: gone, image: \"127.0.0.1:1/x\"}}\n"));
    let done = desk.run("build -q m.yml");
    assert_eq!(done.code, 3, "{}", done.err);
    assert!(done.err.contains("\nhint: check that a registry runs at `127.0.0.1:[port]`"), "{}", done.err);
    // What a volume wants whole is looked for elsewhere in the code, and answered alike.
    desk.write("m.yml", format!("{SPEC}volumes: [{{name: v, image: \"{image}\", format: oci}}]\n"));
    for (flags, hint) in [("", "hint: check the spelling of its name"), ("--offline", "hint: fetch it once with")] {
        let done = desk.run(&format!("build -q {flags} m.yml"));
        assert_eq!(done.code, 1, "{}", done.err);
        assert!(done.err.contains(hint), "{}", done.err);
    }
}

#[test]
fn a_linuxkit_spec_is_shown_the_lines_to_change() {
    let registry = Registry::start();
    let desk = Desk::with_machine();
    desk.ok("pkg build --archive out kern init app");
    let push = |archive: &str, name: &str| {
        let from = format!("oci-archive:{}", desk.path("out").join(archive).display());
        skopeo(&["copy", "--dest-tls-verify=false", &from, &format!("docker://{}", registry.name(name))]);
    };
    push("kern.tar", "linuxkit/kernel:6.12.59");
    for part in ["init", "runc", "containerd", "ca-certificates"] {
        push("init.tar", &format!("linuxkit/{part}:v1.2"));
    }
    push("app.tar", "linuxkit/getty:v1.2");
    desk.write(
        "lk.yml",
        "\
kernel: {image: linuxkit/kernel:6.12.59, cmdline: console=ttyS0, tar: none}
init:
  - linuxkit/init:v1.2
  - linuxkit/runc:v1.2
  - linuxkit/containerd:v1.2
  - linuxkit/ca-certificates:v1.2
services:
  - {name: getty, image: \"linuxkit/getty:v1.2\"}
",
    );
    let mirror = format!("--mirror docker.io=http://127.0.0.1:{}", registry.port);
    let done = desk.run(&format!("check -q {mirror} lk.yml"));
    assert_eq!(done.code, 0, "{}", done.err);
    assert_snapshot!(done.err, @r#"
    note: this spec boots with LinuxKit's init, which does not supervise services
     --> lk.yml:3:5
      |
    3 |   - linuxkit/init:v1.2
      |     ^^^^^^^^^^^^^^^^^^
      = hint: to boot with bootwright's, replace
                - linuxkit/init:v1.2
                - linuxkit/runc:v1.2
                - linuxkit/containerd:v1.2
              so that it reads
              init:
                - "@pkg:../pkg/init"
                - linuxkit/ca-certificates:v1.2
      = hint: `@pkg:` takes the path of bootwright's pkg/init; docs/from-linuxkit.md has the other ways
              to name it
    "#);
    let built = desk.run(&format!("build --offline {mirror} lk.yml"));
    assert_eq!(built.code, 0, "it is all in the store now: {}", built.err);
}
