//! Forty services, five of which do what services must not: the others do not notice, as the event log tells.

use std::time::{Duration, Instant};

use bootwright_machine::control::Event;
use bootwright_test::{Entry, Outcome, Story, words};

/// Services that do what they should: a tree, each but the first requires another.
const GOOD: usize = 35;
/// How often the one that crashes is to have crashed.
const CRASHES: usize = 60;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Milliseconds that the deaf one has to end.
const GRACE: u64 = 3000;

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
                .key("stop", &format!("{{grace: {GRACE}ms}}"))
                .key("requires", "[s01]"),
        )
        .build()
        .boot()
        .control()
        .start();
    machine.sees("s00: up");
    let mut log = machine.begin_ctl(&["--json", "events", "-f"]);
    machine.sees_within(&format!("(restart {CRASHES})"), PATIENCE);
    assert!(machine.said(words::READY));
    let asked = Instant::now();
    machine.presses_power();
    assert_eq!(machine.ends(), Outcome::PoweredOff);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(25), "the end took {took:?}");
    assert!(machine.said("flooder: xxx"));

    let events: Vec<Event> = log.rest().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(log.ends(), Some(0), "the log has been told to its end");
    assert!(events.iter().all(|event| event.lost.is_none()) && events.is_sorted_by_key(|event| event.at));
    let ending = events.iter().position(|event| event.what == "asked").unwrap();
    let (life, end) = events.split_at(ending);

    // While it lived, only those that misbehave ended, each by what bounds it.
    let happened = |name: &str| -> Vec<&str> {
        life.iter().filter(|event| event.name == name).map(|event| event.what.as_str()).collect()
    };
    let quiet: Vec<&str> = good.iter().map(String::as_str).chain(["deaf", "flooder"]).collect();
    for name in &quiet {
        assert_eq!(happened(name), ["starting", "running", "ready"], "{name} was disturbed");
    }
    let ends = |name: &str, how: &str| {
        life.iter().filter(|event| event.name == name && event.what == "backoff" && event.detail.contains(how)).count()
    };
    assert!(ends("crasher", "exit code 7") >= CRASHES, "it is always started again");
    assert!(ends("eater", "out of memory") > 0 && ends("forker", "exit code ") > 0, "their own limits end them");

    // None is killed before its grace is over. (One that would not get the signal has none.)
    let at = |name: &str, what: &str| end.iter().find(|event| event.name == name && event.what == what).map(|e| e.at);
    let asked = |name: &str| at(name, "stopping").unwrap_or_else(|| panic!("{name} was not asked to end"));
    let down = |name: &str| at(name, "down").unwrap_or_else(|| panic!("{name} has not ended"));
    for event in end.iter().filter(|event| event.what == "killed" && event.detail.is_empty()) {
        assert!(event.name == "deaf" && event.at - asked("deaf") >= GRACE, "{event:?}");
    }
    assert!(at("deaf", "killed").is_some_and(|killed| down("deaf") - killed < 3000));
    for name in &good {
        let how = end.iter().find(|event| event.name == *name && event.what == "down");
        assert_eq!(how.map(|event| event.detail.as_str()), Some("exit code 0"), "{name}");
        assert!(down(name) - asked(name) < 3000, "{name} took its time");
    }

    // Nothing waits for one that has ended: each is asked in the very moment in which the last has that requires it.
    for (n, name) in good.iter().enumerate() {
        let children = good.iter().enumerate().skip(1).filter(|(child, _)| (child - 1) / 2 == n);
        let names = children.map(|(_, name)| name.as_str()).chain((n == 1).then_some("deaf"));
        match names.map(down).max() {
            Some(last) => assert_eq!(asked(name), last, "{name}"),
            None => assert!(asked(name) - end[0].at < 1000, "{name}"),
        }
    }
}
