//! The control channel: a machine is asked from outside and from inside, by well-behaved callers and others.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;

use bootwright_machine::control::{Frame, FrameKind, LogLine};
use bootwright_test::{CtlRun, Entry, ImageBuilder, Outcome, Running, Story, words};

/// Says what is typed at it through a FIFO.
const TALKER: &str =
    "mkfifo /tmp/say; echo up; echo aside >&2; while :; do read line < /tmp/say && echo said $line; done";

#[test]
fn a_machine_is_asked_from_outside() {
    let built = Story::new()
        .onboot(Entry::shell("set-up", "echo set up"))
        .service(
            Entry::shell("talker", TALKER)
                .key("uid", "1000")
                .key("env", "[\"COLOUR=red\"]")
                .key("tmpfs", "[/tmp]")
                .key("noNewPrivileges", "false")
                .key("capabilities", "[CAP_NET_RAW]"),
        )
        .service(Entry::shell("flaky", "sleep 1; echo last words; exit 3").key("restart", "never"))
        .build();
    let mut machine = built.boot().control().start();
    machine.sees_all(&[words::READY, &words::ended("service", "flaky")]);

    // What there is.
    let status = machine.ctl_json(&["status"]);
    let unit = |name: &str| status.as_array().unwrap().iter().find(|unit| unit["name"] == name).unwrap();
    assert_eq!((&unit("set-up")["kind"], &unit("set-up")["state"]), (&"onboot".into(), &"down".into()));
    assert_eq!((&unit("flaky")["state"], &unit("flaky")["outcome"]), (&"failed".into(), &"exit code 3".into()));
    let talker = unit("talker");
    assert_eq!((&talker["state"], &talker["restarts"]), (&"ready".into(), &0.into()));
    assert!(talker["pid"].as_u64() > Some(1) && talker["memory"].as_u64() > Some(0), "{talker}");
    let table = machine.ctl(&["status"]).out;
    assert!(table.starts_with("NAME") && table.lines().count() == 4, "{table}");

    // What was said, by whom; and what comes.
    let logs = machine.ctl(&["logs"]).out;
    for text in
        ["init: init ", "set-up: set up", "talker: up", "flaky: last words", "init: service `flaky` ended: exit code 3"]
    {
        assert!(logs.contains(text), "{text} is not in\n{logs}");
    }
    let last = machine.ctl(&["logs", "-n", "1", "flaky"]).out;
    assert!(last.ends_with("Z flaky: last words\n") && last.lines().count() == 1, "{last}");
    let talk = machine.ctl(&["--json", "logs", "talker"]).out;
    let said: Vec<LogLine> = talk.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let by = |text: &str| said.iter().find(|line| line.text == text).map(|line| line.stream.as_str());
    assert_eq!((by("up"), by("aside")), (Some("stdout"), Some("stderr")), "{said:?}");
    let unknown = machine.ctl(&["logs", "talkre"]);
    assert_eq!(unknown.code, Some(1));
    assert!(unknown.err.contains("there is no log `talkre`") && unknown.err.contains("`flaky`"), "{unknown:?}");

    // Several at a time: one follows while others come and go.
    let follower = machine.begin_ctl(&["logs", "-f", "talker"]);
    follower.sees("talker: up");

    // A program in a service: as its user, with its environment; input, output and exit code.
    let run = machine.ctl_with(
        &["exec", "talker", "--", "sh", "-c", "id -u; echo $COLOUR; cat; echo oops >&2; exit 7"],
        b"from outside\n",
    );
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (Some(7), "1000\nred\nfrom outside\n", "oops\n"));
    // What it may do is what the container's own process may do.
    let may = "grep -hE '^(Cap|NoNewPrivs:|Seccomp:)' /proc/1/status /proc/self/status";
    let run = machine.ctl(&["exec", "talker", "--", "sh", "-c", may]).out;
    let lines: Vec<&str> = run.lines().collect();
    let (own, joined) = lines.split_at(lines.len() / 2);
    assert!(own == joined && own[own.len() - 2..] == ["NoNewPrivs:\t0", "Seccomp:\t2"], "{run}");
    let much = vec![b'x'; 300_000];
    let run = machine.ctl_with(&["exec", "talker", "--", "wc", "-c"], &much);
    assert_eq!((run.code, run.out.trim()), (Some(0), "300000"));
    let run = machine.ctl(&["exec", "talker", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(run.code, Some(137), "{run:?}");
    let run = machine.ctl(&["exec", "talker", "nonesuch"]);
    assert!(run.code == Some(127) && run.err.contains("`nonesuch` was not executed"), "{run:?}");
    let run = machine.ctl(&["exec", "flaky", "true"]);
    assert!(run.code == Some(1) && run.err.contains("service `flaky` does not run"), "{run:?}");

    // With a terminal, which is the container's.
    let mut shell = machine.begin_ctl(&["exec", "-t", "talker", "sh"]);
    shell.types("echo size: $(stty size) on $(tty)\n");
    shell.sees("size: 24 80 on /dev/pts/");
    shell.types("exit 5\n");
    assert_eq!(shell.ends(), Some(5));

    let kit = ImageBuilder::busybox().file("etc/kit", 0o644, "tools\n").write(built.dir(), "kit");
    a_debug_container_is_brought(&machine, &kit, built.dir());

    let run = machine.ctl(&["exec", "talker", "--", "sh", "-c", "echo again > /tmp/say"]);
    assert_eq!(run.code, Some(0), "{run:?}");
    follower.sees("talker: said again");

    // Whoever does not know the protocol, or says half a word and goes, is in nobody's way.
    for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0xff; 100_000], b"\0\x02\x01", b""] {
        let mut caller = UnixStream::connect(machine.control_socket()).unwrap();
        caller.write_all(garbage).unwrap();
    }
    assert_eq!(machine.ctl(&["exec", "talker", "true"]).code, Some(0));

    // Down until somebody wants it to run.
    let state = || {
        let status = machine.ctl_json(&["status"]);
        status.as_array().unwrap().iter().find(|unit| unit["name"] == "talker").unwrap()["state"].clone()
    };
    assert_eq!(machine.ctl(&["stop", "talker"]).code, Some(0));
    machine.sees(&words::ended("service", "talker"));
    assert_eq!(state(), "down");
    assert_eq!(machine.ctl(&["start", "talker"]).code, Some(0));
    machine.sees("talker: up");
    assert_eq!(machine.ctl(&["restart", "talker"]).code, Some(0));
    machine.sees("talker: up");
    let unknown = machine.ctl(&["restart", "set-up"]);
    assert!(unknown.code == Some(1) && unknown.err.contains("there is no service `set-up`"), "{unknown:?}");

    // How it came up.
    let report = machine.ctl_json(&["boot-report"]);
    let services = report["units"].as_array().unwrap();
    let talker = services.iter().find(|unit| unit["name"] == "talker").unwrap();
    let times =
        [&report["kernel"], &report["phases"][0]["start"], &talker["start"], &talker["started"], &report["ready"]];
    let times: Vec<f64> = times.iter().map(|time| time.as_f64().unwrap()).collect();
    assert!(times.is_sorted() && talker["cpu"].as_f64() > Some(0.0), "{report}");
    assert!(report["modules"][0]["name"].as_str().unwrap().contains("virtio"), "{report}");
    assert!(report["firmware"].is_null() && report["loader"].is_null(), "SeaBIOS does not tell");

    assert_eq!(machine.ctl(&["poweroff"]).code, Some(0));
    assert_eq!(machine.ends(), Outcome::PoweredOff);
    assert!(machine.said(&words::asked("poweroff", "the control channel")));
}

/// Files from the host, with a program in them that sees a service or the machine, and nothing of it stays.
fn a_debug_container_is_brought(machine: &Running, kit: &str, dir: &Path) {
    let debug = |words: &[&str], script: &str, input: &[u8]| {
        machine.ctl_with(&[&["debug", "-T", "--image", kit], words, &["--", "sh", "-c", script]].concat(), input)
    };
    let shared_memory = || {
        let run = machine.ctl(&["exec", "talker", "--", "awk", "/^Shmem:/{print $2}", "/proc/meminfo"]);
        run.out.trim().parse::<u64>().unwrap_or_else(|e| panic!("{e}: {run:?}"))
    };
    let mounts = || debug(&[], "wc -l < /proc/1/mountinfo", b"").out;
    let before = (shared_memory(), mounts());

    // In a service: its processes and their files, a file that it has not, and what is typed behind the files that are brought.
    let in_service = "cat /etc/kit; id -u; tr '\\0' ' ' < /proc/1/cmdline; echo; ls /proc/1/root/tmp; cat; exit 7";
    let run = debug(&["--service", "talker"], in_service, b"typed\n");
    let lines: Vec<&str> = run.out.lines().collect();
    assert!(run.code == Some(7) && lines.len() == 5 && lines[2].contains("mkfifo"), "{run:?}");
    assert_eq!([lines[0], lines[1], lines[3], lines[4]], ["tools", "0", "say", "typed"]);
    assert!(run.err.contains("bringing oci-archive:"), "{run:?}");
    let run = debug(&["-q", "--service", "flaky"], "true", b"");
    assert!(run.code == Some(1) && run.err.contains("service `flaky` does not run"), "{run:?}");
    assert!(!run.err.contains("bringing"), "{run:?}");

    // In the machine: root of it, in a cgroup of its own, and mounts that nobody else sees.
    let in_machine = "tr '\\0' ' ' < /proc/1/cmdline; ls -d /machine/containers/services; cat /proc/self/cgroup; \
                      mkdir /x && mount -t tmpfs x /x && grep -c ' /x ' /proc/mounts; grep CapEff /proc/self/status; \
                      touch /machine/run/seen && echo written; ls -d /sys/fs/cgroup/containers/debug/*/ | wc -l";
    let run = debug(&[], in_machine, b"");
    assert!(run.code == Some(0) && run.out.contains("/init"), "{run:?}");
    for text in ["/machine/containers/services\n", "0::/containers/debug/", "\n1\n", "ffffffff\n", "written\n1\n"] {
        assert!(run.out.contains(text), "{text}: {run:?}");
    }

    // With a terminal.
    let mut shell = machine.begin_ctl(&["debug", "-t", "--image", kit, "sh"]);
    shell.types("echo size: $(busybox stty size) on $(busybox tty)\n");
    shell.sees("size: 24 80 on /dev/pts/");
    shell.types("exit 5\n");
    assert_eq!(shell.ends(), Some(5));

    // Too much: of files, and of memory when it runs.
    let sparse = std::fs::create_dir(dir.join("much")).and_then(|()| std::fs::File::create(dir.join("much/file")));
    sparse.and_then(|file| file.set_len(400 << 20)).expect("the directory is ours");
    let run = machine.ctl(&["debug", "-T", "--tree", &dir.join("much").to_string_lossy()]);
    assert!(run.code == Some(1) && run.err.contains("the files take 401 MiB of memory"), "{run:?}");
    let run = debug(&[], "dd if=/dev/zero of=/dev/null bs=300M count=1", b"");
    assert!(run.code == Some(137) && run.err.contains("the debug container ran out of memory"), "{run:?}");
    let run = machine.ctl(&["debug", "-T", "--image", kit, "nonesuch"]);
    assert!(run.code == Some(127) && run.err.contains("`nonesuch` was not executed"), "{run:?}");

    // Whoever goes away takes it with him.
    let eater = machine.begin_ctl(&[
        "debug",
        "-T",
        "--image",
        kit,
        "sh",
        "-c",
        "dd if=/dev/zero of=/big bs=1M count=50; echo eaten; sleep 1000 & sleep 1000",
    ]);
    eater.sees("eaten");
    assert!(shared_memory() > before.0 + 50_000);
    drop(eater);
    let alone = "until [ $(ls -d /sys/fs/cgroup/containers/debug/*/ | wc -l) = 1 ]; do sleep 0.1; done";
    assert_eq!(debug(&[], alone, b"").code, Some(0));
    let after = (shared_memory(), mounts());
    assert!(after.0 < before.0 + 500 && after.1 == before.1, "{before:?} {after:?}");
}

/// The port itself, as another hypervisor gives it, with one caller after the other: whatever one has sent, and however he has
/// left, the next one is answered.
#[test]
fn callers_of_the_port_do_not_inherit_each_others_words() {
    let built = Story::new().service(Entry::shell("flood", "seq 1 20000; echo over; exec sleep 1000")).build();
    let port = built.dir().join("port");
    let chardev = format!("socket,id=c,server=on,wait=off,path={}", port.display());
    let device = "virtserialport,chardev=c,name=org.bootwright.control.0";
    let boot = built.boot().qemu(["-chardev", &chardev, "-device", "virtio-serial-pci", "-device", device]);
    let mut machine = boot.start();
    machine.sees("flood: over");
    let mut begun = vec![0];
    for (kind, id, json) in
        [(FrameKind::Hello, 0, r#"{"version":1,"nonce":7}"#), (FrameKind::Request, 1, r#"{"op":"logs","follow":true}"#)]
    {
        Frame { kind, id, payload: json.into() }.encode(&mut begun);
    }
    // Greets, asks for more than he reads, and goes in the middle of a word.
    begun.extend(b"\x20\x03half a fr");
    for words in [&b"\xff\xfe nonsense\0\0\x05more"[..], &[0x55; 200_000], &begun] {
        let mut caller = UnixStream::connect(&port).unwrap();
        caller.write_all(words).unwrap();
        drop(caller);
        let run = CtlRun::at(&port, &["logs", "-n", "1", "flood"], b"");
        assert!(run.code == Some(0) && run.out.ends_with("flood: over\n"), "{run:?}");
    }
    machine.powers_off();
}

/// From inside, by a unix socket and by vsock (to itself), and only what the spec allows. The hypervisor's port is refused.
#[test]
fn a_machine_is_asked_from_inside_as_far_as_its_spec_allows() {
    let ask = "until ctl status > /dev/null 2>&1; do sleep 0.1; done; \
               ctl status | grep -c ready; ctl vsock:1:1024 logs init | grep -c 'init: init '; \
               ctl exec asker true; echo code $?; ctl restart nobody; reboot; echo done; exec sleep 1000";
    let built = Story::new()
        .kernel("modules: [virtio, vsock_loopback]")
        .keys("control: {virtio-serial: false, vsock: 1024, socket: true, allow: [status, logs]}\n")
        .onboot(Entry::shell("probe", "busybox modprobe vsock_loopback; true"))
        .service(
            Entry::shell(
                "asker",
                &format!("mkdir -p /tmp/bin; ln -s /machine/init /tmp/bin/ctl; PATH=/tmp/bin:$PATH; {ask}"),
            )
            .key("binds", "[\"/run:/run\", \"/:/machine:ro\"]")
            .key("tmpfs", "[/tmp]"),
        )
        .build();
    let mut machine = built.boot().control().start();
    machine.sees("asker: done");
    let lines = machine.lines();
    let said: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("asker: ")).map(str::trim_end).collect();
    assert_eq!(said[..2], ["1", "1"], "{said:#?}");
    let refused = |right: &str| said.contains(&&*format!("ctl: the machine does not allow `{right}`"));
    assert!(refused("exec") && refused("services") && said.contains(&"code 1"), "{said:#?}");
    machine.powers_off();
}
