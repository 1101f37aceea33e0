//! What is done to a machine from other threads than the one that waits for it: typing, and the power button at a signal.

use std::io::{self, Write};
use std::process::ChildStdin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::SIGHUP;

use super::sockets::left;
use super::state::{Shared, Stop};
use crate::Qmp;

/// How long a machine may take for its shutdown after a signal to us.
const GRACE: Duration = Duration::from_secs(10);

/// Ends a machine because of a signal to us.
#[derive(Clone, Debug)]
pub struct Interrupter {
    pub(super) shared: Arc<Shared>,
    pub(super) qmp: Qmp,
}

impl Interrupter {
    /// Presses the power button and gives the machine a little time; at the second signal, or where nobody waits for it (SIGHUP), the
    /// machine ends at once. Whether the button was pressed.
    pub fn signal(&self, signal: i32) -> bool {
        let again = self.shared.lock().interrupted.is_some();
        if !again && signal != SIGHUP {
            // Said before the button is pressed: the machine may be quick.
            self.shared.change(|s| s.interrupted = Some((signal, Instant::now() + GRACE)));
            if self.qmp.system_powerdown().is_ok() {
                return true;
            }
        }
        self.shared.change(|s| s.stop = Some(Stop::Signal(signal)));
        false
    }
}

/// Where what is typed goes.
#[derive(Clone, Debug)]
pub(crate) struct Typist(pub(super) Arc<Mutex<ChildStdin>>);

impl Typist {
    /// Writes as much as the machine takes until the deadline; a machine that takes nothing must not hold us.
    pub(crate) fn type_bytes(&self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let mut stdin = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            match stdin.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => bytes = &bytes[n..],
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    let mut fds = [PollFd::new(&*stdin, PollFlags::OUT)];
                    if poll(&mut fds, Some(&left(deadline)))? == 0 {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}
