//! `bootwright run` and `bootwright test`: the verbs that people type, with their exit codes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::channel;

use crate::{Built, place, run, words};

/// What a run came to.
#[derive(Debug)]
pub struct VerbRun {
    /// The exit code; none when a signal ended the verb.
    pub code: Option<i32>,
    /// Standard output: the machine's console, or the report of the tests.
    pub console: String,
    /// Standard error: what the verb itself says.
    pub notes: String,
}

impl Built {
    /// Runs it with `bootwright run` under TCG, without a network, until it ends by itself.
    #[track_caller]
    pub fn run_verb(&self, arguments: &[&str]) -> VerbRun {
        let _slot = place::guest_slot();
        let output = Command::new(place::tool())
            .args(["run", "--accel", "tcg", "--networking", "none"])
            .args(arguments)
            .arg(self.prefix())
            .env("BOOTWRIGHT_CACHE", place::store())
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|e| panic!("cannot start {}: {e}", place::tool().display()));
        verb_run(&output)
    }
}

/// Runs `bootwright test` under TCG with these arguments.
#[track_caller]
pub fn test_verb(arguments: &[&str]) -> VerbRun {
    let _slot = place::guest_slot();
    let output =
        test_command(arguments).output().unwrap_or_else(|e| panic!("cannot start {}: {e}", place::tool().display()));
    verb_run(&output)
}

/// Runs it, sends it SIGINT when a machine says this in its log, which becomes a pipe for that, and sees it power off in order.
#[track_caller]
pub fn interrupted_test_verb(arguments: &[&str], log: &Path, text: &'static str) -> VerbRun {
    let _slot = place::guest_slot();
    run(Command::new("mkfifo").arg(log));
    let (seen, sees) = channel();
    let log = log.to_owned();
    // Opened for writing too, so that a verb that never opens it holds up nobody.
    let pipe = File::options().read(true).write(true).open(log).expect("it was made");
    std::thread::spawn(move || {
        let lines = BufReader::new(pipe).lines().map_while(Result::ok);
        lines.for_each(|line| drop(seen.send(line)));
    });
    let child = test_command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap_or_else(|e| panic!("cannot start {}: {e}", place::tool().display()));
    let says = |text: &str| while !sees.recv_timeout(words::BOOT).expect(text).contains(text) {};
    says(text);
    run(Command::new("kill").args(["-INT", &child.id().to_string()]));
    let output = child.wait_with_output().expect("it was started");
    says(&format!("{}poweroff", words::END));
    verb_run(&output)
}

fn test_command(arguments: &[&str]) -> Command {
    let mut command = Command::new(place::tool());
    command.args(["test", "--accel", "tcg"]).args(arguments).env("BOOTWRIGHT_CACHE", place::store());
    command.stdin(Stdio::null());
    command
}

fn verb_run(output: &Output) -> VerbRun {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\r', "");
    VerbRun { code: output.status.code(), console: text(&output.stdout), notes: text(&output.stderr) }
}
