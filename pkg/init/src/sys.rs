//! The few system calls that rustix does not offer. Everything unsafe of this crate is here.

#![expect(
    unsafe_code,
    reason = "signalfd, signal dispositions, real-time signals and ioctls have no safe wrapper in rustix"
)]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::process::Pid;

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

/// `WDIOC_SETTIMEOUT`: `_IOWR('W', 6, int)` (linux/watchdog.h).
const WDIOC_SETTIMEOUT: libc::c_ulong = 0xc004_5706;

/// Sets the timeout of a watchdog, in seconds, and returns what the device made of it.
pub fn set_watchdog_timeout(device: impl AsFd, seconds: u16) -> io::Result<u32> {
    let mut value = libc::c_int::from(seconds);
    // SAFETY: the request reads and writes one int, which lives across the call.
    let done = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), WDIOC_SETTIMEOUT as _, &raw mut value) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(value.try_into().unwrap_or(0)) }
}

/// Sends a signal of any number, also a real-time one, which rustix's type does not name. A process that is gone needs none.
pub fn kill(process: Pid, signal: libc::c_int) {
    // SAFETY: kill takes two integers.
    let _ = unsafe { libc::kill(process.as_raw_nonzero().get(), signal) };
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
