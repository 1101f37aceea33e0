//! What containers get from the machine: confinement, capabilities, users, volumes, limits, modules. Several assertions
//! for one boot: each container says a line or a few.

use bootwright_test::{BUSYBOX, Entry, ImageBuilder, NET_BIND_SERVICE, Story, words};

/// newc carries no extended attributes: init sets them, and a program of a user without any right may use its own.
#[test]
fn a_file_capability_works_for_a_user_who_has_none() {
    let story = Story::new();
    let busybox = std::fs::read(BUSYBOX).unwrap();
    let image = ImageBuilder::busybox()
        .directory("able", 0o755)
        .file_with_xattr("able/busybox", 0o755, busybox, "security.capability", &NET_BIND_SERVICE)
        .write(story.dir(), "able");
    let script = "busybox grep CapEff /proc/self/status; \
                  /able/busybox grep CapEff /proc/self/status; \
                  busybox httpd -p 80 -h /bin || echo plain refused; \
                  /able/busybox httpd -p 80 -h /bin && echo able bound; \
                  exec sleep 1000";
    let limits = |entry: Entry| {
        entry.key("capabilities", "[CAP_NET_BIND_SERVICE]").key("uid", "1000").key("gid", "1000").key("net", "new")
    };
    let built = story
        .service(limits(Entry::new("writable", &image).script(script)))
        .service(limits(Entry::new("readonly", &image).script(script).key("readonly", "true")))
        .build();
    let mut machine = built.boot().start();
    machine.sees_all(&["writable: able bound", "readonly: able bound"]);
    for name in ["writable", "readonly"] {
        let said: Vec<String> =
            machine.lines().into_iter().filter(|l| l.starts_with(&format!("{name}: Cap"))).collect();
        assert!(said.len() == 2 && said[0].ends_with("0000000000000000"), "{said:?}");
        assert!(said[1].ends_with("0000000000000400"), "{said:?}");
        assert!(machine.said(&format!("{name}: plain refused")), "the port needs no capability here");
    }
    machine.powers_off();
}

/// A container's name, its keys, and what it is to say.
type Case = (&'static str, &'static [(&'static str, &'static str)], String);

/// One line about what a container is confined by.
const CONFINEMENT: &str = "of() { awk -v key=\"$1:\" '$1 == key {print $2}' /proc/self/status; }; \
    [ -c /proc/kcore ] && kcore=masked || kcore=seen; \
    [ -z \"$(ls /sys/firmware)\" ] && firmware=masked || firmware=seen; \
    (echo 60 > /proc/sys/vm/swappiness) 2> /dev/null && sys=rw || sys=ro; \
    [ \"$(cat /proc/self/cgroup)\" = 0::/ ] && cgroup=own || cgroup=host; \
    echo caps $(of CapEff) $(of CapPrm) $(of CapBnd) $(of CapAmb) nnp $(of NoNewPrivs) seccomp $(of Seccomp) \
    kcore $kcore firmware $firmware sys $sys cgroup $cgroup";

/// Docker's confinement, what lifts it by itself, and the key that switches each part off. The filter is installed before
/// capabilities are dropped, or a container with some but neither SYS_ADMIN nor no-new-privileges could not have it.
#[test]
fn containers_are_confined_as_docker_confines_them_unless_a_key_says_otherwise() {
    let none = "0000000000000000";
    let one = |bits: &str| format!("{bits} {bits} {bits} {none}");
    let nothing = one(none);
    let (admin, net) = (one("0000000000200000"), one("0000000000001000"));
    // Of a kernel that knows no more: what `all` names, up to CAP_CHECKPOINT_RESTORE.
    let all = one("000001ffffffffff");
    let masked = "kcore masked firmware masked";
    let seen = "kcore seen firmware seen";
    let cases: [Case; 10] = [
        ("default", &[], format!("{nothing} nnp 1 seccomp 2 {masked} sys ro cgroup own")),
        (
            "netadmin",
            &[("capabilities", "[CAP_NET_ADMIN]")],
            format!("{net} nnp 0 seccomp 2 {masked} sys rw cgroup own"),
        ),
        (
            "sysadmin",
            &[("capabilities", "[CAP_SYS_ADMIN]")],
            format!("{admin} nnp 0 seccomp 2 {seen} sys rw cgroup own"),
        ),
        ("everything", &[("capabilities", "[all]")], format!("{all} nnp 0 seccomp 0 {seen} sys rw cgroup own")),
        (
            "ambient",
            &[("ambient", "[CAP_NET_ADMIN]"), ("capabilities", "[CAP_NET_ADMIN]"), ("uid", "1000")],
            format!("{0} {0} {0} {0} nnp 0 seccomp 2 {masked} sys ro cgroup own", "0000000000001000"),
        ),
        ("unfiltered", &[("seccomp", "unconfined")], format!("{nothing} nnp 1 seccomp 0 {masked} sys ro cgroup own")),
        ("unmasked", &[("maskedPaths", "[]")], format!("{nothing} nnp 1 seccomp 2 {seen} sys ro cgroup own")),
        ("writable", &[("readonlyPaths", "[]")], format!("{nothing} nnp 1 seccomp 2 {masked} sys rw cgroup own")),
        ("machines", &[("cgroupns", "host")], format!("{nothing} nnp 1 seccomp 2 {masked} sys ro cgroup host")),
        ("newprivs", &[("noNewPrivileges", "false")], format!("{nothing} nnp 0 seccomp 2 {masked} sys ro cgroup own")),
    ];
    let mut story = Story::new();
    for (name, keys, _) in &cases {
        let entry = Entry::shell(name, CONFINEMENT);
        story = story.onboot(keys.iter().fold(entry, |entry, (key, value)| entry.key(key, value)));
    }
    // What the filter refuses root, and CAP_SYS_ADMIN brings back.
    let namespaces = "for try in 'unshare -m true' 'unshare -U true' 'mount -t tmpfs tmpfs /tmp'; do \
                      $try 2> /dev/null && echo may $try || echo may not $try; done";
    let mut machine = story
        .onboot(Entry::shell("refused", namespaces))
        .onboot(Entry::shell("granted", namespaces).key("capabilities", "[CAP_SYS_ADMIN]"))
        .service(Entry::shell("web", "exec sleep 1000"))
        .build()
        .boot()
        .start();
    machine.is_ready();
    let lines = machine.lines();
    let of = |name: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim_end).collect()
    };
    for (name, _, expected) in &cases {
        assert_eq!(of(name), [format!("caps {expected}")], "{name}");
    }
    assert_eq!(
        of("refused"),
        ["may not unshare -m true", "may not unshare -U true", "may not mount -t tmpfs tmpfs /tmp"]
    );
    assert_eq!(of("granted"), ["may unshare -m true", "may unshare -U true", "may mount -t tmpfs tmpfs /tmp"]);
    machine.powers_off();
}

#[test]
fn a_container_is_what_spec_and_image_say() {
    let story = Story::new();
    let image = ImageBuilder::busybox()
        .directory("etc", 0o755)
        .file("etc/passwd", 0o644, "root:x:0:0::/:/bin/sh\napp:x:1234:2345::/:/bin/sh\n")
        .file("etc/group", 0o644, "app:x:2345:\nextra:x:3000:app\n")
        .user("app")
        .write(story.dir(), "app");
    let data = ImageBuilder::new().file("seed", 0o644, "seed\n").write(story.dir(), "data");
    let refuse = |path: &str| format!("touch {path}/x 2> /dev/null && echo wrote {path} || echo cannot write {path}");
    let limits = format!(
        "hostname; pwd; ulimit -Sn; ulimit -Hn; {}; touch /scratch/x && echo wrote /scratch; \
         awk '$2 == \"/scratch\" {{print $3, $4}}' /proc/mounts; \
         dd if=/dev/zero of=/scratch/big bs=1M count=3 2> /dev/null || echo full",
        refuse("")
    );
    let source = "awk '$5 == \"/\" {print $4, $0}' /proc/self/mountinfo | grep -o 'lowerdir=[^,]*\\|^/containers[^ ]*'";
    let built = story
        .volume("name: shared")
        .volume(&format!("{{name: frozen, image: {data:?}, readonly: true}}"))
        .file("{path: srv/deep, directory: true, mode: \"0751\", uid: 7, gid: 8}")
        .file("{path: srv/deep/er/file, contents: x, mode: \"0600\"}")
        .file("{path: etc/mine, contents: x, mode: \"0600\"}")
        .onboot(
            Entry::new("user", &image)
                .script("id -u; id -g; id -G; echo $GREETING from $PATH")
                .key("env", "[GREETING=hi]"),
        )
        .onboot(Entry::new("overridden", &image).script("id -u; id -g").key("uid", "\"77\""))
        .onboot(
            Entry::shell("limits", &limits)
                .key("readonly", "true")
                .key("uts", "new")
                .key("hostname", "somebody")
                .key("cwd", "/proc")
                .key("tmpfs", "[\"/scratch:size=1m,mode=0700\"]")
                .key("rlimits", "[\"RLIMIT_NOFILE,100,200\"]"),
        )
        .onboot(Entry::shell("writer", "echo of the writer > /v/file; cat /v/file").key("binds", "[\"shared:/v\"]"))
        .onboot(
            Entry::shell("reader", &format!("cat /v/file /f/seed; {}; {}", refuse("/v"), refuse("/f")))
                .key("binds", "[\"shared:/v:ro\", \"frozen:/f:ro\"]"),
        )
        .onboot(Entry::shell("mounter", &format!("cat /f/seed; {}; touch /v/x && echo wrote /v", refuse("/f"))).key(
            "mounts",
            "[{type: bind, source: frozen, destination: /f, options: [ro]}, {type: bind, source: shared, destination: /v}]",
        ))
        .onboot(
            Entry::shell("parents", "cd /root && stat -c '%n %a %u:%g' srv/deep srv/deep/er srv/deep/er/file etc")
                .key("binds", "[\"/:/root:ro\"]"),
        )
        .service(Entry::shell("first", &format!("{source}; echo done; exec sleep 1000")))
        .service(Entry::shell("second", &format!("{source}; echo done; exec sleep 1000")))
        .service(Entry::shell("third", &format!("{source}; echo done; exec sleep 1000")).key("readonly", "true"))
        .build();
    let mut machine = built.boot().start();
    machine.sees_all(&["first: done", "second: done", "third: done"]);
    let lines = machine.lines();
    let of = |name: &str| -> Vec<&str> {
        lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::trim_end).collect()
    };
    let cases: [(&str, &[&str]); 7] = [
        ("user", &["1234", "2345", "2345 3000", "hi from /bin"]),
        ("overridden", &["77", "0"]),
        ("limits", &["somebody", "/proc", "100", "200", "cannot write ", "wrote /scratch", "tmpfs OPTIONS", "full"]),
        ("writer", &["of the writer"]),
        ("reader", &["of the writer", "seed", "cannot write /v", "cannot write /f"]),
        ("mounter", &["seed", "cannot write /f", "wrote /v"]),
        ("parents", &["srv/deep 751 7:8", "srv/deep/er 755 0:0", "srv/deep/er/file 600 0:0", "etc 755 0:0"]),
    ];
    for (name, expected) in cases {
        let said = of(name);
        assert_eq!(said.len(), expected.len(), "{name}: {said:?}");
        for (said, expected) in said.iter().zip(expected) {
            match expected.strip_suffix("OPTIONS") {
                Some(kind) => {
                    let size = said.starts_with(kind) && said.contains("size=1024k") && said.contains("mode=700");
                    assert!(size, "{name}: {said}");
                }
                None => assert_eq!(said, &expected.trim_end(), "{name}"),
            }
        }
    }
    // One image, one directory: the first container of the spec that has it, which is onboot's.
    let lower = of("first")[0].strip_prefix("lowerdir=").unwrap().to_owned();
    assert!(lower.starts_with("/containers/onboot/") && lower.ends_with("-limits/rootfs"), "{lower}");
    assert_eq!((of("second")[0], of("third")[0]), (&*format!("lowerdir={lower}"), &*lower));
    machine.powers_off();
}

#[test]
fn a_module_that_was_left_out_and_is_wanted_is_named() {
    let built = Story::new()
        .kernel("modules: [virtio, vmxnet3]")
        .onboot(Entry::shell("mounts", "mount -t btrfs /dev/null /tmp; true").key("capabilities", "[CAP_SYS_ADMIN]"))
        .service(Entry::shell("web", "ls /sys/class/net; exec sleep 1000").key("net", "host"))
        .build();
    // Two cards: of one the driver is there.
    let mut machine = built.boot().device("vmxnet3").device("virtio-scsi-pci").start();
    machine.sees("web: eth0");
    let said = |module: &str| machine.lines().iter().any(|line| line.contains(words::INIT) && line.contains(module));
    for (module, named) in [("virtio_scsi", true), ("btrfs", true), ("vmxnet3", false), ("cpufreq", false)] {
        assert_eq!(said(module), named, "`{module}`");
    }
    machine.powers_off();
}
