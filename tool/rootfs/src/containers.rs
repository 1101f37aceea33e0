//! Bundles under `/containers` (parity table, sections 3.1 to 3.5), as foreign inits know them.
//!
//! A writable container has `lower/` (the image), `tmp/` and `rootfs/`, and `runtime.json` lays an overlay in memory over
//! the first; a read-only one has the image in `rootfs/`, bound onto itself. Images that are equal by digest are there
//! once: the second container's overlay or bind starts from the first one's directory.

use std::collections::BTreeMap;

use bootwright_bundle as bundle;
use bootwright_oci::{Digest, Kind, ReadContent, TreePath};
use bootwright_spec::{RuntimeConfig, Spec};

use crate::config_json::{Config, to_json};
use crate::effective::{Effective, Section};
use crate::merge::{Merge, directory, file};
use crate::problems::Problems;
use crate::process::{self, Common};
use crate::{stubs, supervision};

/// Directories whose content comes into being at boot.
pub(crate) const AT_BOOT: [&str; 6] = ["/run", "/var", "/dev", "/proc", "/sys", "/tmp"];

/// LinuxKit's ids: from 100, over onboot, onshutdown and services; of equal names the last counts.
pub(crate) fn ids(spec: &Spec) -> BTreeMap<String, u32> {
    let all = spec.onboot.iter().chain(&spec.onshutdown).chain(&spec.services);
    all.zip(100..).map(|(container, id)| (container.name.value.clone(), id)).collect()
}

/// Adds every container's bundle.
pub(crate) fn add(
    merge: &mut Merge,
    containers: &[Effective<'_>],
    common: &Common<'_>,
    store: &(impl ReadContent + ?Sized),
    problems: &mut Problems,
) {
    supervision::check_order(containers, problems);
    let mut seen: BTreeMap<Digest, TreePath> = BTreeMap::new();
    for container in containers {
        let image = container.image;
        let name = &container.container.name;
        let location = format!("{}[{}]", container.section.name(), container.index);
        let component = merge.component(&location, &image.image.name, Some(name));
        let Ok(place) = TreePath::new(place(container, containers)) else {
            problems.error(Some(name.span), format!("`{}` cannot be the name of a directory", name.value));
            continue;
        };
        let mut config = process::config(container, common, store, problems);
        supervision::bind_notify(container, &mut config);
        let below = |what: &str| place.join(&TreePath::new(what).unwrap_or_default());
        merge.directories(component, &place);
        let own = below(if container.readonly() { "rootfs" } else { "lower" });
        let root = seen.entry(image.image.digest).or_insert_with(|| {
            merge.graft(component, &own, &stubs::for_container(&image.tree));
            own.clone()
        });
        let root = root.clone();
        merge.directories(component, &below("rootfs"));
        runtime_directories(merge, component, container, &root);
        if container.readonly() {
            mountpoints(merge, component, &root, &config);
        } else {
            merge.put(component, &below("tmp"), directory(0o755));
        }
        let mut runtime = runtime(&container.config.runtime, &place, &root, container.readonly());
        runtime.mkdir.get_or_insert_default().extend(supervision::notify_directory(container));
        merge.put(component, &below(bundle::CONFIG_JSON), file(0o644, to_json(&config)));
        merge.put(component, &below(bundle::RUNTIME_JSON), file(0o644, to_json(&runtime)));
        if let Some(supervision) = supervision::of(container, problems) {
            merge.put(component, &below(bundle::SUPERVISION_JSON), file(0o644, to_json(&supervision)));
        }
    }
}

/// The bundle's directory. Numbers have three digits as in LinuxKit, or as many as the largest needs, so that the order
/// of names stays the order of the spec.
fn place(container: &Effective<'_>, all: &[Effective<'_>]) -> String {
    let name = &container.container.name.value;
    let section = container.section.name();
    if container.section == Section::Services {
        return format!("containers/{section}/{name}");
    }
    let last = all.iter().filter(|c| c.section == container.section).map(|c| c.index).max().unwrap_or(0);
    let width = last.to_string().len().max(3);
    format!("containers/{section}/{:0width$}-{name}", container.index)
}

fn runtime(config: &RuntimeConfig, place: &TreePath, root: &TreePath, readonly: bool) -> bundle::Runtime {
    let mount = |destination: &str, kind: &str, options: Vec<String>| bundle::Mount {
        destination: format!("/{place}/{destination}"),
        kind: kind.to_owned(),
        source: kind.to_owned(),
        options,
    };
    let mut mounts = if readonly {
        let bind = mount("rootfs", "bind", vec!["bind".to_owned()]);
        vec![bundle::Mount { source: format!("/{root}"), ..bind }]
    } else {
        let layers =
            [format!("lowerdir=/{root}"), format!("upperdir=/{place}/tmp/upper"), format!("workdir=/{place}/tmp/work")];
        vec![
            mount("tmp", "tmpfs", Vec::new()),
            // Nobody else is to see the layers.
            mount("tmp", "", vec!["remount".to_owned(), "private".to_owned()]),
            mount("rootfs", "overlay", layers.to_vec()),
        ]
    };
    mounts.extend(config.mounts.iter().flatten().map(|m| bundle::Mount {
        destination: m.destination.value.clone(),
        kind: m.kind.clone(),
        source: m.source.value.clone(),
        options: m.options.clone(),
    }));
    let texts = |list: &Option<Vec<bootwright_spec::Spanned<String>>>| {
        Some(list.iter().flatten().map(|t| t.value.clone()).collect::<Vec<_>>())
    };
    let interfaces = config.interfaces.iter().flatten().map(|i| bundle::Interface {
        name: i.name.clone(),
        add: i.add.clone(),
        peer: i.peer.clone(),
        create_in_root: i.create_in_root,
    });
    let ns = &config.bind_ns;
    let path = |p: &Option<String>| p.clone().unwrap_or_default();
    bundle::Runtime {
        cgroups: texts(&config.cgroups),
        mounts: Some(mounts),
        mkdir: texts(&config.mkdir),
        interfaces: Some(interfaces.collect()),
        bind_ns: bundle::BindNs {
            cgroup: path(&ns.cgroup),
            ipc: path(&ns.ipc),
            mnt: path(&ns.mnt),
            net: path(&ns.net),
            pid: path(&ns.pid),
            user: path(&ns.user),
            uts: path(&ns.uts),
        },
        namespace: config.namespace.as_ref().map(|n| n.value.clone()).unwrap_or_default(),
    }
}

/// Where `runtime.mkdir` and `runtime.mounts` make things: in the machine's root and in a read-only container's, which
/// nobody can write at boot. What memory is mounted over is init's to make.
fn runtime_directories(merge: &mut Merge, component: usize, container: &Effective<'_>, root: &TreePath) {
    let runtime = &container.config.runtime;
    let mkdir = runtime.mkdir.iter().flatten().map(|d| d.value.as_str());
    let mounts = runtime.mounts.iter().flatten().map(|m| m.destination.value.as_str());
    for path in mkdir.chain(mounts) {
        let Ok(inside) = TreePath::new(path) else { continue };
        let at = if path.starts_with('/') {
            merge.locate(&inside)
        } else if container.readonly() {
            root.join(&inside)
        } else {
            continue;
        };
        let made_by_init = AT_BOOT.iter().any(|d| TreePath::new(d).is_ok_and(|d| at.is_within(&d)));
        if !made_by_init && merge.kind(&at).is_none() && merge.blocker(&at).is_none() {
            merge.directories(component, &at);
        }
    }
}

/// A read-only root cannot be given mount points when the container starts, so they are made here. One below another
/// mount is the runtime's to make, and what exists is left as it is.
fn mountpoints(merge: &mut Merge, component: usize, root: &TreePath, config: &Config) {
    for mount in &config.mounts {
        let covered = config.mounts.iter().any(|other| {
            let inside = mount.destination.strip_prefix(&other.destination);
            inside.is_some_and(|rest| rest.starts_with('/'))
        });
        let (false, Ok(destination)) = (covered, TreePath::new(&mount.destination)) else { continue };
        let lookup = |path: &TreePath| merge.kind(&root.join(path));
        let Ok(real) = crate::resolve::resolve(lookup, destination.as_bytes(), true) else { continue };
        let at = root.join(&real);
        if merge.kind(&at).is_some() || merge.blocker(&at).is_some() {
            continue;
        }
        let source = TreePath::new(&mount.source).ok().map(|s| merge.locate(&s));
        match source.and_then(|s| merge.kind(&s)) {
            Some(Kind::File(_) | Kind::HardLink(_)) => merge.put(component, &at, file(0o644, Vec::new())),
            _ => merge.directories(component, &at),
        }
    }
}
