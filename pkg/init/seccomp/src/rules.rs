//! What a filter says about each system call, by name, in the order in which runtimes take it.
//!
//! The first rule whose comparisons all hold decides; where none does, the default. A rule that says what the default says
//! is left out, and one that compares an argument twice is one rule for each comparison: both as runc and libseccomp have it.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg};

use crate::SeccompError;

/// A system call has six arguments.
const ARGUMENTS: usize = 6;

/// What happens with a system call: the first case whose comparisons hold, or else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Comparisons that must all hold, and what the filter returns then.
    pub cases: Vec<(Vec<LinuxSeccompArg>, u32)>,
    /// What it returns otherwise.
    pub otherwise: u32,
}

impl Answer {
    /// The same whatever the arguments are.
    pub fn always(value: u32) -> Self {
        Self { cases: Vec::new(), otherwise: value }
    }
}

/// A filter by system calls.
#[derive(Debug)]
pub struct Rules {
    named: BTreeMap<String, Answer>,
    default: u32,
}

impl Rules {
    /// Reads a filter.
    pub fn read(filter: &LinuxSeccomp) -> Result<Self, SeccompError> {
        let default = value(filter.default_action(), filter.default_errno_ret())?;
        let mut named = BTreeMap::new();
        let mut decided = BTreeSet::new();
        for rule in filter.syscalls().iter().flatten() {
            let value = value(rule.action(), rule.errno_ret())?;
            if value == default {
                continue;
            }
            for name in rule.names().iter().filter(|name| !decided.contains(*name)).cloned().collect::<Vec<_>>() {
                let answer = named.entry(name.clone()).or_insert_with(|| Answer::always(default));
                match rule.args().as_deref() {
                    None | Some([]) => {
                        answer.otherwise = value;
                        decided.insert(name);
                    }
                    Some(arguments) => {
                        answer.cases.extend(cases(&name, arguments)?.into_iter().map(|all| (all, value)))
                    }
                }
            }
        }
        Ok(Self { named, default })
    }

    /// What is said about a system call.
    pub fn answer(&self, name: &str) -> Answer {
        self.named.get(name).cloned().unwrap_or_else(|| self.default())
    }

    /// What is said about all others.
    pub fn default(&self) -> Answer {
        Answer::always(self.default)
    }
}

fn cases(call: &str, arguments: &[LinuxSeccompArg]) -> Result<Vec<Vec<LinuxSeccompArg>>, SeccompError> {
    if let Some(wrong) = arguments.iter().find(|argument| argument.index() >= ARGUMENTS) {
        return Err(SeccompError::Argument { call: call.to_owned(), index: wrong.index() });
    }
    let indexes: BTreeSet<usize> = arguments.iter().map(LinuxSeccompArg::index).collect();
    let each_once = indexes.len() == arguments.len();
    Ok(if each_once { vec![arguments.to_vec()] } else { arguments.iter().map(|one| vec![*one]).collect() })
}

/// What a filter returns for an action (`SECCOMP_RET_*`), its low half the errno, or what a tracer is told.
fn value(action: LinuxSeccompAction, data: Option<u32>) -> Result<u32, SeccompError> {
    let data = data.unwrap_or(libc::EPERM.unsigned_abs()) & libc::SECCOMP_RET_DATA;
    Ok(match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => libc::SECCOMP_RET_KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => libc::SECCOMP_RET_TRAP,
        LinuxSeccompAction::ScmpActErrno => libc::SECCOMP_RET_ERRNO | data,
        LinuxSeccompAction::ScmpActTrace => libc::SECCOMP_RET_TRACE | data,
        LinuxSeccompAction::ScmpActLog => libc::SECCOMP_RET_LOG,
        LinuxSeccompAction::ScmpActAllow => libc::SECCOMP_RET_ALLOW,
        LinuxSeccompAction::ScmpActNotify => return Err(SeccompError::Notify),
    })
}
