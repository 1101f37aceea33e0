//! How mounts of a container pass on what is mounted below them (`rshared`, `slave`, … among their options).
//!
//! The library leaves that out. It is done from here, between create and start, in the container's mount namespace: this
//! process goes there and comes back, which takes no other process.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::mount::MountPropagationFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::Value;

use crate::mounts::Options;

/// A change of one mount.
pub type Change = (PathBuf, MountPropagationFlags);

/// What a list of mounts asks for, in its order.
pub fn wanted(mounts: &[Value]) -> Vec<Change> {
    let change = |mount: &Value| {
        let options = mount.get("options")?.as_array()?.iter().filter_map(Value::as_str).collect::<Vec<_>>();
        let propagation = Options::parse(&options).propagation;
        let destination = mount.get("destination")?.as_str()?;
        (!propagation.is_empty()).then(|| (PathBuf::from(destination), propagation))
    };
    mounts.iter().filter_map(change).collect()
}

/// Makes the changes in the mount namespace of a process.
pub fn apply(changes: &[Change], pid: u32) -> io::Result<()> {
    let (machine, container) = ("/proc/self/ns/mnt", format!("/proc/{pid}/ns/mnt"));
    // A container without a mount namespace of its own has the machine's paths.
    if changes.is_empty() || fs::read_link(machine)? == fs::read_link(&container)? {
        return Ok(());
    }
    let (machine, container) = (File::open(machine)?, File::open(container)?);
    enter(&container)?;
    let made = changes.iter().try_for_each(|(place, change)| rustix::mount::mount_change(place, *change));
    enter(&machine)?;
    Ok(made?)
}

fn enter(namespace: impl AsFd) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_mounts_that_say_so_are_changed() {
        let mounts = [
            json!({"destination": "/a", "options": ["rbind", "rshared", "ro"]}),
            json!({"destination": "/b", "options": ["nosuid", "size=1m"]}),
            json!({"destination": "/c"}),
            json!({"destination": "/d", "options": ["bind", "private"]}),
            json!({"options": ["private"]}),
            json!(1),
        ];
        let shared = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
        assert_eq!(wanted(&mounts), [("/a".into(), shared), ("/d".into(), MountPropagationFlags::PRIVATE)]);
    }
}
