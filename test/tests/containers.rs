//! What containers get from the machine: capabilities, file capabilities, seccomp, files of their own, modules.

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

/// The filter is installed before capabilities are dropped, or a container with some but neither SYS_ADMIN nor
/// no-new-privileges could not have it at all.
#[test]
fn seccomp_and_no_new_privileges_are_as_docker_has_them() {
    let show = "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr '\\t\\n' '  '; echo";
    let built = Story::new()
        .onboot(Entry::shell("nothing", show))
        .onboot(Entry::shell("netadmin", show).key("capabilities", "[CAP_NET_ADMIN]"))
        .onboot(Entry::shell("sysadmin", show).key("capabilities", "[CAP_SYS_ADMIN]"))
        .onboot(Entry::shell("everything", show).key("capabilities", "[all]"))
        .onboot(Entry::shell("free", show).key("seccomp", "unconfined").key("capabilities", "[CAP_NET_ADMIN]"))
        .onboot(Entry::shell("filtered", "unshare -U true && echo a new user namespace || echo refused"))
        .service(Entry::shell("web", "exec sleep 1000"))
        .build();
    let mut machine = built.boot().start();
    machine.is_ready();
    for (name, expected) in [
        ("nothing", "NoNewPrivs: 1 Seccomp: 2"),
        ("netadmin", "NoNewPrivs: 0 Seccomp: 2"),
        ("sysadmin", "NoNewPrivs: 0 Seccomp: 2"),
        ("everything", "NoNewPrivs: 0 Seccomp: 0"),
        ("free", "NoNewPrivs: 0 Seccomp: 0"),
        ("filtered", "refused"),
    ] {
        let line = machine.lines().into_iter().find(|line| line.starts_with(&format!("{name}: ")));
        assert_eq!(line.as_deref().map(str::trim_end), Some(&*format!("{name}: {expected}")));
    }
    machine.powers_off();
}

/// Concatenated cpio segments without their own TRAILER turn equal inode numbers into hard links across segments: one
/// component's file would silently have another's content.
#[test]
fn files_with_equal_inode_numbers_in_two_segments_stay_apart() {
    let mut story = Story::new();
    let show = "cat /data/one /data/two; stat -c 'links %h' /data/one; [ /data/one -ef /data/two ] && echo joined";
    for name in ["red", "blue"] {
        // Same names, same links, same number of entries: a writer that counts inodes gives both the same numbers.
        let image = ImageBuilder::busybox()
            .directory("data", 0o755)
            .file("data/one", 0o644, format!("{name}-content\n"))
            .hardlink("data/two", "data/one")
            .write(story.dir(), name);
        story =
            story.service(Entry::new(name, &image).script(&format!("{show}; exec sleep 1000")).key("readonly", "true"));
    }
    let built = story.build();
    let mut machine = built.boot().start();
    machine.sees_all(&["red: joined", "blue: joined"]);
    for (name, other) in [("red", "blue"), ("blue", "red")] {
        let lines: Vec<String> =
            machine.lines().into_iter().filter(|line| line.starts_with(&format!("{name}: "))).collect();
        assert_eq!(lines.iter().filter(|line| line.ends_with(&format!("{name}-content"))).count(), 2, "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains(&format!("{other}-content"))), "{lines:?}");
        assert!(lines.contains(&format!("{name}: links 2")), "{lines:?}");
    }
    machine.powers_off();
}

#[test]
fn a_module_that_was_left_out_and_is_wanted_is_named() {
    let built = Story::new()
        .kernel("modules: [virtio]")
        .onboot(Entry::shell("mounts", "mount -t btrfs /dev/null /mnt; true").key("capabilities", "[CAP_SYS_ADMIN]"))
        .service(Entry::shell("web", "exec sleep 1000"))
        .build();
    // A card that the machine has and its modules do not drive.
    let mut machine = built.boot().device("vmxnet3").start();
    machine.is_ready();
    for module in ["vmxnet3", "btrfs"] {
        let named = machine.lines().into_iter().any(|line| line.contains(words::INIT) && line.contains(module));
        assert!(named, "`{module}` is not named");
    }
    machine.powers_off();

    let with = Story::new()
        .kernel("modules: [virtio, vmxnet3]")
        .service(Entry::shell("web", "ls /sys/class/net; exec sleep 1000").key("net", "host"))
        .build();
    let mut machine = with.boot().device("vmxnet3").start();
    machine.sees("web: eth0");
    assert!(!machine.lines().iter().any(|line| line.contains(words::INIT) && line.contains("vmxnet3")));
    machine.powers_off();
}

/// Our defaults add seccomp, masked and read-only paths and a cgroup namespace; images labelled for LinuxKit must not
/// notice. These are the labels of its packages, with busybox doing what the packages do.
#[test]
fn the_shapes_of_linuxkits_labels_work_with_our_defaults() {
    let story = Story::new().kernel("modules: [virtio, binfmt_misc]");
    let image = |name: &str, label: serde_json::Value| ImageBuilder::busybox().config(label).write(story.dir(), name);
    let sysctl = image(
        "sysctl",
        serde_json::json!({"pid": "host", "readonly": true, "capabilities": ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]}),
    );
    let dhcpcd = image(
        "dhcpcd",
        serde_json::json!({
            "binds": ["/run/resolvconf:/etc"],
            "runtime": {"mkdir": ["/run/resolvconf"]},
            "capabilities": ["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_ADMIN"],
        }),
    );
    let binfmt = image("binfmt", serde_json::json!({"capabilities": ["CAP_SYS_ADMIN"], "readonly": true}));
    let swap = image(
        "swap",
        serde_json::json!({
            "binds": ["/dev:/dev", "/var:/var"],
            "devices": [{"path": "all", "type": "a"}],
            "capabilities": ["CAP_SYS_ADMIN", "CAP_MKNOD"],
        }),
    );
    let lease =
        "[ \"$1\" = bound ] && ifconfig $interface $ip netmask $subnet && echo nameserver $dns > /etc/resolv.conf";
    let dhcp_script = format!(
        "printf '%s\\n' '#!/bin/sh' '{lease}' > /tmp/lease; chmod 755 /tmp/lease; \
         ip link set eth0 up; udhcpc -i eth0 -q -n -s /tmp/lease && ifconfig eth0 | grep 'inet addr' && cat /etc/resolv.conf"
    );
    let built = story
        .onboot(Entry::new("sysctl", &sysctl).script(
            "sysctl -w net.ipv4.ip_forward=1 kernel.kptr_restrict=2 fs.inotify.max_user_watches=524288 && echo applied",
        ))
        .onboot(Entry::new("dhcpcd", &dhcpcd).script(&dhcp_script).key("tmpfs", "[/tmp]"))
        .onboot(Entry::new("binfmt", &binfmt).script(
            "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && \
             echo ':story:M::STORY::/bin/true:F' > /proc/sys/fs/binfmt_misc/register && \
             grep enabled /proc/sys/fs/binfmt_misc/story",
        ))
        .onboot(Entry::new("swap", &swap).script("mkswap /dev/vda && swapon /dev/vda && grep vda /proc/swaps"))
        .service(Entry::shell("web", "cat /proc/sys/net/ipv4/ip_forward; exec sleep 1000").key("net", "host"))
        .build();
    let mut machine = built.boot().network().disk("size=64M").start();
    for line in [
        "sysctl: applied",
        "dhcpcd:           inet addr:10.0.2.",
        "dhcpcd: nameserver 10.0.2.",
        "binfmt: enabled",
        "swap: /dev/vda",
        "web: 1",
    ] {
        machine.sees(line);
    }
    machine.powers_off();
}
