//! `bootwright ctl` at a running machine: the verb that people type.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;

use crate::{Running, place, words};

/// What one call came to.
#[derive(Debug)]
pub struct CtlRun {
    /// The exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A call that goes on: `logs -f`, or a program.
#[derive(Debug)]
pub struct Ctl {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(place::tool());
    command.arg("ctl").arg(socket).args(arguments).env("BOOTWRIGHT_CACHE", place::store());
    command
}

impl CtlRun {
    /// Calls `bootwright ctl SOCKET …` with this on its standard input.
    #[track_caller]
    pub fn at(socket: &Path, arguments: &[&str], input: &[u8]) -> Self {
        let mut command = command(socket, arguments);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", place::tool().display()));
        let mut stdin = child.stdin.take().expect("it is a pipe");
        let input = input.to_vec();
        // A call that refuses does not read it.
        let writing = thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("it was started");
        writing.join().expect("it does not panic");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

impl Running {
    /// Calls `bootwright ctl MACHINE …` with this on its standard input.
    #[track_caller]
    pub fn ctl_with(&self, arguments: &[&str], input: &[u8]) -> CtlRun {
        CtlRun::at(self.control_socket(), arguments, input)
    }

    /// Calls `bootwright ctl MACHINE …`.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> CtlRun {
        self.ctl_with(arguments, b"")
    }

    /// Calls `bootwright ctl MACHINE … --json`, which must succeed.
    #[track_caller]
    pub fn ctl_json(&self, arguments: &[&str]) -> Value {
        let run = self.ctl(&[&["--json"], arguments].concat());
        assert_eq!(run.code, Some(0), "{run:?}");
        serde_json::from_str(&run.out).unwrap_or_else(|e| panic!("{e}: {}", run.out))
    }

    /// Begins a call that goes on.
    #[track_caller]
    pub fn begin_ctl(&self, arguments: &[&str]) -> Ctl {
        let mut command = command(self.control_socket(), arguments);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = piped.spawn().unwrap_or_else(|e| panic!("cannot start {}: {e}", place::tool().display()));
        let stdin = child.stdin.take();
        let stdout: ChildStdout = child.stdout.take().expect("it is a pipe");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Ctl { child, stdin, lines }
    }
}

impl Ctl {
    /// Waits for a line with this text, and returns it.
    #[track_caller]
    pub fn sees(&self, text: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(words::SOON) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("`{text}` did not come, but {seen:#?}"),
            }
        }
    }

    /// Stops the caller, who reads nothing then.
    pub fn freezes(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn thaws(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()));
    }

    /// Types.
    #[track_caller]
    pub fn types(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().expect("it is open");
        stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()).expect("the call goes on");
    }

    /// What it prints until it ends, after what was waited for.
    pub fn rest(&self) -> Vec<String> {
        self.lines.iter().collect()
    }

    /// Waits for its end; the exit code.
    #[track_caller]
    pub fn ends(&mut self) -> Option<i32> {
        self.child.wait().expect("it was started").code()
    }
}

impl Drop for Ctl {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
