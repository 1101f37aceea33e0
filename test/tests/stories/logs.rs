//! What containers print: kept, shown, written and sent, and in nobody's way.

use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use bootwright_test::{Entry, Outcome, Story, words};

/// A disk with an empty ext4.
fn disk(path: &Path) {
    let made = Command::new("mkfs.ext4").args(["-q", "-q"]).arg(path).arg("32M").status();
    assert!(made.is_ok_and(|status| status.success()), "mkfs.ext4");
}

/// A file of a disk that was made by [`disk`].
fn file_of(disk: &Path, name: &str) -> String {
    let output = Command::new("debugfs").args(["-R", &format!("cat {name}")]).arg(disk).output().expect("debugfs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// One container floods, one speaks now and then, one fails again and again. What the second says arrives everywhere whole, whatever
/// the first does and however slow a reader is.
#[test]
fn a_flood_costs_only_its_own_oldest_lines() {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    receiver.set_read_timeout(Some(words::SOON)).unwrap();
    let port = receiver.local_addr().unwrap().port();
    let network = "ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up && ip route add default via 10.0.2.2";
    let built = Story::new()
        .kernel("modules: [virtio, ext4]")
        .keys(&format!(
            "logging: {{console: false, fileSize: 65536, fileCount: 2, forward: [{{to: \"udp://10.0.2.2:{port}\"}}]}}\n"
        ))
        .onboot(
            Entry::shell("mount", "mount -t ext4 /dev/vda /var/log && echo mounted")
                .key("capabilities", "[CAP_SYS_ADMIN]")
                .key("binds", "[\"/dev:/dev\", \"/var:/var:rshared,rbind\"]")
                .key("devices", "[{path: all, type: b}]")
                .key("rootfsPropagation", "shared"),
        )
        .onboot(Entry::shell("network", network).key("net", "host").key("capabilities", "[CAP_NET_ADMIN]"))
        .service(Entry::shell("flood", "while :; do seq 1 3000; sleep 0.3; done"))
        .service(Entry::shell("quiet", "i=0; while :; do i=$((i+1)); echo tick $i; echo aside >&2; sleep 1; done"))
        .service(Entry::shell("watch", "grep VmRSS /proc/1/status; exec sleep 1000").key("pid", "host"))
        .build();
    let logs = built.dir().join("logs.img");
    disk(&logs);
    let mut machine = built.boot().control().network().disk(&format!("file={}", logs.display())).start();
    machine.is_ready();
    assert!(!machine.said("flood: "), "consoles do not show what containers print");

    // A reader that stands still, while another machine gets everything that the quiet one says.
    let slow = machine.begin_ctl(&["logs", "-f", "flood"]);
    slow.sees("flood: 1");
    slow.freezes();
    let (mut ticks, mut aside) = (Vec::new(), false);
    let mut message = [0; 2048];
    while ticks.len() < 6 {
        let count = receiver.recv(&mut message).expect("a message comes");
        let text = String::from_utf8_lossy(&message[..count]).into_owned();
        assert!(text.starts_with("<30>1 ") || text.starts_with("<28>1 "), "{text}");
        aside |= text.starts_with("<28>1 ") && text.ends_with(" quiet - stderr - aside");
        ticks.extend(text.split_once(" quiet - stdout - tick ").and_then(|(_, number)| number.parse::<u32>().ok()));
    }
    // A datagram may be lost on its way; none is late, and none comes twice.
    assert!(ticks.is_sorted_by(|a, b| a < b) && ticks[5] < 10, "{ticks:?}");
    assert!(aside, "what comes by standard error is a warning");
    slow.thaws();
    slow.sees(" lines are missing)");
    slow.sees("flood: 3000");

    // The rings are bounded, and each container has its own. (The flood overtakes this reader as well: it gets less than the ring.)
    let flood = machine.ctl(&["logs", "flood"]).out;
    assert!((100..4000).contains(&flood.lines().count()), "{}", flood.lines().count());
    let quiet = machine.ctl(&["logs", "quiet"]).out;
    assert!(quiet.contains("quiet: tick 1\n") && !quiet.contains("missing"), "{quiet}");
    let watch = machine.ctl(&["logs", "watch"]).out;
    let rss = watch.split("VmRSS:").nth(1).and_then(|rest| rest.trim().strip_suffix(" kB")).map(str::trim);
    let rss: u32 = rss.and_then(|kib| kib.parse().ok()).expect("PID 1 has a size");
    println!("PID 1: {rss} KiB");
    assert!(rss < 5 * 1024, "PID 1 has {rss} KiB");
    machine.powers_off();

    // And on the disk: the quiet one's all, the flood's last two files.
    let quiet = file_of(&logs, "quiet.log");
    assert!(quiet.lines().next().is_some_and(|line| line.ends_with("Z stdout tick 1")), "{quiet}");
    assert!(quiet.contains("Z stderr aside\n"), "{quiet}");
    let flood = ["flood.log", "flood.log.1"].map(|name| file_of(&logs, name).len());
    assert!(flood.iter().all(|bytes| (1..=65536).contains(bytes)), "{flood:?}");
    assert_eq!(file_of(&logs, "flood.log.2"), "");
    let init = file_of(&logs, "init.log");
    assert!(init.contains("poweroff asked for by the power button"), "{init}");
}

/// What a machine said before its kernel crashed, the next boot shows: in UEFI's variables there is room for it.
#[test]
fn a_crash_leaves_its_last_words_to_the_next_boot() {
    let crash = "until grep -q weak /dev/kmsg; do sleep 0.1; done; grep -q crash=1 /proc/cmdline && \
                 echo c > /proc/sysrq-trigger; exec sleep 1000";
    let built = Story::new()
        .kernel("modules: [virtio, efi-pstore]")
        .service(Entry::shell("weak", "echo the disk is on fire; exit 4"))
        .service(Entry::shell("crasher", crash).key("capabilities", "[all]").key("binds", "[\"/dev:/dev\"]"))
        .build();
    let state = built.dir().join("state");
    // QEMU's panic device would end the machine before the kernel has written anything.
    let first = built.boot().uefi().state(&state).argument("modprobe.blacklist=pvpanic_mmio").argument("crash=1");
    let mut machine = first.start();
    assert_eq!(machine.ends(), Outcome::Panicked);
    drop(machine);
    let mut machine = built.boot().uefi().state(&state).control().start();
    machine.sees("the machine crashed the last time");
    machine.is_ready();
    let kept = machine.ctl(&["logs", "pstore"]).out;
    for text in ["service `weak` ended: exit code 4", "the disk is on fire", "sysrq: Trigger a crash"] {
        assert!(kept.contains(text), "`{text}` is not in\n{kept}");
    }
    machine.powers_off();
}
