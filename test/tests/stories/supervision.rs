//! How services are looked after: order, readiness, health, restarts, and what follows when they give up. One boot for all that
//! goes well in its way; what a spec may not say is refused before.

use bootwright_test::{Boot, Entry, ImageBuilder, Outcome, Story, compile, words};

/// A service that ends as it should when it is asked to, after saying `words` and doing `first`.
fn worker(name: &str, first: &str) -> Entry {
    Entry::shell(name, &format!("trap 'echo ends; exit 0' TERM; {first}; while :; do sleep 1000 & wait $!; done"))
}

#[test]
fn services_start_in_order_become_ready_stay_healthy_and_end_in_the_opposite_order() {
    let story = Story::new();
    let program = story.dir().join("says-ready");
    compile("programs/says_ready.rs", &program);
    let notifier = ImageBuilder::new().program("bin/says-ready", &program).write(story.dir(), "notifier");
    std::fs::remove_file(program).unwrap();

    // Each waits for the other, so they only end side by side.
    let meet = |name: &str, mine: &str, other: &str| {
        Entry::shell(name, &format!(": > /meet/{mine}; until [ -e /meet/{other} ]; do sleep 0.1; done; echo met"))
            .key("binds", "[\"/run/meet:/meet\"]")
            .key("runtime", "{mkdir: [/run/meet]}")
            .key("parallel", "true")
    };
    // What a probe is in the container, told by the service itself.
    let probe = "{exec: [sh, -c, \"echo probe uid $(id -u) $HOME_OF $(pwd) $(grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status) \
                 $(cat /proc/self/cgroup) > /tmp/probe; [ -e /tmp/up ]\"]}";
    let tell = "sleep 1; : > /tmp/up; until [ -s /tmp/probe ]; do sleep 0.1; done; cat /tmp/probe";
    let page = "mkdir -p /tmp/www; echo fine > /tmp/www/health; echo serving; \
                (sleep 6; rm /tmp/www/health; : > /meet/enough) & exec httpd -f -p 8080 -h /tmp/www";
    let mut machine = story
        .onboot(meet("left", "l", "r"))
        .onboot(meet("right", "r", "l"))
        .onboot(Entry::shell("then", "echo the boot goes on"))
        .service(worker("db", "sleep 2; echo opens; : > /tmp/open").key("ready", "{file: /tmp/open}"))
        .service(
            worker("app", &format!("echo begins; {tell}"))
                .key("requires", "[db]")
                .key("ready", probe)
                .key("env", "[HOME_OF=app]")
                .key("cwd", "/bin")
                .key("uid", "1000")
                .key("tmpfs", "[\"/tmp:mode=1777\"]"),
        )
        .service(
            Entry::shell("web", page)
                .key("after", "[app, notifier]")
                .key("ready", "{tcp: 8080, timeout: 30s}")
                .key("health", "{http: {port: 8080, path: /health}, interval: 1s, timeout: 5s, threshold: 2}")
                .key("binds", "[\"/run/meet:/meet\"]")
                .key("net", "new"),
        )
        .service(
            Entry::new("notifier", &notifier)
                .key("command", "[/bin/says-ready]")
                .key("ready", "{notify: true}")
                .key("readonly", "true"),
        )
        .service(
            Entry::new("pulse", &notifier)
                .key("command", "[/bin/says-ready]")
                .key("health", "{notify: true, interval: 1s, threshold: 2}")
                .key("binds", "[\"/run/meet:/meet\"]")
                .key("restart", "never"),
        )
        .service(Entry::shell("once", "echo done its work").key("restart", "on-failure"))
        .service(worker("follows", "echo follows").key("requires", "[once]"))
        .service(Entry::shell("old", "echo old; exit 0").key("onfail", "continue"))
        .service(
            worker("late", "echo never opens")
                .key("ready", "{tcp: 9, timeout: 3s}")
                .key("restart", "{policy: on-failure, limit: 1, delay: 100ms}"),
        )
        .service(worker("without", "echo must not run").key("requires", "[late]"))
        .service(
            Entry::shell("quick", "echo dies; exit 3").key("restart", "{limit: 2, delay: 100ms, max-delay: 100ms}"),
        )
        .service(
            Entry::shell("hangs", "trap 'echo no' TERM; while :; do sleep 1000 & wait $!; done")
                .key("stop", "{grace: 2s}"),
        )
        .service(
            Entry::shell("quits", "trap 'echo quits; exit 0' USR1; while :; do sleep 1000 & wait $!; done")
                .key("stop", "{signal: SIGUSR1, grace: 60s}"),
        )
        .build()
        .boot()
        .start();
    machine.sees("then: the boot goes on");
    machine.is_ready();
    machine.sees_all(&[
        "`web` failed its health check 2 times in a row (/health answers 404) and is asked to end",
        "service `web` ended with signal 9 (SIGKILL) after ",
        "`pulse` failed its health check 2 times in a row (it has not said WATCHDOG=1 for 1 s) and is asked to end",
        "service `pulse` ended: signal 9 (SIGKILL)",
    ]);
    machine.sees_all(&["web: serving"]);

    let lines = machine.lines();
    let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?}"));
    let ready = &lines[at(words::READY)];
    let names: Vec<&str> = ready.split(": ").last().unwrap().split_whitespace().collect();
    assert_eq!(names, ["app", "db", "follows", "hangs", "notifier", "pulse", "quits", "web"], "{ready}");
    for (before, after) in [
        ("left: met", "then: the boot goes on"),
        ("right: met", "then: the boot goes on"),
        ("db: opens", "app: begins"),
        ("notifier: loaded", "web: serving"),
        ("app: probe", "web: serving"),
        ("once: done its work", "follows: follows"),
    ] {
        assert!(at(before) < at(after), "{before:?} comes before {after:?}");
    }
    let probed = &lines[at("app: probe")];
    let none = "0000000000000000";
    assert!(
        probed.contains(&format!("probe uid 1000 app /usr/bin CapEff: {none} NoNewPrivs: 1 Seccomp: 2 0::/")),
        "{probed}"
    );
    for text in [
        "service `once` ended: exit code 0",
        "service `old` ended: exit code 0",
        "service `late` is not ready within 3 s (port 9: connection refused) and is asked to end",
        "bootwright:   | never opens",
        "; starting it again in 0.1 s (restart 1)",
        "service `late` ended: exit code 0; it was started again too often and stays down",
        "service `without` stays down: `late`, which it requires, failed",
        "service `quick` ended with exit code 3 after ",
        "starting it again in 0.1 s (restart 2)",
        "service `quick` ended: exit code 3; it was started again too often and stays down",
    ] {
        at(text);
    }
    assert!(!machine.said("must not run"));

    machine.presses_power();
    assert_eq!(machine.ends(), Outcome::PoweredOff);
    let lines = machine.lines();
    let last = |text: &str| lines.iter().rposition(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?}"));
    for (before, after) in [("web", "app"), ("web", "notifier"), ("app", "db")] {
        let [before, after] = [before, after].map(|name| last(&words::ended("service", name)));
        assert!(before < after, "services end in the opposite order");
    }
    last("quits: quits");
    last("service `hangs` did not end in time (2 s) and is killed");
    let took = |name: &str| -> u64 {
        let line = &lines[last(&words::ended("service", name))];
        let time = line.rsplit(", ").next().and_then(|text| text.split(' ').next()).map(str::parse);
        time.and_then(Result::ok).unwrap_or_else(|| panic!("no time in {line:?}"))
    };
    assert!((2000..30_000).contains(&took("hangs")), "its grace");
    for name in ["app", "db", "quits"] {
        assert!(took(name) < 2000, "{name} takes the time that it needs, not its grace");
    }
}

#[test]
fn orders_that_cannot_be_are_refused() {
    let service = |name: &str| Entry::shell(name, "exec sleep 1000");
    let checked = service("d").key("health", "{tcp: 80, exec: [\"true\"]}").key("stop", "{grace: 10}");
    let story = Story::new().service(checked);
    let said = story.refused(&[], &[]);
    for text in ["`health` says more than once what to look for", "`10` is not a duration"] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    let story = Story::new()
        .onboot(service("early").key("restart", "always"))
        .service(service("a").key("after", "[b]"))
        .service(service("b").key("requires", "[c]"))
        .service(service("c").key("after", "[a, c, early, stare]"))
        .service(service("store"));
    let said = story.refused(&[], &[]);
    for text in [
        "`restart` means nothing in `onboot`",
        "services that start after each other never start: `a` after `b` after `c` after `a`",
        "`c` is to start after itself",
        "there is no service `early` to be named in `after`",
        "only services wait for each other",
        "did you mean `store`?",
    ] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
}

/// A PID 1 that is frozen is one that hangs. Until then the machine outlives the watchdog's patience.
fn hangs(story: Story, watchdog: &str, boot: impl FnOnce(Boot) -> Boot) {
    let freeze = "cat /sys/class/watchdog/watchdog0/identity; sleep 8; echo still here; mkdir /cgroup/ice; \
                  echo 1 > /cgroup/ice/cgroup.procs; echo 1 > /cgroup/ice/cgroup.freeze; exec sleep 1000";
    let freezer = Entry::shell("freezer", freeze)
        .key("pid", "host")
        .key("cgroupns", "host")
        .key("binds", "[\"/sys/fs/cgroup:/cgroup\"]")
        .key("capabilities", "[all]");
    let mut machine = boot(story.watchdog("{timeout: 5s}").service(freezer).build().boot()).start();
    machine.sees_all(&[words::READY, &format!("freezer: {watchdog}")]);
    machine.sees("freezer: still here");
    assert_eq!(machine.ends(), Outcome::Rebooted);
    assert!(!machine.said(words::END), "init had nothing to do with it");
}

#[test]
fn a_hung_init_is_noticed_by_the_watchdog() {
    hangs(Story::new(), "Software Watchdog", |boot| boot);
}

/// Debian's cloud kernel has no driver for the device that QEMU and clouds have; its big one does.
#[test]
fn a_hung_init_is_noticed_by_the_boards_own_watchdog() {
    let story = Story::of_kernel("kernel/debian/amd64").kernel("modules: [virtio, i6300esb]");
    hangs(story, "i6300ESB timer", |boot| boot.device("i6300esb").qemu(["-action", "watchdog=reset"]));
}
