//! What needs `unsafe`: code that runs between fork and exec, and the address of a vsock.

#![expect(unsafe_code, reason = "Command::pre_exec, and an address that rustix does not know")]

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};

/// Lets the kernel kill the child when the thread that spawns it ends, however it ends.
pub(crate) fn die_with_parent(command: &mut Command) -> &mut Command {
    let parent: Pid = getpid();
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are two system calls that neither
    // allocate nor lock, and the error that may be made holds a number.
    unsafe {
        command.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // We may have died before the line above; the signal would then never come.
            if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(3)) }
        })
    }
}

/// `struct sockaddr_vm` (vsock(7)).
#[repr(C)]
struct VsockAddress {
    family: u16,
    reserved: u16,
    port: u32,
    cid: u32,
    flags: u8,
    zero: [u8; 3],
}

// SAFETY: the pointer is to a whole `struct sockaddr_vm` that lives as long as the call, and the length is its size.
unsafe impl SocketAddrArg for VsockAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        f(std::ptr::from_ref(self).cast(), size_of::<Self>() as SocketAddrLen)
    }
}

/// Connects to a port of a machine by vsock.
pub(crate) fn connect_vsock(cid: u32, port: u32) -> io::Result<OwnedFd> {
    let socket = rustix::net::socket_with(AddressFamily::VSOCK, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let family = AddressFamily::VSOCK.as_raw();
    rustix::net::connect(&socket, &VsockAddress { family, reserved: 0, port, cid, flags: 0, zero: [0; 3] })?;
    Ok(socket)
}
