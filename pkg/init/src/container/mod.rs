//! One container, created and started: the program that init runs as a short-lived child of itself.
//!
//! The container library clones, may abort, and needs memory, so none of it is in PID 1. The child prepares what
//! `runtime.json` asks for, creates the container, gives it interfaces and binds its namespaces, starts it, and ends;
//! then the container's process has no parent left and PID 1 inherits it. What PID 1 must know it reads from a pipe, which
//! is the child's standard input: lines `cgroup PATH`, `pid N`, `started`, `error TEXT`. Standard output and error are
//! the container's.

mod config;
mod confine;
mod dev;
mod landlock;
mod log;
pub mod namespace;
mod prepare;
mod propagation;
mod resources;

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bootwright_bundle::{BindNs, CONFIG_JSON, Interface, RUNTIME_JSON, Runtime, SUPERVISION_JSON, Supervision};
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use serde_json::Value;

use crate::{cgroups, link, sys};

pub use config::Config;
pub use confine::Confined;
pub use dev::run as mount_dev;

/// Where the library keeps what it knows of containers, and we the bundles that it gets.
pub const STATE: &str = "/run/bootwright/containers";
/// What is mounted on `/dev` by a hook.
const DEV_JSON: &str = "dev.json";
/// Environment variable that makes the child abort in the middle of creating the container.
pub const ABORT: &str = "BOOTWRIGHT_TEST_ABORT";

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// A file of the bundle.
    #[error("reading `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the bundle that is not what it should be.
    #[error("`{path}` is not valid")]
    Parse {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// A step of `runtime.json`.
    #[error("{what}")]
    Step {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Landlock is asked for.
    #[error(
        "it has `landlock`, and this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and `landlock` among the words of \
         `lsm=` on its command line)"
    )]
    NoLandlock,
    /// What is to bind its processes.
    #[error("{0}")]
    Confine(String),
    /// Nothing to run.
    #[error("`{0}` names no program: `process.args` is empty")]
    NoCommand(PathBuf),
    /// The container library.
    #[error("{what}")]
    Library {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: Box<libcontainer::error::LibcontainerError>,
    },
}

/// Runs the program: `kind` is the directory below `/containers`, `directory` the bundle's name.
pub fn run(kind: &str, directory: &str) -> ExitCode {
    let Ok(mut status) = take_status() else { return ExitCode::FAILURE };
    sys::default_signals();
    log::to_stderr();
    match create_and_start(kind, directory, &mut status) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(status, "error {}", chain(&error).replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// Takes the status pipe from standard input and leaves `/dev/null` there for the container.
fn take_status() -> io::Result<File> {
    let status: OwnedFd = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(File::from(status))
}

fn create_and_start(kind: &str, directory: &str, status: &mut File) -> Result<(), ContainerError> {
    let (bundle, mut config) = read(kind, directory)?;
    if !config.has_command() {
        return Err(ContainerError::NoCommand(bundle.join(CONFIG_JSON)));
    }
    let runtime: Runtime = read_json_if_there(&bundle.join(RUNTIME_JSON))?;
    if std::env::var_os(ABORT).is_some() {
        config.abort();
    }
    let confined = confine(&bundle, &mut config)?;
    tell(status, &format!("cgroup {}", config.cgroup()));
    make_cgroup(&mut config, &bundle)?;
    let rootfs = config.root();
    prepare::all(&runtime, &rootfs)?;
    if let Some((user, group)) = config.mapped_root() {
        // Or it could not make mount points. A read-only root has them, and stays as it is.
        let _ = std::os::unix::fs::chown(&rootfs, Some(user), Some(group));
    }
    let state = Path::new(STATE).join(kind);
    let own_bundle = Path::new(STATE).join("bundles").join(kind).join(directory);
    let dev = config.cover_dev(&own_bundle.join(DEV_JSON));
    write_bundle(&own_bundle, &config, &dev)?;
    give_output(config.user());
    // What a creation that died left behind would be in the way.
    let _ = fs::remove_dir_all(state.join(directory));
    let library = |what| move |source| ContainerError::Library { what, source: Box::new(source) };
    let mut container = ContainerBuilder::new(directory.to_owned(), SyscallType::default())
        .with_executor(confined)
        .with_root_path(state)
        .map_err(library("preparing the container"))?
        .as_init(own_bundle)
        .with_systemd(false)
        .build()
        .map_err(library("creating the container"))?;
    if let Some(pid) = container.pid() {
        tell(status, &format!("pid {pid}"));
        connect(&runtime, &container)?;
        if config.has_own_network() {
            let up = namespace::within(namespace::NETWORK, pid.as_raw().cast_unsigned(), || link::up("lo"));
            up.map_err(|source| ContainerError::Step { what: "setting `lo` up".to_owned(), source })?;
        }
        let changed = propagation::apply(&config.propagation(), pid.as_raw().cast_unsigned());
        let what = || "setting how mounts are passed on".to_owned();
        changed.map_err(|source| ContainerError::Step { what: what(), source })?;
    }
    container.start().map_err(library("starting the container"))?;
    tell(status, "started");
    Ok(())
}

/// A container's bundle, and its configuration as this machine has it.
pub fn read(kind: &str, directory: &str) -> Result<(PathBuf, Config), ContainerError> {
    let bundle = Path::new(bootwright_bundle::CONTAINERS).join(kind).join(directory);
    let mut config: Config = read_json(&bundle.join(CONFIG_JSON))?;
    config.complete(&bundle, &format!("/{kind}/{directory}"));
    Ok((bundle, config))
}

/// What binds the processes of a container. The configuration is from then on one for the library, which knows nothing of it.
pub fn confine(bundle: &Path, config: &mut Config) -> Result<Confined, ContainerError> {
    let supervision: Supervision = read_json_if_there(&bundle.join(SUPERVISION_JSON))?;
    if supervision.landlock.is_some() && !landlock::is_supported() {
        return Err(ContainerError::NoLandlock);
    }
    let seccomp = config.take_seccomp();
    Confined::new(seccomp.as_ref(), supervision.landlock, config.process()).map_err(ContainerError::Confine)
}

/// What binds those that join a container, and its own process, as one that joins.
pub fn joining(kind: &str, directory: &str) -> Result<(Confined, Value), ContainerError> {
    let (bundle, mut config) = read(kind, directory)?;
    let confined = confine(&bundle, &mut config)?;
    Ok((confined, std::mem::take(config.process())))
}

/// The container's cgroup, before the library puts its process there: devices are to be refused from the beginning.
fn make_cgroup(config: &mut Config, bundle: &Path) -> Result<(), ContainerError> {
    let parse = |source| ContainerError::Parse { path: bundle.join(CONFIG_JSON), source };
    let rules = config.device_rules().map_err(parse)?;
    let cgroup = config.cgroup().to_owned();
    let what = || format!("making the cgroup `{cgroup}`");
    cgroups::make_own(&cgroup, rules).map_err(|source| ContainerError::Step { what: what(), source })?;
    for trouble in config.adapt_resources(|file| cgroups::has(&cgroup, file)) {
        // The container's own output, so that it is said with its name.
        let _ = writeln!(io::stderr(), "{trouble}");
    }
    Ok(())
}

fn tell(status: &mut File, line: &str) {
    // Whole lines: PID 1 may read between two writes.
    let _ = status.write_all(format!("{line}\n").as_bytes());
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, ContainerError> {
    let bytes = fs::read(path).map_err(|source| ContainerError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| ContainerError::Parse { path: path.to_owned(), source })
}

/// As [`read_json`], but bundles that others made may lack the file.
fn read_json_if_there<T: serde::de::DeserializeOwned + Default>(path: &Path) -> Result<T, ContainerError> {
    match read_json(path) {
        Err(ContainerError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        other => other,
    }
}

/// The bundle that the library gets: the completed configuration, on a tmpfs, because the root is read-only.
fn write_bundle(directory: &Path, config: &Config, dev: &[u8]) -> Result<(), ContainerError> {
    let written = fs::create_dir_all(directory)
        .and_then(|()| fs::write(directory.join(CONFIG_JSON), config.to_json()))
        .and_then(|()| if dev.is_empty() { Ok(()) } else { fs::write(directory.join(DEV_JSON), dev) });
    written.map_err(|source| ContainerError::Step { what: format!("writing `{}`", directory.display()), source })
}

/// Lets a container that does not run as root open its own `/dev/stdout`.
fn give_output((user, group): (u32, u32)) {
    if user != 0 {
        let (user, group) = (rustix::fs::Uid::from_raw(user), rustix::fs::Gid::from_raw(group));
        let _ = rustix::fs::fchown(rustix::stdio::stdout(), Some(user), Some(group));
        let _ = rustix::fs::fchown(rustix::stdio::stderr(), Some(user), Some(group));
    }
}

/// Interfaces and bound namespaces, between create and start.
fn connect(runtime: &Runtime, container: &Container) -> Result<(), ContainerError> {
    let Some(pid) = container.pid().map(|p| p.as_raw().cast_unsigned()) else { return Ok(()) };
    for interface in runtime.interfaces.iter().flatten() {
        let what = || format!("giving the container the interface `{}`", interface.name);
        give(interface, pid).map_err(|source| ContainerError::Step { what: what(), source })?;
    }
    let BindNs { cgroup, ipc, mnt, net, pid: pid_ns, user, uts } = &runtime.bind_ns;
    for (kind, path) in
        [("cgroup", cgroup), ("ipc", ipc), ("mnt", mnt), ("net", net), ("pid", pid_ns), ("user", user), ("uts", uts)]
    {
        if !path.is_empty() {
            prepare::bind_namespace(pid, kind, Path::new(path)).map_err(|source| ContainerError::Step {
                what: format!("binding the {kind} namespace on `{path}`"),
                source,
            })?;
        }
    }
    Ok(())
}

fn give(interface: &Interface, pid: u32) -> io::Result<()> {
    let Interface { name, add, peer, create_in_root } = interface;
    if add.is_empty() {
        return link::into_namespace(name, pid);
    }
    let peer = Some(peer.as_str()).filter(|p| !p.is_empty());
    if *create_in_root {
        link::make(name, add, peer, None)?;
        link::into_namespace(name, pid)
    } else {
        link::make(name, add, peer, Some(pid))
    }
}

/// An error and its causes, as one sentence. The library's own texts repeat their causes; those are left out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    // What the library puts around every error of the container's own process.
    text.replace("exec process failed with error error in executing process : ", "")
}
