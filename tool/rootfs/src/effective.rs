//! What a container is configured as, once the YAML, its image's label and LinuxKit's rules of precedence have spoken:
//! YAML over label, key by key; `runtime` and the namespaces member by member; `.add` lists behind the label's.

use bootwright_oci::LoadedImage;
use bootwright_spec::{BindNs, Container, ContainerConfig, Namespaces, RuntimeConfig};

use crate::inputs::Inputs;
use crate::problems::{Describe, Problems};

/// LinuxKit's label.
pub(crate) const LABEL: &str = "org.mobyproject.config";

/// Where a container stands in the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Onboot,
    Onshutdown,
    Services,
}

impl Section {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Onboot => "onboot",
            Self::Onshutdown => "onshutdown",
            Self::Services => "services",
        }
    }
}

/// A container with everything that is known of it.
#[derive(Debug)]
pub(crate) struct Effective<'a> {
    pub(crate) section: Section,
    pub(crate) index: usize,
    pub(crate) container: &'a Container,
    pub(crate) image: &'a LoadedImage,
    pub(crate) config: ContainerConfig,
    pub(crate) labelled: bool,
}

/// All containers of a spec in LinuxKit's order, merged with their labels. One whose image is missing is left out; that
/// and what is wrong with labels is among the problems.
pub(crate) fn containers<'a>(
    spec: &'a bootwright_spec::Spec,
    inputs: &Inputs<'a>,
    problems: &mut Problems,
) -> Vec<Effective<'a>> {
    let sections =
        [(Section::Onboot, &spec.onboot), (Section::Onshutdown, &spec.onshutdown), (Section::Services, &spec.services)];
    let mut out = Vec::new();
    for (section, list) in sections {
        for (index, container) in list.iter().enumerate() {
            let Some(image) = inputs.images.get(&container.image.value) else {
                problems.error(Some(container.image.span), format!("image `{}` was not loaded", container.image.value));
                continue;
            };
            let label = match image.image.label(LABEL).map(|text| (inputs.labels)(&image.image.name, text)) {
                None => None,
                Some(Ok(config)) => Some(config),
                Some(Err(found)) => {
                    problems.extend(found);
                    problems
                        .error(Some(container.image.span), format!("the label `{LABEL}` of this image cannot be used"));
                    None
                }
            };
            for (key, whole, added) in [
                (
                    "capabilities",
                    container.config.capabilities.is_some(),
                    container.config.capabilities_add.as_ref().map(|a| a.first().map(|c| c.span)),
                ),
                (
                    "binds",
                    container.config.binds.is_some(),
                    container.config.binds_add.as_ref().map(|a| a.first().map(|b| b.source.span)),
                ),
            ] {
                if let (true, Some(at)) = (whole, added) {
                    problems
                        .warning(at.or(Some(container.span)), format!("`{key}.add` has no effect beside `{key}`"))
                        .hint(format!("add to `{key}`, which replaces what the image's label says"));
                }
            }
            let labelled = label.is_some();
            let config = merge(container.config.clone(), label.unwrap_or_default());
            out.push(Effective { section, index, container, image, config, labelled });
        }
    }
    out
}

/// YAML over label.
fn merge(yaml: ContainerConfig, label: ContainerConfig) -> ContainerConfig {
    let add = |yaml_set: bool, label: Option<Vec<_>>, more: Option<Vec<_>>| match (yaml_set, label, more) {
        (true, ..) => None,
        (false, None, more) => more,
        (false, some, None) => some,
        (false, Some(mut all), Some(more)) => {
            all.extend(more);
            Some(all)
        }
    };
    let capabilities_add = add(yaml.capabilities.is_some(), label.capabilities_add, yaml.capabilities_add);
    let binds_add = match (yaml.binds.is_some(), label.binds_add, yaml.binds_add) {
        (true, ..) => None,
        (false, label, yaml) => Some(label.into_iter().chain(yaml).flatten().collect()),
    };
    ContainerConfig {
        capabilities: yaml.capabilities.or(label.capabilities),
        capabilities_add,
        ambient: yaml.ambient.or(label.ambient),
        mounts: yaml.mounts.or(label.mounts),
        binds: yaml.binds.or(label.binds),
        binds_add,
        devices: yaml.devices.or(label.devices),
        tmpfs: yaml.tmpfs.or(label.tmpfs),
        command: yaml.command.or(label.command),
        env: yaml.env.or(label.env),
        cwd: yaml.cwd.or(label.cwd),
        namespaces: namespaces(yaml.namespaces, label.namespaces),
        hostname: yaml.hostname.or(label.hostname),
        readonly: yaml.readonly.or(label.readonly),
        masked_paths: yaml.masked_paths.or(label.masked_paths),
        readonly_paths: yaml.readonly_paths.or(label.readonly_paths),
        uid: yaml.uid.or(label.uid),
        gid: yaml.gid.or(label.gid),
        additional_gids: yaml.additional_gids.or(label.additional_gids),
        no_new_privileges: yaml.no_new_privileges.or(label.no_new_privileges),
        oom_score_adj: yaml.oom_score_adj.or(label.oom_score_adj),
        rootfs_propagation: yaml.rootfs_propagation.or(label.rootfs_propagation),
        cgroups_path: yaml.cgroups_path.or(label.cgroups_path),
        resources: yaml.resources.or(label.resources),
        sysctl: yaml.sysctl.or(label.sysctl),
        rlimits: yaml.rlimits.or(label.rlimits),
        uid_mappings: yaml.uid_mappings.or(label.uid_mappings),
        gid_mappings: yaml.gid_mappings.or(label.gid_mappings),
        annotations: yaml.annotations.or(label.annotations),
        runtime: runtime(yaml.runtime, label.runtime),
        seccomp: yaml.seccomp.or(label.seccomp),
        onfail: yaml.onfail.or(label.onfail),
    }
}

fn namespaces(yaml: Namespaces, label: Namespaces) -> Namespaces {
    Namespaces {
        net: yaml.net.or(label.net),
        ipc: yaml.ipc.or(label.ipc),
        uts: yaml.uts.or(label.uts),
        pid: yaml.pid.or(label.pid),
        user: yaml.user.or(label.user),
        cgroup: yaml.cgroup.or(label.cgroup),
    }
}

fn runtime(yaml: RuntimeConfig, label: RuntimeConfig) -> RuntimeConfig {
    RuntimeConfig {
        cgroups: yaml.cgroups.or(label.cgroups),
        mounts: yaml.mounts.or(label.mounts),
        mkdir: yaml.mkdir.or(label.mkdir),
        interfaces: yaml.interfaces.or(label.interfaces),
        bind_ns: BindNs {
            cgroup: yaml.bind_ns.cgroup.or(label.bind_ns.cgroup),
            ipc: yaml.bind_ns.ipc.or(label.bind_ns.ipc),
            mnt: yaml.bind_ns.mnt.or(label.bind_ns.mnt),
            net: yaml.bind_ns.net.or(label.bind_ns.net),
            pid: yaml.bind_ns.pid.or(label.bind_ns.pid),
            user: yaml.bind_ns.user.or(label.bind_ns.user),
            uts: yaml.bind_ns.uts.or(label.bind_ns.uts),
        },
        namespace: yaml.namespace.or(label.namespace),
    }
}

impl Effective<'_> {
    /// Whether the root is read-only.
    pub(crate) fn readonly(&self) -> bool {
        self.config.readonly.is_some_and(|r| r.value)
    }

    /// The image's own configuration.
    fn image_config(&self) -> Option<&oci_spec::image::Config> {
        self.image.image.config.config().as_ref()
    }

    /// The command: the spec's or the label's, else the image's entrypoint and arguments.
    pub(crate) fn arguments(&self) -> Vec<String> {
        if let Some(command) = &self.config.command {
            return command.iter().map(|a| a.value.clone()).collect();
        }
        let image = self.image_config();
        let part = |list: Option<&Option<Vec<String>>>| list.cloned().flatten().unwrap_or_default();
        let mut all = part(image.map(|c| c.entrypoint()));
        all.extend(part(image.map(|c| c.cmd())));
        all
    }

    /// The environment: the image's, with what the spec or the label says put over it name by name. Like every engine, a
    /// PATH where there is none.
    pub(crate) fn environment(&self) -> Vec<String> {
        let mut all = self.image_config().and_then(|c| c.env().clone()).unwrap_or_default();
        for entry in self.config.env.iter().flatten() {
            let name = |text: &str| text.split('=').next().unwrap_or_default().to_owned();
            match all.iter_mut().find(|old| name(old) == name(entry)) {
                Some(old) => old.clone_from(&entry.value),
                None => all.push(entry.value.clone()),
            }
        }
        if !all.iter().any(|e| e.starts_with("PATH=")) {
            all.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        }
        all
    }

    /// The working directory.
    pub(crate) fn directory(&self) -> String {
        let image = self.image_config().and_then(|c| c.working_dir().clone());
        let own = self.config.cwd.as_ref().map(|c| c.value.clone());
        own.or(image).filter(|d| !d.is_empty()).unwrap_or_else(|| "/".to_owned())
    }

    /// Ports that the image says it listens on, such as `80/tcp`.
    pub(crate) fn ports(&self) -> Vec<String> {
        self.image_config().and_then(|c| c.exposed_ports().clone()).unwrap_or_default()
    }

    /// Directories that the image says hold state.
    pub(crate) fn volumes(&self) -> Vec<String> {
        self.image_config().and_then(|c| c.volumes().clone()).unwrap_or_default()
    }
}
