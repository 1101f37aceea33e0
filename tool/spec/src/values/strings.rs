//! The parsers of strings, one per format.

use super::{Complaint, complain, quoted};
use crate::{Rlimit, nearest};

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

/// Signals by their names without `SIG`, in the order of their numbers, which those of amd64 and arm64 are; 1 first.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
/// The first and the last real-time signal, as the C library counts them.
const REAL_TIME: (i32, i32) = (34, 64);

/// Architectures by Go's names.
pub(super) const ARCHITECTURES: &[&str] = &["amd64", "arm64", "riscv64", "s390x", "ppc64le"];

pub(super) fn filled(text: &str) -> Result<(), Complaint> {
    if text.is_empty() { complain("an empty string", "something must stand here") } else { Ok(()) }
}

pub(super) fn one_of(what: &str, text: &str, words: &[&'static str]) -> Result<(), Complaint> {
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

pub(super) fn image(text: &str) -> Result<(), Complaint> {
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

/// An address and not a name: what sends logs cannot wait for a resolver, and must not depend on one.
pub(super) fn log_destination(text: &str) -> Result<(), Complaint> {
    let Some((_, address)) = text.split_once("://").filter(|(scheme, _)| ["udp", "tcp"].contains(scheme)) else {
        return complain(format!("{} is no destination", quoted(text)), "it begins with `udp://` or `tcp://`");
    };
    match address.parse::<std::net::SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(()),
        _ => complain(
            format!("{} is no address with a port", quoted(address)),
            "such as `192.0.2.1:514` or `[2001:db8::1]:514`; names are not looked up",
        ),
    }
}

pub(super) fn container_name(text: &str) -> Result<(), Complaint> {
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

pub(super) fn volume_name(text: &str) -> Result<(), Complaint> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    if !text.is_empty() && text.len() <= 200 && text.chars().all(legal) {
        return Ok(());
    }
    complain(format!("{} cannot name a volume", quoted(text)), "lower-case letters, digits, `_` and `-` are allowed")
}

pub(super) fn capability(text: &str) -> Result<(), Complaint> {
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

pub(super) fn path(text: &str) -> Result<(), Complaint> {
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

pub(super) fn mount_option(text: &str) -> Result<(), Complaint> {
    if text.is_empty() || text.contains(',') || text.chars().any(|c| c.is_control() || c == ' ') {
        return complain(
            format!("{} is not a mount option", quoted(text)),
            "one option per entry, without commas and spaces",
        );
    }
    Ok(())
}

/// `source`, `destination` and options of a bind.
pub(crate) type BindParts<'a> = (&'a str, String, Option<Vec<&'a str>>);

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
            let complaint = Complaint { message: format!("{} is not a bind", quoted(text)), label, hint: None };
            let hint = "a path that holds a `:` is written under `mounts:`, with `type: bind`";
            return Err(if parts.len() > 3 { complaint.hint(hint) } else { complaint });
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
    Ok((source, self::destination(destination)?, options.map(options_of).transpose()?))
}

/// Parses `destination[:options]`.
pub(crate) fn tmpfs(text: &str) -> Result<(String, Vec<&str>), Complaint> {
    let parts: Vec<_> = text.split(':').collect();
    match parts[..] {
        [destination] => Ok((self::destination(destination)?, Vec::new())),
        [destination, options] => Ok((self::destination(destination)?, options_of(options)?)),
        _ => complain(format!("{} is not a tmpfs", quoted(text)), "expected `destination[:options]`"),
    }
}

/// A destination in a container; a relative one starts at the container's root, as in runtimes.
pub(crate) fn destination(written: &str) -> Result<String, Complaint> {
    if written.is_empty() {
        return complain("an empty destination", "a path in the container must stand here");
    }
    Ok(if written.starts_with('/') { written.to_owned() } else { format!("/{written}") })
}

fn options_of(options: &str) -> Result<Vec<&str>, Complaint> {
    let list: Vec<_> = options.split(',').collect();
    match list.iter().find_map(|option| mount_option(option).err()) {
        Some(complaint) => Err(complaint),
        None => Ok(list),
    }
}

pub(super) fn env(text: &str) -> Result<(), Complaint> {
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

pub(super) fn namespace(text: &str, words: &[&'static str]) -> Result<(), Complaint> {
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

pub(super) fn device(text: &str) -> Result<(), Complaint> {
    if text == "all" || text.starts_with('/') {
        return Ok(());
    }
    complain(format!("{} is not a device", quoted(text)), "a path below `/dev`, or `all`")
}

pub(super) fn module(text: &str) -> Result<(), Complaint> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-*?[]!/".contains(c);
    if !text.is_empty() && text.chars().all(legal) {
        return Ok(());
    }
    complain(format!("{} is not a module", quoted(text)), "a name without `.ko`, a glob, or `virtio`, `cloud` or `all`")
}

pub(super) fn platform(text: &str) -> Result<(), Complaint> {
    let parts: Vec<_> = text.split('/').collect();
    let legal = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if (2..=3).contains(&parts.len()) && parts.iter().all(legal) {
        return Ok(());
    }
    complain(format!("{} is not a platform", quoted(text)), "expected `os/architecture`, such as `linux/arm64`")
}

pub(super) fn url_path(text: &str) -> Result<(), Complaint> {
    if text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    complain(format!("{} is not the path of a page", quoted(text)), "it starts with `/` and holds no white space")
}

/// A signal's number: by name (`SIGTERM`, `TERM`), by number, or `SIGRTMIN+3`.
pub(crate) fn signal(text: &str) -> Result<i32, Complaint> {
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let (first, last) = REAL_TIME;
    let number = match name.split_once(['+', '-']) {
        Some(("RTMIN", more)) if name.contains('+') => more.parse().ok().map(|more: u8| first + i32::from(more)),
        Some(("RTMAX", less)) if name.contains('-') => less.parse().ok().map(|less: u8| last - i32::from(less)),
        _ => match name {
            "RTMIN" => Some(first),
            "RTMAX" => Some(last),
            _ => (1..).zip(SIGNALS).find(|(_, known)| *known == name).map(|(number, _)| number).or(name.parse().ok()),
        },
    };
    match number {
        Some(number) if (1..=last).contains(&number) => Ok(number),
        _ => {
            let message = format!("unknown signal {}", quoted(text));
            match nearest(name, SIGNALS.into_iter()) {
                Some(near) => complain(message, format!("did you mean `SIG{near}`?")),
                None => complain(message, "a name such as `SIGTERM` or `SIGRTMIN+3`, or a number"),
            }
        }
    }
}

/// A signal as it is written.
pub(crate) fn signal_text(number: i32) -> String {
    let index = usize::try_from(number - 1).ok();
    index.and_then(|index| SIGNALS.get(index)).map_or_else(|| number.to_string(), |name| format!("SIG{name}"))
}
