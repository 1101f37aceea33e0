//! What the strings of a spec may say: one parser per format, used to validate and again to build the model.
//!
//! A parser takes the text of a scalar and gives the parts or a [`Complaint`], which the caller puts at its place. Formats
//! are LinuxKit's; where it accepts what can only fail at boot, we refuse it here.

use crate::{Owner, Rlimit, nearest};

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
            Self::Bind => Some("^[^:]+:/[^:]*(:[^:]+)?$"),
            Self::Tmpfs => Some("^/[^:]*(:[^:]+)?$"),
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
        }
    }
}

/// Every capability that Linux knows, in the kernel's order.
pub(crate) const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const RLIMITS: &[&str] = &[
    "RLIMIT_AS",
    "RLIMIT_CORE",
    "RLIMIT_CPU",
    "RLIMIT_DATA",
    "RLIMIT_FSIZE",
    "RLIMIT_LOCKS",
    "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE",
    "RLIMIT_NOFILE",
    "RLIMIT_NPROC",
    "RLIMIT_RSS",
    "RLIMIT_RTPRIO",
    "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING",
    "RLIMIT_STACK",
];

const ARCHITECTURES: &[&str] = &["amd64", "arm64", "riscv64", "s390x", "ppc64le"];

/// A text in backticks, cut to a readable length and without control characters.
pub(crate) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(60).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let more = if text.chars().nth(60).is_some() { "…" } else { "" };
    format!("`{short}{more}`")
}

fn filled(text: &str) -> Result<(), Complaint> {
    if text.is_empty() { complain("an empty string", "something must stand here") } else { Ok(()) }
}

fn one_of(what: &str, text: &str, words: &[&'static str]) -> Result<(), Complaint> {
    if words.contains(&text) {
        return Ok(());
    }
    let message = format!("unknown {what} {}", quoted(text));
    let allowed = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    match nearest(text, words.iter().copied()) {
        Some(near) => complain(message, format!("did you mean `{near}`?"))
            .map_err(|c: Complaint| c.hint(format!("allowed here: {allowed}"))),
        None => complain(message, format!("allowed here: {allowed}")),
    }
}

fn image(text: &str) -> Result<(), Complaint> {
    if text.is_empty() {
        return complain("an empty image reference", "the name of an image must stand here");
    }
    if let Some(directory) = text.strip_prefix("@pkg:") {
        return if directory.trim().is_empty() {
            complain("`@pkg:` without a directory", "the directory of a package must follow")
        } else {
            Ok(())
        };
    }
    if text.starts_with('@') {
        return complain(format!("unknown template {}", quoted(text)), "only `@pkg:DIRECTORY` is known");
    }
    // Paths of archives (`oci-archive:my image.tar`) may hold spaces, names of images may not.
    let has_path = text.contains(':')
        && text.split(':').next().is_some_and(|scheme| scheme.starts_with("oci") || scheme.starts_with("docker-"));
    if text.trim() != text || text.chars().any(char::is_control) || (text.contains(' ') && !has_path) {
        return complain(format!("{} is not an image reference", quoted(text)), "it holds white space");
    }
    Ok(())
}

fn container_name(text: &str) -> Result<(), Complaint> {
    let bad = |label: &str| complain(format!("{} cannot name a container", quoted(text)), label);
    if text.is_empty() {
        complain("an empty name", "a container needs a name")
    } else if text.contains('/') {
        bad("the name becomes a directory: no `/`")
    } else if text == "." || text == ".." {
        bad("the name becomes a directory of its own")
    } else if text.chars().any(char::is_control) {
        bad("it holds control characters")
    } else if text.len() > 200 {
        bad("longer than 200 bytes")
    } else {
        Ok(())
    }
}

fn volume_name(text: &str) -> Result<(), Complaint> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if !text.is_empty() && text.len() <= 200 && text.chars().all(legal) {
        return Ok(());
    }
    complain(format!("{} cannot name a volume", quoted(text)), "lower-case letters, digits, `_` and `-` are allowed")
}

fn capability(text: &str) -> Result<(), Complaint> {
    if CAPABILITIES.contains(&text) || text.eq_ignore_ascii_case("all") || text.eq_ignore_ascii_case("none") {
        return Ok(());
    }
    let message = format!("unknown capability {}", quoted(text));
    let upper = text.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    let exact = CAPABILITIES.iter().copied().find(|known| *known == full);
    match exact.or_else(|| nearest(&full, CAPABILITIES.iter().copied())) {
        Some(near) => complain(message, format!("did you mean `{near}`?")),
        None => complain(message, "`CAP_…` as in capabilities(7), or `all` or `none` alone"),
    }
}

fn path(text: &str) -> Result<(), Complaint> {
    if text.starts_with('/') {
        Ok(())
    } else {
        complain(format!("{} is not an absolute path", quoted(text)), "it must start with `/`")
    }
}

/// Parses the path of a `files` entry: without leading slash, `.` and doubled slashes taken out.
pub(crate) fn file_path(text: &str) -> Result<String, Complaint> {
    let parts: Vec<_> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return complain(format!("{} leads out of where it starts", quoted(text)), "no `..` in the path of a file");
    }
    if parts.is_empty() {
        return complain(format!("{} names no file", quoted(text)), "a path below `/` must stand here");
    }
    if parts.iter().any(|part| part.len() > 255) {
        return complain(format!("{} has a component of more than 255 bytes", quoted(text)), "no filesystem takes it");
    }
    Ok(parts.join("/"))
}

fn mount_option(text: &str) -> Result<(), Complaint> {
    if text.is_empty() || text.contains(',') || text.chars().any(|c| c.is_control() || c == ' ') {
        return complain(
            format!("{} is not a mount option", quoted(text)),
            "one option per entry, without commas and spaces",
        );
    }
    Ok(())
}

/// `source`, `destination` and options of a bind.
pub(crate) type BindParts<'a> = (&'a str, &'a str, Option<Vec<&'a str>>);

/// Parses `source:destination[:options]`.
pub(crate) fn bind(text: &str) -> Result<BindParts<'_>, Complaint> {
    let parts: Vec<_> = text.split(':').collect();
    let (source, destination, options) = match parts[..] {
        [source, destination] => (source, destination, None),
        [source, destination, options] => (source, destination, Some(options)),
        _ => {
            let label = format!(
                "{} part{}, expected `source:destination[:options]`",
                parts.len(),
                if parts.len() == 1 { "" } else { "s" }
            );
            let hint = "a path that holds a `:` is written under `mounts:`, with `type: bind`";
            return complain(format!("{} is not a bind", quoted(text)), label).map_err(|c: Complaint| c.hint(hint));
        }
    };
    if source.is_empty() {
        return complain(
            format!("the bind {} has no source", quoted(text)),
            "a path or the name of a volume must come first",
        );
    }
    if !source.starts_with('/') && volume_name(source).is_err() {
        let label = "neither a path that starts with `/` nor a volume's name";
        return complain(format!("{} is not the source of a bind", quoted(source)), label);
    }
    Ok((source, absolute(destination)?, options.map(options_of).transpose()?))
}

/// Parses `destination[:options]`.
pub(crate) fn tmpfs(text: &str) -> Result<(&str, Vec<&str>), Complaint> {
    let parts: Vec<_> = text.split(':').collect();
    match parts[..] {
        [destination] => Ok((absolute(destination)?, Vec::new())),
        [destination, options] => Ok((absolute(destination)?, options_of(options)?)),
        _ => complain(format!("{} is not a tmpfs", quoted(text)), "expected `destination[:options]`"),
    }
}

fn absolute(destination: &str) -> Result<&str, Complaint> {
    if destination.starts_with('/') {
        return Ok(destination);
    }
    complain(
        format!("the destination {} is not an absolute path", quoted(destination)),
        "the destination must start with `/`",
    )
}

fn options_of(options: &str) -> Result<Vec<&str>, Complaint> {
    let list: Vec<_> = options.split(',').collect();
    match list.iter().find_map(|option| mount_option(option).err()) {
        Some(complaint) => Err(complaint),
        None => Ok(list),
    }
}

fn env(text: &str) -> Result<(), Complaint> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() => Ok(()),
        _ => complain(format!("{} sets no variable", quoted(text)), "expected `NAME=value`"),
    }
}

/// Parses `name,soft,hard`.
pub(crate) fn rlimit(text: &str) -> Result<Rlimit, Complaint> {
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    let [name, soft, hard] = parts[..] else {
        return complain(format!("{} is not a limit", quoted(text)), "expected `name,soft,hard`");
    };
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("RLIMIT_") { upper } else { format!("RLIMIT_{upper}") };
    if !RLIMITS.contains(&full.as_str()) {
        let message = format!("unknown limit {}", quoted(name));
        return match nearest(&full, RLIMITS.iter().copied()) {
            Some(near) => complain(message, format!("did you mean `{near}`?")),
            None => complain(message, "`RLIMIT_…` as in getrlimit(2)"),
        };
    }
    let value = |text: &str| match text {
        "unlimited" => Ok(u64::MAX),
        digits => digits
            .parse()
            .or_else(|_| complain(format!("{} is not a limit", quoted(digits)), "a number or `unlimited`")),
    };
    let (soft, hard) = (value(soft)?, value(hard)?);
    if soft > hard {
        return complain(
            format!("the soft limit of {} is above its hard limit", quoted(name)),
            "`name,soft,hard`: soft comes first",
        );
    }
    Ok(Rlimit { name: full, soft, hard })
}

fn namespace(text: &str, words: &[&'static str]) -> Result<(), Complaint> {
    if text.is_empty() || text.starts_with('/') || words.contains(&text) {
        return Ok(());
    }
    let allowed = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let message = format!("{} is not a namespace", quoted(text));
    match nearest(text, words.iter().copied()) {
        Some(near) => complain(message, format!("did you mean `{near}`?")),
        None => complain(message, format!("allowed here: {allowed}, or an absolute path")),
    }
}

fn device(text: &str) -> Result<(), Complaint> {
    if text == "all" || text.starts_with('/') {
        return Ok(());
    }
    complain(format!("{} is not a device", quoted(text)), "a path below `/dev`, or `all`")
}

fn module(text: &str) -> Result<(), Complaint> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-*?[]!".contains(c);
    if !text.is_empty() && text.chars().all(legal) {
        return Ok(());
    }
    complain(format!("{} is not a module", quoted(text)), "a name without `.ko`, a glob, or `virtio`, `cloud` or `all`")
}

fn platform(text: &str) -> Result<(), Complaint> {
    let parts: Vec<_> = text.split('/').collect();
    let legal = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if (2..=3).contains(&parts.len()) && parts.iter().all(legal) {
        return Ok(());
    }
    complain(format!("{} is not a platform", quoted(text)), "expected `os/architecture`, such as `linux/arm64`")
}

/// Parses permission bits. `plain` is whether they were written without quotes, that is as YAML's number.
pub(crate) fn mode(text: &str, plain: bool) -> Result<u32, Complaint> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.len() <= 8 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let Some(bits) = octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten().filter(|bits| *bits <= 0o7777) else {
        return complain(
            format!("{} is not a file mode", quoted(text)),
            "octal digits up to \"7777\", such as \"0644\"",
        );
    };
    // A plain 644 is six hundred and forty-four to YAML; only a leading zero says octal.
    if plain && !text.starts_with('0') {
        return complain(
            format!("the mode {} is a decimal number", quoted(text)),
            format!("write \"0{digits}\" for octal"),
        );
    }
    Ok(bits)
}

/// Parses a uid or gid.
pub(crate) fn owner(text: &str, plain: bool) -> Result<Owner, Complaint> {
    if text.is_empty() || text == "root" {
        return Ok(Owner::Id(0));
    }
    let number = text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
    if number {
        if text.starts_with('0') && text.len() > 1 {
            return complain(
                format!("the id {} starts with a zero", quoted(text)),
                "octal or decimal? write it without",
            );
        }
        // The last number is -1, "unchanged", in the kernel's eyes.
        return match text.parse() {
            Ok(id) if id < u32::MAX => Ok(Owner::Id(id)),
            _ => complain(format!("{} is not an id", quoted(text)), format!("ids go from 0 to {}", u32::MAX - 1)),
        };
    }
    if plain && (text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o")) {
        return complain(format!("{} is not an id", quoted(text)), "a whole decimal number, or a name");
    }
    if text.contains(':') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return complain(format!("{} is not the name of a user or group", quoted(text)), "a number or a name");
    }
    Ok(Owner::Name(text.to_owned()))
}

/// Parses a whole number between two bounds.
pub(crate) fn integer(text: &str, min: i64, max: i64) -> Result<i64, Complaint> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return complain(format!("{} is not a whole number", quoted(text)), "decimal digits are expected");
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return complain(
            format!("the number {} starts with a zero", quoted(text)),
            "octal or decimal? write it without",
        );
    }
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => complain(format!("{} is out of range", quoted(text)), range(min, max)),
    }
}

/// A range in words.
pub(crate) fn range(min: i64, max: i64) -> String {
    match (min, max) {
        (min, i64::MAX) => format!("at least {min}"),
        (i64::MIN, max) => format!("at most {max}"),
        (min, max) => format!("from {min} to {max}"),
    }
}

/// Parses a boolean; YAML 1.1's words too, as LinuxKit's parser does where a boolean is wanted.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
        _ => None,
    }
}
