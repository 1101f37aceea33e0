//! The examples do what they say: the machines people start from, by the tests that stand in them.

use std::fs;

use bootwright_test::{Built, Outcome, repository, test_verb, words};

/// Builds an example and tries it by its own tests. What its console said, as it was written to its log.
fn holds(name: &str, formats: &[&str], file: &str) -> (Built, String) {
    let built = Built::example_as(name, formats);
    let spec = repository().join("examples").join(format!("{name}.yml"));
    let (file, logs) = (built.file(file), built.dir().join("logs"));
    let [spec, file, logs_of] = [&spec, &file, &logs].map(|path| path.to_str().expect("it is UTF-8"));
    let run = test_verb(&["-v", "--logs", logs_of, "--spec", spec, file]);
    assert_eq!(run.code, Some(0), "{}\n{}", run.console, run.notes);
    let logs = fs::read_dir(logs).expect("the verb made it").map(|log| fs::read_to_string(log?.path()));
    let [log] = &logs.map(|log| log.expect("it is text")).collect::<Vec<_>>()[..] else { panic!("one test, one log") };
    (built, log.replace('\r', ""))
}

#[test]
fn minimal_says_that_it_is_ready() {
    let (_, log) = holds("minimal", &[], "");
    let ready = log.lines().find(|line| line.starts_with(words::READY)).expect("it came up");
    assert!(ready.ends_with(": hello"), "{ready}");
    let milliseconds = ready[words::READY.len()..].split(' ').next().expect("there is a first word");
    assert!(milliseconds.parse::<u64>().is_ok_and(|ms| ms > 0), "{ready}");
    assert!(log.lines().any(|line| line == format!("{}poweroff", words::END)), "{log}");
}

#[test]
fn web_answers_the_host() {
    holds("web", &[], "");
}

#[test]
fn redis_keeps_what_it_is_given() {
    holds("redis", &[], "");
}

#[test]
fn getty_gives_a_shell_on_the_serial_console() {
    let mut machine = Built::example("getty").boot().network().start();
    machine.is_ready();
    machine.sees("# ");
    // The sum keeps the echo of what is typed from being taken for the answer.
    machine.types("echo the-answer-is-$((40 + 2))\n");
    machine.sees("the-answer-is-42");
    machine.types("busybox poweroff\n");
    assert_eq!(machine.ends(), Outcome::PoweredOff);
}

#[test]
fn a_disk_for_clouds_answers_the_host() {
    let (built, _) = holds("cloud", &["aws"], ".raw");
    assert!(
        !built.said().contains("no disk driver") && !built.said().contains("no network driver"),
        "{}",
        built.said()
    );
}

// `iso.yml` is tried in `trial.rs`.

#[test]
fn a_verified_disk_runs_its_service() {
    holds("edge-verity", &["raw-efi"], "-efi.img");
}
