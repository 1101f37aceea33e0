//! What happens when a container fails.

use std::fs;

use bootwright_test::{Entry, Outcome, Story, words};

#[test]
fn a_failing_onboot_stops_the_boot_with_a_banner_on_every_console() {
    let built = Story::new()
        .onboot(Entry::shell("fine", "echo well"))
        .onboot(Entry::shell("broken", "for n in $(seq 30); do echo line $n; done; exit 7"))
        .onboot(Entry::shell("late", "echo must not run"))
        .service(Entry::shell("web", "echo must not run; exec sleep 1000"))
        .onshutdown(Entry::shell("orderly", "echo done"))
        .build();
    let second = built.dir().join("second-console");
    let chardev = format!("file,id=second,path={}", second.display());
    let mut machine = built
        .boot()
        .argument(&format!("{}1", words::ONFAIL_DELAY))
        .argument("console=ttyS1")
        .qemu(["-chardev", &chardev, "-serial", "chardev:second"])
        .start();
    assert_eq!(machine.ends(), Outcome::OnbootFailed);

    let first = machine.lines().join("\n");
    let second = fs::read_to_string(&second).unwrap();
    for (console, text) in [("the first console", &first), ("the second console", &second)] {
        let banner = text.lines().find(|line| line.contains(words::BANNER));
        assert!(banner.is_some_and(|line| line.contains("`broken`")), "no banner on {console}:\n{text}");
        let ended = text.lines().find(|line| line.starts_with(&words::ended("onboot", "broken")));
        assert!(ended.is_some_and(|line| line.contains("exit code 7")), "no exit code on {console}:\n{text}");
        for (n, repeated) in [(10, false), (11, true), (30, true)] {
            let line = format!("{}line {n}", words::LAST_LINE);
            assert_eq!(text.lines().any(|l| l.trim_end() == line), repeated, "{console}: the last 20 lines:\n{text}");
        }
        assert!(text.contains("powering off in 1 s"), "{console}:\n{text}");
        assert!(text.contains("fine: well") && text.contains("orderly: done"), "{console}:\n{text}");
        assert!(text.contains(&format!("{}onboot-failed", words::END)), "{console}:\n{text}");
        assert!(!text.contains("must not run") && !text.contains(words::READY), "{console}:\n{text}");
    }
}

/// Every variant after which the boot goes on, a creating child that aborts, and what was left out of the image: in one boot,
/// ended by the client in the shell of the machine's root.
#[test]
fn continue_retry_shell_and_an_aborted_create_go_on() {
    let head = r#"
kernel:
  image: "@pkg:REPO/kernel/debian/cloud"
  cmdline: "console=ttyS0 quiet panic=-1"
init:
  - "@pkg:REPO/pkg/init"
  - "@pkg:REPO/pkg/busybox"
"#;
    let twice = "if [ -e /shared/$0 ]; then echo the second time; else : > /shared/$0; exit 1; fi";
    let twice = |name: &str| {
        let command = serde_json::json!(["/bin/sh", "-c", twice, name]);
        Entry::new(name, "@pkg:REPO/pkg/busybox")
            .key("command", &command.to_string())
            .key("onfail", "retry")
            .key("binds", "[\"/run/shared:/shared\"]")
            .key("runtime", "{mkdir: [/run/shared]}")
    };
    let xfs = "[{type: xfs, source: /dev/vda, destination: /mnt}]";
    let built = Story::new()
        .head(head)
        .onboot(Entry::shell("shrug", "exit 1").key("onfail", "continue"))
        .onboot(twice("again"))
        .onboot(Entry::shell("disk", "echo must not run").key("onfail", "continue").key("mounts", xfs))
        .onboot(Entry::shell("ask", "exit 1").key("onfail", "shell"))
        .onboot(Entry::shell("last", "echo the boot went on"))
        .service(Entry::shell("victim", "echo must not run; exec sleep 1000").key("restart", "never"))
        .service(Entry::shell("flaky", "exit 3").key("onfail", "continue"))
        .service(twice("stubborn"))
        .service(Entry::shell("killed", "kill -SEGV $$").key("pid", "host").key("restart", "never"))
        .service(Entry::shell("web", "echo up; exec sleep 1000"))
        .service(Entry::shell("call", "exit 4").key("onfail", "shell"))
        .build();
    let abort = format!("{}victim", words::ABORT);
    let mut machine = built.boot().argument(&abort).device("vmxnet3").start();
    machine.sees("vmxnet3");
    machine.sees("again: the second time");
    machine.sees("a shell runs on");
    machine.sees("# ");
    machine.types("echo in-a-shell-$((40 + 2))\n");
    machine.sees("in-a-shell-42");
    machine.types("exit\n");
    machine.sees("last: the boot went on");
    machine.sees_all(&[
        "web: up",
        &format!("{}exit code 3", words::ended("service", "flaky")),
        &format!("{}exit code 4", words::ended("service", "call")),
        &format!("{}signal 11 (SIGSEGV)", words::ended("service", "killed")),
        "`victim` ended: not started: creating it ended with signal 6 (SIGABRT)",
        "stubborn: the second time",
        words::READY,
        "a shell runs on",
    ]);
    machine.types("\n");
    machine.sees("# ");
    machine.types("/init poweroff\n");
    machine.sees(&words::asked("poweroff", "SIGUSR2"));
    assert_eq!(machine.ends(), Outcome::PoweredOff);

    let lines = machine.lines();
    let line = |text: &str| lines.iter().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?}"));
    assert!(line(words::READY).split(": ").last().is_some_and(|names| names.split(' ').any(|n| n == "web")));
    assert!(!line(words::READY).contains("victim"), "it does not run");
    for module in ["vmxnet3", "xfs"] {
        assert!(line(module).contains(words::INIT) && line(module).contains("left out of this image"), "{module}");
    }
    assert!(!machine.said("must not run"));
    assert!(!machine.said("Kernel panic"));
}

/// Which container fails is a word on the kernel's command line: one image.
#[test]
fn stop_poweroff_and_reboot_end_the_machine() {
    let script =
        "case \" $(cat /proc/cmdline) \" in *\" fail=$0 \"*) exit 7;; esac; case $0 in o-*) ;; *) sleep 1000;; esac";
    let fails = |name: &str, onfail: &str| {
        let command = serde_json::json!(["/bin/sh", "-c", script, name]).to_string();
        Entry::new(name, "@pkg:REPO/pkg/busybox").key("command", &command).key("onfail", onfail)
    };
    let built = Story::new()
        .onboot(fails("o-poweroff", "poweroff"))
        .onboot(fails("o-reboot", "reboot"))
        .service(fails("poweroff", "poweroff"))
        .service(fails("reboot", "reboot"))
        .service(fails("stop", "stop"))
        .build();
    for (name, outcome) in [
        ("o-poweroff", Outcome::OnbootFailed),
        ("o-reboot", Outcome::Rebooted),
        ("poweroff", Outcome::PoweredOff),
        ("reboot", Outcome::Rebooted),
        ("stop", Outcome::PoweredOff),
    ] {
        let delay = format!("{}1", words::ONFAIL_DELAY);
        let mut machine = built.boot().argument(&format!("fail={name}")).argument(&delay).start();
        assert_eq!(machine.ends(), outcome, "{name}");
        assert!(machine.said(&format!("`{name}` ended: exit code 7")), "{name}: not told why");
        assert_eq!(machine.said(words::BANNER), name == "stop", "{name}");
    }
}
