//! The examples do what they say: the machines people start from.

use bootwright_test::{Built, Bus, Outcome, http_get, redis, words};

#[test]
fn minimal_says_that_it_is_ready_and_powers_off_by_the_button() {
    let mut machine = Built::example("minimal").boot().memory(96).start();
    machine.sees_all(&[words::READY, "hello: hello from Linux"]);
    let ready = machine.lines().into_iter().find(|line| line.starts_with(words::READY)).unwrap();
    assert!(ready.ends_with(": hello"), "{ready}");
    let milliseconds = ready[words::READY.len()..].split(' ').next().unwrap();
    assert!(milliseconds.parse::<u64>().is_ok_and(|ms| ms > 0), "{ready}");
    machine.powers_off();
    assert!(machine.lines().iter().any(|line| line == &format!("{}poweroff", words::END)));
}

#[test]
fn web_answers_the_host() {
    let (mut machine, port) = Built::example("web").boot().start_published(80);
    let answer = http_get(port, "/");
    assert!(answer.starts_with("HTTP/1."), "{answer}");
    assert!(answer.contains("It boots."), "{answer}");
    machine.is_ready();
    machine.powers_off();
}

#[test]
fn redis_keeps_what_it_is_given() {
    let (mut machine, port) = Built::example("redis").boot().start_published(6379);
    assert_eq!(redis(port, "PING"), "+PONG");
    assert_eq!(redis(port, "SET answer 42"), "+OK");
    assert_eq!(redis(port, "STRLEN answer"), ":2");
    machine.powers_off();
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
    let built = Built::example_as("cloud", &["aws"]);
    assert!(
        !built.said().contains("no disk driver") && !built.said().contains("no network driver"),
        "{}",
        built.said()
    );
    let (mut machine, port) = built.boot_of(".raw").memory(256).bus(Bus::Nvme).start_published(80);
    assert!(http_get(port, "/").starts_with("HTTP/1."));
    machine.powers_off();
}

#[test]
fn the_iso_boots_from_cd() {
    let mut machine = Built::example_as("iso", &["iso"]).boot_of(".iso").memory(256).start();
    machine.sees("hello: hello from Linux");
    machine.powers_off();
}

#[test]
fn a_verified_disk_runs_its_service() {
    let built = Built::example_as("edge-verity", &["raw-efi"]);
    let (mut machine, port) = built.boot_of("-efi.img").memory(256).start_published(6379);
    assert_eq!(redis(port, "PING"), "+PONG");
    machine.powers_off();
}
