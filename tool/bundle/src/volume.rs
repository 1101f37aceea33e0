//! `bootwright.json` of a volume, which is there only where it says something.

use serde::{Deserialize, Serialize};

/// How init prepares a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeLimits {
    /// Version of this format: 1.
    pub version: u32,
    /// Most bytes that can be written into it; none: half of the memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}
