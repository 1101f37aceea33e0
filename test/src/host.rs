//! Programs of the host: what makes and judges images beside our own code.

use std::process::Command;

/// Runs a program and returns what it wrote; what it says of an error is shown when it fails.
#[track_caller]
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?} (make setup-test installs it): {e}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
