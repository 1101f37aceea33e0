//! The few system calls that rustix does not offer. Everything unsafe of this crate is here.

#![expect(unsafe_code, reason = "signalfd and signal dispositions have no safe wrapper in rustix")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Blocks the given signals and returns a descriptor from which [`read_signal`] takes them. Children inherit the mask and
/// have to call [`default_signals`].
pub fn signal_fd(signals: &[libc::c_int]) -> io::Result<OwnedFd> {
    // SAFETY: `set` is a plain value that sigemptyset initialises; every pointer lives across the calls.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in signals {
            libc::sigaddset(&raw mut set, *signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

/// The next pending signal, or none.
pub fn read_signal(fd: impl AsFd) -> Option<libc::c_int> {
    // SAFETY: the buffer is a signalfd_siginfo and its exact size is passed; all bit patterns are valid for it.
    unsafe {
        let mut info: libc::signalfd_siginfo = mem::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        let read = libc::read(fd.as_fd().as_raw_fd(), (&raw mut info).cast(), size);
        (usize::try_from(read) == Ok(size)).then_some(info.ssi_signo.cast_signed())
    }
}

/// Undoes what programs of ours inherit and a container must not: the signals that PID 1 blocks, and SIGPIPE, which
/// Rust's runtime ignores.
pub fn default_signals() {
    // SAFETY: `none` is a plain value that sigemptyset initialises; SIG_DFL is a valid disposition and no handler runs.
    unsafe {
        let mut none: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Listens for connections by vsock (vsock(7)) from anywhere.
pub fn listen_vsock(port: u32) -> io::Result<OwnedFd> {
    let socket = vsock(libc::SOCK_NONBLOCK, libc::bind, libc::VMADDR_CID_ANY, port)?;
    // SAFETY: listen takes no pointer.
    let status = unsafe { libc::listen(socket.as_raw_fd(), 8) };
    if status == 0 { Ok(socket) } else { Err(io::Error::last_os_error()) }
}

/// Connects by vsock to a port of the machine with an address, which is 1 for this machine.
pub fn connect_vsock(address: u32, port: u32) -> io::Result<OwnedFd> {
    vsock(0, libc::connect, address, port)
}

type WithAddress = unsafe extern "C" fn(libc::c_int, *const libc::sockaddr, libc::socklen_t) -> libc::c_int;

fn vsock(flags: libc::c_int, with: WithAddress, cid: u32, port: u32) -> io::Result<OwnedFd> {
    // SAFETY: `with` is bind or connect, which read an address of the size that is passed; it is a plain value that lives as
    // long as the call. The descriptor is owned as soon as there is one.
    unsafe {
        let fd = libc::socket(libc::AF_VSOCK, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(fd);
        let mut address: libc::sockaddr_vm = mem::zeroed();
        address.svm_family = libc::AF_VSOCK as libc::sa_family_t;
        address.svm_port = port;
        address.svm_cid = cid;
        let size = size_of::<libc::sockaddr_vm>() as libc::socklen_t;
        match with(socket.as_raw_fd(), (&raw const address).cast(), size) {
            0 => Ok(socket),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
