//! What happens to a machine when something happens to us: it ends, whatever it is that ends us. And what a person at a
//! terminal can do.
//!
//! The test runs itself as the program that is signalled; `script` (bsdutils, on every Debian) gives it a terminal.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bootwright_machine::{Console, Terminal, run};
use common::Fake;
use rustix::process::{Pid, Signal, kill_process};

/// Says everything on standard output.
struct Stdout;

impl Console for Stdout {
    fn output(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        print!("{}", String::from_utf8_lossy(bytes));
        Ok(())
    }

    fn notice(&mut self, line: &str) {
        println!("notice: {line}");
    }
}

/// Not a test by itself: the program that the tests below signal.
#[test]
fn program() {
    let Ok(script) = env::var("BOOTWRIGHT_TEST_SCRIPT") else { return };
    let mut fake = Fake::new("", &script);
    fake.config.accel = "tcg".parse().unwrap();
    let outcome = if env::var_os("BOOTWRIGHT_TEST_TERMINAL").is_some() {
        run(&fake.config, &mut Terminal::new().unwrap(), &fake.cache())
    } else {
        run(&fake.config, &mut Stdout, &fake.cache())
    };
    println!("outcome: {outcome:?}");
}

fn start(script: &str) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "program", "--nocapture"])
        .env("BOOTWRIGHT_TEST_SCRIPT", script)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = BufReader::new(child.stdout.take().unwrap());
    (child, stdout)
}

fn until(stdout: &mut impl BufRead, text: &str) -> String {
    let mut seen = String::new();
    while !seen.contains(text) {
        assert!(stdout.read_line(&mut seen).unwrap() > 0, "`{text}` is not in\n{seen}");
    }
    seen
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn the_first_signal_presses_the_power_button() {
    let (mut child, mut stdout) = start("connect Linux serve");
    until(&mut stdout, "Linux");
    signal(&child, Signal::TERM);
    let seen = until(&mut stdout, "outcome:");
    assert!(seen.contains("the button was pressed"), "{seen}");
    assert!(seen.contains("Ok(Interrupted(15))"), "{seen}");
    child.wait().unwrap();
}

#[test]
fn a_machine_dies_with_us_even_when_nobody_can_tell_it() {
    let (mut child, mut stdout) = start("connect Linux serve");
    until(&mut stdout, "Linux");
    let qemu = descendant(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    // The pipe's other ends are with the child and with QEMU's parent alone, so its end says nothing about QEMU itself;
    // the kernel's signal was sent before the parent could be reaped, and a killed process is a zombie of init at most.
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    let stat = format!("/proc/{qemu}/stat");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while fs::read_to_string(&stat).is_ok_and(|s| !s.contains(") Z ") && !s.contains(") X ")) {
        assert!(std::time::Instant::now() < deadline, "QEMU outlives us");
        std::thread::yield_now();
    }
}

#[test]
fn a_person_types_and_gives_commands() {
    let program = format!("{} --exact program --nocapture", env::current_exe().unwrap().display());
    let mut child = Command::new("timeout")
        .args(["60", "script", "-qec", &program, "/dev/null"])
        .env("BOOTWRIGHT_TEST_SCRIPT", "connect Linux echo serve")
        .env("BOOTWRIGHT_TEST_TERMINAL", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut stdin = child.stdin.take().unwrap();
    until(&mut stdout, "Linux");
    // Ctrl-C is the machine's, as every key is: in cooked mode it would end the program.
    stdin.write_all(b"\x03typed!").unwrap();
    let seen = until(&mut stdout, "typed!");
    assert!(seen.contains("\x03typed!"), "{seen:?}");
    stdin.write_all(b"\x01h").unwrap();
    until(&mut stdout, "Ctrl-A x ends the machine");
    stdin.write_all(b"\x01x").unwrap();
    let seen = until(&mut stdout, "outcome:");
    assert!(seen.contains("Ok(Quit)"), "{seen:?}");
    child.wait().unwrap();
}

/// The process that `parent`'s threads have started.
fn descendant(parent: u32) -> u32 {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let children = tasks.map(|task| fs::read_to_string(Path::new(&task.unwrap().path()).join("children")));
    let children: String = children.filter_map(Result::ok).collect();
    children.split_whitespace().next().unwrap().parse().unwrap()
}
