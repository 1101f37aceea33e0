//! What the strings of a spec may say: one parser per format, used to validate and again to build the model.
//!
//! A parser takes the text of a scalar and gives the parts or a [`Complaint`], which the caller puts at its place. Formats
//! are LinuxKit's; where it accepts what can only fail at boot, we refuse it here.

mod numbers;
mod strings;

pub(crate) use numbers::{duration, duration_text, flag, integer, mode, owner, range, size};
use strings::{
    ARCHITECTURES, capability, container_name, device, env, filled, image, log_destination, module, mount_option,
    namespace, one_of, path, platform, url_path, volume_name,
};
pub(crate) use strings::{CAPABILITIES, bind, destination, file_path, rlimit, signal, signal_text, tmpfs};

/// What is wrong with a text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) message: String,
    pub(crate) label: String,
    pub(crate) hint: Option<String>,
}

fn complain<T>(message: impl Into<String>, label: impl Into<String>) -> Result<T, Complaint> {
    Err(Complaint { message: message.into(), label: label.into(), hint: None })
}

impl Complaint {
    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The formats of strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// Anything.
    Any,
    /// Anything but the empty string.
    Filled,
    /// A reference to an image, with `@pkg:DIR` for a package.
    Image,
    /// The same, or nothing at all.
    ImageOrNone,
    /// A container's name, which becomes a directory's.
    ContainerName,
    /// A volume's name.
    VolumeName,
    /// `CAP_*`, or `all` or `none` alone.
    Capability,
    /// An absolute path.
    Path,
    /// A path in the machine's root.
    FilePath,
    /// A path on the building machine.
    Source,
    /// `source:destination[:options]`.
    Bind,
    /// `destination[:options]`.
    Tmpfs,
    /// `NAME=value`.
    Env,
    /// `name,soft,hard`.
    Rlimit,
    /// `host`, `root`, `new` or a path.
    Namespace,
    /// The same with `none`.
    NetNamespace,
    /// `default` or `unconfined`.
    Seccomp,
    /// A path below /dev, or `all`.
    Device,
    /// A kernel module's name, a glob, or a preset.
    Module,
    /// `os/architecture`.
    Platform,
    /// `amd64` and its like.
    Architecture,
    /// One mount option.
    MountOption,
    /// Bytes, with `K`, `M` or `G`.
    Size,
    /// `10s` and its like.
    Duration,
    /// A signal's name or number.
    Signal,
    /// The path of a page, with its slash.
    UrlPath,
    /// `udp://ADDRESS:PORT` or `tcp://ADDRESS:PORT`.
    Destination,
}

impl Text {
    /// Whether a text is of this format.
    pub(crate) fn check(self, text: &str) -> Result<(), Complaint> {
        if text.contains('\0') {
            return complain("a NUL character", "no string of the machine can hold one");
        }
        match self {
            Self::Any => Ok(()),
            Self::Filled => filled(text),
            Self::ImageOrNone if text.is_empty() => Ok(()),
            Self::Image | Self::ImageOrNone => image(text),
            Self::ContainerName => container_name(text),
            Self::VolumeName => volume_name(text),
            Self::Capability => capability(text),
            Self::Path => path(text),
            Self::FilePath => file_path(text).map(drop),
            Self::Source => filled(text),
            Self::Bind => bind(text).map(drop),
            Self::Tmpfs => tmpfs(text).map(drop),
            Self::Env => env(text),
            Self::Rlimit => rlimit(text).map(drop),
            Self::Namespace => namespace(text, &["host", "new", "root"]),
            Self::NetNamespace => namespace(text, &["host", "new", "none", "root"]),
            Self::Seccomp => one_of("seccomp profile", text, &["default", "unconfined"]),
            Self::Device => device(text),
            Self::Module => module(text),
            Self::Platform => platform(text),
            Self::Architecture => one_of("architecture", text, ARCHITECTURES),
            Self::MountOption => mount_option(text),
            Self::Size => size(text).map(drop),
            Self::Duration => duration(text).map(drop),
            Self::Signal => signal(text).map(drop),
            Self::UrlPath => url_path(text),
            Self::Destination => log_destination(text),
        }
    }

    /// The format as a regular expression of JSON Schema, which may accept a little more.
    pub(crate) fn pattern(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Filled | Self::Source => Some("^[\\s\\S]"),
            Self::ImageOrNone => Some("^([^\\s]+( [^\\s]+)*)?$"),
            Self::Image => Some("^[^\\s]+( [^\\s]+)*$"),
            Self::ContainerName => Some("^(?!\\.{1,2}$)[^/]+$"),
            Self::VolumeName => Some("^[a-z0-9_-]+$"),
            Self::Capability => None,
            Self::Path => Some("^/"),
            Self::FilePath => Some("^/*[^/]"),
            Self::Bind => Some("^[^:]+:[^:]+(:[^:]+)?$"),
            Self::Tmpfs => Some("^[^:]+(:[^:]+)?$"),
            Self::Env => Some("^[^=]+="),
            Self::Rlimit => Some("^[^,]+,[^,]+,[^,]+$"),
            Self::Namespace => Some("^(host|root|new|)$|^/"),
            Self::NetNamespace => Some("^(host|root|new|none|)$|^/"),
            Self::Seccomp => None,
            Self::Device => Some("^all$|^/"),
            Self::Module => Some("^[A-Za-z0-9_*?\\[\\]!-]+$"),
            Self::Platform => Some("^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$"),
            Self::Architecture => None,
            Self::MountOption => Some("^[^,\\s]+$"),
            Self::Size => Some("^[1-9][0-9]*[KMG]?$"),
            Self::Duration => Some("^[0-9]+(ms|s|m|h)$"),
            Self::Signal => Some("^(SIG)?[A-Z0-9]+([+-][0-9]+)?$"),
            Self::UrlPath => Some("^/[!-~]*$"),
            Self::Destination => Some("^(udp|tcp)://[0-9a-fA-F.:\\[\\]]+:[0-9]+$"),
        }
    }

    /// All that is allowed, where that is a short list.
    pub(crate) fn words(self) -> Option<Vec<&'static str>> {
        match self {
            Self::Capability => Some(CAPABILITIES.iter().copied().chain(["all", "none"]).collect()),
            Self::Seccomp => Some(vec!["default", "unconfined"]),
            Self::Architecture => Some(ARCHITECTURES.to_vec()),
            _ => None,
        }
    }

    /// What the documentation calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any | Self::Filled => "string",
            Self::Image | Self::ImageOrNone => "image",
            Self::ContainerName | Self::VolumeName => "name",
            Self::Capability => "capability",
            Self::Path | Self::FilePath | Self::Source => "path",
            Self::Bind => "`source:destination[:options]`",
            Self::Tmpfs => "`destination[:options]`",
            Self::Env => "`NAME=value`",
            Self::Rlimit => "`name,soft,hard`",
            Self::Namespace => "`host`, `root`, `new` or path",
            Self::NetNamespace => "`host`, `root`, `new`, `none` or path",
            Self::Seccomp => "`default` or `unconfined`",
            Self::Device => "path or `all`",
            Self::Module => "module, glob or preset",
            Self::Platform => "`os/architecture`",
            Self::Architecture => "architecture",
            Self::MountOption => "mount option",
            Self::Size => "bytes, with `K`, `M` or `G`",
            Self::Duration => "duration: `500ms`, `10s`, `2m`, `1h`",
            Self::Signal => "signal: `SIGTERM`, `SIGRTMIN+3`",
            Self::UrlPath => "path",
            Self::Destination => "`udp://ADDRESS:PORT` or `tcp://ADDRESS:PORT`",
        }
    }
}

/// A text in backticks, cut to a readable length and without control characters.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if text.chars().nth(60).is_some() { "…" } else { "" };
    format!("`{short}{more}`")
}
