//! The keys that a container's entry and an image's label share.

use serde_json::{Map, Number, Value as Json};

use super::supervision::{on_fail, restart, stop};
use super::{Reader, flag, integer, items, mode, owner, plain, spanned, strings, text, texts};
use crate::keys::{Kind, RESOURCES};
use crate::node::{Node, Value};
use crate::validate::head;
use crate::{
    Bind, BindNs, ContainerConfig, Device, Diagnostic, IdMapping, Interface, Landlock, Mount, Namespaces,
    RuntimeConfig, Spanned, values,
};

impl Reader<'_> {
    /// Reads everything but `name` and `image`.
    pub(crate) fn config(&mut self, node: &Node) -> ContainerConfig {
        for (key, add) in [("capabilities", "capabilities.add"), ("binds", "binds.add")] {
            if let (Some(_), Some(addition)) = (node.get(key), node.get(add)) {
                let warning = Diagnostic::warning(format!("`{add}` does nothing beside `{key}`")).at(head(addition));
                self.findings.push(
                    warning.label("it adds to what the image's label says").hint(format!("put these into `{key}`")),
                );
            }
        }
        ContainerConfig {
            capabilities: texts(node, "capabilities"),
            capabilities_add: texts(node, "capabilities.add"),
            ambient: texts(node, "ambient"),
            mounts: self.mounts(node, "mounts", true),
            binds: binds(node, "binds"),
            binds_add: binds(node, "binds.add"),
            devices: node.get("devices").map(|list| list.list().iter().filter_map(|node| self.device(node)).collect()),
            tmpfs: node.get("tmpfs").map(|list| list.list().iter().filter_map(|node| tmpfs(node)).collect()),
            command: texts(node, "command")
                .zip(node.get("command"))
                .map(|(value, node)| Spanned { value, span: node.span }),
            env: texts(node, "env"),
            cwd: text(node, "cwd"),
            namespaces: Namespaces {
                net: namespace(node, "net"),
                ipc: namespace(node, "ipc"),
                uts: namespace(node, "uts"),
                pid: namespace(node, "pid"),
                user: namespace(node, "userns"),
                cgroup: namespace(node, "cgroupns"),
            },
            hostname: text(node, "hostname"),
            readonly: flag(node, "readonly"),
            masked_paths: texts(node, "maskedPaths"),
            readonly_paths: texts(node, "readonlyPaths"),
            uid: owner(node, "uid"),
            gid: owner(node, "gid"),
            additional_gids: node
                .get("additionalGids")
                .map(|list| list.list().iter().filter_map(|node| group(node)).collect()),
            no_new_privileges: flag(node, "noNewPrivileges"),
            oom_score_adj: node.get("oomScoreAdj").and_then(|node| {
                let value = values::integer(node.text()?, -1000, 1000).ok()?;
                Some(Spanned { value: i32::try_from(value).ok()?, span: node.span })
            }),
            rootfs_propagation: text(node, "rootfsPropagation"),
            cgroups_path: text(node, "cgroupsPath"),
            resources: node.get("resources").and_then(|node| {
                let value = json(node, &Kind::Map(&RESOURCES))?;
                Some(Spanned { value, span: node.span })
            }),
            sysctl: table(node, "sysctl"),
            rlimits: node.get("rlimits").map(|list| {
                let read = |node: &std::rc::Rc<Node>| {
                    Some(Spanned { value: values::rlimit(node.text()?).ok()?, span: node.span })
                };
                list.list().iter().filter_map(read).collect()
            }),
            uid_mappings: mappings(node, "uidMappings"),
            gid_mappings: mappings(node, "gidMappings"),
            annotations: table(node, "annotations"),
            runtime: node.get("runtime").map(|node| self.runtime(node)).unwrap_or_default(),
            seccomp: text(node, "seccomp"),
            landlock: node.get("landlock").map(|node| Spanned {
                value: Landlock {
                    read: strings(node, "read").unwrap_or_default(),
                    write: strings(node, "write").unwrap_or_default(),
                    execute: strings(node, "execute").unwrap_or_default(),
                },
                span: node.span,
            }),
            onfail: node
                .get("onfail")
                .and_then(|node| Some(Spanned { value: on_fail(node.text()?)?, span: node.span })),
            restart: node.get("restart").and_then(restart),
            after: texts(node, "after"),
            requires: texts(node, "requires"),
            ready: node.get("ready").and_then(|node| self.ready(node)),
            health: node.get("health").and_then(|node| self.health(node)),
            stop: node.get("stop").and_then(stop),
            parallel: flag(node, "parallel"),
        }
    }

    fn runtime(&mut self, node: &Node) -> RuntimeConfig {
        let path = |key| Some(text(node.get("bindNS")?, key)?.value).filter(|path| !path.is_empty());
        RuntimeConfig {
            cgroups: texts(node, "cgroups"),
            mounts: self.mounts(node, "mounts", false),
            mkdir: texts(node, "mkdir"),
            interfaces: node
                .get("interfaces")
                .map(|list| list.list().iter().filter_map(|node| interface(node)).collect()),
            bind_ns: BindNs {
                cgroup: path("cgroup"),
                ipc: path("ipc"),
                mnt: path("mnt"),
                net: path("net"),
                pid: path("pid"),
                user: path("user"),
                uts: path("uts"),
            },
            namespace: text(node, "namespace"),
        }
    }

    fn mounts(&mut self, node: &Node, key: &str, in_container: bool) -> Option<Vec<Mount>> {
        Some(node.get(key)?.list().iter().filter_map(|node| self.mount(node, in_container)).collect())
    }

    /// Reads a mount and fills in what its type, source or destination imply.
    fn mount(&mut self, node: &Node, in_container: bool) -> Option<Mount> {
        if node.entries().is_empty() && !matches!(node.value, crate::node::Value::Map(_)) {
            return None;
        }
        let (destination, kind, source) = (text(node, "destination"), text(node, "type"), text(node, "source"));
        let options = strings(node, "options").unwrap_or_default();
        let filled = |text: &Option<Spanned<String>>| {
            text.as_ref().map(|text| text.value.clone()).filter(|text| !text.is_empty())
        };
        let kind = filled(&kind).or_else(|| match (filled(&source), filled(&destination)) {
            (Some(source), _) if DEFAULT_DESTINATIONS.iter().any(|(kind, _)| *kind == source) => Some(source),
            _ if options.iter().any(|option| option == "bind" || option == "rbind") => Some("bind".to_owned()),
            (_, Some(destination)) if destination == "/dev" => Some("tmpfs".to_owned()),
            _ => None,
        });
        let Some(kind) = kind else {
            let problem = Diagnostic::error("a mount without a type").at(head(node));
            self.findings.push(problem.label("`type` is missing, and nothing else says what it is"));
            return None;
        };
        let destination = match destination {
            Some(destination) if destination.is_empty() => return None,
            Some(destination) => destination,
            None => match DEFAULT_DESTINATIONS.iter().find(|(of, _)| *of == kind) {
                Some((_, default)) => Spanned { value: (*default).to_owned(), span: head(node) },
                None => {
                    let problem = Diagnostic::error("a mount without a destination").at(head(node));
                    self.findings.push(problem.label(format!("{} has no usual place", values::quoted(&kind))));
                    return None;
                }
            },
        };
        let absolute = if in_container { values::destination(&destination).ok()? } else { destination.value };
        let destination = Spanned { value: absolute, span: destination.span };
        if kind == "bind" && source.is_none() {
            let problem = Diagnostic::error("a bind mount without a source").at(head(node));
            self.findings.push(problem.label("`source` is missing: a path, or the name of a volume"));
            return None;
        }
        let source = source.unwrap_or_else(|| Spanned { value: kind.clone(), span: head(node) });
        Some(Mount { destination, kind, source, options })
    }

    fn device(&mut self, node: &Node) -> Option<Device> {
        let path = text(node, "path")?;
        let all = *path == "all";
        let mode = mode(node, "mode");
        let missing = |key: &str| !all && node.get(key).is_none();
        for key in ["type", "mode"].into_iter().filter(|key| missing(key)) {
            let problem = Diagnostic::error(format!("`{key}` of the device {} is missing", values::quoted(&path)));
            self.findings.push(problem.at(path.span).label("only `path: all` does without"));
        }
        if !all && mode.is_none() || missing("type") {
            return None;
        }
        let kind = text(node, "type").map_or_else(|| "a".to_owned(), |kind| kind.value);
        if !all && kind == "a" {
            let problem = Diagnostic::error("a single device cannot be of type `a`").at(path.span);
            self.findings.push(problem.label("`a` means any device, with `path: all`"));
        }
        let number = |key| integer(node, key).unwrap_or(0);
        Some(Device { path, kind, major: number("major"), minor: number("minor"), mode })
    }
}

/// The types of mounts that have a usual place.
const DEFAULT_DESTINATIONS: &[(&str, &str)] = &[
    ("proc", "/proc"),
    ("devpts", "/dev/pts"),
    ("sysfs", "/sys"),
    ("cgroup", "/sys/fs/cgroup"),
    ("mqueue", "/dev/mqueue"),
];

fn namespace(node: &Node, key: &str) -> Option<Spanned<String>> {
    // LinuxKit cannot clear a namespace: an empty string is as good as none.
    text(node, key).filter(|text| !text.is_empty())
}

fn binds(node: &Node, key: &str) -> Option<Vec<Bind>> {
    let read = |node: &std::rc::Rc<Node>| {
        let (source, destination, options) = values::bind(node.text()?).ok()?;
        Some(Bind {
            source: Spanned { value: source.to_owned(), span: node.span },
            destination,
            options: options.map(|options| options.into_iter().map(str::to_owned).collect()),
        })
    };
    Some(node.get(key)?.list().iter().filter_map(read).collect())
}

fn tmpfs(node: &Node) -> Option<Mount> {
    let (destination, options) = values::tmpfs(node.text()?).ok()?;
    Some(Mount {
        destination: Spanned { value: destination, span: node.span },
        kind: "tmpfs".to_owned(),
        source: Spanned { value: "tmpfs".to_owned(), span: node.span },
        options: options.into_iter().map(str::to_owned).collect(),
    })
}

fn group(node: &Node) -> Option<Spanned<crate::Owner>> {
    Some(Spanned { value: values::owner(node.text()?, plain(node)).ok()?, span: node.span })
}

fn interface(node: &Node) -> Option<Interface> {
    let string = |key| text(node, key).map(|text| text.value).unwrap_or_default();
    Some(Interface {
        name: text(node, "name")?.value,
        add: string("add"),
        peer: string("peer"),
        create_in_root: flag(node, "createInRoot").is_some_and(|flag| *flag),
    })
}

fn mappings(node: &Node, key: &str) -> Option<Vec<IdMapping>> {
    let read = |node: &std::rc::Rc<Node>| {
        let number = |key: &str| {
            let (_, node) = node.entries().iter().find(|(name, _)| name.text.eq_ignore_ascii_case(key))?;
            u32::try_from(values::integer(node.text()?, 0, i64::from(u32::MAX)).ok()?).ok()
        };
        Some(IdMapping { host_id: number("hostID")?, container_id: number("containerID")?, size: number("size")? })
    };
    Some(items(node, key).iter().filter_map(read).collect()).filter(|_: &Vec<IdMapping>| node.get(key).is_some())
}

fn table(node: &Node, key: &str) -> Option<Vec<(Spanned<String>, Spanned<String>)>> {
    let entries = node.get(key)?.entries().iter();
    Some(
        entries
            .filter_map(|(name, value)| {
                Some((Spanned { value: name.text.to_string(), span: name.span }, spanned(value)?))
            })
            .collect(),
    )
}

/// A node as JSON with the spellings of the table, which are those of the OCI runtime specification.
fn json(node: &Node, kind: &Kind) -> Option<Json> {
    Some(match kind {
        Kind::Map(shape) => {
            let entries = node.entries().iter().filter(|(name, _)| !name.text.starts_with("x-"));
            let read = |(name, value): &(crate::node::Name, std::rc::Rc<Node>)| {
                let key = shape.find(&name.text)?;
                Some((key.name.to_owned(), json(value, &key.kind)?))
            };
            Json::Object(entries.filter_map(read).collect())
        }
        Kind::Table(kind) => {
            let read = |(name, value): &(crate::node::Name, std::rc::Rc<Node>)| {
                Some((name.text.to_string(), json(value, kind)?))
            };
            Json::Object(node.entries().iter().filter_map(read).collect::<Map<_, _>>())
        }
        Kind::List(kind) => Json::Array(node.list().iter().filter_map(|node| json(node, kind)).collect()),
        Kind::OneOrMore(kind) => match &node.value {
            Value::List(list) => Json::Array(list.iter().filter_map(|node| json(node, kind)).collect()),
            _ => json(node, kind)?,
        },
        Kind::WordOr(_, shape) => match &node.value {
            Value::Map(_) => json(node, &Kind::Map(shape))?,
            _ => Json::String(node.text()?.to_owned()),
        },
        Kind::Flag => Json::Bool(values::flag(node.text()?)?),
        Kind::Integer(min, max) => Json::Number(Number::from(values::integer(node.text()?, *min, *max).ok()?)),
        Kind::Text(_) | Kind::Word(_) | Kind::Id | Kind::Mode => Json::String(node.text()?.to_owned()),
    })
}
