//! `bootwright test`, the verb: what it says of machines in which everything holds, and of others.

use std::fs;
use std::process::Command;
use std::time::Instant;

use bootwright_test::{Built, Entry, ImageBuilder, Story, file, interrupted_test_verb, repository, run, test_verb};
use serde_json::Value;

/// The directory's disk keeps what one boot writes for the next.
const TESTS: &str = r#"
tests:
  - name: all
    memory: 256M
    disks: [1M]
    size: 64M
    checks:
      - console: "keeper: up"
      - exec: {service: keeper, command: [sh, -c, "echo oops >&2; id -u; exit 3"], code: 3, stdout: "0", stderr: oops}
      - {name: late, exec: {service: keeper, command: [test, -e, /tmp/late]}, within: 60s}
      - file: {service: keeper, path: /tmp/link, equals: "inside\n"}
      - file: {path: /etc/hostname, contains: machine}
      - file: {service: keeper, path: /etc/hostname, absent: true}
      - service: {name: keeper, state: running, restarts: 0}
      - service: {name: set-up, state: down}
      - http: {port: 80, path: /page, contains: "a page", header: "Content-Length: 7"}
      - http: {port: 80, path: /none, status: 404}
      - tcp: {port: 80, send: "GET /page HTTP/1.0\r\n\r\n", contains: "a page"}
      - exec: {service: keeper, command: [sh, -c, "echo kept > /dev/vda && sync"]}
      - reboot:
      - exec: {service: keeper, command: [head, -n, "1", /dev/vda], stdout: kept}
  - name: small
    memory: 160M
"#;

/// A machine with a web server, a service that has the disks, and one that has failed.
fn story(tests: &str) -> Story {
    let keeper = "mkdir /tmp/www; echo a page > /tmp/www/page; busybox httpd -p 80 -h /tmp/www; echo inside > /tmp/name; \
                  ln -s /tmp/name /tmp/link; echo up; sleep 2; touch /tmp/late; exec sleep 1000";
    let set_up = "ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0";
    Story::new()
        .keys(tests)
        .onboot(Entry::shell("set-up", set_up).key("capabilities", "[CAP_NET_ADMIN]"))
        .service(
            Entry::shell("keeper", keeper)
                .key("binds", "[\"/dev:/dev\"]")
                .key("capabilities", "[all]")
                .key("tmpfs", "[/tmp]")
                .key("pid", "host"),
        )
        .service(Entry::shell("flaky", "echo last words; exit 3").key("restart", "never"))
        .file(&file("etc/hostname", "0644", "machine\n"))
}

fn xpath(path: &str, expression: &str) -> String {
    let out = run(Command::new("xmllint").args(["--xpath", expression, path]));
    String::from_utf8_lossy(&out).trim_end().to_owned()
}

/// Two machines at once, one of which boots twice, from the same disk.
#[test]
fn what_holds_passes_and_is_told_in_every_way() {
    let built = story(TESTS).build();
    let [spec, junit, logs] = [built.file(".yml"), built.dir().join("junit.xml"), built.dir().join("logs")];
    let [spec, junit, logs] = [&spec, &junit, &logs].map(|path| path.to_str().unwrap());
    let begin = Instant::now();
    let run = test_verb(&[
        "--jobs",
        "2",
        "--json",
        "--junit",
        junit,
        "--logs",
        logs,
        "--spec",
        spec,
        built.prefix().to_str().unwrap(),
    ]);
    let wall = begin.elapsed().as_secs_f64();
    assert_eq!(run.code, Some(0), "{}\n{}", run.console, run.notes);
    let document: Value = serde_json::from_str(&run.console).unwrap();
    let machines = document["machines"].as_array().unwrap();
    let seconds = |machine: &Value| machine["seconds"].as_f64().unwrap();
    assert!(machines.iter().map(seconds).sum::<f64>() > wall, "they ran one after the other: {wall} s, {document:#}");
    let names: Vec<&str> = machines.iter().map(|machine| machine["test"].as_str().unwrap()).collect();
    assert_eq!(names, ["all", "small"], "in the order of the spec, whichever is first");

    assert_eq!(xpath(junit, "count(//testsuite)"), "2");
    assert_eq!(xpath(junit, "count(//failure | //error | //skipped)"), "0");
    assert_eq!(
        xpath(junit, "string(//testsuite[1]/testcase[14]/@name)"),
        "exec keeper: sh -c echo kept > /dev/vda && sync"
    );
    assert_eq!(xpath(junit, "string(//testsuite[2]/testcase[1]/@name)"), "boots");
    for (log, text) in [
        ("story-all-kernel+initrd", "end: reboot"),
        ("story-all-kernel+initrd-2", "end: poweroff"),
        ("story-small-kernel+initrd", "end: poweroff"),
    ] {
        let said = fs::read_to_string(format!("{logs}/{log}.log")).unwrap();
        // Not what a service says: a machine with nothing to check may end before.
        assert!(said.contains("bootwright: ready in") && said.contains(text), "{log}: {said}");
    }
}

const WRONG: &str = r#"
control: {allow: [status, exec, power]}
tests:
  - name: everything
    memory: 256M
    size: 1M
    checks:
      - {console: "nobody says this", within: 1ms}
      - exec: {service: keeper, command: [sh, -c, "echo why; exit 7"]}
      - exec: {service: keeper, command: [echo, one], stdout: two}
      - exec: {service: keeper, command: [nonesuch]}
      - {exec: {service: keeper, command: [sleep, "1000"]}, within: 3s}
      - exec: {service: flaky, command: ["true"]}
      - {file: {service: keeper, path: /tmp/none}, within: 1ms}
      - {file: {path: /etc/hostname, equals: web}, within: 1ms}
      - {file: {path: /etc}, within: 1ms}
      - {service: {name: flaky}, within: 1ms}
      - {service: {name: keeper, restarts: 1}, within: 1ms}
      - {http: {port: 80, path: /none}, within: 1s}
      - {http: {port: 80, path: /page, contains: another}, within: 1s}
      - {http: {port: 81}, within: 1s}
      - {tcp: {port: 81, contains: x}, within: 1s}
      - exec: {service: keeper, command: [sh, -c, "kill -USR2 1; exec sleep 1000"]}
      - console: "end: poweroff"
      - {service: {name: keeper}, within: 5s}
  - name: little
    memory: 16M
  - name: late
    memory: 256M
    timeout: 1s
"#;

#[test]
fn what_does_not_hold_is_said_with_what_was_seen() {
    let built = story(WRONG).build();
    let spec = built.file(".yml");
    let run = test_verb(&["--jobs", "1", spec.to_str().unwrap()]);
    assert_eq!(run.code, Some(1), "{}\n{}", run.console, run.notes);
    let said = |text: &str| assert!(run.console.contains(text), "no {text:?} in\n{}\n{}", run.console, run.notes);
    for text in [
        "FAIL story: everything (kernel+initrd, tcg): ",
        "FAIL size: expected at most 1048576 bytes (1.00 MiB), saw ",
        "FAIL console `nobody says this`: expected a line with `nobody says this`, saw none",
        "expected exit code 0, saw 7; it said `why`",
        "expected `two` in its standard output, saw `one`",
        "exec keeper: nonesuch: expected exit code 0, saw 127; it said `bootwright: `nonesuch` was not executed",
        "exec keeper: sleep 1000: it has not ended within 3 s",
        "exec flaky: true: service `flaky` does not run",
        "file keeper:/tmp/none: expected a file, and there is none",
        "file /etc/hostname: expected `web` and nothing else, saw `machine` (8 bytes instead of 3)",
        "file /etc: it is a directory",
        "service flaky is ready: expected state `ready`, saw `failed`; last it ended with exit code 3",
        "service keeper is ready: expected 1 restarts, saw 0",
        "http :80/none: expected status 200, saw 404",
        "http :80/page: expected `another` in the page, saw `a page`",
        "http :81/: expected a page, and nobody answers: ",
        "tcp :81: expected `x` in the answer, saw nothing",
        "; the machine is down",
        "FAIL powers off: before it was asked to end, the machine powered off",
        "       | bootwright: end: poweroff",
        "FAIL story: little (kernel+initrd): 1 of 1 checks do not hold",
        "FAIL boots: too little memory: the machine needs ",
        "FAIL story: late (kernel+initrd, tcg): 1 of 2 checks do not hold",
        "FAIL boots: expected a machine that is up (`bootwright: ready in ` on the console), but it is not after 1 s",
        "3 machines, ",
    ] {
        said(text);
    }
}

/// An artefact of another format, which has its tests from the spec; and a machine whose channel is not to be had.
#[test]
fn what_was_built_before_is_tried_by_a_spec() {
    let iso = Built::example_as("iso", &["iso"]);
    let whole = iso.file(".iso");
    let spec = repository().join("examples/iso.yml");
    let [whole, spec] = [&whole, &spec].map(|path| path.to_str().unwrap());
    let run = test_verb(&["-v", "--spec", spec, whole]);
    assert_eq!(run.code, Some(0), "{}\n{}", run.console, run.notes);
    assert!(run.console.starts_with("ok   iso: boots-from-cd (iso, tcg): 3 checks, "), "{}", run.console);
    assert!(run.console.contains("     ok   console `hello: hello from Linux`, "), "{}", run.console);

    let closed = "control: {virtio-serial: false}\ntests:\n  - name: closed\n    memory: 256M\n    checks:\n      \
                  - console: \"keeper: up\"\n      - exec: {service: keeper, command: [\"true\"]}\n";
    let built = story(closed).build();
    let run = test_verb(&["-q", built.file(".yml").to_str().unwrap()]);
    assert_eq!(run.code, Some(1), "{}\n{}", run.console, run.notes);
    let said = "1 of 4 checks do not hold";
    assert!(run.console.contains(said) && run.console.lines().count() == 2, "{}", run.console);
    let why = "exec keeper: true: it needs the control channel, and the spec says `control: {virtio-serial: false}`";
    assert!(run.console.contains(why), "{}", run.console);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_built() {
    let story = story(
        "tests:\n  - name: one\n    formats: [isoo]\n    checks:\n      - exec: {service: kepeer, command: [a]}\n",
    );
    let yaml = story.dir().join("story.yml");
    fs::write(&yaml, story.yaml()).unwrap();
    let run = test_verb(&[yaml.to_str().unwrap()]);
    assert_eq!(run.code, Some(1));
    assert!(
        run.notes.contains("there is no service `kepeer`") && run.notes.contains("did you mean `keeper`?"),
        "{}",
        run.notes
    );
    fs::write(&yaml, story.yaml().replace("kepeer", "keeper")).unwrap();
    let run = test_verb(&[yaml.to_str().unwrap()]);
    assert!(run.code == Some(1) && run.notes.contains("did you mean `iso`?"), "{}", run.notes);
    let run = test_verb(&["--format", "tar", yaml.to_str().unwrap()]);
    assert!(run.code == Some(2) && run.notes.contains("`tar` is nothing that boots"), "{}", run.notes);
    let run = test_verb(&["/none/such"]);
    assert!(run.code == Some(1) && run.notes.contains("no machine `/none/such`"), "{}", run.notes);
}

#[test]
fn a_signal_ends_the_machines_in_order() {
    let tests =
        "tests:\n  - name: one\n    memory: 256M\n    checks:\n      - {console: never, within: 90s}\n  - name: two\n";
    let built = story(tests).build();
    let logs = built.dir().join("logs");
    fs::create_dir(&logs).unwrap();
    let log = logs.join("story-one-kernel+initrd.log");
    let spec = built.file(".yml");
    let [spec, logs] = [spec.as_path(), &logs].map(|path| path.to_str().unwrap());
    let run = interrupted_test_verb(&["-v", "--jobs", "1", "--logs", logs, spec], &log, "ready in ");
    assert_eq!(run.code, Some(130), "{}\n{}", run.console, run.notes);
    assert!(run.notes.contains("pressed the power button of every machine"), "{}", run.notes);
    for text in ["skip story: one (", "     ok   boots, ", "     skip console `never`: interrupted", "1 machine, "] {
        assert!(run.console.contains(text), "no {text:?} in\n{}", run.console);
    }
}

/// An init that has no control channel: what looks at it from outside goes on, what would ask it says why it cannot.
#[test]
fn a_foreign_init_is_seen_from_outside() {
    let script = "#!/bin/busybox sh\nexec > /dev/console 2>&1\necho foreign and up\n/bin/busybox sleep 25\n\
                  exec /bin/busybox poweroff -f\n";
    let tests = "tests:\n  - name: foreign\n    memory: 256M\n    ready: foreign and up\n    checks:\n      \
                 - {console: foreign}\n      - {file: {path: /etc/hostname}, within: 1s}\n";
    let story = Story::new();
    let image = ImageBuilder::busybox().directory("dev", 0o755).file("init", 0o755, script).write(story.dir(), "init");
    let kernel = "kernel:\n  image: \"@pkg:REPO/kernel/debian/cloud\"\n  cmdline: \"console=ttyS0 quiet panic=-1\"\n";
    let built = story.head(&format!("{kernel}init:\n  - {image:?}\n{tests}")).build();
    let run = test_verb(&["-v", "--spec", built.file(".yml").to_str().unwrap(), built.prefix().to_str().unwrap()]);
    assert_eq!(run.code, Some(1), "{}\n{}", run.console, run.notes);
    for text in [
        "     ok   boots, ",
        "     ok   console `foreign`, ",
        "FAIL file /etc/hostname: it needs the control channel, where nobody answers: its init is not bootwright's\n",
        "     ok   powers off, ",
    ] {
        assert!(run.console.contains(text), "no {text:?} in\n{}", run.console);
    }
}
