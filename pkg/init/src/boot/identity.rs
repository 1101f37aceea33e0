//! Limits, loopback, host name and the file of name servers.

use std::fs::{self, File};
use std::path::Path;

use rustix::process::{Resource, Rlimit};

use crate::link;

/// Sets them all; what fails is returned as sentences.
pub fn set() -> Vec<String> {
    let mut troubles = Vec::new();
    limits(&mut troubles);
    if let Err(error) = link::up("lo") {
        troubles.push(format!("setting `lo` up: {error}"));
    }
    let configured = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let current = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let name = host_name(&configured, &current, first_address().as_deref());
    if let Some(name) = name
        && let Err(error) = rustix::system::sethostname(name.as_bytes())
    {
        troubles.push(format!("setting the host name `{name}`: {error}"));
    }
    name_servers(Path::new("/etc/resolv.conf"));
    troubles
}

/// Containers inherit them, unless they say otherwise.
fn limits(troubles: &mut Vec<String>) {
    let files = Some(1_048_576);
    for (resource, limit) in [
        (Resource::Nofile, Rlimit { current: files, maximum: files }),
        (Resource::Nproc, Rlimit { current: None, maximum: None }),
    ] {
        if let Err(error) = rustix::process::setrlimit(resource, limit) {
            troubles.push(format!("setting the limit {resource:?}: {error}"));
        }
    }
}

/// The name to set: the configured one, else one from the network card's address unless the kernel has been given one.
fn host_name(configured: &str, current: &str, address: Option<&str>) -> Option<String> {
    let configured = configured.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#'));
    if let Some(name) = configured {
        return Some(name.chars().take(64).collect());
    }
    if !matches!(current, "" | "(none)") {
        return None;
    }
    let address: String = address?.chars().filter(char::is_ascii_hexdigit).collect();
    Some(format!("bootwright-{address}"))
}

/// Hardware address of the first network card by name.
fn first_address() -> Option<String> {
    let mut cards: Vec<_> = fs::read_dir("/sys/class/net").ok()?.flatten().map(|e| e.path()).collect();
    cards.sort();
    cards
        .iter()
        .filter(|card| card.file_name().is_some_and(|name| name != "lo"))
        .filter_map(|card| fs::read_to_string(card.join("address")).ok())
        .map(|address| address.trim().to_owned())
        .find(|address| !address.is_empty() && !address.split(':').all(|byte| byte == "00"))
}

/// A link leads to where a DHCP client writes; bind mounts need that file to be there from the beginning.
fn name_servers(link: &Path) {
    let Ok(target) = fs::read_link(link) else { return };
    let target = link.parent().map_or(target.clone(), |parent| parent.join(&target));
    if let Some(parent) = target.parent() {
        let _ = fs::create_dir_all(parent);
    }
    let _ = File::options().create(true).append(true).open(target);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_name_wins_and_the_kernels_is_kept() {
        let mac = Some("52:54:00:12:34:56");
        for (configured, current, address, expected) in [
            ("# name\n web \n", "(none)", mac, Some("web")),
            ("", "(none)", mac, Some("bootwright-525400123456")),
            ("\n", "", mac, Some("bootwright-525400123456")),
            ("", "given", mac, None),
            ("", "(none)", None, None),
        ] {
            assert_eq!(host_name(configured, current, address).as_deref(), expected);
        }
    }

    #[test]
    fn the_target_of_the_link_is_made_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("resolv.conf");
        std::os::unix::fs::symlink("run/resolvconf/resolv.conf", &link).unwrap();
        name_servers(&link);
        let target = directory.path().join("run/resolvconf/resolv.conf");
        fs::write(&target, "nameserver 10.0.2.3\n").unwrap();
        name_servers(&link);
        assert_eq!(fs::read_to_string(&link).unwrap(), "nameserver 10.0.2.3\n");
    }
}
