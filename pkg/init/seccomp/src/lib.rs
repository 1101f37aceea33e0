//! OCI's seccomp filters (runtime specification, config-linux.md, "Seccomp"), compiled to what seccomp(2) takes: a program for
//! the kernel's classic BPF.
//!
//! A filter says which system calls of which architectures are answered how, by name and by arguments. A program gets a number
//! and an architecture. So for each architecture the names become numbers, neighbours with the same answer become a range,
//! and the ranges a search tree: a hundred instructions where a comparison for each name would be a thousand, which the kernel
//! takes quadratic time to accept, at each start of a container. What programs answer is tested beside what libseccomp's answer
//! (`tool/rootfs/src/seccomp_tests.rs`).

mod architecture;
mod comparison;
mod program;
mod rules;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompFilterFlag};

/// What a filter asks for that is not there.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// A process that decides.
    #[error("SCMP_ACT_NOTIFY asks a process that decides, and there is none")]
    Notify,
    /// An argument that no system call has.
    #[error("`{call}` has no argument {index}")]
    Argument {
        /// The system call.
        call: String,
        /// Counted from 0.
        index: usize,
    },
    /// The kernel takes no more than 4096 instructions (BPF_MAXINSNS).
    #[error("the filter takes {0} instructions, and the kernel no more than {most}", most = libc::BPF_MAXINSNS)]
    Long(usize),
}

/// A filter as the kernel takes it.
#[derive(Clone, Debug)]
pub struct Program {
    /// The instructions: BPF's opcode, distances of jumps, operand.
    pub instructions: Vec<libc::sock_filter>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

impl Program {
    /// Compiles a filter for this machine and the architectures that it names.
    ///
    /// # Errors
    ///
    /// The filter has a listener, compares an argument that there is not, or is too long.
    pub fn compile(filter: &LinuxSeccomp) -> Result<Self, SeccompError> {
        let rules = rules::Rules::read(filter)?;
        let named = filter.architectures().iter().flatten().copied();
        let blocks = architecture::of(named).map(|one| (one.audit, program::search(&one.ranges(&rules))));
        let instructions = program::whole(blocks);
        if instructions.len() > libc::BPF_MAXINSNS as usize {
            return Err(SeccompError::Long(instructions.len()));
        }
        Ok(Self {
            instructions,
            flags: filter.flags().iter().flatten().copied().map(flag).fold(0, |all, one| all | one),
        })
    }
}

fn flag(flag: LinuxSeccompFilterFlag) -> u32 {
    let bit = match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        // For listeners only.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => 0,
    };
    u32::try_from(bit).unwrap_or(0)
}
