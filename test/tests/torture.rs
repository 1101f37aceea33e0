//! Forty services, five of which do what services must not: the others do not notice.

use std::time::{Duration, Instant};

use bootwright_test::{Entry, Outcome, Story, words};

/// Services that do what they should: a tree, each but the first requires another.
const GOOD: usize = 35;
/// How often the one that crashes is to have crashed.
const CRASHES: usize = 60;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn forty_services_are_not_disturbed_by_five_that_misbehave() {
    let worker = "trap 'exit 0' TERM; echo up; while :; do sleep 10000 & wait $!; done";
    let good: Vec<String> = (0..GOOD).map(|n| format!("s{n:02}")).collect();
    let mut story = Story::new();
    for (n, name) in good.iter().enumerate() {
        let entry = Entry::shell(name, worker);
        story = story.service(match n {
            0 => entry,
            n => entry.key("requires", &format!("[s{:02}]", (n - 1) / 2)),
        });
    }
    // With what it costs to create its container, it crashes about once a second.
    let each_second = "{delay: 300ms, max-delay: 300ms}";
    // Long lines, or the host's log of the console would not hold the beginning.
    let flood = "line=$(head -c 1000 /dev/zero | tr '\\0' x); while :; do yes $line | head -c 300000; sleep 2; done";
    let mut machine = story
        .service(Entry::shell("crasher", "exit 7").key("restart", each_second))
        .service(
            Entry::shell("eater", "tail /dev/zero")
                .key("resources", "{memory: {limit: 16777216}}")
                .key("restart", "{delay: 10s, max-delay: 10s}"),
        )
        .service(Entry::shell("flooder", flood))
        .service(
            Entry::shell("forker", "bomb() { bomb & bomb & wait; }; bomb")
                .key("resources", "{pids: {limit: 20}}")
                .key("restart", "{delay: 10s, max-delay: 10s}"),
        )
        .service(
            Entry::shell("deaf", "trap 'echo no' TERM; echo up; while :; do sleep 10000 & wait $!; done")
                .key("stop", "{grace: 3s}")
                .key("requires", "[s01]"),
        )
        .build()
        .boot()
        .start();
    machine.sees_within(&format!("(restart {CRASHES})"), PATIENCE);
    assert!(machine.said(words::READY));

    let asked = Instant::now();
    machine.presses_power();
    assert_eq!(machine.ends(), Outcome::PoweredOff);
    let took = asked.elapsed();

    let lines = machine.lines();
    let ending = lines.iter().position(|line| line.contains(&words::asked("poweroff", "the power button"))).unwrap();
    let (life, end) = lines.split_at(ending);
    let count = |text: &str| life.iter().filter(|line| line.contains(text)).count();
    for name in good.iter().map(String::as_str).chain(["deaf"]) {
        assert_eq!(count(&format!("{name}: up")), 1, "{name} was started once");
        assert_eq!(count(&format!("`{name}`")), 0, "{name} was disturbed");
    }
    assert!(count("service `crasher` ended with exit code 7") >= CRASHES, "it is always started again");
    assert!(count("service `eater` ended with signal 9 (SIGKILL)") > 0, "its own limit ends it");
    assert!(count("service `forker` ended with exit code ") > 0, "its own limit stops it");
    assert!(count("flooder: xxx") > 0);

    // None is killed before its grace is over, and none but the deaf one needs it.
    let ended = |name: &str| {
        let at = end.iter().position(|line| line.contains(&words::ended("service", name)));
        at.unwrap_or_else(|| panic!("{name} has not ended"))
    };
    let time = |name: &str| -> u64 {
        let line = &end[ended(name)];
        let time = line.rsplit(", ").next().and_then(|text| text.split(' ').next()).map(str::parse);
        time.and_then(Result::ok).unwrap_or_else(|| panic!("no time in {line:?}"))
    };
    for name in &good {
        assert!(end[ended(name)].contains("ended: exit code 0"), "{:?}", end[ended(name)]);
        assert!(time(name) < 3000, "{name} took its time: {:?}", end[ended(name)]);
    }
    assert!(end.iter().any(|line| line.contains("service `deaf` did not end in time (3 s) and is killed")));
    assert!((3000..6000).contains(&time("deaf")), "{:?}", end[ended("deaf")]);
    // Each ends after those that require it, and waits for no other: the deaf one is the only grace that is waited for.
    for (n, name) in good.iter().enumerate().skip(1) {
        assert!(ended(name) < ended(&good[(n - 1) / 2]), "{name} ends before what it requires");
    }
    assert!(ended("deaf") < ended("s01") && ended("s02") < ended("deaf"), "s02 has nothing to do with the deaf one");
    assert!(took < Duration::from_secs(25), "the end took {took:?}");
}
