//! Which devices a container may use: `linux.resources.devices` of OCI's runtime specification 1.2.
//!
//! Each kind of access (read, write, making a node) is decided by the last rule that names it; what no rule names is denied.
//! As with runc, the devices that every container has are allowed behind all other rules.

use serde::Deserialize;

/// Kinds of access, as the kernel has them for device programs (linux/bpf.h).
pub const MKNOD: u8 = 1;
/// Reading.
pub const READ: u8 = 2;
/// Writing.
pub const WRITE: u8 = 4;
/// All of them.
pub const ALL: u8 = MKNOD | READ | WRITE;

/// A rule as it is written.
#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    #[serde(default)]
    allow: bool,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    major: Option<i64>,
    #[serde(default)]
    minor: Option<i64>,
    #[serde(default)]
    access: Option<String>,
}

/// Which devices a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// Both kinds.
    Any,
    /// Block devices; the kernel's number of them.
    Block,
    /// Character devices.
    Character,
}

/// A rule as it is enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Allowed, or denied.
    pub allow: bool,
    /// Of which kind of device.
    pub nodes: Nodes,
    /// Major number; none for all.
    pub major: Option<i32>,
    /// Minor number; none for all.
    pub minor: Option<i32>,
    /// Bits of access.
    pub bits: u8,
}

impl Rule {
    /// None if it is about nothing that there is.
    fn access(&self) -> Option<Access> {
        let nodes = match self.kind.as_deref() {
            None | Some("" | "a") => Nodes::Any,
            Some("b") => Nodes::Block,
            Some("c" | "u") => Nodes::Character,
            Some(_) => return None,
        };
        // -1 is runc's way to say all.
        let number = |n: Option<i64>| n.filter(|n| *n >= 0).map(i32::try_from).transpose().ok();
        let letters = self.access.as_deref().filter(|a| !a.is_empty()).unwrap_or("rwm");
        let bit = |letter, bit| if letters.contains(letter) { bit } else { 0 };
        let bits = bit('r', READ) | bit('w', WRITE) | bit('m', MKNOD);
        Some(Access { allow: self.allow, nodes, major: number(self.major)?, minor: number(self.minor)?, bits })
    }
}

/// These rules and, behind them, runc's: making any node, and using `null zero full random urandom tty console ptmx pts/*`.
pub fn with_usual(rules: Vec<Rule>) -> Vec<Access> {
    let usual = |major, minor| Access { allow: true, nodes: Nodes::Character, major, minor, bits: ALL };
    let make = |nodes| Access { nodes, bits: MKNOD, ..usual(None, None) };
    let memory = [3, 5, 7, 8, 9].map(|minor| usual(Some(1), Some(minor)));
    let terminals = [(5, Some(0)), (5, Some(1)), (5, Some(2)), (136, None)].map(|(n, minor)| usual(Some(n), minor));
    let own = rules.iter().filter_map(Rule::access);
    own.chain([make(Nodes::Character), make(Nodes::Block)]).chain(memory).chain(terminals).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_runc_reads_them() {
        let read = |text: &str| serde_json::from_str::<Rule>(text).unwrap().access();
        let all = Access { allow: false, nodes: Nodes::Any, major: None, minor: None, bits: ALL };
        for (text, expected) in [
            (r#"{"allow": false, "access": "rwm"}"#, Some(all)),
            (r#"{"allow": false, "type": "a", "major": -1, "minor": -1, "access": ""}"#, Some(all)),
            (
                r#"{"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"}"#,
                Some(Access {
                    allow: true,
                    nodes: Nodes::Character,
                    major: Some(10),
                    minor: Some(200),
                    bits: READ | WRITE,
                }),
            ),
            (r#"{"allow": true, "type": "p"}"#, None),
            // A number that no device has must not become "all".
            (r#"{"allow": true, "type": "b", "major": 99999999999}"#, None),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        assert!(serde_json::from_str::<Rule>(r#"{"major": "8"}"#).is_err());
    }
}
