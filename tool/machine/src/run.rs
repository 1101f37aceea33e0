//! What the verb does: choose the accelerator, run the machine, join its console to the terminal, say how it ended.
//!
//! The main thread waits for the machine and for deadlines. A second thread shows the console, a third reads what is
//! typed, a fourth takes signals; none of them can hold up the machine or the timeout.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::accel::plan;
use crate::console::{Command, Escape, HELP, Keyboard};
use crate::control::Machines;
use crate::guest::{End, Guest, Limits, SILENT, Stop};
use crate::{Accelerator, Arch, Console, Error, MachineConfig, Outcome, Verdict, Verdicts};

/// A kernel that has said nothing for this long under an untried KVM does not run.
pub const SILENCE: Duration = Duration::from_secs(5);
/// How long a machine may take for its shutdown after a signal to us.
const GRACE: Duration = Duration::from_secs(10);
/// How long what is typed may wait for the machine to take it.
const TYPING: Duration = Duration::from_secs(1);

/// Runs a machine until it ends. What KVM is worth on this host is remembered below `cache`.
pub fn run(config: &MachineConfig, console: &mut dyn Console, cache: &Path) -> Result<Outcome, Error> {
    run_with(config, console, cache, Arch::host(), open_kvm(), SILENCE)
}

fn open_kvm() -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").map(drop)
}

fn run_with(
    config: &MachineConfig,
    console: &mut dyn Console,
    cache: &Path,
    host: Arch,
    kvm: io::Result<()>,
    silence: Duration,
) -> Result<Outcome, Error> {
    config.check()?;
    config.check_memory()?;
    let verdicts = Verdicts::of_this_boot(cache)?;
    let plan = plan(&config.accel, config.arch == host, kvm, verdicts.read());
    if let Some(notice) = &plan.notice {
        console.notice(notice);
    }
    let deadline = config.timeout.map(|timeout| Instant::now() + timeout);
    let mut silent = None;
    for (index, &accelerator) in plan.order.iter().enumerate() {
        let probing = plan.probe && accelerator == Accelerator::Kvm;
        let limits = Limits { deadline, silence: probing.then(|| Instant::now() + silence) };
        let (end, spoke) = match attempt(config, accelerator, limits, console, cache) {
            Ok(attempt) => attempt,
            Err(Error::Died { stderr, .. })
                if accelerator == Accelerator::Kvm && stderr.to_lowercase().contains("kvm") =>
            {
                (End::Broken(stderr.trim().to_owned()), false)
            }
            Err(e) => return Err(e),
        };
        match end {
            End::Outcome(outcome) => {
                let verdict = match (accelerator, silent.take()) {
                    (Accelerator::Kvm, _) if spoke => Some(Verdict::Works),
                    // Silence under KVM says nothing about KVM when the machine is as silent without it.
                    (Accelerator::Tcg, Some(reason)) if spoke => Some(Verdict::Broken(reason)),
                    _ => None,
                };
                remember(&verdicts, verdict, console);
                return Ok(outcome);
            }
            End::Broken(reason) => match plan.order.get(index + 1) {
                Some(next) => {
                    console.notice(&format!(
                        "the machine does not run under {accelerator} ({reason}); starting again under {next}"
                    ));
                    if accelerator == Accelerator::Kvm {
                        if probing && !spoke && reason == SILENT {
                            silent = Some(reason);
                        } else {
                            remember(&verdicts, Some(Verdict::Broken(reason)), console);
                        }
                    }
                }
                None => return Err(Error::Accelerator { accelerator, reason }),
            },
        }
    }
    Err(Error::Conflict("no accelerator was given: `--accel` is empty"))
}

/// A cache that cannot be written costs the next run its head start and nothing else.
fn remember(verdicts: &Verdicts, verdict: Option<Verdict>, console: &mut dyn Console) {
    if let Some(Err(e)) = verdict.filter(|v| verdicts.read().as_ref() != Some(v)).map(|v| verdicts.write(&v)) {
        console.notice(&format!("{e}; KVM will be tried again next time"));
    }
}

/// One boot under one accelerator: how it ended, and whether its console said anything.
fn attempt(
    config: &MachineConfig,
    accelerator: Accelerator,
    limits: Limits,
    console: &mut dyn Console,
    cache: &Path,
) -> Result<(End, bool), Error> {
    let mut guest = Guest::launch(config, accelerator, true)?;
    let listed = match guest.control_socket() {
        Some(socket) => {
            let name = config.artefact.prefix.file_name().unwrap_or_default().to_string_lossy();
            let listed = Machines::of(cache).enter(&name, socket)?;
            console.notice(&format!(
                "`bootwright ctl {}` controls the machine, through {}",
                listed.name,
                socket.display()
            ));
            Some(listed)
        }
        None => None,
    };
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Error::system("listen for signals"))?;
    let signals_handle = signals.handle();
    let (wake, woken) = pipe_with(PipeFlags::CLOEXEC)
        .map(|(read, write)| (write, read))
        .map_err(|e| Error::system("make a pipe")(e.into()))?;
    let keyboard = console.keyboard();
    let console = &Mutex::new(console);
    // A terminal that takes nothing at the moment must not hold up a signal.
    let notice = &|line: &str| {
        if let Ok(mut console) = console.try_lock() {
            console.notice(line);
        }
    };
    let shared = &*guest.shared();
    let typist = &guest.typist();
    let qmp = &guest.qmp().clone();

    let end = thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(bytes) = shared.next_output() {
                // A terminal that is gone must not end the machine: it is SIGHUP's business.
                let _ = console.lock().unwrap_or_else(PoisonError::into_inner).output(&bytes);
            }
        });
        if let Some(keyboard) = keyboard {
            scope.spawn(move || {
                read_keyboard(keyboard, woken, |typed, commands| {
                    let _ = typist.type_bytes(typed, Instant::now() + TYPING);
                    for command in commands {
                        match command {
                            Command::Quit => shared.change(|s| s.stop = Some(Stop::Quit)),
                            Command::Power => drop(qmp.system_powerdown()),
                            Command::Help => notice(HELP),
                        }
                    }
                });
            });
        }
        scope.spawn(|| {
            for signal in signals.forever() {
                let again = shared.lock().interrupted.is_some();
                if !again && signal != SIGHUP {
                    // Said before the button is pressed: the machine may be quick.
                    shared.change(|s| s.interrupted = Some((signal, Instant::now() + GRACE)));
                    if qmp.system_powerdown().is_ok() {
                        notice("pressed the machine's power button; a second signal ends it at once");
                        continue;
                    }
                }
                shared.change(|s| s.stop = Some(Stop::Signal(signal)));
            }
        });
        let end = guest.supervise(limits);
        // The other threads wait for these two; the console's ends with QEMU.
        drop(wake);
        signals_handle.close();
        if end.is_err() {
            guest.kill();
        }
        end
    })?;
    drop(listed);
    let spoke = shared.lock().log.bytes > 0;
    Ok((end, spoke))
}

/// Reads until the keyboard ends or `woken` does.
fn read_keyboard(keyboard: Keyboard, woken: OwnedFd, mut typed: impl FnMut(&[u8], Vec<Command>)) {
    let mut escape = Escape::default();
    let mut buffer = [0; 1024];
    loop {
        let mut fds =
            [PollFd::new(&keyboard.input, PollFlags::IN), PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) if !fds[1].revents().is_empty() => return,
            Ok(_) => {}
        }
        match rustix::io::read(&keyboard.input, &mut buffer) {
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Ok(0) | Err(_) => return,
            Ok(n) if keyboard.person => {
                let (bytes, commands) = escape.filter(&buffer[..n]);
                typed(&bytes, commands);
            }
            Ok(n) => typed(&buffer[..n], Vec::new()),
        }
    }
}
