//! Under which accelerator a machine runs: those of the plan (`accel`) are tried in order, with the machine itself.
//!
//! An accelerator that cannot run the machine's kernel shows in three ways: QEMU ends and names KVM, QEMU stops the machine with an
//! internal error, or the kernel says nothing. Then the next one has its turn, and what was learnt of KVM is remembered.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::accel::plan;
use crate::guest::SILENT;
use crate::{Accelerator, Arch, Console, Error, MachineConfig, Verdict, Verdicts};

/// A kernel that has said nothing for this long under an untried KVM does not run.
pub const SILENCE: Duration = Duration::from_secs(5);

/// Runs a machine by `attempt`, which gets the accelerator and, where it is not known whether that works, how long the machine may
/// be silent. It says what came of it, [`Error::Accelerator`] where the accelerator is at fault, and whether the console
/// said anything. What KVM is worth on this host is remembered below `cache`.
///
/// # Errors
///
/// That of the last attempt, or what makes the configuration impossible.
pub fn choose<T>(
    config: &MachineConfig,
    console: &mut dyn Console,
    cache: &Path,
    mut attempt: impl FnMut(&mut dyn Console, Accelerator, Option<Duration>) -> (Result<T, Error>, bool),
) -> Result<T, Error> {
    config.check()?;
    config.check_memory()?;
    let verdicts = Verdicts::of_this_boot(cache)?;
    let plan = plan(&config.accel, config.arch == Arch::host(), open_kvm(), verdicts.read());
    if let Some(notice) = &plan.notice {
        console.notice(notice);
    }
    let mut silent = None;
    for (index, &accelerator) in plan.order.iter().enumerate() {
        let kvm = accelerator == Accelerator::Kvm;
        let probing = plan.probe && kvm;
        let (result, spoke) = attempt(console, accelerator, probing.then_some(SILENCE));
        let reason = match result {
            Err(Error::Accelerator { reason, .. }) => reason,
            Err(Error::Died { stderr, .. }) if kvm && stderr.to_lowercase().contains("kvm") => stderr.trim().to_owned(),
            Err(error) => return Err(error),
            Ok(result) => {
                let verdict = match (accelerator, silent.take()) {
                    (Accelerator::Kvm, _) if spoke => Some(Verdict::Works),
                    // Silence under KVM says nothing about KVM when the machine is as silent without it.
                    (Accelerator::Tcg, Some(reason)) if spoke => Some(Verdict::Broken(reason)),
                    _ => None,
                };
                remember(&verdicts, verdict, console);
                return Ok(result);
            }
        };
        let Some(next) = plan.order.get(index + 1) else { return Err(Error::Accelerator { accelerator, reason }) };
        console
            .notice(&format!("the machine does not run under {accelerator} ({reason}); starting again under {next}"));
        if probing && !spoke && reason == SILENT {
            silent = Some(reason);
        } else if kvm {
            remember(&verdicts, Some(Verdict::Broken(reason)), console);
        }
    }
    Err(Error::Conflict("no accelerator was given: `--accel` is empty"))
}

fn open_kvm() -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").map(drop)
}

/// A cache that cannot be written costs the next run its head start and nothing else.
fn remember(verdicts: &Verdicts, verdict: Option<Verdict>, console: &mut dyn Console) {
    if let Some(Err(e)) = verdict.filter(|v| verdicts.read().as_ref() != Some(v)).map(|v| verdicts.write(&v)) {
        console.notice(&format!("{e}; KVM will be tried again next time"));
    }
}
