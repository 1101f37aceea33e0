//! `config.json`, completed for the library.
//!
//! The file is kept as a JSON tree, so that nothing in it is lost. What is absent gets runc's meaning where the library
//! has another one.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{dev, propagation, resources};
use crate::cgroups;

/// The `PATH` of a process that has none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A container's configuration.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub struct Config(Map<String, Value>);

impl Config {
    /// Completes it for a bundle's directory. `cgroup` is used when the configuration names none; either lies below that of all
    /// containers.
    pub fn complete(&mut self, bundle: &Path, cgroup: &str) {
        self.edit("root", |root| {
            let path = root.get("path").and_then(Value::as_str).unwrap_or("rootfs");
            let path = bundle.join(path);
            root.insert("path".to_owned(), json!(path));
        });
        self.edit("process", |process| {
            // None at all would mean all of them to the library.
            if process.get("capabilities").is_none_or(Value::is_null) {
                process.insert("capabilities".to_owned(), json!({}));
            }
            capabilities(process);
            path_variable(process);
        });
        self.edit("linux", |linux| {
            let named = linux.get("cgroupsPath").and_then(Value::as_str).unwrap_or_default();
            linux.insert("cgroupsPath".to_owned(), json!(cgroups::path(named, cgroup)));
            // The library knows four words, and takes each for the one with everything below.
            let propagation = linux.get("rootfsPropagation").and_then(Value::as_str);
            if let Some(word) = propagation.and_then(|word| word.strip_prefix('r')).map(str::to_owned) {
                linux.insert("rootfsPropagation".to_owned(), json!(word));
            }
        });
        for name in ["hostname", "domainname"] {
            // Empty is none to runc; the library would set it.
            if self.0.get(name).and_then(Value::as_str).is_some_and(str::is_empty) {
                self.0.remove(name);
            }
        }
    }

    /// Lets creation die half-way.
    pub fn abort(&mut self) {
        self.add_hook("createRuntime", json!({"path": "/proc/self/exe", "args": ["init", "abort-parent"]}));
    }

    /// The process.
    pub fn process(&mut self) -> &mut Value {
        self.0.entry("process").or_insert_with(|| json!({}))
    }

    /// Takes the seccomp filter away.
    pub fn take_seccomp(&mut self) -> Option<Value> {
        self.0.get_mut("linux").and_then(Value::as_object_mut).and_then(|linux| linux.remove("seccomp"))
    }

    /// Whether there is a program to run. The library takes that for granted, and dies if it is not so.
    pub fn has_command(&self) -> bool {
        let args = self.0.get("process").and_then(|process| process.get("args")).and_then(Value::as_array);
        args.and_then(|args| args.first()).is_some_and(Value::is_string)
    }

    /// Adapts the limits to the kernel and its cgroups; `has` says whether the container's cgroup has a file. Sentences about
    /// what has no effect.
    pub fn adapt_resources(&mut self, has: impl Fn(&str) -> bool) -> Vec<String> {
        match self.0.get_mut("linux").and_then(|linux| linux.get_mut("resources")) {
            Some(Value::Object(limits)) => resources::adapt(limits, has),
            _ => Vec::new(),
        }
    }

    /// How mounts are to pass on what is mounted below them.
    pub fn propagation(&self) -> Vec<propagation::Change> {
        self.0.get("mounts").and_then(Value::as_array).map(|mounts| propagation::wanted(mounts)).unwrap_or_default()
    }

    /// Rules for devices, in their order.
    pub fn device_rules(&self) -> Result<Vec<cgroups::Rule>, serde_json::Error> {
        let rules = self.0.get("linux").and_then(|l| l.get("resources")).and_then(|r| r.get("devices"));
        rules.filter(|rules| !rules.is_null()).map_or(Ok(Vec::new()), Vec::deserialize)
    }

    /// Lets a hook mount a `/dev` that is the machine's; the mounts for `file`, as JSON, or nothing (`dev`).
    pub fn cover_dev(&mut self, file: &Path) -> Vec<u8> {
        let Some(Value::Array(mounts)) = self.0.get_mut("mounts") else { return Vec::new() };
        let taken = dev::take_bound(mounts);
        if taken.is_empty() {
            return Vec::new();
        }
        let hook = dev::hook(file, &self.root());
        self.add_hook("createContainer", hook);
        serde_json::to_vec(&taken).unwrap_or_default()
    }

    fn add_hook(&mut self, kind: &str, hook: Value) {
        self.edit("hooks", |hooks| {
            let list = hooks.entry(kind).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(hook);
            }
        });
    }

    /// The root directory.
    pub fn root(&self) -> PathBuf {
        self.0.get("root").and_then(|r| r.get("path")).and_then(Value::as_str).unwrap_or("/nonexistent").into()
    }

    /// The cgroup, below the mount point.
    pub fn cgroup(&self) -> &str {
        self.0.get("linux").and_then(|l| l.get("cgroupsPath")).and_then(Value::as_str).unwrap_or_default()
    }

    /// User and group of the process, as the machine has them.
    pub fn user(&self) -> (u32, u32) {
        let user = self.0.get("process").and_then(|p| p.get("user"));
        let id = |key| user.and_then(|u| u.get(key)).and_then(Value::as_u64).and_then(|id| id.try_into().ok());
        (self.in_machine(id("uid").unwrap_or(0), "uidMappings"), self.in_machine(id("gid").unwrap_or(0), "gidMappings"))
    }

    /// Whether it gets a new network namespace. As with runc, `lo` is up in it.
    pub fn has_own_network(&self) -> bool {
        let namespaces = self.0.get("linux").and_then(|linux| linux.get("namespaces")).and_then(Value::as_array);
        let text = |namespace: &Value, key| namespace.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        namespaces.into_iter().flatten().any(|one| text(one, "type") == "network" && text(one, "path").is_empty())
    }

    /// Who root of the container's user namespace is in the machine; none where it is root.
    pub fn mapped_root(&self) -> Option<(u32, u32)> {
        Some((self.in_machine(0, "uidMappings"), self.in_machine(0, "gidMappings"))).filter(|root| *root != (0, 0))
    }

    /// An id of the container in the machine.
    fn in_machine(&self, id: u32, mappings: &str) -> u32 {
        let mappings = self.0.get("linux").and_then(|linux| linux.get(mappings)).and_then(Value::as_array);
        let mapped = mappings.into_iter().flatten().find_map(|mapping| {
            let number = |key| mapping.get(key).and_then(Value::as_u64);
            let at = u64::from(id).checked_sub(number("containerID")?)?;
            (at < number("size")?).then_some(number("hostID")?.checked_add(at)?)
        });
        mapped.and_then(|id| id.try_into().ok()).unwrap_or(id)
    }

    /// The JSON text.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.0).unwrap_or_default()
    }

    /// Edits an object of the top level, which is made if there is none.
    fn edit(&mut self, key: &str, edit: impl FnOnce(&mut Map<String, Value>)) {
        let value = self.0.entry(key).or_insert_with(|| json!({}));
        if !value.is_object() {
            *value = json!({});
        }
        if let Value::Object(object) = value {
            edit(object);
        }
    }
}

/// Sets that are absent are empty. The library leaves those as they are, and a process keeps all capabilities of init
/// until it calls execve.
fn capabilities(process: &mut Map<String, Value>) {
    if let Some(Value::Object(sets)) = process.get_mut("capabilities") {
        for set in ["bounding", "effective", "inheritable", "permitted", "ambient"] {
            if sets.get(set).is_none_or(Value::is_null) {
                sets.insert(set.to_owned(), json!([]));
            }
        }
    }
}

fn path_variable(process: &mut Map<String, Value>) {
    let env = process.entry("env").or_insert_with(|| json!([]));
    if env.is_null() {
        *env = json!([]);
    }
    if let Value::Array(variables) = env
        && !variables.iter().filter_map(Value::as_str).any(|v| v.starts_with("PATH="))
    {
        variables.push(json!(PATH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Confined;

    fn completed(value: Value) -> Config {
        let mut config: Config = serde_json::from_value(value).unwrap();
        config.complete(Path::new("/containers/services/web"), "/services/web");
        config
    }

    #[test]
    fn what_is_absent_gets_runcs_meaning() {
        let config = completed(json!({"root": {"path": "rootfs", "readonly": true}, "process": {"args": ["a"]}}));
        assert_eq!(config.root(), Path::new("/containers/services/web/rootfs"));
        assert_eq!(config.cgroup(), "/containers/services/web");
        assert_eq!(config.user(), (0, 0));
        assert_eq!(config.0["process"]["capabilities"]["effective"], json!([]));
        assert_eq!(config.0["process"]["env"], json!([PATH]));
        assert_eq!(config.0["root"]["readonly"], json!(true));
    }

    #[test]
    fn what_is_there_stays() {
        let config = completed(json!({
            "root": {"path": "/containers/onboot/000-a/rootfs"},
            "process": {
                "user": {"uid": 100, "gid": 101},
                "env": ["PATH=/x"],
                "noNewPrivileges": true,
                "capabilities": {"bounding": ["CAP_NET_ADMIN"]},
            },
            "linux": {"cgroupsPath": "/mine", "rootfsPropagation": "rslave"},
            "unknown": 1,
        }));
        assert_eq!(config.root(), Path::new("/containers/onboot/000-a/rootfs"));
        assert_eq!(config.cgroup(), "/containers/mine");
        assert_eq!(config.0["linux"]["rootfsPropagation"], json!("slave"));
        assert_eq!(config.user(), (100, 101));
        assert_eq!(config.0["process"]["env"], json!(["PATH=/x"]));
        assert_eq!(config.0["process"]["noNewPrivileges"], json!(true));
        assert_eq!(config.0["process"]["capabilities"]["bounding"], json!(["CAP_NET_ADMIN"]));
        assert_eq!(config.0["unknown"], json!(1));
    }

    #[test]
    fn a_network_that_is_joined_is_somebody_elses() {
        let namespaces = |value: Value| completed(json!({"linux": {"namespaces": value}})).has_own_network();
        assert!(namespaces(json!([{"type": "mount"}, {"type": "network"}])));
        assert!(namespaces(json!([{"type": "network", "path": ""}])));
        for other in [json!([{"type": "network", "path": "/run/netns/a"}]), json!([{"type": "mount"}, 1]), json!(2)] {
            assert!(!namespaces(other.clone()), "{other}");
        }
    }

    #[test]
    fn the_library_is_told_of_no_filter_and_of_no_empty_name() {
        let seccomp = json!({"defaultAction": "SCMP_ACT_ALLOW"});
        let mut config = completed(json!({"linux": {"seccomp": seccomp}, "hostname": ""}));
        assert_eq!(config.0.get("hostname"), None);
        assert_eq!(config.take_seccomp(), Some(seccomp));
        assert_eq!(config.0["linux"].get("seccomp"), None);
        assert_eq!(config.take_seccomp(), None);
    }

    #[test]
    fn ids_of_a_user_namespace_are_others_in_the_machine() {
        let map = |host: u32| json!([{"hostID": 7, "containerID": 9, "size": 1}, {"hostID": host, "containerID": 0, "size": 5}]);
        let config = |uid: u32| {
            completed(json!({
                "process": {"user": {"uid": uid, "gid": 9}},
                "linux": {"uidMappings": map(1000), "gidMappings": map(2000)},
            }))
        };
        assert_eq!((config(4).user(), config(5).user()), ((1004, 7), (5, 7)));
        assert_eq!(config(0).mapped_root(), Some((1000, 2000)));
        assert_eq!(completed(json!({})).mapped_root(), None);
    }

    /// Every value of a whole configuration, replaced by every kind of value, and the file cut off everywhere.
    #[test]
    fn no_change_of_a_file_is_a_panic() {
        let whole = json!({
            "ociVersion": "1.2.1",
            "root": {"path": "rootfs", "readonly": true},
            "process": {
                "args": ["a"], "env": ["A=b"], "cwd": "/", "user": {"uid": 1, "gid": 1},
                "capabilities": {"bounding": []}, "noNewPrivileges": true,
            },
            "hostname": "h",
            "hooks": {"createRuntime": []},
            "mounts": [{"destination": "/dev", "type": "bind", "source": "/dev", "options": ["rbind"]}],
            "linux": {
                "seccomp": {
                    "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"], "flags": [],
                    "syscalls": [{
                        "names": ["write"], "action": "SCMP_ACT_ALLOW", "errnoRet": 1,
                        "args": [{"index": 1, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
                    }],
                },
                "cgroupsPath": "/x",
                "uidMappings": [{"hostID": 1, "containerID": 0, "size": 9}],
                "resources": {
                    "devices": [{"allow": true, "type": "c", "major": 1, "minor": 1, "access": "r"}],
                    "cpu": {"realtimePeriod": 1},
                    "blockIO": {"weight": 10, "weightDevice": [1], "leafWeight": 1},
                    "unified": {"a": "b"},
                },
            },
        });
        let others = [json!(null), json!(-1), json!(u64::MAX), json!(""), json!("\0/.."), json!([[]]), json!({"": 1})];
        let mut pointers = vec![String::new()];
        let mut at = 0;
        while let Some(pointer) = pointers.get(at).cloned() {
            match whole.pointer(&pointer) {
                Some(Value::Object(map)) => pointers.extend(map.keys().map(|key| format!("{pointer}/{key}"))),
                Some(Value::Array(list)) => pointers.extend((0..list.len()).map(|n| format!("{pointer}/{n}"))),
                _ => {}
            }
            at += 1;
        }
        assert!(pointers.len() > 40, "{pointers:?}");
        let survives = |text: &[u8]| {
            let Ok(mut config) = serde_json::from_slice::<Config>(text) else { return };
            config.complete(Path::new("/b"), "/services/web");
            config.abort();
            let seccomp = config.take_seccomp();
            let _ = Confined::new(seccomp.as_ref(), None, config.process());
            assert!(config.cgroup().starts_with("/containers/"));
            let _ = (
                config.has_command(),
                config.device_rules(),
                config.user(),
                config.mapped_root(),
                config.root(),
                config.propagation(),
            );
            config.adapt_resources(|_| true);
            config.adapt_resources(|_| false);
            config.cover_dev(Path::new("/f"));
            assert!(serde_json::from_slice::<Config>(&config.to_json()).is_ok());
        };
        for pointer in pointers {
            for other in &others {
                let mut changed = whole.clone();
                if let Some(value) = changed.pointer_mut(&pointer) {
                    *value = other.clone();
                }
                survives(changed.to_string().as_bytes());
            }
        }
        let text = whole.to_string();
        for cut in 0..text.len() {
            survives(&text.as_bytes()[..cut]);
        }
    }

    #[test]
    fn nonsense_does_not_stop_it() {
        for value in [json!({}), json!({"root": 1, "process": [], "linux": null}), json!({"process": {"env": null}})] {
            let config = completed(value);
            assert_eq!(config.cgroup(), "/containers/services/web");
        }
        assert!(serde_json::from_value::<Config>(json!([])).is_err());
    }
}
