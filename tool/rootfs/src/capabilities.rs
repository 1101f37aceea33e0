//! Capabilities: their names, and the five sets of a container.
//!
//! As LinuxKit has them: bounding, inheritable and permitted hold capabilities and ambient ones, effective only the
//! former. Sorted and without repetition, which LinuxKit's are not.

use std::collections::BTreeSet;

use bootwright_spec::{ContainerConfig, Spanned};
use serde::Serialize;

use crate::problems::{Describe, Problems, nearest};

/// All that Linux has, by number.
pub(crate) const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// `[all]` was said: a privileged container, in Docker's words.
    pub(crate) privileged: bool,
    granted: BTreeSet<&'static str>,
    ambient: BTreeSet<&'static str>,
}

/// The sets as `config.json` has them; empty ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sets {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) bounding: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) effective: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) inheritable: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) permitted: Vec<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ambient: Vec<&'static str>,
}

impl Capabilities {
    /// Reads `capabilities`, `capabilities.add` and `ambient` of a merged configuration.
    pub(crate) fn read(config: &ContainerConfig, problems: &mut Problems) -> Self {
        let mut out = Self::default();
        for list in [&config.capabilities, &config.capabilities_add].into_iter().flatten() {
            out.privileged |= add(list, &mut out.granted, problems);
        }
        if let Some(list) = &config.ambient {
            add(list, &mut out.ambient, problems);
        }
        out
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.granted.contains(name) || self.ambient.contains(name)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.granted.is_empty() && self.ambient.is_empty()
    }

    /// Those that a program run as somebody other than root loses, because they are not ambient.
    pub(crate) fn lost_without_root(&self) -> impl Iterator<Item = &'static str> {
        self.granted.difference(&self.ambient).copied()
    }

    /// The sets.
    pub(crate) fn sets(&self) -> Sets {
        let all: Vec<_> = self.granted.union(&self.ambient).copied().collect();
        Sets {
            bounding: all.clone(),
            effective: self.granted.iter().copied().collect(),
            inheritable: all.clone(),
            permitted: all,
            ambient: self.ambient.iter().copied().collect(),
        }
    }
}

/// Adds a list to a set; whether it said `all`.
fn add(list: &[Spanned<String>], set: &mut BTreeSet<&'static str>, problems: &mut Problems) -> bool {
    let mut all = false;
    for name in list {
        if name.eq_ignore_ascii_case("all") {
            set.extend(NAMES);
            all = true;
        } else if name.eq_ignore_ascii_case("none") {
            if list.len() > 1 {
                problems
                    .error(Some(name.span), "`none` stands beside other capabilities")
                    .hint("write `none` alone, or leave it out");
            }
        } else if let Some(known) = NAMES.iter().find(|known| **known == name.value) {
            set.insert(known);
        } else {
            let full = name.to_uppercase().replace('-', "_");
            let full = if full.starts_with("CAP_") { full } else { format!("CAP_{full}") };
            let error = problems.error(Some(name.span), format!("unknown capability `{}`", name.value));
            match nearest(&full, NAMES) {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint("capabilities(7) lists the names; `all` and `none` are allowed too"),
            };
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::spanned;

    fn read(capabilities: &[&str], add: &[&str], ambient: &[&str]) -> (Capabilities, Vec<String>) {
        let list = |names: &[&str]| Some(names.iter().map(|n| spanned((*n).to_owned())).collect());
        let config = ContainerConfig {
            capabilities: list(capabilities),
            capabilities_add: list(add),
            ambient: list(ambient),
            ..ContainerConfig::default()
        };
        let mut problems = Problems::default();
        let out = Capabilities::read(&config, &mut problems);
        (out, problems.finish().0.into_iter().flat_map(|d| d.hints).collect())
    }

    #[test]
    fn sets_are_sorted_without_repetition_and_ambient_is_not_effective() {
        let (capabilities, hints) = read(&["CAP_NET_RAW", "CAP_CHOWN", "CAP_CHOWN"], &["CAP_CHOWN"], &["CAP_KILL"]);
        assert!(hints.is_empty() && !capabilities.privileged);
        let sets = capabilities.sets();
        assert_eq!(sets.bounding, ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"]);
        assert_eq!((&sets.permitted, &sets.inheritable), (&sets.bounding, &sets.bounding));
        assert_eq!(sets.effective, ["CAP_CHOWN", "CAP_NET_RAW"]);
        assert_eq!(sets.ambient, ["CAP_KILL"]);
        assert_eq!(serde_json::to_string(&read(&["none"], &[], &[]).0.sets()).unwrap(), "{}");
    }

    // LinuxKit: a label's `[all]` with the YAML's `capabilities.add` ended in "unknown capability: all".
    #[test]
    fn adding_to_all_stays_all() {
        let (capabilities, hints) = read(&["ALL"], &["CAP_CHOWN"], &[]);
        assert!(capabilities.privileged && hints.is_empty());
        assert_eq!(capabilities.sets().effective.len(), NAMES.len());
    }

    #[test]
    fn wrong_names_are_answered_with_the_right_ones() {
        for (wrong, right) in
            [("net_admin", "CAP_NET_ADMIN"), ("CAP_SYSADMIN", "CAP_SYS_ADMIN"), ("cap-chown", "CAP_CHOWN")]
        {
            assert_eq!(read(&[wrong], &[], &[]).1, [format!("did you mean `{right}`?")], "{wrong}");
        }
        assert!(read(&["CAP_FLY_TO_THE_MOON"], &[], &[]).1[0].contains("capabilities(7)"));
    }
}
