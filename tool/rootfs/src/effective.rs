//! What a container is configured as, once the YAML, its image's label and LinuxKit's rules of precedence have spoken:
//! YAML over label, key by key; `runtime` and the namespaces member by member; `.add` lists behind the label's.

use bootwright_oci::LoadedImage;
use bootwright_spec::{Container, ContainerConfig};

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
            let config = container.config.clone().over(label.unwrap_or_default());
            out.push(Effective { section, index, container, image, config, labelled });
        }
    }
    out
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

    /// The signal by which the image says that it is asked to end.
    pub(crate) fn stop_signal(&self) -> Option<&str> {
        self.image_config().and_then(|c| c.stop_signal().as_deref()).filter(|signal| !signal.is_empty())
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
