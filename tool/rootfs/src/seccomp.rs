//! Docker's seccomp profile, resolved for one container into the filter of OCI's runtime specification (`linux.seccomp`).
//!
//! The profile states rules with conditions on capabilities, architecture and kernel; what is in force for a container
//! is a plain list. Where a rule without arguments for a system call came first, later rules for it are left out: that is
//! what libseccomp does with them, and a list without contradictions reads the same to every runtime.
//!
//! Debian ships the list of Docker's relatives, who let a container make namespaces, mount in them and use keyrings; here
//! that takes a capability, as with Docker ([`RESERVED`]). And a container that was given a capability may make the system
//! calls which that capability is there for ([`UNLOCKED`]): Docker's profile forbids some of them whatever the
//! capabilities, and `swapon` in a LinuxKit container with CAP_SYS_ADMIN would fail.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// System calls that a capability unlocks beyond the profile.
const UNLOCKED: [(&str, &[&str]); 4] = [
    ("CAP_SYS_ADMIN", &["swapoff", "swapon"]),
    ("CAP_SYS_BOOT", &["kexec_file_load", "kexec_load", "reboot"]),
    ("CAP_BPF", &["bpf"]),
    ("CAP_PERFMON", &["perf_event_open"]),
];

/// System calls that are refused without a capability, whatever the profile says. `clone` and `clone3`, which make
/// namespaces among other things, are in [`without_namespaces`].
const RESERVED: [(&str, &[&str]); 2] = [
    (
        "CAP_SYS_ADMIN",
        &[
            "add_key",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "keyctl",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "pivot_root",
            "request_key",
            "setns",
            "umount",
            "umount2",
            "unshare",
        ],
    ),
    ("CAP_SYSLOG", &["syslog"]),
];

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (sched.h).
const NAMESPACES: u64 = 0x7e02_0000;

/// Left out: kernels have x32 switched off (Debian's, without `syscall.x32=y`) or not at all (ours), and this third
/// architecture is more than half of what making the filter costs, at each start of a container.
const X32: &str = "SCMP_ARCH_X32";

const ALLOW: &str = "SCMP_ACT_ALLOW";
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The profile as `build.rs` embeds it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Profile {
    default_action: String,
    default_errno_ret: Option<u32>,
    arch_map: Vec<ArchMap>,
    syscalls: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchMap {
    architecture: String,
    #[serde(default)]
    sub_architectures: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Vec<Argument>,
    #[serde(default)]
    includes: Condition,
    #[serde(default)]
    excludes: Condition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    caps: Vec<String>,
    arches: Vec<String>,
    min_kernel: Option<String>,
}

/// `linux.seccomp` of `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Filter {
    default_action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    architectures: Vec<String>,
    syscalls: Vec<Call>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Call {
    names: Vec<String>,
    action: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// The embedded profile.
pub(crate) fn profile() -> &'static Profile {
    static PROFILE: OnceLock<Profile> = OnceLock::new();
    PROFILE.get_or_init(|| {
        serde_json::from_str(include_str!(concat!(env!("OUT_DIR"), "/seccomp.json")))
            .expect("build.rs writes a profile of this shape")
    })
}

impl Profile {
    /// The filter for a container: Go's name of the architecture, whether it has a capability, and the kernel's version
    /// where it is known (an unknown one is taken for new).
    pub(crate) fn resolve(&self, architecture: &str, has: impl Fn(&str) -> bool, kernel: Option<(u32, u32)>) -> Filter {
        let unlocked = UNLOCKED.iter().filter(|(capability, _)| has(capability)).flat_map(|(_, names)| *names);
        let unlocked: Vec<String> = unlocked.map(|name| (*name).to_owned()).collect();
        let mut decided = BTreeSet::new();
        let mut syscalls: Vec<Call> = Vec::new();
        if !unlocked.is_empty() {
            syscalls.push(Call { names: unlocked, action: ALLOW.to_owned(), errno_ret: None, args: vec![] });
        }
        let lacks = |capability: &str| !has(capability) && !has("CAP_SYS_ADMIN");
        let reserved = RESERVED.iter().filter(|(capability, _)| lacks(capability)).flat_map(|(_, names)| *names);
        syscalls.extend(refuse(reserved.map(|name| (*name).to_owned()).collect(), EPERM));
        if lacks("CAP_SYS_ADMIN") {
            syscalls.extend(without_namespaces(architecture));
        }
        decided.extend(syscalls.iter().flat_map(|call| call.names.iter().cloned()));
        let met = |c: &Condition| c.arches.is_empty() || c.arches.iter().any(|a| a == architecture);
        for rule in &self.syscalls {
            let included = rule.includes.caps.iter().all(|c| has(c))
                && met(&rule.includes)
                && rule.includes.min_kernel.as_deref().is_none_or(|min| at_least(kernel, min));
            let excluded = rule.excludes.caps.iter().any(|c| has(c))
                || (!rule.excludes.arches.is_empty() && met(&rule.excludes))
                || rule.excludes.min_kernel.as_deref().is_some_and(|min| at_least(kernel, min));
            if !included || excluded {
                continue;
            }
            let names: Vec<String> = rule.names.iter().filter(|n| !decided.contains(*n)).cloned().collect();
            if rule.args.is_empty() {
                decided.extend(names.iter().cloned());
            }
            let call = Call { names, action: rule.action.clone(), errno_ret: rule.errno_ret, args: rule.args.clone() };
            if !call.names.is_empty() && !syscalls.contains(&call) {
                syscalls.push(call);
            }
        }
        Filter {
            default_action: self.default_action.clone(),
            default_errno_ret: self.default_errno_ret,
            architectures: self.architectures(architecture),
            syscalls,
        }
    }

    fn architectures(&self, architecture: &str) -> Vec<String> {
        let native = match architecture {
            "amd64" => "SCMP_ARCH_X86_64",
            "arm64" => "SCMP_ARCH_AARCH64",
            "arm" => "SCMP_ARCH_ARM",
            "386" => "SCMP_ARCH_X86",
            "s390x" => "SCMP_ARCH_S390X",
            "ppc64le" => "SCMP_ARCH_PPC64LE",
            "riscv64" => "SCMP_ARCH_RISCV64",
            // None named: the filter is for the architecture that it is loaded on.
            _ => return Vec::new(),
        };
        let more = self.arch_map.iter().find(|m| m.architecture == native).map(|m| &m.sub_architectures[..]);
        let more = more.unwrap_or_default().iter().filter(|architecture| *architecture != X32);
        std::iter::once(native.to_owned()).chain(more.cloned()).collect()
    }
}

/// `clone` for all but new namespaces. The flags of `clone3` are behind a pointer, so it does not exist, and C libraries
/// fall back to `clone`.
fn without_namespaces(architecture: &str) -> Vec<Call> {
    // The order of clone(2)'s arguments is the architecture's.
    let index = if architecture == "s390x" { 1 } else { 0 };
    let none = Argument { index, value: NAMESPACES, value_two: 0, op: "SCMP_CMP_MASKED_EQ".to_owned() };
    let clone = Call { names: vec!["clone".to_owned()], action: ALLOW.to_owned(), errno_ret: None, args: vec![none] };
    refuse(vec!["clone3".to_owned()], ENOSYS).into_iter().chain([clone]).collect()
}

/// The rule that answers some system calls with an error.
fn refuse(names: Vec<String>, errno: u32) -> Option<Call> {
    let action = "SCMP_ACT_ERRNO".to_owned();
    (!names.is_empty()).then_some(Call { names, action, errno_ret: Some(errno), args: vec![] })
}

/// Whether a kernel is at least `major.minor`.
fn at_least(kernel: Option<(u32, u32)>, min: &str) -> bool {
    kernel.is_none_or(|kernel| version(min).is_none_or(|min| kernel >= min))
}

/// `major.minor` at the start of a kernel's version.
pub(crate) fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
#[path = "seccomp_tests.rs"]
mod compiled;

#[cfg(test)]
mod tests {
    use super::*;

    fn action(filter: &Filter, name: &str) -> String {
        let rules: Vec<_> = filter.syscalls.iter().filter(|c| c.names.iter().any(|n| n == name)).collect();
        match rules[..] {
            [] => filter.default_action.clone(),
            [rule] if rule.args.is_empty() => rule.action.clone(),
            _ => "conditional".to_owned(),
        }
    }

    fn sample() -> Profile {
        serde_json::from_value(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}],
            "syscalls": [
                {"names": ["swapon", "vm86"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
                {"names": ["read", "setns"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["setns", "bpf"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["setns", "bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
                {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
                {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}]},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn conditions_are_resolved_per_container() {
        let plain = sample().resolve("amd64", |_| false, Some((4, 4)));
        let admin = sample().resolve("arm64", |c| c == "CAP_SYS_ADMIN", Some((6, 1)));
        for (name, in_plain, in_admin) in [
            ("bpf", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("setns", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("swapon", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("arch_prctl", "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"),
            ("ptrace", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("vm86", "SCMP_ACT_ERRNO", "SCMP_ACT_ERRNO"),
        ] {
            assert_eq!(action(&plain, name), in_plain, "{name}");
            assert_eq!(action(&admin, name), in_admin, "{name}");
        }
        assert_eq!(plain.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
        assert_eq!(admin.architectures, ["SCMP_ARCH_AARCH64"]);
        let personalities = plain.syscalls.iter().filter(|c| c.names == ["personality"]).count();
        assert_eq!(personalities, 1, "a rule said twice is written once");
    }

    #[test]
    fn the_embedded_profile_denies_and_allows_what_dockers_does() {
        let none = profile().resolve("amd64", |_| false, None);
        let all = profile().resolve("amd64", |_| true, None);
        for (name, in_none, in_all) in [
            ("read", "SCMP_ACT_ALLOW", "SCMP_ACT_ALLOW"),
            ("execve", "SCMP_ACT_ALLOW", "SCMP_ACT_ALLOW"),
            ("init_module", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("bpf", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("chroot", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("swapon", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("kexec_load", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("settimeofday", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("uselib", "SCMP_ACT_ERRNO", "SCMP_ACT_ERRNO"),
            ("mount", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("unshare", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("keyctl", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("syslog", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("clone3", "SCMP_ACT_ERRNO", "SCMP_ACT_ALLOW"),
            ("clone", "conditional", "SCMP_ACT_ALLOW"),
        ] {
            assert_eq!(action(&none, name), in_none, "{name} without capabilities");
            assert_eq!(action(&all, name), in_all, "{name} with all");
        }
        // The shape that runtimes read: oci-spec's types are libcontainer's.
        let json = serde_json::to_string(&none).unwrap();
        serde_json::from_str::<oci_spec::runtime::LinuxSeccomp>(&json).unwrap();
    }

    #[test]
    fn versions_are_read_from_their_start() {
        assert_eq!(version("6.1.0-53-cloud-amd64"), Some((6, 1)));
        assert_eq!(version("4.8"), Some((4, 8)));
        assert_eq!(version("x"), None);
    }
}
