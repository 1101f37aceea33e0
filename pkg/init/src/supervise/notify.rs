//! What a service says of itself: sd_notify(3), a datagram socket that the builder has bound into the container.
//!
//! Lines `READY=1`, `WATCHDOG=1` and `STATUS=TEXT` are understood; others are passed over. A service that floods its socket waits for
//! itself: so many datagrams are taken at a time, and the kernel keeps few.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use bootwright_bundle::{NOTIFY_DIRECTORY, NOTIFY_SOCKET};

/// Datagrams that are taken at a time.
const SHARE: usize = 16;
/// Bytes of a status.
const STATUS: usize = 200;

/// The socket of a service.
#[derive(Debug)]
pub struct Notify(UnixDatagram);

/// What a service has said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// It is ready.
    pub ready: bool,
    /// It is well.
    pub well: bool,
    /// What it does.
    pub status: Option<String>,
}

impl Notify {
    /// Makes the socket of a service, by the name of its directory.
    pub fn open(directory: &str) -> io::Result<Self> {
        let place = Path::new(NOTIFY_DIRECTORY).join(directory);
        fs::create_dir_all(&place)?;
        // By descriptor: an address has room for 107 bytes only.
        let place = fs::File::open(place)?;
        let path = format!("/proc/self/fd/{}/{NOTIFY_SOCKET}", place.as_raw_fd());
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path)?;
        socket.set_nonblocking(true)?;
        // Whoever the service runs as; nobody else sees the directory.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        Ok(Self(socket))
    }

    /// Takes a share of what was said.
    pub fn hear(&self) -> Said {
        let mut said = Said::default();
        let mut bytes = [0; 4096];
        for _ in 0..SHARE {
            let Ok(count) = self.0.recv(&mut bytes) else { break };
            understand(bytes.get(..count).unwrap_or_default(), &mut said);
        }
        said
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn understand(bytes: &[u8], said: &mut Said) {
    for line in String::from_utf8_lossy(bytes).lines() {
        match line.split_once('=') {
            Some(("READY", "1")) => said.ready = true,
            Some(("WATCHDOG", "1")) => said.well = true,
            Some(("STATUS", text)) => {
                said.status = Some(text.get(..text.floor_char_boundary(STATUS)).unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_service_may_say() {
        for (text, ready, well, status) in [
            ("READY=1", true, false, None),
            ("STATUS=loading\nREADY=1\n", true, false, Some("loading")),
            ("READY=0\nWATCHDOG=1\nMAINPID=4", false, true, None),
            ("WATCHDOG=trigger\nSTOPPING=1", false, false, None),
            ("STATUS=a=b\nSTATUS=", false, false, Some("")),
            ("", false, false, None),
        ] {
            let mut said = Said::default();
            understand(text.as_bytes(), &mut said);
            assert_eq!((said.ready, said.well, said.status.as_deref()), (ready, well, status), "{text}");
        }
        let mut said = Said::default();
        understand(format!("STATUS={}", "ü".repeat(STATUS)).as_bytes(), &mut said);
        assert_eq!(said.status.map(|status| status.len()), Some(STATUS));
    }
}
