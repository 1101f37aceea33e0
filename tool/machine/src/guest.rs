//! One QEMU: started, listened to, and gone when the [`Guest`] is.
//!
//! Three threads read (console, QMP, standard error) and one keeps the process; all they do is put what they learn into
//! one `State` and wake who waits. Nobody waits for the terminal: QEMU's console is always drained.

mod hands;
mod sockets;
mod state;

use std::fs::File;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bootwright_bundle::Ending;

use crate::log::Cursor;
use crate::outcome::judge;
use crate::process::{Process, cpu_seconds_of};
use crate::qmp::QmpEvent;
use crate::{Accelerator, Error, MachineConfig, Outcome, Qmp, Session, argv};
pub use hands::Interrupter;
pub(crate) use hands::Typist;
use sockets::{CONNECT, Control, ControlSocket, accept, socket_dir};
use state::{INTERNAL_ERROR, read_console, read_stderr};
pub(crate) use state::{Shared, Stop};

/// How long QEMU may take to go after `quit`.
const QUIT: Duration = Duration::from_secs(10);
/// How long the kernel may take from the first line of a panic to its last, or from init's last line to its halt.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Why an accelerator is given up when its machine says nothing.
pub(crate) const SILENT: &str = "the kernel said nothing";

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub struct Guest {
    shared: Arc<Shared>,
    process: Process,
    qmp: Qmp,
    typist: Typist,
    control: Option<ControlSocket>,
    program: PathBuf,
    accelerator: Accelerator,
    /// Whether the kernel is told to write to the serial port.
    serial: bool,
    readers: Vec<JoinHandle<()>>,
    /// How far the script has read.
    cursor: Mutex<Cursor>,
}

/// A console line did not come.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// Not in time.
    #[error("`{what}` was not seen within {seconds} s")]
    Late {
        /// What was waited for.
        what: String,
        /// For how long.
        seconds: u64,
    },
    /// The machine ended without having said it.
    #[error("the machine ended without `{what}`")]
    Ended {
        /// What was waited for.
        what: String,
    },
}

/// What a supervised machine came to.
#[derive(Debug)]
pub(crate) enum End {
    Outcome(Outcome),
    /// The accelerator cannot run it.
    Broken(String),
}

/// What ends a machine from outside, and when.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Then it has run for too long.
    pub(crate) deadline: Option<Instant>,
    /// A machine that has said nothing by then does not run.
    pub(crate) silence: Option<Instant>,
}

impl Guest {
    /// Starts the machine under this accelerator and lets it run. Its timeout begins now, in the caller's hands.
    pub fn start(config: &MachineConfig, accelerator: Accelerator) -> Result<Self, Error> {
        Self::launch(config, accelerator, false)
    }

    pub(crate) fn launch(config: &MachineConfig, accelerator: Accelerator, show: bool) -> Result<Self, Error> {
        config.check()?;
        let socket_dir = socket_dir()?;
        let socket = socket_dir.path().join("qmp");
        let listener = UnixListener::bind(&socket).map_err(Error::file("listen on", &socket))?;
        let control = config.control.then(|| Control::listen(&socket_dir.path().join("control"))).transpose()?;
        let session = Session::prepare(config, socket)?;
        let log_file = config.log.as_ref().map(|path| File::create(path).map_err(Error::file("make", path)));
        let log_file = log_file.transpose()?;

        let program = config.program();
        let mut command = Command::new(&program);
        command.args(argv(config, accelerator, &session));
        let shared = Arc::new(Shared::default());
        shared.change(|state| state.show = show);
        let exiting = shared.clone();
        let (process, pipes) = Process::start(command, move |exit| exiting.change(|s| s.exit = Some(exit))).map_err(
            |source| match source.kind() {
                io::ErrorKind::NotFound => Error::NoQemu { program: program.clone(), package: config.arch.package() },
                _ => Error::Spawn { program: program.clone(), source },
            },
        )?;
        let readers = vec![
            reader("qemu-console", shared.clone(), move |shared| read_console(pipes.stdout, log_file, shared))?,
            reader("qemu-stderr", shared.clone(), move |shared| read_stderr(pipes.stderr, shared))?,
        ];
        let connected = accept(&listener, &process);
        // It has opened the port before it connects here.
        let control = control.map(|control| control.join(&process)).transpose();
        // QEMU has connected, or never will: from here on not even SIGKILL to us leaves a file behind.
        drop((listener, socket_dir));
        let Some(stream) = connected? else {
            return Err(Self::never_spoke(&shared, &process, program, readers));
        };
        let control = control?;
        let events = shared.clone();
        let qmp = Qmp::connect(stream, move |event| {
            events.change(|state| match event {
                // The first reason is the machine's; our `quit` gives a second one.
                QmpEvent::Shutdown(reason) => {
                    state.shutdown.get_or_insert(reason);
                }
                QmpEvent::GuestPanicked => state.panic = state.panic.or(Some(Instant::now())),
                QmpEvent::Stopped(run_state) => state.run_state = Some(run_state),
                QmpEvent::Closed => {}
            });
        });
        let qmp = match qmp.and_then(|qmp| qmp.cont().map(|()| qmp)) {
            Ok(qmp) => qmp,
            // A QEMU that dies while it is spoken to says why on its standard error, which is the better answer.
            Err(e) => {
                let (state, exited) = shared.wait_until(Instant::now() + QUIT, |s| s.exit.is_some());
                drop(state);
                return Err(if exited { Self::never_spoke(&shared, &process, program, readers) } else { e.into() });
            }
        };
        // QEMU has everything open by now; a temporary disk goes with it, even when we are killed.
        drop(session);
        rustix::io::ioctl_fionbio(&pipes.stdin, true).map_err(|e| Error::system("set up a pipe")(e.into()))?;
        Ok(Self {
            shared,
            process,
            qmp,
            typist: Typist(Arc::new(Mutex::new(pipes.stdin))),
            control,
            program,
            accelerator,
            serial: names_serial(config),
            readers,
            cursor: Mutex::default(),
        })
    }

    /// The error for a QEMU that died or stayed mute before it could be spoken to.
    fn never_spoke(shared: &Shared, process: &Process, program: PathBuf, readers: Vec<JoinHandle<()>>) -> Error {
        let (state, exited) = shared.wait_until(Instant::now() + QUIT, |s| s.exit.is_some());
        drop(state);
        process.kill();
        for reader in readers {
            let _ = reader.join();
        }
        let state = shared.lock();
        match state.exit.filter(|_| exited) {
            Some(exit) => Error::Died { program, status: exit.status, stderr: state.stderr.clone() },
            None => Error::Mute { program, seconds: CONNECT.as_secs(), stderr: state.stderr.clone() },
        }
    }

    /// The control socket.
    pub fn qmp(&self) -> &Qmp {
        &self.qmp
    }

    /// Where its control channel is called, if it has one.
    pub fn control_socket(&self) -> Option<&Path> {
        self.control.as_ref().map(|control| control.path.as_path())
    }

    /// What it runs under.
    pub fn accelerator(&self) -> Accelerator {
        self.accelerator
    }

    /// QEMU's process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Presses the power button.
    pub fn powerdown(&self) -> Result<(), Error> {
        Ok(self.qmp.system_powerdown()?)
    }

    /// User and system seconds that QEMU has used so far, or used in all once it has ended.
    pub fn cpu_seconds(&self) -> Result<f64, Error> {
        if let Some(exit) = self.shared.lock().exit {
            return Ok(exit.cpu_seconds);
        }
        cpu_seconds_of(self.process.pid()).map_err(Error::system("read the times of QEMU"))
    }

    /// Every console line so far, and what follows the last line end.
    pub fn lines(&self) -> Vec<String> {
        self.shared.lock().log.lines()
    }

    /// Waits for text on the console after what was last waited for, in a line or a prompt, and returns its line.
    pub fn wait_for_line(&self, text: &str, limit: Duration) -> Result<String, WaitError> {
        self.wait_for_match(text, limit, |line| line.find(text).map(|at| at + text.len()))
    }

    /// Waits for a line that `matcher` takes by saying where its match ends; `what` names it in errors. The matcher sees
    /// what has not been read yet of each line.
    pub fn wait_for_match(
        &self,
        what: &str,
        limit: Duration,
        matcher: impl FnMut(&str) -> Option<usize>,
    ) -> Result<String, WaitError> {
        let mut cursor = self.cursor.lock().unwrap_or_else(PoisonError::into_inner);
        self.wait_from(&mut cursor, what, limit, matcher)
    }

    /// Waits for text on the console, wherever it stands, and returns its line; what was waited for before is of no account.
    pub fn wait_for_line_anywhere(&self, text: &str, limit: Duration) -> Result<String, WaitError> {
        self.wait_from(&mut Cursor::default(), text, limit, |line| line.find(text).map(|at| at + text.len()))
    }

    fn wait_from(
        &self,
        cursor: &mut Cursor,
        what: &str,
        limit: Duration,
        mut matcher: impl FnMut(&str) -> Option<usize>,
    ) -> Result<String, WaitError> {
        let mut deadline = Instant::now() + limit;
        let mut state = self.shared.lock();
        let mut ended = false;
        loop {
            if let Some((line, next)) = state.log.find(*cursor, &mut matcher) {
                *cursor = next;
                return Ok(line);
            }
            let now = Instant::now();
            let over = state.console_closed || state.is_told_to_end();
            if over || now >= deadline {
                ended |= over;
                break;
            }
            // A machine that has stopped says no more, but what it said may still be on its way. QEMU itself stays.
            if !ended && state.is_down() {
                ended = true;
                deadline = deadline.min(now + LAST_WORDS);
            }
            state = self.shared.wait(state, Some(deadline));
        }
        Err(if ended {
            WaitError::Ended { what: what.into() }
        } else {
            WaitError::Late { what: what.into(), seconds: limit.as_secs() }
        })
    }

    /// Waits until the console says anything, or the machine ends; whether it has.
    pub fn speaks(&self, limit: Duration) -> bool {
        self.shared.wait_until(Instant::now() + limit, |state| state.log.bytes > 0 || state.is_down()).1
    }

    /// Whether the console has said anything.
    pub fn spoke(&self) -> bool {
        self.shared.lock().log.bytes > 0
    }

    /// Whether it runs no more, or is about to.
    pub fn is_down(&self) -> bool {
        self.shared.lock().is_down()
    }

    /// What ends it from another thread.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter { shared: self.shared.clone(), qmp: self.qmp.clone() }
    }

    /// Types at the console.
    pub fn send(&self, text: &str) -> Result<(), Error> {
        self.typist.type_bytes(text.as_bytes(), Instant::now() + QUIT).map_err(Error::system("type at the machine"))
    }

    /// Waits until the machine has ended, for at most this long, and says how.
    pub fn wait(&mut self, limit: Duration) -> Result<Outcome, Error> {
        match self.supervise(Limits { deadline: Some(Instant::now() + limit), silence: None })? {
            End::Outcome(outcome) => Ok(outcome),
            End::Broken(reason) => Err(Error::Accelerator { accelerator: self.accelerator, reason }),
        }
    }

    pub(crate) fn typist(&self) -> Typist {
        self.typist.clone()
    }

    /// Ends QEMU at once.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Waits for the end, or brings it about, and puts together what it was.
    pub(crate) fn supervise(&mut self, limits: Limits) -> Result<End, Error> {
        enum Cause {
            Down(String),
            Given(Outcome),
            Broken(String),
        }
        let mut state = self.shared.lock();
        let cause = loop {
            let now = Instant::now();
            let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
            let last_words = state.panic.or(state.ending.filter(|e| e.0 == Ending::Halt).map(|e| e.1));
            let last_words = last_words.map(|at| at + LAST_WORDS);
            let silence = limits.silence.filter(|_| state.log.bytes == 0);
            if let Some((signal, until)) = state.interrupted
                && (state.shutdown.is_some() || until <= now)
            {
                break Cause::Given(Outcome::Interrupted(signal));
            } else if let Some(reason) = state.shutdown.clone() {
                break Cause::Down(reason);
            } else if let Some(stop) = state.stop {
                break Cause::Given(match stop {
                    Stop::Quit => Outcome::Quit,
                    Stop::Signal(signal) => Outcome::Interrupted(signal),
                });
            } else if state.run_state.as_deref() == Some(INTERNAL_ERROR) {
                break Cause::Broken("QEMU stopped it with an internal error".into());
            } else if state.exit.is_some() {
                drop(state);
                return Err(self.died());
            } else if state.panic_end || state.halted || due(last_words) {
                break Cause::Down(if state.panic.is_some() { "guest-panic" } else { "halted" }.into());
            } else if due(limits.deadline) {
                break Cause::Given(Outcome::TimedOut);
            } else if due(silence) {
                break Cause::Broken(SILENT.into());
            }
            let grace = state.interrupted.map(|(_, until)| until);
            let next = [limits.deadline, silence, last_words, grace].into_iter().flatten().min();
            state = self.shared.wait(state, next);
        };
        drop(state);
        self.end();
        let state = self.shared.lock();
        let mute = self.serial && state.log.bytes == 0;
        Ok(match cause {
            Cause::Given(outcome) => End::Outcome(outcome),
            Cause::Broken(reason) => End::Broken(reason),
            Cause::Down(reason) => End::Outcome(judge(&reason, state.ending.map(|e| e.0), state.panic.is_some(), mute)),
        })
    }

    fn died(&mut self) -> Error {
        self.end();
        let state = self.shared.lock();
        match state.exit {
            Some(exit) => {
                Error::Died { program: self.program.clone(), status: exit.status, stderr: state.stderr.clone() }
            }
            None => Error::Mute { program: self.program.clone(), seconds: 0, stderr: state.stderr.clone() },
        }
    }

    /// Ends QEMU, by asking and then by force, and reads the console to its end.
    fn end(&mut self) {
        let _ = self.qmp.quit();
        let (state, exited) = self.shared.wait_until(Instant::now() + QUIT, |s| s.exit.is_some());
        drop(state);
        if !exited {
            self.process.kill();
        }
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.process.kill();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

/// Whether the kernel's command line makes the serial port a console; where the line is not known, it is taken to.
fn names_serial(config: &MachineConfig) -> bool {
    if config.artefact.kernel().is_none() {
        return true;
    }
    let words = config.append.iter().chain([&config.artefact.cmdline]).flat_map(|text| text.split_whitespace());
    words
        .filter_map(|word| word.strip_prefix("console="))
        .any(|name| name.starts_with("ttyS0") || name.starts_with("ttyAMA0"))
}

fn reader(
    name: &str,
    shared: Arc<Shared>,
    read: impl FnOnce(&Shared) + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let thread = thread::Builder::new().name(name.into());
    thread.spawn(move || read(&shared)).map_err(Error::system("start a thread"))
}
