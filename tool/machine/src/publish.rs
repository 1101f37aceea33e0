//! `--publish [ADDRESS:]HOST:GUEST[/tcp|udp]`: a port of the machine that answers on the host (parity table 9.1).
//!
//! LinuxKit listens on every address of the host; here it is loopback unless an address is given, because a machine
//! under development is nobody else's business.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use crate::ParseError;

/// A forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Where the host listens.
    pub address: IpAddr,
    /// The host's port.
    pub host: u16,
    /// The machine's port.
    pub guest: u16,
    /// Of which protocol.
    pub protocol: Protocol,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

impl Publish {
    /// TCP on loopback.
    pub fn tcp(host: u16, guest: u16) -> Self {
        Self { address: IpAddr::V4(Ipv4Addr::LOCALHOST), host, guest, protocol: Protocol::Tcp }
    }
}

impl FromStr for Publish {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = |problem: String| ParseError::new(text, "published port", problem);
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(wrong(format!("`{other}` is neither `tcp` nor `udp`"))),
        };
        let (rest, guest) = ports.rsplit_once(':').ok_or_else(|| wrong("expected `HOST:GUEST`".into()))?;
        let (address, host) = match rest.rsplit_once(':') {
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), rest),
            Some((address, host)) => {
                let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
                (bare.parse().map_err(|_| wrong(format!("`{address}` is no IP address")))?, host)
            }
        };
        let port = |text: &str| match text.parse() {
            Ok(port) if port > 0 => Ok(port),
            _ => Err(wrong(format!("`{text}` is no port number (1 to 65535)"))),
        };
        Ok(Self { address, host: port(host)?, guest: port(guest)?, protocol })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        for (text, address, host, guest, protocol) in [
            ("8080:80", "127.0.0.1", 8080, 80, Protocol::Tcp),
            ("8080:80/tcp", "127.0.0.1", 8080, 80, Protocol::Tcp),
            ("53:5353/udp", "127.0.0.1", 53, 5353, Protocol::Udp),
            ("0.0.0.0:1:65535", "0.0.0.0", 1, 65535, Protocol::Tcp),
            ("[::1]:1:2", "::1", 1, 2, Protocol::Tcp),
        ] {
            let expected = Publish { address: address.parse().unwrap(), host, guest, protocol };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_ports_are_refused_with_a_sentence() {
        for (text, problem) in [
            ("80", "expected `HOST:GUEST`"),
            ("", "expected `HOST:GUEST`"),
            ("0:80", "`0` is no port number (1 to 65535)"),
            ("80:65536", "`65536` is no port number (1 to 65535)"),
            ("80:80/sctp", "`sctp` is neither `tcp` nor `udp`"),
            ("localhost:80:80", "`localhost` is no IP address"),
            ("80:", "`` is no port number (1 to 65535)"),
        ] {
            assert_eq!(text.parse::<Publish>().unwrap_err().problem, problem, "{text}");
        }
    }
}
