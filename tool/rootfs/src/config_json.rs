//! The shape of `config.json`: the part of OCI's runtime specification 1.2 that we write, keys in the order in which Go's
//! types (and so LinuxKit and runc) have them, so that two tools' files can be compared.
//!
//! Own types rather than `oci-spec`'s because their maps are unordered; the tests read what is written with those.

use serde::Serialize;
use serde_json::{Map, Value};

use crate::accounts::User;
use crate::capabilities::Sets;
use crate::seccomp::Filter;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    pub(crate) oci_version: &'static str,
    pub(crate) process: Process,
    pub(crate) root: Root,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hostname: String,
    pub(crate) mounts: Vec<Mount>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) annotations: Map<String, Value>,
    pub(crate) linux: Linux,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Process {
    pub(crate) terminal: bool,
    pub(crate) user: User,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) capabilities: Sets,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) rlimits: Vec<Limit>,
    /// Present only when true: an explicit false makes libcontainer load seccomp after it dropped the capabilities that
    /// loading takes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) no_new_privileges: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) oom_score_adj: Option<i32>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Limit {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) hard: u64,
    pub(crate) soft: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Root {
    pub(crate) path: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) readonly: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Mount {
    pub(crate) destination: String,
    #[serde(rename = "type", skip_serializing_if = "String::is_empty")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) source: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) options: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Linux {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) uid_mappings: Vec<Mapping>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gid_mappings: Vec<Mapping>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(crate) sysctl: Map<String, Value>,
    pub(crate) resources: Value,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) cgroups_path: String,
    pub(crate) namespaces: Vec<Namespace>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) devices: Vec<Device>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seccomp: Option<Filter>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) rootfs_propagation: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) masked_paths: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) readonly_paths: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Mapping {
    #[serde(rename = "containerID")]
    pub(crate) container: u32,
    #[serde(rename = "hostID")]
    pub(crate) host: u32,
    pub(crate) size: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Namespace {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Device {
    pub(crate) path: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) major: i64,
    pub(crate) minor: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file_mode: Option<u32>,
}

/// JSON as LinuxKit writes it: four spaces, no newline at the end.
pub(crate) fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
    value.serialize(&mut serializer).expect("string keys into memory cannot fail");
    out
}
