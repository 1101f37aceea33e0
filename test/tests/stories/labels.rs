//! Images that were labelled for LinuxKit, under our defaults: seccomp, masked and read-only paths and a cgroup namespace
//! must not be in the way of what `sysctl`, `dhcpcd`, `binfmt` and `swap` are for. The labels are those of its packages.

use std::fs;

use bootwright_test::{Entry, ImageBuilder, Story};
use serde_json::json;

/// LinuxKit's `dhcpcd.conf`, as far as it matters. Debian's build asks udev about interfaces unless told not to.
const DHCPCD_CONF: &str = "nodev\nallowinterfaces eth*\nwaitip 4\nnoarp\noption domain_name_servers, routers\n";

/// A package of Debian's DHCP client with LinuxKit's label: `/etc` is where the machine's `resolv.conf` is to be.
fn dhcpcd(story: &Story) -> String {
    let recipe = json!({
        "image": "story-dhcpcd",
        "config": {
            "binds": ["/run/resolvconf:/etc"],
            "runtime": {"mkdir": ["/run/resolvconf"]},
            "capabilities": ["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_ADMIN"],
        },
        "debian": {"packages": ["dhcpcd-base", "dash", "coreutils", "sed"], "exclude": ["usr/share/**"]},
        "files": [
            {"path": "bin/sh", "symlink": "dash"},
            {"path": "dhcpcd.conf", "contents": DHCPCD_CONF, "mode": "0644"},
            {"path": "run", "directory": true, "mode": "0755"},
            {"path": "var/lib/dhcpcd", "directory": true, "mode": "0755"},
        ],
        "process": {"cmd": ["/sbin/dhcpcd", "--nobackground", "-f", "/dhcpcd.conf", "-1"]},
    });
    let package = story.dir().join("dhcpcd");
    fs::create_dir(&package).expect("the directory is ours");
    fs::write(package.join("build.yml"), recipe.to_string()).expect("the directory is ours");
    "@pkg:dhcpcd".to_owned()
}

#[test]
fn what_linuxkits_packages_do_works_with_their_labels() {
    let story = Story::new().kernel("modules: [virtio, binfmt_misc]");
    let image = |name: &str, label: serde_json::Value| ImageBuilder::busybox().config(label).write(story.dir(), name);
    let sysctl =
        image("sysctl", json!({"pid": "host", "readonly": true, "capabilities": ["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]}));
    let binfmt = image("binfmt", json!({"capabilities": ["CAP_SYS_ADMIN"], "readonly": true}));
    let swap = image(
        "swap",
        json!({
            "binds": ["/dev:/dev", "/var:/var"],
            "devices": [{"path": "all", "type": "a"}],
            "capabilities": ["CAP_SYS_ADMIN", "CAP_MKNOD"],
        }),
    );
    // Nothing of the interpreter is in here: it comes from the image that registered it.
    let user = ImageBuilder::new()
        .program("busybox", std::path::Path::new(bootwright_test::BUSYBOX))
        .file("foreign", 0o755, "STORY of another machine\n")
        .config(json!({"net": "host"}))
        .write(story.dir(), "user");
    let dhcpcd = dhcpcd(&story);
    let built = story
        .onboot(Entry::new("sysctl", &sysctl).script(
            "sysctl -w net.ipv4.ip_forward=1 kernel.kptr_restrict=2 fs.inotify.max_user_watches=524288 && echo applied",
        ))
        .onboot(Entry::new("dhcpcd", &dhcpcd))
        .onboot(
            Entry::shell("address", "ip -4 addr show eth0 | awk '/inet/ {print $2}'; ip route; cat /run/resolv.conf")
                .key("binds", "[\"/run/resolvconf:/run\"]"),
        )
        .onboot(Entry::new("binfmt", &binfmt).script(
            "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && \
             echo ':story:M::STORY::/bin/echo:F' > /proc/sys/fs/binfmt_misc/register && \
             grep enabled /proc/sys/fs/binfmt_misc/story",
        ))
        .onboot(Entry::new("swap", &swap).script("mkswap /dev/vda && swapon /dev/vda && grep vda /proc/swaps"))
        .service(Entry::new("user", &user).key(
            "command",
            "[/busybox, sh, -c, \"/foreign; /busybox cat /proc/sys/net/ipv4/ip_forward; exec /busybox sleep 1000\"]",
        ))
        .build();
    let mut machine = built.boot().network().disk("size=64M").start();
    for line in [
        "sysctl: applied",
        "address: 10.0.2.",
        "address: default via 10.0.2.2 dev eth0",
        "address: nameserver 10.0.2.3",
        "binfmt: enabled",
        "swap: /dev/vda",
        "user: /foreign",
        "user: 1",
    ] {
        machine.sees(line);
    }
    machine.powers_off();
}
