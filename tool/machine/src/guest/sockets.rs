//! Sockets between QEMU and us: it connects, and we wait no longer for that than it lives.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use crate::Error;
use crate::control::Hub;
use crate::process::Process;

/// How long QEMU may take to connect to our socket.
pub(super) const CONNECT: Duration = Duration::from_secs(60);

/// The control channel, before QEMU has opened its end.
pub(super) struct Control {
    pub(super) port: UnixListener,
    pub(super) callers: UnixListener,
    pub(super) socket: ControlSocket,
}

/// Where others call the machine; goes with its directory.
#[derive(Debug)]
pub(super) struct ControlSocket {
    pub(super) path: PathBuf,
    _dir: TempDir,
}

impl Control {
    /// Listens for QEMU at `port`, and for callers at a socket of its own.
    pub(super) fn listen(port: &Path) -> Result<Self, Error> {
        let port = UnixListener::bind(port).map_err(Error::file("listen on", port))?;
        let dir = socket_dir()?;
        let path = dir.path().join("control");
        let callers = UnixListener::bind(&path).map_err(Error::file("listen on", &path))?;
        Ok(Self { port, callers, socket: ControlSocket { path, _dir: dir } })
    }

    pub(super) fn join(self, process: &Process) -> Result<ControlSocket, Error> {
        // None: QEMU has ended, and says why elsewhere.
        if let Some(stream) = accept(&self.port, process)? {
            Hub::start(stream, self.callers)?;
        }
        Ok(self.socket)
    }
}

/// A directory whose path fits a socket address (108 bytes), whatever `TMPDIR` is.
pub(super) fn socket_dir() -> Result<TempDir, Error> {
    let made = TempDir::with_prefix("bootwright-").map_err(Error::system("make a temporary directory"))?;
    if made.path().as_os_str().len() < 90 {
        return Ok(made);
    }
    TempDir::with_prefix_in("bootwright-", "/tmp").map_err(Error::system("make a temporary directory in /tmp"))
}

/// QEMU's connection; none when it ended, or did not connect in time.
pub(super) fn accept(listener: &UnixListener, process: &Process) -> Result<Option<UnixStream>, Error> {
    let pidfd = process.pidfd();
    let deadline = Instant::now() + CONNECT;
    loop {
        let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match poll(&mut fds, Some(&left(deadline))) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(e) => return Err(Error::system("wait for QEMU")(e.into())),
            Ok(0) => return Ok(None),
            Ok(_) => {}
        }
        if fds[0].revents().contains(PollFlags::IN) {
            let (stream, _) = listener.accept().map_err(Error::system("accept QEMU's connection"))?;
            return Ok(Some(stream));
        }
        return Ok(None);
    }
}

pub(super) fn left(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now());
    Timespec { tv_sec: left.as_secs() as _, tv_nsec: left.subsec_nanos() as _ }
}
