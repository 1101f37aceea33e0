//! The few system calls that rustix does not offer. Everything unsafe of this crate is here.

#![expect(
    unsafe_code,
    reason = "kill(-1) and ioctls have no safe wrapper in rustix, and nothing safe runs before main"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// `LOOP_CTL_GET_FREE` (linux/loop.h).
const LOOP_CTL_GET_FREE: u32 = 0x4c82;
/// `LOOP_CONFIGURE` (linux/loop.h).
const LOOP_CONFIGURE: u32 = 0x4c0a;
/// `_IOWR(DM_IOCTL, 0, struct dm_ioctl)` (linux/dm-ioctl.h); the command is in the lowest byte.
const DM_IOCTL: u32 = 0xc138_fd00;

/// Bytes of `struct loop_config`.
pub const LOOP_CONFIG: usize = 304;
/// Bytes of a message to device-mapper and of its answer: `struct dm_ioctl` and what follows it.
pub const DM_MESSAGE: usize = 4096;

/// Sends a signal to every process but this one and the kernel's.
pub fn kill_all(signal: libc::c_int) {
    // SAFETY: kill takes no pointer.
    unsafe {
        libc::kill(-1, signal);
    }
}

/// Bytes that a terminal has not sent yet; 0 when it cannot say.
pub fn unsent(fd: impl AsFd) -> i32 {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int to the pointer, which is valid for it.
    let status = unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if status == 0 { bytes } else { 0 }
}

/// The number of a loop device that is free, made if there is none.
pub fn free_loop(control: impl AsFd) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    let number = unsafe { libc::ioctl(control.as_fd().as_raw_fd(), LOOP_CTL_GET_FREE as _) };
    u32::try_from(number).map_err(|_| io::Error::last_os_error())
}

/// Gives a loop device its file: `config` is a `struct loop_config`.
pub fn configure_loop(device: impl AsFd, config: &[u8; LOOP_CONFIG]) -> io::Result<()> {
    // SAFETY: LOOP_CONFIGURE reads one struct loop_config, whose size the array has, and writes nothing.
    let status = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), LOOP_CONFIGURE as _, config.as_ptr()) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends device-mapper a command with a message, which becomes the answer.
pub fn device_mapper(control: impl AsFd, command: u8, message: &mut [u8; DM_MESSAGE]) -> io::Result<()> {
    // `data_size`, by which the kernel knows how much it may read and write.
    for (to, from) in message.iter_mut().skip(12).zip((DM_MESSAGE as u32).to_ne_bytes()) {
        *to = from;
    }
    let request = DM_IOCTL | u32::from(command);
    // SAFETY: the kernel reads and writes `data_size` bytes at the pointer, which is the size of the array.
    let status = unsafe { libc::ioctl(control.as_fd().as_raw_fd(), request as _, message.as_mut_ptr()) };
    if status < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Called before `main` and before Rust's own start, which aborts when a standard descriptor is closed and `/dev/null` cannot be
/// opened in its place. That is so in PID 1 when the kernel found no console, or mounted a root with an empty `/dev`.
extern "C" fn mount_dev() {
    // SAFETY: plain system calls with constant strings, in a process that has one thread and has run nothing yet.
    unsafe {
        if libc::getpid() == 1 && (0..3).any(|fd| libc::fcntl(fd, libc::F_GETFD) < 0) {
            let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
            let options = c"mode=0755".as_ptr().cast();
            libc::mount(c"devtmpfs".as_ptr(), c"/dev".as_ptr(), c"devtmpfs".as_ptr(), flags, options);
        }
    }
}

#[used]
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = mount_dev;
