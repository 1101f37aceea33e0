//! The kernel's device events (NETLINK_KOBJECT_UEVENT): what appears after one has looked.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, netlink};

/// Receives device events from now on.
pub fn uevents() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let protocol = Some(netlink::KOBJECT_UEVENT);
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
    rustix::net::bind(socket.as_fd(), &netlink::SocketAddrNetlink::new(0, 1))?;
    Ok(socket)
}

/// Gives each event that waits to `each`. False when the socket held more than it could, and some are lost.
pub fn read_uevents(socket: impl AsFd, mut each: impl FnMut(&Uevent<'_>)) -> bool {
    let mut whole = true;
    let mut bytes = [0; 8192];
    loop {
        match rustix::net::recv(&socket, &mut bytes[..], RecvFlags::empty()) {
            Ok((count, _)) => each(&Uevent::parse(bytes.get(..count).unwrap_or_default())),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::NOBUFS) => whole = false,
            Err(_) => return whole,
        }
    }
}

/// A device event: fields `KEY=value`, each ended by a zero byte, after a first one that repeats action and path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Uevent<'a> {
    /// What has happened: `add`, `change`, `remove`.
    pub action: &'a str,
    /// What a driver is found by.
    pub modalias: Option<&'a str>,
    /// Bus or class.
    pub subsystem: Option<&'a str>,
    /// Its node, below `/dev`.
    pub device: Option<&'a str>,
}

impl<'a> Uevent<'a> {
    fn parse(bytes: &'a [u8]) -> Self {
        let mut event = Self::default();
        for field in bytes.split(|b| *b == 0).filter_map(|f| std::str::from_utf8(f).ok()) {
            match field.split_once('=') {
                Some(("ACTION", action)) => event.action = action,
                Some(("MODALIAS", alias)) if !alias.is_empty() => event.modalias = Some(alias),
                Some(("SUBSYSTEM", subsystem)) => event.subsystem = Some(subsystem),
                Some(("DEVNAME", device)) => event.device = Some(device),
                _ => {}
            }
        }
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_events() {
        let bytes = b"add@/devices/x\0ACTION=add\0SUBSYSTEM=input\0DEVNAME=input/event0\0MODALIAS=\0SEQNUM=7\0";
        assert_eq!(
            Uevent::parse(bytes),
            Uevent { action: "add", modalias: None, subsystem: Some("input"), device: Some("input/event0") }
        );
        assert_eq!(Uevent::parse(b"change@/x\0ACTION=change\0MODALIAS=virtio:d1v1").modalias, Some("virtio:d1v1"));
        assert_eq!(Uevent::parse(b"\xff\0"), Uevent::default());
    }
}
