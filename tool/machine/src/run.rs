//! What the verb does: run the machine, join its console to the terminal, say how it ended.
//!
//! The main thread waits for the machine and for deadlines. A second thread shows the console, a third reads what is
//! typed, a fourth takes signals; none of them can hold up the machine or the timeout.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::choose::choose;
use crate::console::{Command, Escape, HELP, Keyboard};
use crate::control::Machines;
use crate::guest::{End, Guest, Limits, Stop};
use crate::shown::Shown;
use crate::{Accelerator, Console, Error, MachineConfig, Outcome};

/// How long what is typed may wait for the machine to take it.
const TYPING: Duration = Duration::from_secs(1);

/// Runs a machine until it ends. What KVM is worth on this host is remembered below `cache`.
pub fn run(config: &MachineConfig, console: &mut dyn Console, cache: &Path) -> Result<Outcome, Error> {
    let deadline = config.timeout.map(|timeout| Instant::now() + timeout);
    choose(config, console, cache, |console, accelerator, silence| {
        let limits = Limits { deadline, silence: silence.map(|silence| Instant::now() + silence) };
        match attempt(config, accelerator, limits, console, cache) {
            Ok((End::Outcome(outcome), spoke)) => (Ok(outcome), spoke),
            Ok((End::Broken(reason), spoke)) => (Err(Error::Accelerator { accelerator, reason }), spoke),
            Err(error) => (Err(error), false),
        }
    })
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
    let console = &Shown::new(console);
    // A terminal that takes nothing at the moment must not hold up a signal.
    let notice = &|line: &str| console.notice(line);
    let shared = &*guest.shared();
    let typist = &guest.typist();
    let qmp = &guest.qmp().clone();
    let interrupter = guest.interrupter();

    let end = thread::scope(|scope| {
        scope.spawn(|| {
            while let Some(bytes) = shared.next_output() {
                // A terminal that is gone must not end the machine: it is SIGHUP's business.
                let _ = console.output(&bytes);
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
                if interrupter.signal(signal) {
                    notice("pressed the machine's power button; a second signal ends it at once");
                }
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
