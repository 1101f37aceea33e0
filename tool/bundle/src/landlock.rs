//! The files that a container may use, as part of `bootwright.json`.

use serde::{Deserialize, Serialize};

/// Absolute paths in the container, each with all that lies below it. What is not below one of them cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Landlock {
    /// May be read and listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
    /// May be read, written, made, renamed and removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<String>,
    /// May be read and executed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub execute: Vec<String>,
}
