//! The few system calls that rustix does not offer. Everything unsafe of this crate is here.

#![expect(unsafe_code, reason = "signals, ioctls, BPF and Landlock have no safe wrapper in rustix")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use bootwright_seccomp::Program;
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

/// Gives this process mounts of its own: a copy of those that it has.
pub fn own_mounts() -> io::Result<()> {
    // SAFETY: only sharing descriptors or memory with another thread could break, and neither is asked for.
    Ok(unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNS) }?)
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

/// `bpf(2)` and its numbers (linux/bpf.h).
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_ATTACH: libc::c_int = 8;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The part of `union bpf_attr` that loads a program.
#[repr(C)]
struct ProgramToLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// The part of `union bpf_attr` that attaches a program.
#[repr(C)]
struct ProgramToAttach {
    target: i32,
    program: i32,
    kind: u32,
    flags: u32,
}

/// Gives the kernel a program about the use of devices.
pub fn load_device_program(instructions: &[[u8; 8]]) -> io::Result<OwnedFd> {
    let program = ProgramToLoad {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads the structure, whose size it is told, and the instructions and text that it points to, all of
    // which live across the call; what it returns is a new descriptor.
    unsafe {
        let fd = libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const program, size_of::<ProgramToLoad>());
        descriptor(fd)
    }
}

/// Attaches such a program to a cgroup, beside those of the cgroups above and below it: all of them have to allow.
pub fn attach_device_program(program: impl AsFd, cgroup: impl AsFd) -> io::Result<()> {
    let attached = ProgramToAttach {
        target: cgroup.as_fd().as_raw_fd(),
        program: program.as_fd().as_raw_fd(),
        kind: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: the kernel reads the structure, whose size it is told, and writes nothing.
    let status =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attached, size_of::<ProgramToAttach>()) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `landlock_create_ruleset(2)`: asks for the version instead of making rules.
const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
/// `landlock_add_rule(2)`: a rule about what lies below a path.
const LANDLOCK_RULE_PATH_BENEATH: libc::c_int = 1;

/// `struct landlock_path_beneath_attr` (linux/landlock.h).
#[repr(C, packed)]
struct PathBeneath {
    rights: u64,
    parent: i32,
}

/// The version of the kernel's Landlock.
pub fn landlock_version() -> io::Result<u32> {
    let none = std::ptr::null::<u64>();
    // SAFETY: with this flag the kernel takes no pointer and reads nothing.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, LANDLOCK_CREATE_RULESET_VERSION) };
    u32::try_from(version).map_err(|_| io::Error::last_os_error())
}

/// Rules that take all these rights, until some are given back.
pub fn landlock_rules(rights: u64) -> io::Result<OwnedFd> {
    // SAFETY: the kernel reads as many bytes as it is told, which is the part of `struct landlock_ruleset_attr` about files;
    // what it returns is a new descriptor.
    unsafe {
        let fd = libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rights, size_of::<u64>(), 0u32);
        descriptor(fd)
    }
}

/// Gives back rights on what lies below an open directory, or on an open file.
pub fn landlock_allow(rules: impl AsFd, parent: impl AsFd, rights: u64) -> io::Result<()> {
    let (rules, rule) = (rules.as_fd().as_raw_fd(), PathBeneath { rights, parent: parent.as_fd().as_raw_fd() });
    // SAFETY: the kernel reads one structure of this kind and writes nothing.
    let status =
        unsafe { libc::syscall(libc::SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &raw const rule, 0u32) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Binds this thread, and what it executes, to the rules.
pub fn landlock_restrict(rules: impl AsFd) -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    let status = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_fd().as_raw_fd(), 0u32) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Binds this thread, and what it executes, to a filter of system calls.
pub fn install_filter(filter: &Program) -> io::Result<()> {
    let mut instructions = filter.instructions.clone();
    let len = u16::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len, filter: instructions.as_mut_ptr() };
    // SAFETY: the kernel reads the structure and as many instructions as it says, which are there until behind the call.
    let status =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, filter.flags, &raw const program) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor that a system call has just returned, or why it has not.
///
/// # Safety
///
/// Nobody else owns the descriptor.
unsafe fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(returned) {
        // SAFETY: as the caller says.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
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
