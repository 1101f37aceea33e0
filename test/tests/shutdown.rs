//! How machines end: in order, by whatever way they are asked.

use bootwright_test::{Entry, Outcome, Story, words};

/// A service that ends well when it is asked to.
const WORKER: &str = "trap 'echo stopping; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done";

#[test]
fn services_are_stopped_before_onshutdown_runs() {
    let built = Story::new()
        .service(Entry::shell("worker", WORKER))
        .onshutdown(Entry::shell("first", "echo one"))
        .onshutdown(Entry::shell("second", "echo two"))
        .build();
    let mut machine = built.boot().start();
    machine.sees_all(&[words::READY, "worker: up"]);
    machine.presses_power();
    for line in ["worker: stopping", "first: one", "second: two", "bootwright: end: poweroff"] {
        machine.sees_within(line, words::SHUTDOWN);
    }
    assert_eq!(machine.ends(), Outcome::PoweredOff);
    let lines = machine.lines();
    let last = lines.iter().rfind(|line| line.starts_with(words::INIT)).unwrap();
    assert!(last.starts_with(words::END), "init says more after its last line: {last}");
}

#[test]
fn a_service_that_does_not_listen_is_killed_and_the_shutdown_goes_on() {
    let built = Story::new()
        .service(Entry::shell("deaf", "trap '' TERM; echo up; while :; do sleep 1000; done"))
        .onshutdown(Entry::shell("after", "echo one"))
        .build();
    let mut machine = built.boot().start();
    machine.sees_all(&[words::READY, "deaf: up"]);
    machine.presses_power();
    machine.sees_within("after: one", words::SHUTDOWN);
    assert_eq!(machine.ends(), Outcome::PoweredOff);
}

/// busybox's signals to PID 1, which `poweroff`, `reboot` and `halt` send, and the kernel's for ctrl-alt-del.
#[test]
fn each_way_to_ask_ends_the_machine_as_it_says() {
    for (script, outcome) in [
        ("kill -USR1 1", Outcome::Halted),
        ("kill -USR2 1", Outcome::PoweredOff),
        ("kill -TERM 1", Outcome::Rebooted),
        ("kill -INT 1", Outcome::Rebooted),
        ("busybox halt", Outcome::Halted),
        ("busybox poweroff", Outcome::PoweredOff),
        ("busybox reboot", Outcome::Rebooted),
    ] {
        let built = Story::new()
            .service(Entry::shell("asker", &format!("{script}; exec sleep 1000")).key("pid", "host"))
            .onshutdown(Entry::shell("orderly", "echo done"))
            .build();
        let mut machine = built.boot().start();
        assert_eq!(machine.ends(), outcome, "{script}");
        assert!(machine.said("orderly: done"), "{script}: onshutdown was left out");
    }
}

/// `poweroff -f` as LinuxKit's `poweroff` package does it: no shutdown, the kernel at once.
#[test]
fn a_container_that_may_reboot_the_kernel_can() {
    let built = Story::new()
        .service(Entry::shell("force", "busybox poweroff -f").key("pid", "host").key("capabilities", "[CAP_SYS_BOOT]"))
        .build();
    assert_eq!(built.boot().start().ends(), Outcome::PoweredOff);
}

#[test]
fn ctrl_alt_del_reboots_in_order() {
    let built =
        Story::new().service(Entry::shell("worker", WORKER)).onshutdown(Entry::shell("orderly", "echo done")).build();
    let mut machine = built.boot().start();
    machine.sees_all(&[words::READY, "worker: up"]);
    machine.presses(&["ctrl", "alt", "delete"]);
    machine.sees_within("worker: stopping", words::SHUTDOWN);
    machine.sees_within("orderly: done", words::SHUTDOWN);
    assert_eq!(machine.ends(), Outcome::Rebooted);
}
