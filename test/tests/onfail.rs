//! What happens when a container fails.

use std::fs;

use bootwright_test::{Entry, Outcome, Story, words};

#[test]
fn a_failing_onboot_stops_the_boot_with_a_banner_on_every_console() {
    let built = Story::new()
        .onboot(Entry::shell("fine", "echo well"))
        .onboot(Entry::shell("broken", "for n in 1 2 3; do echo line $n; done; exit 7"))
        .onboot(Entry::shell("late", "echo must not run"))
        .service(Entry::shell("web", "echo must not run; exec sleep 1000"))
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
        assert!(text.contains(&format!("{}line 3", words::LAST_LINE)), "no last lines on {console}:\n{text}");
    }
    assert!(first.contains("fine: well"));
    assert!(!first.contains("must not run") && !first.contains(words::READY));
}

#[test]
fn the_command_line_overrides_every_onboots_onfail() {
    let built =
        Story::new().onboot(Entry::shell("broken", "exit 7")).service(Entry::shell("web", "exec sleep 1000")).build();
    let mut machine = built.boot().argument(&format!("{}continue", words::ONFAIL)).start();
    assert!(machine.is_ready().ends_with(": web"));
    machine.powers_off();

    let mut machine = built.boot().argument(&format!("{}reboot", words::ONFAIL)).start();
    assert_eq!(machine.ends(), Outcome::Rebooted);
}

/// Every variant after which the boot goes on, in one boot.
#[test]
fn continue_retry_and_shell_go_on() {
    let head = r#"
kernel:
  image: "@pkg:REPO/kernel/debian/cloud"
  cmdline: "console=ttyS0 quiet panic=-1"
init:
  - "@pkg:REPO/pkg/init"
  - "@pkg:REPO/pkg/busybox"
"#;
    let twice = "if [ -e /shared/tried ]; then echo the second time; else : > /shared/tried; exit 1; fi";
    let built = Story::new()
        .head(head)
        .onboot(Entry::shell("shrug", "exit 1").key("onfail", "continue"))
        .onboot(
            Entry::shell("again", twice)
                .key("onfail", "retry")
                .key("binds", "[\"/run/shared:/shared\"]")
                .key("runtime", "{mkdir: [/run/shared]}"),
        )
        .onboot(Entry::shell("ask", "exit 1").key("onfail", "shell"))
        .onboot(Entry::shell("last", "echo the boot went on"))
        .service(Entry::shell("flaky", "exit 3").key("onfail", "continue"))
        .service(Entry::shell("web", "echo up; exec sleep 1000"))
        .build();
    let mut machine = built.boot().start();
    machine.sees("again: the second time");
    machine.sees("a shell runs on");
    machine.sees("# ");
    machine.types("echo in-a-shell-$((40 + 2))\n");
    machine.sees("in-a-shell-42");
    machine.types("exit\n");
    machine.sees("last: the boot went on");
    machine.sees_all(&["web: up", &words::ended("service", "flaky"), words::READY]);
    machine.powers_off();
}

#[test]
fn poweroff_and_reboot_end_the_machine_at_once() {
    for (section, onfail, outcome) in [
        ("onboot", "poweroff", Outcome::OnbootFailed),
        ("onboot", "reboot", Outcome::Rebooted),
        ("service", "poweroff", Outcome::PoweredOff),
        ("service", "reboot", Outcome::Rebooted),
    ] {
        let broken = Entry::shell("broken", "exit 7").key("onfail", onfail);
        let story = Story::new();
        let story = if section == "onboot" { story.onboot(broken) } else { story.service(broken) };
        let mut machine = story.build().boot().start();
        assert_eq!(machine.ends(), outcome, "{section} {onfail}");
        assert!(machine.said("exit code 7"), "{section} {onfail}: not told why");
    }
}

/// The container library runs in a child of PID 1: when it aborts half-way, that container has failed and nothing else.
#[test]
fn a_create_that_aborts_half_way_is_that_containers_failure_alone() {
    let built = Story::new()
        .service(Entry::shell("victim", "echo must not run; exec sleep 1000"))
        .service(Entry::shell("web", "echo up; exec sleep 1000"))
        .build();
    let mut machine = built.boot().argument(&format!("{}victim", words::ABORT)).start();
    machine.sees_all(&["web: up", "`victim`"]);
    machine.powers_off();
    assert!(!machine.said("must not run"));
    assert!(!machine.said("Kernel panic"));
}
