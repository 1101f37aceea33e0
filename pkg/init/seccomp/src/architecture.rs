//! Architectures as seccomp tells them (`AUDIT_ARCH_*` of linux/audit.h), and the numbers of their system calls.
//!
//! A machine runs programs of its own architecture and of at most one other. What a filter says about those that it cannot run
//! has no effect and is left out.

use oci_spec::runtime::Arch;
use syscalls::{aarch64, arm, riscv64, x86, x86_64};

use crate::rules::{Answer, Rules};

const FOREIGN: bool = cfg!(feature = "foreign");
const X86: bool = cfg!(target_arch = "x86_64") || FOREIGN;
const ARM: bool = cfg!(target_arch = "aarch64") || FOREIGN;
const RISCV: bool = cfg!(target_arch = "riscv64") || FOREIGN;

/// From here on x86_64 has the calls of x32 (`__X32_SYSCALL_BIT`): another architecture by the same name.
const X32: u32 = 0x4000_0000;
/// What only arm has (`__ARM_NR_*` of asm/unistd.h).
const ARM_PRIVATE: [(u32, &str); 6] = [
    (0xf_0001, "breakpoint"),
    (0xf_0002, "cacheflush"),
    (0xf_0003, "usr26"),
    (0xf_0004, "usr32"),
    (0xf_0005, "set_tls"),
    (0xf_0006, "get_tls"),
];

/// An architecture whose programs this machine runs.
#[derive(Debug)]
pub struct Architecture {
    /// Its number to seccomp.
    pub audit: u32,
    /// System calls, by number.
    calls: Vec<(u32, &'static str)>,
    /// The first number that is never answered.
    end: Option<u32>,
}

/// Those of the named ones that there are here, and the machine's own first.
pub fn of(named: impl Iterator<Item = Arch>) -> impl DoubleEndedIterator<Item = Architecture> {
    let own = if cfg!(target_arch = "aarch64") {
        Arch::ScmpArchAarch64
    } else if cfg!(target_arch = "riscv64") {
        Arch::ScmpArchRiscv64
    } else {
        Arch::ScmpArchX86_64
    };
    let mut all: Vec<Architecture> = Vec::new();
    for architecture in std::iter::once(own).chain(named).filter_map(table) {
        if all.iter().all(|one| one.audit != architecture.audit) {
            all.push(architecture);
        }
    }
    all.into_iter()
}

/// The calls of one of `syscalls`' tables.
macro_rules! calls {
    ($table:ident) => {{
        let last = $table::Sysno::last().id().unsigned_abs();
        let name = |number| Some((number, $table::Sysno::new(number as usize)?.name()));
        (0..=last).filter_map(name).collect::<Vec<_>>()
    }};
}

fn table(architecture: Arch) -> Option<Architecture> {
    let (audit, calls, end) = match architecture {
        Arch::ScmpArchX86_64 if X86 => (0xc000_003e, calls!(x86_64), Some(X32)),
        Arch::ScmpArchX86 if X86 => (0x4000_0003, calls!(x86), None),
        Arch::ScmpArchAarch64 if ARM => (0xc000_00b7, on_aarch64(calls!(aarch64)), None),
        Arch::ScmpArchArm if ARM => (0x4000_0028, [calls!(arm), ARM_PRIVATE.to_vec()].concat(), None),
        Arch::ScmpArchRiscv64 if RISCV => (0xc000_00f3, calls!(riscv64), None),
        _ => return None,
    };
    Some(Architecture { audit, calls, end })
}

/// The crate's table without the numbers that only machines with 32 bits have, and with the kernel's name of a call.
fn on_aarch64(mut calls: Vec<(u32, &'static str)>) -> Vec<(u32, &'static str)> {
    calls.retain(|(number, _)| !(403..=423).contains(number));
    for (_, name) in calls.iter_mut().filter(|(_, name)| *name == "fstatat") {
        *name = "newfstatat";
    }
    calls
}

impl Architecture {
    /// The first number of each range of system calls with the same answer, from 0 on.
    pub fn ranges(&self, rules: &Rules) -> Vec<(u32, Answer)> {
        let mut ranges = vec![(0, rules.default())];
        let mut begin = |number: u32, answer: Answer| match ranges.last_mut() {
            Some(last) if last.1 == answer => {}
            Some(last) if last.0 == number => last.1 = answer,
            _ => ranges.push((number, answer)),
        };
        let mut next = 0;
        for (number, name) in &self.calls {
            if *number > next {
                begin(next, rules.default());
            }
            begin(*number, rules.answer(name));
            next = number + 1;
        }
        begin(next, rules.default());
        if let Some(end) = self.end {
            begin(end, Answer::always(libc::SECCOMP_RET_KILL_PROCESS));
        }
        ranges
    }
}
