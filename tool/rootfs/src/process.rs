//! One container's `config.json`: LinuxKit's values (parity table, section 2.6) and, by default, what Docker gives on top:
//! its seccomp profile, masked and read-only paths, a cgroup namespace, and no new privileges where there are none.
//!
//! The defaults bend where a capability would be worth nothing under them: CAP_SYS_ADMIN mounts and so sees /proc and /sys
//! whole, CAP_NET_ADMIN writes /proc/sys/net, and `capabilities: [all]` is what Docker calls privileged.

use std::collections::BTreeMap;

use bootwright_oci::ReadContent;
use bootwright_spec::{ContainerConfig, IdMapping, Spanned, Volume};
use serde_json::{Map, Value};

use crate::accounts::{Accounts, Names};
use crate::capabilities::Capabilities;
use crate::config_json::{Config, Limit, Linux, Mapping, Namespace, Process, Root};
use crate::devices::devices;
use crate::effective::Effective;
use crate::mounts::mounts;
use crate::problems::{Describe, Problems};
use crate::seccomp;

/// What Docker hides.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What Docker lets nobody write.
const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What all containers of a machine share.
#[derive(Debug)]
pub(crate) struct Common<'a> {
    pub(crate) volumes: &'a [Volume],
    /// Ids of the containers that files and other containers may name.
    pub(crate) ids: &'a BTreeMap<String, u32>,
    pub(crate) architecture: &'a str,
    pub(crate) kernel: Option<(u32, u32)>,
}

/// Makes the configuration.
pub(crate) fn config(
    container: &Effective<'_>,
    common: &Common<'_>,
    store: &(impl ReadContent + ?Sized),
    problems: &mut Problems,
) -> Config {
    let config = &container.config;
    let capabilities = Capabilities::read(config, problems);
    let privileged = capabilities.privileged;
    let accounts = Accounts::of(&container.image.tree, store);
    let place = format!("image `{}`", container.image.image.name);
    let names = Names { containers: common.ids, accounts: &accounts, place: &place };
    let user = names.process_user(config, container.image, container.container.span, problems);
    let args = container.arguments();
    if args.is_empty() {
        problems
            .error(Some(container.container.image.span), "this image says no command and the spec gives none")
            .hint("say what to run: `command: [\"/path/in/the/image\"]`");
    }
    let (nodes, resources) = devices(config, privileged, problems);
    let admin = capabilities.has("CAP_SYS_ADMIN");
    let paths = |own: &Option<Vec<Spanned<String>>>, defaults: &[&str], lifted: bool| match own {
        Some(own) => own.iter().map(|p| p.value.clone()).collect(),
        None if lifted => Vec::new(),
        None => defaults.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(),
    };
    Config {
        oci_version: "1.2.1",
        process: Process {
            terminal: false,
            user,
            args,
            env: container.environment(),
            cwd: container.directory(),
            no_new_privileges: no_new_privileges(config, &capabilities, problems),
            capabilities: capabilities.sets(),
            rlimits: config
                .rlimits
                .iter()
                .flatten()
                .map(|l| Limit { kind: l.name.clone(), hard: l.hard, soft: l.soft })
                .collect(),
            oom_score_adj: config.oom_score_adj.map(|o| o.value),
        },
        root: Root { path: "rootfs", readonly: container.readonly() },
        hostname: value(&config.hostname),
        mounts: mounts(container, privileged, common.volumes, problems),
        annotations: map(&config.annotations),
        linux: Linux {
            uid_mappings: mappings(&config.uid_mappings),
            gid_mappings: mappings(&config.gid_mappings),
            sysctl: map(&config.sysctl),
            resources,
            cgroups_path: value(&config.cgroups_path),
            namespaces: namespaces(container),
            devices: nodes,
            seccomp: filter(container, &capabilities, common, problems),
            rootfs_propagation: value(&config.rootfs_propagation),
            masked_paths: paths(&config.masked_paths, &MASKED, admin),
            readonly_paths: paths(&config.readonly_paths, &READONLY, admin || capabilities.has("CAP_NET_ADMIN")),
        },
    }
}

/// Docker's way where there is no capability to lose by it. Landlock takes it from whoever could not mount either.
fn no_new_privileges(config: &ContainerConfig, capabilities: &Capabilities, problems: &mut Problems) -> bool {
    let locked = config.landlock.is_some() && !capabilities.has("CAP_SYS_ADMIN");
    match config.no_new_privileges {
        None => locked || capabilities.is_empty(),
        Some(given) => {
            if locked && !given.value {
                problems
                    .error(Some(given.span), "`landlock` needs `noNewPrivileges: true`, or CAP_SYS_ADMIN")
                    .hint("leave `noNewPrivileges` out: with `landlock` it is on");
            }
            given.value
        }
    }
}

fn filter(
    container: &Effective<'_>,
    capabilities: &Capabilities,
    common: &Common<'_>,
    problems: &mut Problems,
) -> Option<seccomp::Filter> {
    let wanted = match container.config.seccomp.as_ref().map(|s| (s.value.as_str(), s.span)) {
        None => !capabilities.privileged,
        Some(("default", _)) => true,
        Some(("unconfined", _)) => false,
        Some((other, at)) => {
            let error = problems.error(Some(at), format!("seccomp profile `{other}` is not known"));
            let near = bootwright_spec::nearest(other, ["default", "unconfined"].into_iter());
            error.hint(near.map_or("use `default` or `unconfined`".to_owned(), |n| format!("did you mean `{n}`?")));
            true
        }
    };
    wanted.then(|| seccomp::profile().resolve(common.architecture, |c| capabilities.has(c), common.kernel))
}

/// LinuxKit's order, ours behind. All but pid and mount are the machine's own unless something is said.
fn namespaces(container: &Effective<'_>) -> Vec<Namespace> {
    let n = &container.config.namespaces;
    let shared = |kind, key: &Option<Spanned<String>>, new: bool| match key.as_ref().map(|k| k.value.as_str()) {
        Some("host" | "root") => None,
        Some("new" | "none") => Some(Namespace { kind, path: None }),
        Some(path) if !path.is_empty() => Some(Namespace { kind, path: Some(path.to_owned()) }),
        _ => new.then_some(Namespace { kind, path: None }),
    };
    [
        shared("network", &n.net, false),
        shared("ipc", &n.ipc, false),
        shared("uts", &n.uts, false),
        shared("pid", &n.pid, true),
        shared("user", &n.user, false),
        Some(Namespace { kind: "mount", path: None }),
        shared("cgroup", &n.cgroup, true),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn value(text: &Option<Spanned<String>>) -> String {
    text.as_ref().map(|t| t.value.clone()).unwrap_or_default()
}

fn map(pairs: &Option<Vec<(Spanned<String>, Spanned<String>)>>) -> Map<String, Value> {
    pairs.iter().flatten().map(|(k, v)| (k.value.clone(), Value::String(v.value.clone()))).collect()
}

fn mappings(list: &Option<Vec<IdMapping>>) -> Vec<Mapping> {
    list.iter().flatten().map(|m| Mapping { container: m.container_id, host: m.host_id, size: m.size }).collect()
}
