//! The lines on which the machine is spoken to, and one conversation on each.
//!
//! All are heard through an epoll that tells changes: a virtio-serial port whose other end is closed would otherwise wake
//! whoever waits for it without end. So it is remembered here what a line can do, until it says that it cannot.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use bootwright_bundle::control::{CONTROL_SOCKET, Control, Heard, Session};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::sys;

/// Bytes that are read from a line at a time, so that one leaves room for others.
const SHARE: usize = 64 * 1024;

/// What came of reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It goes on.
    Open,
    /// The other end of a port has been closed; another caller may come.
    Left,
    /// It is over.
    Closed,
}

/// A line.
#[derive(Debug)]
pub struct Line {
    fd: OwnedFd,
    is_port: bool,
    readable: bool,
    writable: bool,
    /// The conversation.
    pub session: Session,
}

impl Line {
    /// Opens the virtio-serial port.
    pub fn port(path: &std::path::Path) -> io::Result<Self> {
        let fd = rustix::fs::open(path, OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self::new(fd, true))
    }

    /// A connection.
    pub fn connection(fd: OwnedFd) -> Self {
        Self::new(fd, false)
    }

    fn new(fd: OwnedFd, is_port: bool) -> Self {
        Self { fd, is_port, readable: true, writable: true, session: Session::default() }
    }

    /// Watches it under a number.
    pub fn watch(&self, poll: impl AsFd, number: u64) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(poll, &self.fd, EventData::new_u64(number), flags)?)
    }

    /// Something about it has changed.
    pub fn changed(&mut self) {
        self.readable = true;
        self.writable = true;
    }

    /// Whether there is something to do at once.
    pub fn busy(&self) -> bool {
        self.readable && !self.session.full() || self.writable && !self.session.pending().is_empty()
    }

    /// Whether the other end has not been sent all yet. The zero behind which a caller begins is owed to nobody.
    pub fn owes(&self) -> bool {
        self.session.pending().len() > 1
    }

    /// Reads what there is, as far as its share reaches.
    pub fn read(&mut self, mut each: impl FnMut(Heard)) -> State {
        let mut bytes = [0; 8192];
        let mut total = 0;
        while self.readable && !self.session.full() && total < SHARE {
            match rustix::io::read(&self.fd, &mut bytes) {
                // Nobody is at the other end of the port.
                Ok(0) if self.is_port => {
                    self.readable = false;
                    self.session.reset();
                    return State::Left;
                }
                Ok(0) => return State::Closed,
                Ok(count) => {
                    total += count;
                    self.session.take(bytes.get(..count).unwrap_or_default(), &mut each);
                }
                Err(Errno::AGAIN) => self.readable = false,
                Err(Errno::INTR) => {}
                Err(_) => return State::Closed,
            }
        }
        State::Open
    }

    /// Writes what waits, as far as it is taken.
    pub fn write(&mut self) -> State {
        while self.writable && !self.session.pending().is_empty() {
            match rustix::io::write(&self.fd, self.session.pending()) {
                Ok(count) => self.session.sent(count),
                Err(Errno::AGAIN) => self.writable = false,
                Err(Errno::INTR) => {}
                Err(_) => return State::Closed,
            }
        }
        State::Open
    }
}

/// Where connections come in: the unix socket and the vsock that the settings ask for, and what went wrong.
pub fn listeners(settings: &Control) -> (Vec<OwnedFd>, Vec<String>) {
    let mut listeners = Vec::new();
    let mut troubles = Vec::new();
    let unix = settings.socket.then(|| (CONTROL_SOCKET.to_owned(), listen_unix()));
    let vsock = settings.vsock.map(|port| (format!("vsock port {port}"), sys::listen_vsock(port)));
    for (name, listener) in unix.into_iter().chain(vsock) {
        match listener {
            Ok(listener) => listeners.push(listener),
            Err(error) => troubles.push(format!("control channel: listening on {name}: {error}")),
        }
    }
    (listeners, troubles)
}

fn listen_unix() -> io::Result<OwnedFd> {
    // A former child's.
    let _ = std::fs::remove_file(CONTROL_SOCKET);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(CONTROL_SOCKET)?)?;
    // Root's alone: whoever may speak here may do everything that is allowed.
    rustix::fs::chmod(CONTROL_SOCKET, Mode::RUSR | Mode::WUSR)?;
    rustix::net::listen(&socket, 8)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    #[test]
    fn garbage_and_a_caller_that_does_not_read_hold_up_nobody() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut line = Line::connection(ours.into());
        let mut hello = Vec::new();
        let payload = br#"{"version":1,"nonce":5}"#.to_vec();
        bootwright_bundle::control::Frame { kind: bootwright_bundle::control::FrameKind::Hello, id: 0, payload }
            .encode(&mut hello);
        theirs.write_all(&[b"\0\xff\xffGET /\r\n\0".to_vec(), hello].concat()).unwrap();
        let mut heard = Vec::new();
        assert_eq!(line.read(|h| heard.push(h)), State::Open);
        assert!(matches!(&heard[..], [Heard::Greeting(greeting)] if greeting.nonce == 5));
        assert_eq!(line.write(), State::Open);
        assert!(!line.busy());
        // Requests that are not understood are answered; with nobody to read the answers, no more requests are read.
        let mut request = Vec::new();
        bootwright_bundle::control::Frame {
            kind: bootwright_bundle::control::FrameKind::Request,
            id: 1,
            payload: b"{}".to_vec(),
        }
        .encode(&mut request);
        for _ in 0..100_000 {
            line.changed();
            line.read(|_| {});
            line.write();
            if matches!(theirs.write(&request), Err(e) if e.kind() == io::ErrorKind::WouldBlock) {
                break;
            }
        }
        assert!(line.session.full() && line.session.pending().len() < 1 << 20);
        assert!(!line.busy());
        drop(theirs);
        line.changed();
        assert_eq!(line.write(), State::Closed);
    }
}
