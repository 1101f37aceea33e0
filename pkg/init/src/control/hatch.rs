//! How a terminal comes out of a container: the container library makes it there, and hands its other end over by a socket.

use std::fs;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, listen, recvmsg, socket_with,
};

/// Where the container library hands over a terminal that it has made in the container.
#[derive(Debug)]
pub struct Hatch {
    /// Its socket.
    pub path: PathBuf,
    listener: OwnedFd,
    connection: Option<OwnedFd>,
}

impl Hatch {
    /// Listens.
    pub fn open() -> std::io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(format!("/run/bootwright/terminal-{}-{number}.sock", std::process::id()));
        let _ = fs::remove_file(&path);
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::STREAM;
        let listener = socket_with(AddressFamily::UNIX, kind, flags, None)?;
        bind(&listener, &SocketAddrUnix::new(&path)?)?;
        listen(&listener, 1)?;
        Ok(Self { path, listener, connection: None })
    }

    /// What is worth waiting for.
    pub fn waits_for(&self) -> &OwnedFd {
        self.connection.as_ref().unwrap_or(&self.listener)
    }

    /// The terminal, when it has come.
    pub fn take(&mut self) -> Option<OwnedFd> {
        if self.connection.is_none() {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            self.connection = accept_with(&self.listener, flags).ok();
        }
        let mut bytes = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        recvmsg(self.connection.as_ref()?.as_fd(), &mut [IoSliceMut::new(&mut bytes)], &mut control, flags).ok()?;
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let terminal = fds.flatten().last()?;
        rustix::io::ioctl_fionbio(&terminal, true).ok()?;
        Some(terminal)
    }
}

impl Drop for Hatch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}
