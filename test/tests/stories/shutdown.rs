//! How machines end: in order, by whatever way they are asked.

use bootwright_test::{Entry, Outcome, Story, words};

/// A service that ends well when it is asked to.
const WORKER: &str = "trap 'echo stopping; exit 0' TERM; echo up; while :; do sleep 1000 & wait; done";
/// One that hears it and goes on.
const DEAF: &str = "trap 'echo no' TERM; echo up; while :; do sleep 1000 & wait; done";
/// One that would never hear it: the first process of a pid namespace gets no signal that it ignores.
const IGNORANT: &str = "trap '' TERM; echo up; while :; do sleep 1000; done";

#[test]
fn services_are_stopped_or_killed_before_onshutdowns_run_in_order() {
    let built = Story::new()
        .service(Entry::shell("worker", WORKER))
        .service(Entry::shell("deaf", DEAF))
        .service(Entry::shell("ignorant", IGNORANT))
        .onshutdown(Entry::shell("first", "sleep 1; echo one"))
        .onshutdown(Entry::shell("broken", "exit 5"))
        .onshutdown(Entry::shell("second", "echo two; grep -c /containers/services/ /proc/mounts || :"))
        .build();
    let mut machine = built.boot().start();
    // All of them: services that start at once do not stand in each other's way.
    machine.sees_all(&[" ms: deaf ignorant worker", "worker: up", "deaf: up", "ignorant: up"]);
    assert!(machine.said(words::READY));
    machine.presses_power();
    machine.sees(&words::asked("poweroff", "the power button"));
    machine.sees_all(&[
        "worker: stopping",
        &format!("{}exit code 0", words::ended("service", "worker")),
        "deaf: no",
        &format!("{}signal 9 (SIGKILL)", words::ended("service", "ignorant")),
    ]);
    for line in [
        "`deaf` did not end in time (10 s) and is killed",
        &format!("{}signal 9 (SIGKILL)", words::ended("service", "deaf")),
        "first: one",
        &format!("{}exit code 5", words::ended("onshutdown", "broken")),
        "second: two",
        "second: 0",
        "bootwright: end: poweroff",
    ] {
        machine.sees_within(line, words::SHUTDOWN);
    }
    assert_eq!(machine.ends(), Outcome::PoweredOff);
    let lines = machine.lines();
    let last = lines.iter().rfind(|line| line.starts_with(words::INIT)).unwrap();
    assert!(last.starts_with(words::END), "init says more after its last line: {last}");
}

/// The signals that busybox's `poweroff`, `reboot` and `halt` send from a container that sees PID 1, the kernel's for
/// ctrl-alt-del, and LinuxKit's `poweroff -f`: each as a word on the kernel's command line, in one image.
#[test]
fn each_way_to_ask_ends_the_machine_as_it_says() {
    let asker = "for word in $(cat /proc/cmdline); do case $word in ask=*) busybox ${word#ask=};; \
                 force=*) busybox ${word#force=} -f;; esac; done; echo waits; exec sleep 1000";
    let built = Story::new()
        .service(Entry::shell("worker", WORKER))
        .service(Entry::shell("asker", asker).key("pid", "host").key("capabilities", "[CAP_SYS_BOOT]"))
        .onshutdown(Entry::shell("orderly", "echo done"))
        .build();
    for (word, outcome, by) in [
        ("ask=halt", Outcome::Halted, Some(words::asked("halt", "SIGUSR1"))),
        ("ask=poweroff", Outcome::PoweredOff, Some(words::asked("poweroff", "SIGUSR2"))),
        ("ask=reboot", Outcome::Rebooted, Some(words::asked("reboot", "SIGTERM"))),
        ("keys", Outcome::Rebooted, Some(words::asked("reboot", "ctrl-alt-del"))),
        ("force=poweroff", Outcome::PoweredOff, None),
    ] {
        let mut machine = built.boot().argument(word).start();
        if word == "keys" {
            machine.sees_all(&[words::READY, "worker: up"]);
            machine.presses(&["ctrl", "alt", "delete"]);
        }
        assert_eq!(machine.ends(), outcome, "{word}");
        match by {
            Some(by) => {
                assert!(machine.said(&by), "{word}: init did not say who asked");
                let lines = machine.lines();
                let at = |text: &str| lines.iter().position(|line| line.contains(text));
                let [stopped, orderly, end] = ["`worker` ended: ", "orderly: done", words::END].map(at);
                assert!(stopped < orderly && orderly < end && stopped.is_some(), "{word}: not in order");
            }
            None => assert!(!machine.said("orderly: done"), "{word}: the kernel was to end at once"),
        }
    }
}
