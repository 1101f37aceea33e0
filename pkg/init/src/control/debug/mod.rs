//! A debug container: files that a caller brings, in memory, and a program in them that is root of the machine.
//!
//! Two processes, the same binary. The keeper ([`run`]) makes a cgroup with a bound on memory and starts the other in the pid
//! namespace that is asked for; when that has ended, or it is asked to end itself, it kills all that is left and
//! removes the cgroup. The other ([`inside`]) makes a mount namespace with a tmpfs for root, unpacks into it what comes on standard
//! input, and becomes the program. So nothing of it is in the machine's mounts, and its memory is free when it ends.

mod unpack;

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use bootwright_bundle::control::{DebugContainer, Refusal};
use rustix::fs::Mode;
use rustix::process::{Pid, Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::exec::{NOT_EXECUTED, wait};
use crate::container::namespace::{Kind, NETWORK};
use crate::mounts::{Options, mount};
use crate::{applet, cgroups, report, sys};

/// Where the machine's root is, below the container's.
const MACHINE: &str = "machine";
/// Directories that are the machine's, whatever is brought. They are below [`ROOT`] from the beginning.
const KEPT: [&str; 4] = ["dev", "proc", "sys", MACHINE];
/// Where the container's root is mounted while it is filled: any directory that every machine has, and that is no use for that
/// long.
const ROOT: &str = "/tmp";
const MIB: u64 = 1 << 20;

/// Bytes of memory that a debug container gets, if its files fit: they may have three quarters of that.
pub fn bound(container: &DebugContainer) -> Result<u64, Refusal> {
    let bound = cgroups::spare().ok_or_else(|| Refusal::new("the machine does not know how much memory is free"))?;
    if container.memory <= for_files(bound) {
        return Ok(bound);
    }
    let (files, room) = (container.memory.div_ceil(MIB), for_files(bound) / MIB);
    let refusal = Refusal::new(format!("the files take {files} MiB of memory, and the machine has room for {room}"));
    Err(refusal.hint("a debug container gets half of the memory that is free, three quarters of that for its files"))
}

fn for_files(bound: u64) -> u64 {
    bound / 4 * 3
}

/// Keeps a debug container: the process whose namespaces it shares or `-`, its bound in bytes, and itself as JSON.
pub fn run(process: &str, bound: &str, container: &str) -> ExitCode {
    // From now on it is heard of by a descriptor, and what is begun here is brought to its end.
    let _signals = sys::signal_fd(&[libc::SIGCHLD, libc::SIGTERM]);
    let _ = set_parent_process_death_signal(Some(Signal::TERM));
    let cgroup = cgroups::path("", &format!("debug/{}", std::process::id()));
    let code = match start(process, bound, container, &cgroup) {
        Ok(pid) => wait(pid),
        Err(error) => {
            eprintln!("bootwright: the debug container was not started: {error}");
            NOT_EXECUTED
        }
    };
    if cgroups::ran_out_of_memory(&cgroup) {
        let mib = bound.parse().unwrap_or(0) / MIB;
        eprintln!("bootwright: the debug container ran out of memory: it had {mib} MiB");
    }
    cgroups::remove(&cgroup);
    ExitCode::from(code)
}

fn start(process: &str, bound: &str, container: &str, cgroup: &str) -> io::Result<Pid> {
    cgroups::make_spare(cgroup, bound)?;
    if process != "-" {
        // It holds for children.
        let namespace = File::open(format!("/proc/{process}/ns/pid"))?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::ProcessID))?;
    }
    let child = applet::again(&["debug-inside", cgroup, process, bound, container]).spawn()?;
    // Whoever types learns that the program reads no more.
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| ErrorKind::NotFound.into())
}

/// Becomes the program.
pub fn inside(cgroup: &str, process: &str, bound: &str, container: &str) -> ExitCode {
    sys::default_signals();
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let Err(error) = enter(cgroup, process, bound, container);
    eprintln!("bootwright: {error}");
    ExitCode::from(NOT_EXECUTED)
}

fn enter(cgroup: &str, process: &str, bound: &str, container: &str) -> Result<Infallible, String> {
    // First, so that all that follows is counted there.
    said("entering its cgroup", fs::write(report::cgroup_file(cgroup, "cgroup.procs"), "0"))?;
    let container: DebugContainer = said("reading what to run", serde_json::from_str(container))?;
    let namespaces = said("finding its namespaces", namespaces(process))?;
    said("making its root", make_root(bound))?;
    let root = said("opening its root", File::open(ROOT))?;
    let stdin = said("reading its files", rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3))?;
    let umask = rustix::process::umask(Mode::empty());
    unpack::unpack(File::from(stdin), root.as_fd(), &KEPT).map_err(|error| error.to_string())?;
    rustix::process::umask(umask);
    for (namespace, kind) in namespaces {
        let moved = move_into_link_name_space(namespace.as_fd(), Some(kind));
        said("entering its namespaces", moved)?;
    }
    said("entering its root", enter_root())?;
    said("taking its terminal", take_terminal())?;
    let Some((program, arguments)) = container.argv.split_first() else {
        return Err("there is nothing to run".to_owned());
    };
    let directory = if Path::new(&container.cwd).is_dir() { &container.cwd } else { "/" };
    let env = container.env.iter().filter_map(|variable| variable.split_once('='));
    let error = Command::new(program).args(arguments).env_clear().envs(env).current_dir(directory).exec();
    Err(format!("`{program}` was not executed: {error}"))
}

fn said<T>(doing: &str, result: Result<T, impl std::fmt::Display>) -> Result<T, String> {
    result.map_err(|error| format!("{doing}: {error}"))
}

/// The network and the IPC of a process, open.
fn namespaces(process: &str) -> io::Result<Vec<(File, LinkNameSpaceType)>> {
    const IPC: Kind = (LinkNameSpaceType::InterProcessCommunication, "ipc");
    let kinds = [NETWORK, IPC].into_iter().filter(|_| process != "-");
    kinds.map(|(kind, name)| Ok((File::open(format!("/proc/{process}/ns/{name}"))?, kind))).collect()
}

/// An empty root in a mount namespace of this process, which hears of what the machine mounts and unmounts, and not the other way.
fn make_root(bound: &str) -> io::Result<()> {
    sys::own_mounts()?;
    let root = Path::new(ROOT);
    mount("", Path::new("/"), "", &Options::parse(&["rslave"]))?;
    let size = for_files(bound.parse().unwrap_or(0));
    mount("debug", root, "tmpfs", &Options::parse(&["mode=755", &format!("size={size}")]))?;
    KEPT.iter().try_for_each(|name| fs::create_dir(root.join(name)))
}

/// Makes it the root, with the machine's below.
fn enter_root() -> io::Result<()> {
    let root = Path::new(ROOT);
    for (kind, source, target) in [
        ("proc", "proc", "proc"),
        // Not the machine's: the network of another namespace is seen there.
        ("sysfs", "sysfs", "sys"),
        ("rbind", "/sys/fs/cgroup", "sys/fs/cgroup"),
        ("rbind", "/dev", "dev"),
    ] {
        mount(source, &root.join(target), kind, &Options::parse::<&str>(&[]))?;
    }
    rustix::process::pivot_root(root, root.join(MACHINE))?;
    std::env::set_current_dir("/")
}

/// Makes a terminal on standard output the controlling one, and standard input.
fn take_terminal() -> io::Result<()> {
    let terminal = rustix::stdio::stdout();
    if rustix::termios::isatty(terminal) {
        rustix::process::setsid()?;
        rustix::process::ioctl_tiocsctty(terminal)?;
        rustix::stdio::dup2_stdin(terminal)?;
    }
    Ok(())
}
