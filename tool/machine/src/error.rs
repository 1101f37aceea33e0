//! What can go wrong with a machine that we start, apart from how it ends by itself (that is an [`crate::Outcome`]).

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;

use crate::guest::SILENT;
use crate::qmp::QmpError;

/// Running a machine failed on our side.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No QEMU of that name.
    #[error("`{program}` was not found")]
    NoQemu {
        /// What was to be executed.
        program: PathBuf,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// QEMU could not be executed.
    #[error("cannot start `{program}`")]
    Spawn {
        /// What was to be executed.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// QEMU ended by itself, without the machine having ended.
    #[error("`{program}` ended with {status}{}", said(.stderr))]
    Died {
        /// What was executed.
        program: PathBuf,
        /// How.
        status: ExitStatus,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// QEMU was started and never spoke on its control socket.
    #[error("`{program}` did not answer on its control socket within {seconds} s{}", said(.stderr))]
    Mute {
        /// What was executed.
        program: PathBuf,
        /// For how long we waited.
        seconds: u64,
        /// What it wrote to its standard error.
        stderr: String,
    },
    /// The conversation with QEMU failed.
    #[error("cannot control the machine")]
    Qmp(#[from] QmpError),
    /// The accelerator that was asked for cannot run this kernel.
    #[error("the machine does not run under {accelerator}: {reason}")]
    Accelerator {
        /// Which.
        accelerator: crate::Accelerator,
        /// What happened.
        reason: String,
    },
    /// A file or directory of ours.
    #[error("cannot {action} `{path}`")]
    File {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A disk that does not exist and has no size with which it could be made.
    #[error("the disk `{path}` does not exist")]
    NoDisk {
        /// Where.
        path: PathBuf,
    },
    /// `qemu-img` failed.
    #[error("`qemu-img` could not make `{path}`{}", said(.stderr))]
    QemuImg {
        /// The disk.
        path: PathBuf,
        /// What it said.
        stderr: String,
    },
    /// Options that contradict each other.
    #[error("{0}")]
    Conflict(&'static str),
    /// No machine answers by vsock.
    #[error("cannot connect to `{machine}`")]
    Vsock {
        /// As it was written.
        machine: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No machine of that name runs.
    #[error("no machine `{name}` runs")]
    NoMachine {
        /// The name.
        name: String,
        /// Those that run.
        running: Vec<String>,
    },
    /// The root needs more memory than the machine gets.
    #[error("too little memory: the machine needs {needed} MiB and gets {given} MiB")]
    LittleMemory {
        /// MiB that it needs.
        needed: u64,
        /// MiB that it gets.
        given: u64,
    },
    /// A pipe, a thread or a poll.
    #[error("cannot {action}")]
    System {
        /// What was tried, as an infinitive.
        action: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What the user can do about it, where that is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoQemu { package, .. } => Some(format!("apt-get install {package}")),
            error if error.is_port_taken() => {
                Some("another program listens on that port; choose another one with `--publish`".into())
            }
            Self::Died { stderr, .. } if stderr.contains("/dev/kvm") || stderr.contains("KVM") => {
                Some("`--accel tcg` runs without KVM".into())
            }
            Self::Accelerator { .. } => {
                Some("`--accel auto` falls back to emulation, `--accel tcg` uses it at once".into())
            }
            Self::NoDisk { path } => Some(format!("`--disk {},size=1G` makes it", path.display())),
            Self::Vsock { .. } => Some(
                "the machine needs a vsock (`run --device vhost-vsock-pci,guest-cid=CID`), its spec \
                 `control: {vsock: PORT}`, and this host the module `vhost_vsock`"
                    .into(),
            ),
            Self::NoMachine { running, .. } if running.is_empty() => {
                Some("none runs that has a control channel: `bootwright run NAME` starts one".into())
            }
            Self::NoMachine { running, .. } => {
                let names: Vec<String> = running.iter().map(|name| format!("`{name}`")).collect();
                Some(format!("those that run are {}", names.join(", ")))
            }
            Self::LittleMemory { needed, .. } => Some(format!("`--mem {needed}`")),
            Self::QemuImg { .. } => Some("apt-get install qemu-utils, or use `format=raw`".into()),
            _ => None,
        }
    }

    /// Whether another program listens on a port that was to be published.
    pub fn is_port_taken(&self) -> bool {
        matches!(self, Self::Died { stderr, .. } if stderr.contains("host forwarding rule"))
    }

    /// A machine that said nothing under an accelerator.
    pub fn silent(accelerator: crate::Accelerator) -> Self {
        Self::Accelerator { accelerator, reason: SILENT.to_owned() }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    pub(crate) fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// A value of the command line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is no {what}: {problem}")]
pub struct ParseError {
    /// The value as given.
    pub value: String,
    /// What it should be.
    pub what: &'static str,
    /// What is wrong and what is allowed.
    pub problem: String,
}

impl ParseError {
    pub(crate) fn new(value: &str, what: &'static str, problem: impl Into<String>) -> Self {
        Self { value: value.into(), what, problem: problem.into() }
    }
}

fn said(stderr: &str) -> String {
    let stderr = stderr.trim();
    if stderr.is_empty() { String::new() } else { format!(": {stderr}") }
}
