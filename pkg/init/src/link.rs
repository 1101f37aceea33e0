//! Network interfaces by rtnetlink (rtnetlink(7)): up, made, moved into a namespace.
//!
//! A request is a header, an `ifinfomsg` and attributes, each a length, a type and bytes padded to four; the answer to a
//! request with NLM_F_ACK is an error number. That is all that is needed here, so it is written out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

const RTM_NEWLINK: u16 = 16;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_PID: u16 = 19;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFF_UP: u32 = 1;

/// Sets an interface up.
pub fn up(name: &str) -> io::Result<()> {
    request(0, &Link { up: true, ..Link::named(name) })
}

/// Moves an interface into the network namespace of a process.
pub fn into_namespace(name: &str, pid: u32) -> io::Result<()> {
    request(0, &Link { namespace: Some(pid), ..Link::named(name) })
}

/// Makes an interface of a kind, with a peer in this namespace for a veth, here or in the namespace of a process.
pub fn make(name: &str, kind: &str, peer: Option<&str>, namespace: Option<u32>) -> io::Result<()> {
    request(NLM_F_CREATE | NLM_F_EXCL, &Link { kind: Some((kind, peer)), namespace, ..Link::named(name) })
}

#[derive(Default)]
struct Link<'a> {
    name: &'a str,
    up: bool,
    kind: Option<(&'a str, Option<&'a str>)>,
    namespace: Option<u32>,
}

impl<'a> Link<'a> {
    fn named(name: &'a str) -> Self {
        Self { name, ..Self::default() }
    }
}

/// The bytes of a request.
fn message(flags: u16, link: &Link<'_>) -> Vec<u8> {
    let mut body = info(link.up);
    attribute(&mut body, IFLA_IFNAME, &terminated(link.name));
    if let Some(pid) = link.namespace {
        attribute(&mut body, IFLA_NET_NS_PID, &pid.to_ne_bytes());
    }
    if let Some((kind, peer)) = link.kind {
        let mut about = Vec::new();
        attribute(&mut about, IFLA_INFO_KIND, kind.as_bytes());
        if let Some(peer) = peer {
            let mut other = info(false);
            attribute(&mut other, IFLA_IFNAME, &terminated(peer));
            // The peer's place has to be said, or it follows the first end into its namespace.
            attribute(&mut other, IFLA_NET_NS_PID, &std::process::id().to_ne_bytes());
            let mut data = Vec::new();
            attribute(&mut data, VETH_INFO_PEER, &other);
            attribute(&mut about, IFLA_INFO_DATA, &data);
        }
        attribute(&mut body, IFLA_LINKINFO, &about);
    }
    let mut bytes = Vec::with_capacity(16 + body.len());
    bytes.extend(u32::try_from(16 + body.len()).unwrap_or(u32::MAX).to_ne_bytes());
    bytes.extend(RTM_NEWLINK.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    bytes.extend(1u32.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// `struct ifinfomsg`: family, padding, type, index, flags, mask of flags to change.
fn info(up: bool) -> Vec<u8> {
    let flags = if up { IFF_UP } else { 0 };
    [0, 0, flags, flags].into_iter().flat_map(u32::to_ne_bytes).collect()
}

fn attribute(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    bytes.extend(u16::try_from(4 + value.len()).unwrap_or(u16::MAX).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn terminated(name: &str) -> Vec<u8> {
    name.bytes().chain([0]).collect()
}

fn request(flags: u16, link: &Link<'_>) -> io::Result<()> {
    let socket = open()?;
    rustix::net::send(&socket, &message(flags, link), SendFlags::empty())?;
    let mut answer = [0u8; 4096];
    let (_, length) = rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    status(answer.get(..length).unwrap_or_default())
}

fn open() -> io::Result<OwnedFd> {
    // NETLINK_ROUTE is 0, rustix's none.
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(socket.as_fd(), &netlink::SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

/// What an answer says.
fn status(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
    let number = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    match (kind, number) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(errno)) => Err(io::Error::from_raw_os_error(errno.saturating_neg())),
        _ => Err(io::Error::other("netlink gave no status")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_padded_and_nested() {
        let bytes = message(0, &Link { up: true, ..Link::named("lo") });
        assert_eq!(bytes.len(), 16 + 16 + 8);
        assert_eq!(bytes.get(..4), Some(&40u32.to_ne_bytes()[..]));
        assert_eq!(bytes.get(32..), Some(&[7, 0, 3, 0, b'l', b'o', 0, 0][..]));
        assert_eq!(message(0, &Link { kind: Some(("veth", Some("p"))), ..Link::named("v") }).len() % 4, 0);
    }

    #[test]
    fn answers() {
        let mut answer = vec![0u8; 36];
        answer[4] = 2;
        assert!(status(&answer).is_ok());
        answer[16..20].copy_from_slice(&(-17i32).to_ne_bytes());
        assert_eq!(status(&answer).unwrap_err().raw_os_error(), Some(17));
        assert!(status(&[]).is_err());
    }
}
