//! What a spec and its images say that cannot work, or was probably not meant: found here, not by the machine that does
//! not come up. Assembly's own errors (capability names, volumes, ids) are not repeated.
//!
//! What cannot work is an error, what is probably wrong a warning, what is worth knowing a note.

use std::collections::BTreeMap;

use bootwright_oci::{Platform, TreePath};
use bootwright_spec::{Diagnostics, Spec};

use crate::accounts::{Accounts, Names};
use crate::capabilities::Capabilities;
use crate::config_json::Mount;
use crate::containers::AT_BOOT;
use crate::effective::{self, Effective, LABEL, Section};
use crate::inputs::Inputs;
use crate::machine::Machine;
use crate::mounts::mounts;
use crate::problems::{Describe, Problems};
use crate::program::World;
use crate::resolve::resolve;

/// Directories that are memory while the machine runs.
const MEMORY: [&str; 3] = ["/run", "/tmp", "/var"];

/// Looks at everything. The machine is what [`crate::assemble`] made of the same spec; without one, what needs it is not
/// looked at.
#[must_use]
pub fn check(spec: &Spec, inputs: &Inputs<'_>, machine: Option<&Machine>) -> Diagnostics {
    let mut problems = Problems::default();
    // Assembly has said what is wrong with labels, mounts and names.
    let mut said = Problems::default();
    let containers = effective::containers(spec, inputs, &mut said);
    linuxkit(spec, &mut problems);
    architectures(spec, inputs, &mut problems);
    if let Some(machine) = machine {
        init(spec, inputs, machine, &mut problems);
    }
    let hands_out_root = containers
        .iter()
        .any(|c| c.config.binds.iter().chain(&c.config.binds_add).flatten().any(|b| b.source.value == "/"));
    let made: Vec<String> = containers.iter().flat_map(made_at_boot).collect();
    for container in &containers {
        let capabilities = Capabilities::read(&container.config, &mut said);
        let mounts = mounts(container, capabilities.privileged, &spec.volumes, &mut said);
        command(container, &mounts, inputs, &mut problems);
        if let Some(machine) = machine {
            sources(container, &mounts, machine, &made, hands_out_root, &mut problems);
        }
        state(container, &mounts, &mut problems);
        label(container, &mut problems);
        namespaces(container, &mut problems);
        identity(container, &capabilities, spec, inputs, &mut problems);
    }
    ports(&containers, &mut problems);
    problems.finish()
}

/// LinuxKit's own init works, but is not what these images boot fastest and safest with.
fn linuxkit(spec: &Spec, problems: &mut Problems) {
    let parts = ["linuxkit/init", "linuxkit/runc", "linuxkit/containerd"];
    let is_part = |reference: &str| {
        let name = reference.split(['@']).next().unwrap_or(reference);
        let name = name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(name, _)| name);
        let name = name.strip_prefix("docker.io/").unwrap_or(name);
        parts.contains(&name)
    };
    let theirs: Vec<_> = spec.init.iter().filter(|i| is_part(i)).collect();
    let Some(first) = theirs.first() else { return };
    let removed = theirs.iter().map(|i| format!("  - {}", i.value)).collect::<Vec<_>>().join("\n");
    let kept: Vec<_> = spec.init.iter().filter(|i| !is_part(i)).map(|i| format!("\n  - {}", i.value)).collect();
    problems
        .note(Some(first.span), "this spec boots with LinuxKit's init, which does not supervise services")
        .hint(format!(
            "to boot with bootwright's, replace\n{removed}\nso that it reads\ninit:\n  - \"@pkg:../pkg/init\"{}",
            kept.concat()
        ))
        .hint("`@pkg:` takes the path of bootwright's pkg/init; docs/from-linuxkit.md has the other ways to name it");
}

/// An image of another architecture was loaded by name, not by platform.
fn architectures(spec: &Spec, inputs: &Inputs<'_>, problems: &mut Problems) {
    let kernel = spec.kernel.as_ref().and_then(|k| k.image.as_ref());
    let containers = spec.onboot.iter().chain(&spec.onshutdown).chain(&spec.services).map(|c| &c.image);
    for reference in kernel.into_iter().chain(&spec.boot).chain(&spec.init).chain(containers) {
        let Some(loaded) = inputs.images.get(&reference.value) else { continue };
        let is: &Platform = &loaded.image.platform;
        if !inputs.platform.accepts(is) {
            let message = format!("image `{}` is for {is}, the machine is {}", loaded.image.name, inputs.platform);
            problems.error(Some(reference.span), message).hint(format!("it offers {is} only; build with `--arch`"));
        }
    }
}

/// A kernel that finds no init panics.
fn init(spec: &Spec, inputs: &Inputs<'_>, machine: &Machine, problems: &mut Problems) {
    let Some(image) = spec.kernel.as_ref().and_then(|k| k.image.as_ref()) else { return };
    let lookup = |p: &TreePath| machine.tree.get(p).map(|placed| &placed.node);
    let world = World {
        lookup: &lookup,
        store: inputs.store,
        architecture: &inputs.platform.architecture,
        covered: &|_| false,
    };
    let at = spec.init.first().map_or(image.span, |i| i.span);
    let here = |path: &str| world.check(path, "/", "");
    match (here("/init"), here("/sbin/init")) {
        (Ok(()), _) | (_, Ok(())) => {}
        (Err(failure), _) => {
            let warning = problems.warning(Some(at), format!("the kernel will not find an init: {}", failure.message));
            warning.hint("add an init image: `init:`");
        }
    }
}

fn command(container: &Effective<'_>, mounts: &[Mount], inputs: &Inputs<'_>, problems: &mut Problems) {
    let arguments = container.arguments();
    let Some(program) = arguments.first() else { return };
    let environment = container.environment();
    let path = environment.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or_default();
    let lookup = |p: &TreePath| container.image.tree.get(p);
    let covered = |path: &str| mounts.iter().any(|m| lies_below(path, &m.destination));
    let world =
        World { lookup: &lookup, store: inputs.store, architecture: &inputs.platform.architecture, covered: &covered };
    if let Err(failure) = world.check(program, &container.directory(), path) {
        let at = match &container.config.command {
            Some(command) => command.first().map_or(command.span, |word| word.span),
            None => container.container.image.span,
        };
        let name = &container.container.name.value;
        let error = problems.error(Some(at), format!("`{name}` cannot start: {}", failure.message));
        if let Some(hint) = failure.hint {
            error.hint(hint);
        } else if program.contains(' ') && container.config.command.is_some() {
            error.hint("a command is a list of words: `[\"/bin/sh\", \"-c\", \"…\"]`");
        }
    }
}

/// Paths that a container has made in the machine before it or others start.
fn made_at_boot(container: &Effective<'_>) -> Vec<String> {
    let runtime = &container.config.runtime;
    let directories = runtime.mkdir.iter().flatten().map(|d| d.value.clone());
    let mounts = runtime.mounts.iter().flatten().map(|m| m.destination.value.clone());
    directories.chain(mounts).filter(|p| p.starts_with('/')).collect()
}

/// Sources of binds: a mount of what does not exist fails, and the container with it.
fn sources(
    container: &Effective<'_>,
    mounts: &[Mount],
    machine: &Machine,
    made: &[String],
    hands_out_root: bool,
    problems: &mut Problems,
) {
    let tree = |p: &TreePath| machine.tree.get(p).map(|placed| &placed.node.kind);
    for mount in mounts.iter().filter(|m| m.options.iter().any(|o| o == "bind" || o == "rbind")) {
        let Ok(real) = resolve(tree, mount.source.as_bytes(), true) else { continue };
        let path = format!("/{real}");
        let known = real.is_root()
            || tree(&real).is_some()
            || AT_BOOT.iter().any(|d| lies_below(&path, d))
            || lies_below(&path, "/containers/volumes")
            || made.iter().any(|m| lies_below(m, &path) || lies_below(&path, m));
        if known {
            continue;
        }
        let config = &container.config;
        let binds = config.binds.iter().chain(&config.binds_add).flatten().map(|b| (&b.source, b.source.span));
        let given = config.mounts.iter().flatten().map(|m| (&m.source, m.source.span));
        let at =
            binds.chain(given).find(|(s, _)| s.value == mount.source).map_or(container.container.span, |(_, at)| at);
        let message = format!(
            "`{}` binds `{}`, which is not in the machine and not below {}",
            container.container.name.value,
            mount.source,
            AT_BOOT.join(", ")
        );
        let found = if hands_out_root {
            // Somebody has the whole root in hand and may make it.
            problems.warning(Some(at), message)
        } else {
            problems.error(Some(at), message)
        };
        found.hint("make it with `files:`, with `runtime: {mkdir: …}` below /run or /var, or bind another path");
    }
}

/// What an image calls its data, and where that ends up.
fn state(container: &Effective<'_>, mounts: &[Mount], problems: &mut Problems) {
    let name = &container.container.name.value;
    let at = Some(container.container.image.span);
    let mut volumes = container.volumes();
    volumes.sort();
    for volume in volumes {
        let mount = mounts.iter().filter(|m| lies_below(&volume, &m.destination)).max_by_key(|m| m.destination.len());
        let (source, place) = match mount {
            None if container.readonly() => {
                problems
                    .warning(at, format!("`{name}` keeps its data in `{volume}`, which is read-only"))
                    .hint(format!("bind something there: `binds: [\"/var/lib/{name}:{volume}\"]`"));
                continue;
            }
            None => (String::new(), "the container's own root, which is memory".to_owned()),
            Some(m) if m.kind == "tmpfs" => (String::new(), "a tmpfs".to_owned()),
            Some(m) if MEMORY.iter().any(|d| lies_below(&m.source, d)) => {
                (m.source.clone(), format!("`{}`, which is memory unless a disk is mounted there", m.source))
            }
            Some(m) if lies_below(&m.source, "/containers/volumes") => {
                (m.source.clone(), "a volume, whose changes are memory".to_owned())
            }
            Some(_) => continue,
        };
        let note = problems.note(at, format!("`{name}` keeps its data in `{volume}`: {place}; a reboot loses it"));
        if source.is_empty() {
            note.hint(format!("mount a disk in onboot and bind it: `binds: [\"/var/lib/{name}:{volume}\"]`"));
        }
    }
}

/// No label and nothing said: no capabilities, which surprises those who come from Docker.
fn label(container: &Effective<'_>, problems: &mut Problems) {
    let config = &container.config;
    let silent = config.capabilities.is_none() && config.capabilities_add.is_none();
    if !container.labelled && silent {
        problems
            .note(
                Some(container.container.image.span),
                format!("image `{}` has no label `{LABEL}`: it runs without capabilities", container.image.image.name),
            )
            .hint(
                "list what it needs, such as `capabilities: [CAP_NET_BIND_SERVICE, CAP_SETUID, CAP_SETGID, CAP_CHOWN]`",
            );
    }
}

/// Settings that the runtimes refuse without the namespace that they belong to.
fn namespaces(container: &Effective<'_>, problems: &mut Problems) {
    let config = &container.config;
    let own = |key: &Option<bootwright_spec::Spanned<String>>| {
        key.as_ref().is_some_and(|k| !matches!(k.value.as_str(), "" | "host" | "root"))
    };
    let name = &container.container.name.value;
    if let Some(hostname) = config.hostname.as_ref().filter(|h| !h.value.is_empty() && !own(&config.namespaces.uts)) {
        problems
            .error(Some(hostname.span), format!("`{name}` has a hostname but shares the machine's"))
            .hint("give it its own: `uts: new`; the machine's is in /etc/hostname, a `files:` entry");
    }
    for (key, _) in config.sysctl.iter().flatten() {
        let dotted = key.value.replace('/', ".");
        let (namespace, what, yaml) = if dotted.starts_with("net.") {
            (&config.namespaces.net, "network", "net: new")
        } else if dotted.starts_with("fs.mqueue.")
            || dotted.starts_with("kernel.shm")
            || dotted.starts_with("kernel.msg")
        {
            (&config.namespaces.ipc, "IPC", "ipc: new")
        } else {
            continue;
        };
        if !own(namespace) {
            problems
                .error(
                    Some(key.span),
                    format!("`{name}` sets `{}` but shares the machine's {what} namespace", key.value),
                )
                .hint(format!("give it its own with `{yaml}`, or set it in a sysctl container in onboot"));
        }
    }
    let mapped = |m: &Option<Vec<_>>| m.as_ref().is_some_and(|m| !m.is_empty());
    if let Some(user) = config.namespaces.user.as_ref().filter(|u| u.value == "new")
        && (!mapped(&config.uid_mappings) || !mapped(&config.gid_mappings))
    {
        problems
            .error(Some(user.span), format!("`{name}` has its own user namespace but no ids in it"))
            .hint("say which: `uidMappings:` and `gidMappings:`");
    }
}

/// Capabilities that whoever runs the program does not get.
fn identity(
    container: &Effective<'_>,
    capabilities: &Capabilities,
    spec: &Spec,
    inputs: &Inputs<'_>,
    problems: &mut Problems,
) {
    let ids = crate::containers::ids(spec);
    let accounts = Accounts::of(&container.image.tree, inputs.store);
    let names = Names { containers: &ids, accounts: &accounts, place: "" };
    let mut said = Problems::default();
    let user = names.process_user(&container.config, container.image, container.container.span, &mut said);
    let lost: Vec<_> = capabilities.lost_without_root().collect();
    if user.uid != 0 && !lost.is_empty() && !said.finish().has_errors() {
        let list = if capabilities.privileged { "all".to_owned() } else { lost.join(", ") };
        let at = container.config.capabilities.iter().chain(&container.config.capabilities_add).flatten().next();
        problems
            .warning(
                Some(at.map_or(container.container.span, |c| c.span)),
                format!("`{}` runs as uid {}, which has no use of {list}", container.container.name.value, user.uid),
            )
            .hint(format!("grant them to everybody: `ambient: [{list}]`; or run it as root: `uid: 0`"));
    }
}

/// Two services that say they listen on one port of the machine.
fn ports(containers: &[Effective<'_>], problems: &mut Problems) {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for container in containers.iter().filter(|c| c.section == Section::Services) {
        let net = container.config.namespaces.net.as_ref().map(|n| n.value.as_str());
        if !matches!(net, None | Some("" | "host" | "root")) {
            continue;
        }
        let name = &container.container.name;
        let mut ports = container.ports();
        ports.sort();
        for port in ports {
            let port = if port.contains('/') { port } else { format!("{port}/tcp") };
            if let Some(other) = taken.get(&port) {
                problems
                    .warning(
                        Some(name.span),
                        format!("`{}` and `{other}` both listen on port {port} of the machine", name.value),
                    )
                    .hint("give one its own network (`net: new`), or make it listen elsewhere");
            } else {
                taken.insert(port, &name.value);
            }
        }
    }
}

/// Whether a path is a directory or lies below it.
fn lies_below(path: &str, directory: &str) -> bool {
    directory == "/" || path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
