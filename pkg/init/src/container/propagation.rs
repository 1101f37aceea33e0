//! How mounts of a container pass on what is mounted below them (`rshared`, `slave`, … among their options).
//!
//! The library leaves that out. It is done from here, between create and start, in the container's mount namespace.

use std::io;
use std::path::PathBuf;

use rustix::mount::MountPropagationFlags;
use serde_json::Value;

use super::namespace;
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
    // A container without a mount namespace of its own has the machine's paths.
    namespace::within(namespace::MOUNT, pid, || {
        Ok(changes.iter().try_for_each(|(place, change)| rustix::mount::mount_change(place, *change))?)
    })
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
