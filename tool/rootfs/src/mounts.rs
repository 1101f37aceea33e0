//! Mounts of a container: LinuxKit's defaults, then `tmpfs`, `binds` and `mounts`, of which each replaces what has the same
//! destination; written in the order of their destinations, so that parents come first.
//!
//! A bind whose source has no leading slash names a volume, in `binds` as in `mounts`, in the YAML as in a label; and a
//! read-only volume is bound read-only whatever else is said.

use std::collections::BTreeMap;

use bootwright_bundle::CONTAINERS;
use bootwright_spec::{Bind, Span, Volume};

use crate::config_json::Mount;
use crate::effective::Effective;
use crate::problems::{Describe, Problems, nearest};

/// Where a volume's files are in the running machine.
pub(crate) fn merged(volume: &str) -> String {
    format!("{CONTAINERS}/volumes/{volume}/merged")
}

/// The mounts of `config.json`.
pub(crate) fn mounts(
    container: &Effective<'_>,
    privileged: bool,
    volumes: &[Volume],
    problems: &mut Problems,
) -> Vec<Mount> {
    let mut all: BTreeMap<String, Mount> = BTreeMap::new();
    let mut set = |mount: Mount, at: Span, problems: &mut Problems| {
        let destination = normal(&mount.destination);
        if destination.is_none() {
            problems
                .error(Some(at), format!("destination `{}` is not an absolute path below the root", mount.destination))
                .hint("write where it appears in the container, such as `/data`");
        }
        if let Some(destination) = destination {
            all.insert(destination.clone(), Mount { destination, ..mount });
        }
    };
    let config = &container.config;
    for mount in defaults(container.readonly(), privileged) {
        set(mount, container.container.span, problems);
    }
    for tmpfs in config.tmpfs.iter().flatten() {
        let options = tmpfs.options.clone();
        let mount = Mount { kind: "tmpfs".into(), source: "tmpfs".into(), ..mount(&tmpfs.destination, options) };
        set(mount, tmpfs.destination.span, problems);
    }
    for bind in config.binds.iter().chain(&config.binds_add).flatten() {
        let options = bind_options(bind);
        if let Some((source, options)) = source(&bind.source.value, options, bind.source.span, volumes, problems) {
            let mount = Mount { kind: "bind".into(), source, ..mount(&bind.destination, options) };
            set(mount, bind.source.span, problems);
        }
    }
    for given in config.mounts.iter().flatten() {
        let mut options = given.options.clone();
        let mut from = given.source.value.clone();
        if given.kind == "bind" || options.iter().any(|o| o == "bind" || o == "rbind") {
            if !options.iter().any(|o| o == "bind" || o == "rbind") {
                options.push("rbind".to_owned());
            }
            match source(&from, options, given.source.span, volumes, problems) {
                Some(resolved) => (from, options) = resolved,
                None => continue,
            }
        }
        let mount = Mount { kind: given.kind.clone(), source: from, ..mount(&given.destination, options) };
        set(mount, given.destination.span, problems);
    }
    all.into_values().collect()
}

fn mount(destination: &str, options: Vec<String>) -> Mount {
    Mount { destination: destination.to_owned(), kind: String::new(), source: String::new(), options }
}

fn defaults(readonly: bool, privileged: bool) -> [Mount; 5] {
    let make = |destination: &str, kind: &str, source: &str, options: &[&str], ro: bool| Mount {
        destination: destination.to_owned(),
        kind: kind.to_owned(),
        source: source.to_owned(),
        options: options.iter().copied().chain(ro.then_some("ro")).map(str::to_owned).collect(),
    };
    let dev = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    [
        make("/dev", "tmpfs", "tmpfs", &dev, readonly),
        make("/dev/pts", "devpts", "devpts", &pts, false),
        make("/proc", "proc", "proc", &["nosuid", "nodev", "noexec", "relatime"], false),
        make("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev"], readonly),
        make("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime"], !privileged),
    ]
}

/// LinuxKit's rule: none given is `rw,rbind,rshared`; given ones get `rbind` unless they say how they bind.
fn bind_options(bind: &Bind) -> Vec<String> {
    let Some(given) = bind.options.as_ref().filter(|o| !o.is_empty()) else {
        return ["rw", "rbind", "rshared"].map(str::to_owned).to_vec();
    };
    let mut options = given.clone();
    if !options.iter().any(|o| o == "bind" || o == "rbind") {
        options.push("rbind".to_owned());
    }
    options
}

/// The source of a bind in the machine, and its options; none if it names no volume that there is.
fn source(
    source: &str,
    mut options: Vec<String>,
    at: Span,
    volumes: &[Volume],
    problems: &mut Problems,
) -> Option<(String, Vec<String>)> {
    if source.starts_with('/') {
        return Some((source.to_owned(), options));
    }
    let Some(volume) = volumes.iter().find(|v| v.name.value == source) else {
        let names = || volumes.iter().map(|v| v.name.value.as_str());
        let error = problems.error(Some(at), format!("no volume is called `{source}`"));
        match nearest(source, names()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint("declare it under `volumes:`, or begin the source with `/`"),
        };
        return None;
    };
    if volume.readonly {
        // `rw` by default is not asked for; `rw` in so many words is.
        let implied = options == ["rw", "rbind", "rshared"];
        if !implied && options.iter().any(|o| o == "rw") {
            problems
                .error(Some(at), format!("volume `{source}` is read-only and cannot be bound `rw`"))
                .hint("bind it `ro`, or drop `readonly: true` from the volume");
        }
        options.retain(|o| o != "rw");
        if !options.iter().any(|o| o == "ro") {
            options.insert(0, "ro".to_owned());
        }
    }
    Some((merged(source), options))
}

/// A destination without `.`, `//` and a trailing slash; none if it is relative, climbs, or is the root.
fn normal(path: &str) -> Option<String> {
    let tree = bootwright_oci::TreePath::new(path).ok()?;
    (path.starts_with('/') && !tree.is_root()).then(|| format!("/{tree}"))
}
