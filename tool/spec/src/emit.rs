//! A spec as a document again: for `--dry-run` and `metadata:`. Everything that was merged, defaulted or resolved is shown
//! as it is; what comes out reads back to an equal spec.

mod control;
mod supervision;
mod tests;
mod yaml;

use std::path::Path;

use serde_json::{Map, Value as Json, json};

use crate::{
    Bind, Container, ContainerConfig, Device, FileContents, FileEntry, IdMapping, Interface, Kernel, Landlock,
    MetadataFormat, Mount, Owner, Rlimit, Root, RootKind, Spanned, Spec, Volume, VolumeFormat,
};

/// The merged spec as YAML, with the paths of sources as they were resolved.
#[must_use]
pub fn to_yaml(spec: &Spec) -> String {
    yaml::document(&document(spec))
}

/// The merged spec as JSON, likewise.
#[must_use]
pub fn to_json(spec: &Spec) -> String {
    json_text(&document(spec))
}

/// The merged spec as it is put into the machine itself (`files: metadata:`): without its tests, and with the paths of sources as they were
/// written, so that it does not depend on where it was built.
#[must_use]
pub fn to_metadata(spec: &Spec, format: MetadataFormat) -> String {
    let mut document = document(spec);
    // What is asked of a machine must not change it.
    if let Some(document) = document.as_object_mut() {
        document.shift_remove("tests");
    }
    for file in document.get_mut("files").and_then(Json::as_array_mut).into_iter().flatten() {
        let source = file.get_mut("source");
        let written = |path: &Json| spec.written_sources.get(Path::new(path.as_str()?));
        if let Some((source, written)) = source.and_then(|source| written(source).map(|written| (source, written))) {
            *source = string(written);
        }
    }
    match format {
        MetadataFormat::Yaml => yaml::document(&document),
        MetadataFormat::Json => json_text(&document),
    }
}

fn json_text(document: &Json) -> String {
    format!("{document:#}\n")
}

fn document(spec: &Spec) -> Json {
    let mut map = Members::default();
    map.put("kernel", spec.kernel.as_ref().map(kernel));
    map.put("boot", spec.boot.as_ref().map(|image| json!({ "image": image.value })));
    map.put("root", root(&spec.root));
    map.list("init", &spec.init, text);
    map.list("volumes", &spec.volumes, volume);
    map.list("onboot", &spec.onboot, container);
    map.list("onshutdown", &spec.onshutdown, container);
    map.list("services", &spec.services, container);
    map.list("files", &spec.files, file);
    map.put("watchdog", spec.watchdog.as_ref().map(|watchdog| supervision::watchdog(&watchdog.value)));
    map.put("control", control::control(&spec.control));
    map.put("logging", control::logging(&spec.logging));
    map.list("tests", &spec.tests, tests::test);
    map.json()
}

/// A JSON object in the making.
#[derive(Default)]
struct Members(Map<String, Json>);

impl Members {
    fn put(&mut self, key: &str, value: Option<Json>) {
        if let Some(value) = value {
            self.0.insert(key.to_owned(), value);
        }
    }

    /// A list that is left out when it is empty.
    fn list<T>(&mut self, key: &str, list: &[T], one: impl Fn(&T) -> Json) {
        if !list.is_empty() {
            self.put(key, Some(list.iter().map(one).collect()));
        }
    }

    /// A list that says something even when it is empty.
    fn said<T>(&mut self, key: &str, list: Option<&Vec<T>>, one: impl Fn(&T) -> Json) {
        self.put(key, list.map(|list| list.iter().map(one).collect()));
    }

    fn json(self) -> Json {
        Json::Object(self.0)
    }
}

fn text(text: &Spanned<String>) -> Json {
    Json::String(text.value.clone())
}

fn string(text: &str) -> Json {
    Json::String(text.to_owned())
}

fn octal(mode: u32) -> Json {
    Json::String(format!("{mode:04o}"))
}

fn root(root: &Root) -> Option<Json> {
    let mut map = Members::default();
    let kind = |kind: RootKind| match kind {
        RootKind::Squashfs => "squashfs",
        RootKind::Initrd => "initrd",
    };
    map.put("kind", root.kind.as_ref().map(|k| kind(k.value).into()));
    map.put("verity", root.verity.as_ref().map(|flag| flag.value.into()));
    let corruption = |restart: bool| if restart { "restart" } else { "eio" };
    map.put("corruption", root.restart_on_corruption.as_ref().map(|restart| corruption(restart.value).into()));
    (!map.0.is_empty()).then(|| map.json())
}

fn kernel(kernel: &Kernel) -> Json {
    let mut map = Members::default();
    map.put("image", kernel.image.as_ref().map(text));
    map.put("cmdline", kernel.cmdline.as_ref().map(text));
    map.put("binary", kernel.binary.as_ref().map(text));
    map.put("tar", kernel.tar.as_ref().map(text));
    map.put("ucode", kernel.ucode.as_ref().map(text));
    map.said("modules", kernel.modules.as_ref(), text);
    map.json()
}

fn container(container: &Container) -> Json {
    let mut map = Members::default();
    map.put("name", Some(text(&container.name)));
    map.put("image", Some(text(&container.image)));
    configure(&container.config, &mut map);
    map.json()
}

/// The value of a label `org.mobyproject.config`.
pub(crate) fn config(config: &ContainerConfig) -> Json {
    let mut map = Members::default();
    configure(config, &mut map);
    map.json()
}

fn configure(config: &ContainerConfig, map: &mut Members) {
    let flag = |flag: &Spanned<bool>| Json::Bool(flag.value);
    let id = |owner: &Spanned<Owner>| owner_json(&owner.value);
    map.said("command", config.command.as_ref().map(|command| &command.value), text);
    map.said("env", config.env.as_ref(), text);
    map.put("cwd", config.cwd.as_ref().map(text));
    map.put("uid", config.uid.as_ref().map(id));
    map.put("gid", config.gid.as_ref().map(id));
    map.said("additionalGids", config.additional_gids.as_ref(), id);
    map.said("capabilities", config.capabilities.as_ref(), text);
    map.said("capabilities.add", config.capabilities_add.as_ref(), text);
    map.said("ambient", config.ambient.as_ref(), text);
    map.put("noNewPrivileges", config.no_new_privileges.as_ref().map(flag));
    map.put("seccomp", config.seccomp.as_ref().map(text));
    map.put("readonly", config.readonly.as_ref().map(flag));
    map.said("mounts", config.mounts.as_ref(), mount);
    map.said("binds", config.binds.as_ref(), bind);
    map.said("binds.add", config.binds_add.as_ref(), bind);
    map.said("tmpfs", config.tmpfs.as_ref(), tmpfs);
    map.said("devices", config.devices.as_ref(), device);
    map.said("maskedPaths", config.masked_paths.as_ref(), text);
    map.said("readonlyPaths", config.readonly_paths.as_ref(), text);
    map.put("net", config.namespaces.net.as_ref().map(text));
    map.put("ipc", config.namespaces.ipc.as_ref().map(text));
    map.put("uts", config.namespaces.uts.as_ref().map(text));
    map.put("pid", config.namespaces.pid.as_ref().map(text));
    map.put("userns", config.namespaces.user.as_ref().map(text));
    map.put("cgroupns", config.namespaces.cgroup.as_ref().map(text));
    map.said("uidMappings", config.uid_mappings.as_ref(), id_mapping);
    map.said("gidMappings", config.gid_mappings.as_ref(), id_mapping);
    map.put("hostname", config.hostname.as_ref().map(text));
    map.put("oomScoreAdj", config.oom_score_adj.as_ref().map(|adjustment| Json::from(adjustment.value)));
    map.put("rootfsPropagation", config.rootfs_propagation.as_ref().map(text));
    map.put("cgroupsPath", config.cgroups_path.as_ref().map(text));
    map.put("resources", config.resources.as_ref().map(|resources| resources.value.clone()));
    map.put("sysctl", config.sysctl.as_ref().map(|sysctl| pairs(sysctl)));
    map.said("rlimits", config.rlimits.as_ref(), |limit| rlimit(&limit.value));
    map.put("annotations", config.annotations.as_ref().map(|annotations| pairs(annotations)));
    map.put("runtime", runtime(config));
    map.put("landlock", config.landlock.as_ref().map(|landlock| paths(&landlock.value)));
    supervision::configure(config, map);
}

fn runtime(config: &ContainerConfig) -> Option<Json> {
    let runtime = &config.runtime;
    let mut map = Members::default();
    map.said("cgroups", runtime.cgroups.as_ref(), text);
    map.said("mounts", runtime.mounts.as_ref(), mount);
    map.said("mkdir", runtime.mkdir.as_ref(), text);
    map.said("interfaces", runtime.interfaces.as_ref(), interface);
    let mut names = Members::default();
    let paths = &runtime.bind_ns;
    for (key, path) in [
        ("cgroup", &paths.cgroup),
        ("ipc", &paths.ipc),
        ("mnt", &paths.mnt),
        ("net", &paths.net),
        ("pid", &paths.pid),
        ("user", &paths.user),
        ("uts", &paths.uts),
    ] {
        names.put(key, path.as_deref().map(string));
    }
    map.put("bindNS", Some(names.json()).filter(|names| names.as_object().is_some_and(|names| !names.is_empty())));
    map.put("namespace", runtime.namespace.as_ref().map(text));
    Some(map.json()).filter(|map| map.as_object().is_some_and(|map| !map.is_empty()))
}

fn pairs(pairs: &[(Spanned<String>, Spanned<String>)]) -> Json {
    Json::Object(pairs.iter().map(|(name, value)| (name.value.clone(), text(value))).collect())
}

fn owner_json(owner: &Owner) -> Json {
    match owner {
        Owner::Id(id) => Json::from(*id),
        Owner::Name(name) => string(name),
    }
}

fn mount(mount: &Mount) -> Json {
    let mut map = Members::default();
    map.put("type", Some(string(&mount.kind)));
    map.put("source", Some(text(&mount.source)));
    map.put("destination", Some(text(&mount.destination)));
    map.list("options", &mount.options, |option| string(option));
    map.json()
}

fn bind(bind: &Bind) -> Json {
    let options = bind.options.as_ref().map(|options| format!(":{}", options.join(",")));
    Json::String(format!("{}:{}{}", bind.source.value, bind.destination, options.unwrap_or_default()))
}

fn tmpfs(mount: &Mount) -> Json {
    let colon = if mount.options.is_empty() { "" } else { ":" };
    Json::String(format!("{}{colon}{}", mount.destination.value, mount.options.join(",")))
}

fn device(device: &Device) -> Json {
    let mut map = Members::default();
    map.put("path", Some(text(&device.path)));
    map.put("type", Some(string(&device.kind)));
    map.put("major", Some(Json::from(device.major)));
    map.put("minor", Some(Json::from(device.minor)));
    map.put("mode", device.mode.map(octal));
    map.json()
}

fn id_mapping(mapping: &IdMapping) -> Json {
    json!({"hostID": mapping.host_id, "containerID": mapping.container_id, "size": mapping.size})
}

fn interface(interface: &Interface) -> Json {
    let mut map = Members::default();
    map.put("name", Some(string(&interface.name)));
    map.put("add", Some(string(&interface.add)).filter(|_| !interface.add.is_empty()));
    map.put("peer", Some(string(&interface.peer)).filter(|_| !interface.peer.is_empty()));
    map.put("createInRoot", interface.create_in_root.then_some(Json::Bool(true)));
    map.json()
}

fn paths(landlock: &Landlock) -> Json {
    let mut map = Members::default();
    map.list("read", &landlock.read, |path| string(path));
    map.list("write", &landlock.write, |path| string(path));
    map.list("execute", &landlock.execute, |path| string(path));
    map.json()
}

fn rlimit(limit: &Rlimit) -> Json {
    let value = |value: u64| if value == u64::MAX { "unlimited".to_owned() } else { value.to_string() };
    Json::String(format!("{},{},{}", limit.name, value(limit.soft), value(limit.hard)))
}

fn volume(volume: &Volume) -> Json {
    let mut map = Members::default();
    map.put("name", Some(text(&volume.name)));
    map.put("image", volume.image.as_ref().map(text));
    map.put("readonly", volume.readonly.then_some(Json::Bool(true)));
    map.put("size", volume.size.map(Json::from));
    map.put("format", (volume.format == VolumeFormat::Oci).then(|| string("oci")));
    map.list("platforms", &volume.platforms, |platform| string(platform));
    map.json()
}

fn file(file: &FileEntry) -> Json {
    let mut map = Members::default();
    map.put("path", Some(text(&file.path)));
    match &file.contents {
        FileContents::Directory => map.put("directory", Some(Json::Bool(true))),
        FileContents::Symlink(target) => map.put("symlink", Some(string(target))),
        FileContents::Text(contents) => map.put("contents", Some(string(contents))),
        FileContents::Source(path) => map.put("source", Some(string(&path.to_string_lossy()))),
        FileContents::Metadata(format) => map.put("metadata", Some(string(metadata(*format)))),
    }
    map.put("optional", file.optional.then_some(Json::Bool(true)));
    map.put("mode", file.mode.map(octal));
    map.put("uid", file.uid.as_ref().map(|owner| owner_json(&owner.value)));
    map.put("gid", file.gid.as_ref().map(|owner| owner_json(&owner.value)));
    map.json()
}

fn metadata(format: MetadataFormat) -> &'static str {
    match format {
        MetadataFormat::Yaml => "yaml",
        MetadataFormat::Json => "json",
    }
}
