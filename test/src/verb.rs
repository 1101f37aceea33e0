//! `bootwright run` and `bootwright test`: the verbs that people type, with their exit codes.

use std::process::{Command, Stdio};

use crate::{Built, place};

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
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\r', "");
        VerbRun { code: output.status.code(), console: text(&output.stdout), notes: text(&output.stderr) }
    }
}

/// Runs `bootwright test` under TCG with these arguments.
#[track_caller]
pub fn test_verb(arguments: &[&str]) -> VerbRun {
    let _slot = place::guest_slot();
    let output = Command::new(place::tool())
        .args(["test", "--accel", "tcg"])
        .args(arguments)
        .env("BOOTWRIGHT_CACHE", place::store())
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("cannot start {}: {e}", place::tool().display()));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    VerbRun { code: output.status.code(), console: text(&output.stdout), notes: text(&output.stderr) }
}
