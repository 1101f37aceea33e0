//! Work in a namespace of a container's process: this process goes there and comes back, which takes no other process.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A kind of namespace, by its name below `/proc/PID/ns`.
pub type Kind = (LinkNameSpaceType, &'static str);
/// Mounts.
pub const MOUNT: Kind = (LinkNameSpaceType::Mount, "mnt");
/// Network interfaces.
pub const NETWORK: Kind = (LinkNameSpaceType::Network, "net");

/// Does something in the namespace of a process. Nothing where it has none of its own: it would be the machine's.
pub fn within((kind, name): Kind, pid: u32, work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let (machine, container) = (format!("/proc/self/ns/{name}"), format!("/proc/{pid}/ns/{name}"));
    if fs::read_link(&machine)? == fs::read_link(&container)? {
        return Ok(());
    }
    let (machine, container) = (File::open(machine)?, File::open(container)?);
    move_into_link_name_space(container.as_fd(), Some(kind))?;
    let done = work();
    move_into_link_name_space(machine.as_fd(), Some(kind))?;
    done
}
