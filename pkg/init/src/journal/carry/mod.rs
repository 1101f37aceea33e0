//! Children of PID 1 that carry lines away: into files, or to another machine.
//!
//! A carrier reads records from its standard input, one at a time, and takes as long for each as it takes: a disk that stalls or a network
//! that is not there stops the carrier and nothing else, and the lines wait in PID 1's rings until they are overwritten
//! there. Asked to end, it carries what has been sent to it already.

mod files;
mod forward;

use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use bootwright_bundle::{Forward, LogFormat, Logging};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::Record;
use crate::sys;
use files::Files;
use forward::Sender;

/// Where container logs are written.
const DIRECTORY: &str = "/var/log";
/// Before something that has failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// The words that make this binary a carrier to files.
pub fn files_words(logging: &Logging) -> Vec<String> {
    vec!["log-files".into(), logging.file_size.to_string(), logging.file_count.to_string()]
}

/// The words that make this binary a carrier to another machine.
pub fn forward_words(forward: &Forward) -> Vec<String> {
    let format = match forward.format {
        LogFormat::Syslog => "syslog",
        LogFormat::Json => "json",
    };
    vec!["log-forward".into(), forward.to.clone(), format.into()]
}

/// Runs a carrier to files of so many bytes, so many of each.
pub fn to_files(size: &str, count: &str) -> ExitCode {
    let usual = Logging::default();
    let size = size.parse().unwrap_or(usual.file_size);
    let mut files = Files::new(DIRECTORY.into(), size, count.parse().unwrap_or(usual.file_count));
    carry(|record, _| files.write(record))
}

/// Runs a carrier to another machine.
pub fn forward(to: &str, format: &str) -> ExitCode {
    let Some(mut sender) = Sender::new(to, format == "json") else { return ExitCode::FAILURE };
    carry(|record, lines| sender.send(record, lines))
}

/// Where lines come from.
struct Lines {
    socket: OwnedFd,
    signals: Option<OwnedFd>,
    ending: bool,
}

impl Lines {
    /// Waits for a line. False when there will be none.
    fn wait(&mut self) -> bool {
        while !self.ending {
            let mut polls = vec![PollFd::new(&self.socket, PollFlags::IN)];
            polls.extend(self.signals.iter().map(|signals| PollFd::new(signals, PollFlags::IN)));
            match poll(&mut polls, None) {
                Err(Errno::INTR) => {}
                Err(_) => return false,
                Ok(_) if polls.first().is_some_and(|socket| !socket.revents().is_empty()) => return true,
                Ok(_) => self.ending = true,
            }
        }
        true
    }

    /// Waits for the time after which something is tried again. False when this is to end.
    fn pause(&mut self) -> bool {
        let pause = Timespec { tv_sec: PAUSE.as_secs().try_into().unwrap_or(1), tv_nsec: 0 };
        let mut polls: Vec<PollFd<'_>> = self.signals.iter().map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        self.ending |= poll(&mut polls, Some(&pause)).is_ok_and(|ready| ready > 0);
        !self.ending
    }
}

fn carry(mut each: impl FnMut(&Record<'_>, &mut Lines)) -> ExitCode {
    sys::default_signals();
    let Ok(socket) = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3) else { return ExitCode::FAILURE };
    let mut lines = Lines { socket, signals: sys::signal_fd(&[libc::SIGTERM]).ok(), ending: false };
    let mut bytes = [0; 4096];
    while lines.wait() {
        match recv(&lines.socket, &mut bytes[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => break,
            Ok((count, _)) => {
                if let Some(record) = Record::decode(bytes.get(..count).unwrap_or_default()) {
                    each(&record, &mut lines);
                }
            }
            Err(Errno::AGAIN) if !lines.ending => {}
            Err(Errno::INTR) => {}
            Err(_) => break,
        }
    }
    ExitCode::SUCCESS
}
