//! The watchdog: a device that restarts the machine when it is not written to in time (Documentation/watchdog/watchdog-api.rst).
//!
//! It is fed by the loop and by nothing else, so that a PID 1 that hangs is noticed. Written `V`, it is disarmed when it is
//! closed; that is the last that happens before the kernel is asked to end the machine, so that an end that hangs is noticed
//! as well.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use crate::sys;

/// The kernel's own watchdog, for machines without a device.
const SOFTWARE: &str = "softdog";

/// A watchdog that is armed.
#[derive(Debug)]
pub struct Watchdog {
    device: File,
    period: Duration,
    due: Duration,
}

impl Watchdog {
    /// Arms the watchdog that is asked for. Where there is no device, `load` is asked for the kernel's own.
    pub fn open(asked: &bootwright_early::Watchdog, load: impl FnOnce(&str)) -> io::Result<Self> {
        if !Path::new(&asked.device).exists() {
            load(SOFTWARE);
        }
        let device = OpenOptions::new().write(true).open(&asked.device)?;
        let seconds = sys::set_watchdog_timeout(&device, asked.seconds).unwrap_or(asked.seconds.into());
        Ok(Self { device, period: period(seconds), due: Duration::ZERO })
    }

    /// Time until it is to be fed.
    pub fn pause(&self, now: Duration) -> Duration {
        self.due.saturating_sub(now)
    }

    /// Feeds it, if it is time.
    pub fn feed(&mut self, now: Duration) {
        if self.due <= now {
            let _ = self.device.write_all(b"1");
            self.due = now + self.period;
        }
    }

    /// Disarms it.
    pub fn disarm(mut self) {
        let _ = self.device.write_all(b"V");
    }
}

/// How often a watchdog is fed that bites after so many seconds: three times as often as it has to be.
fn period(seconds: u32) -> Duration {
    Duration::from_secs(seconds.into()) / 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_in_time_and_disarmed_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("watchdog");
        File::create(&path).unwrap();
        let asked = bootwright_early::Watchdog { seconds: 30, device: path.display().to_string() };
        let mut loaded = String::new();
        let mut watchdog = Watchdog::open(&asked, |module| loaded = module.to_owned()).unwrap();
        assert_eq!(loaded, "", "it is there");
        let seconds = Duration::from_secs;
        assert_eq!(watchdog.pause(seconds(100)), seconds(0));
        for now in [100, 101, 109, 110, 119] {
            watchdog.feed(seconds(now));
        }
        assert_eq!(watchdog.pause(seconds(115)), seconds(5));
        watchdog.disarm();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "11V");

        let asked = bootwright_early::Watchdog { device: "/nonexistent".to_owned(), ..asked };
        let refused = Watchdog::open(&asked, |module| loaded = module.to_owned());
        assert_eq!((refused.unwrap_err().kind(), loaded.as_str()), (io::ErrorKind::NotFound, SOFTWARE));
    }
}
