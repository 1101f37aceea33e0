//! Foreign programs.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

/// Runs a program with bytes on its standard input; it must succeed and say nothing on standard error.
pub fn run(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("`{program}` is needed here (apt-get install {program}): {e}"));
    let mut stdin = child.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input));
        child.wait_with_output().unwrap()
    });
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    let noise = errors.lines().filter(|line| !line.ends_with(" block") && !line.ends_with(" blocks")).count();
    assert_eq!(noise, 0, "{program} {arguments:?}: {errors}");
    output.stdout
}

/// As [`run`], as text.
pub fn text(program: &str, arguments: &[&str], input: &[u8]) -> String {
    String::from_utf8_lossy(&run(program, arguments, input)).into_owned()
}
