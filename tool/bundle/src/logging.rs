//! `logging.json`: where what containers print goes, beside the rings in memory.

use serde::{Deserialize, Serialize};

/// Where [`Logging`] lies in the machine, if the spec says anything.
pub const LOGGING_JSON: &str = "/usr/lib/bootwright/logging.json";

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logging {
    /// Whether consoles show what containers print.
    pub console: bool,
    /// Whether there are files below `/var/log`.
    pub files: LogFiles,
    /// Bytes after which a file is begun anew.
    pub file_size: u64,
    /// Files that are kept of each source.
    pub file_count: u64,
    /// Where else it goes.
    pub forward: Vec<Forward>,
}

impl Default for Logging {
    fn default() -> Self {
        Self { console: true, files: LogFiles::Auto, file_size: 1024 * 1024, file_count: 4, forward: Vec::new() }
    }
}

/// When there are files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFiles {
    /// When `/var/log` is on a disk.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Somewhere else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward {
    /// `udp://ADDRESS:PORT` or `tcp://ADDRESS:PORT`.
    pub to: String,
    /// How.
    pub format: LogFormat,
}

/// How a line is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// RFC 5424.
    Syslog,
    /// A JSON object per line.
    Json,
}
