//! `tests:` (ours): machines to boot, and what must hold in them. None of it reaches an image.

use std::time::Duration;

use crate::{Span, Spanned};

/// An entry of `tests`.
#[derive(Clone, Debug)]
pub struct Test {
    /// `name`.
    pub name: Spanned<String>,
    /// `memory`, bytes.
    pub memory: Option<u64>,
    /// `cpus`.
    pub cpus: Option<u32>,
    /// `disks`, bytes of each.
    pub disks: Vec<u64>,
    /// `uefi`.
    pub uefi: bool,
    /// `size`, bytes.
    pub size: Option<u64>,
    /// `timeout`.
    pub timeout: Option<Duration>,
    /// `formats`; none: all.
    pub formats: Vec<Spanned<String>>,
    /// `ready`, text of a console line.
    pub ready: Option<String>,
    /// `checks`.
    pub checks: Vec<TestCheck>,
}

/// An entry of `tests.checks`.
#[derive(Clone, Debug)]
pub struct TestCheck {
    /// `name`.
    pub name: Option<String>,
    /// `within`.
    pub within: Option<Duration>,
    /// What must hold.
    pub what: Expectation,
    /// The entry.
    pub span: Span,
}

/// What must hold.
#[derive(Clone, Debug)]
pub enum Expectation {
    /// `exec`.
    Exec {
        /// `service`.
        service: Spanned<String>,
        /// `command`, not empty.
        command: Vec<String>,
        /// `code`.
        code: u8,
        /// `stdout`.
        stdout: Option<String>,
        /// `stderr`.
        stderr: Option<String>,
    },
    /// `http`.
    Http {
        /// `port`.
        port: u16,
        /// `path`.
        path: String,
        /// `status`.
        status: u16,
        /// `contains`.
        contains: Option<String>,
        /// `header`: its name and what it holds.
        header: Option<(String, String)>,
    },
    /// `tcp`.
    Tcp {
        /// `port`.
        port: u16,
        /// `send`.
        send: String,
        /// `contains`.
        contains: String,
    },
    /// `console`.
    Console(String),
    /// `file`.
    File {
        /// `service`; none: the machine.
        service: Option<Spanned<String>>,
        /// `path`.
        path: String,
        /// What it holds.
        content: FileContent,
    },
    /// `service`.
    Service {
        /// `name`.
        name: Spanned<String>,
        /// `state`.
        state: String,
        /// `restarts`.
        restarts: Option<u64>,
    },
    /// `reboot`.
    Reboot,
}

/// What a file must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// Whatever it is.
    Any,
    /// `contains`.
    Contains(String),
    /// `equals`.
    Equals(String),
    /// `absent`: there is none.
    Absent,
}
