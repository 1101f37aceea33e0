//! The timers of the state machine: one of each name, so that what is set again and again takes no more memory.

use std::time::Duration;

use super::sequence::Timer;

/// Timers that are set, by the time since the kernel started.
#[derive(Debug, Default)]
pub struct Timers(Vec<(Duration, Timer)>);

impl Timers {
    /// Sets a timer, in place of one of the same name.
    pub fn set(&mut self, due: Duration, timer: Timer) {
        self.0.retain(|(_, other)| *other != timer);
        self.0.push((due, timer));
    }

    /// Time until the next one is due.
    pub fn pause(&self, now: Duration) -> Option<Duration> {
        self.0.iter().map(|(due, _)| due.saturating_sub(now)).min()
    }

    /// Takes one that is due, the earliest first.
    pub fn take(&mut self, now: Duration) -> Option<Timer> {
        let due = self.0.iter().enumerate().filter(|(_, (due, _))| *due <= now);
        let (at, _) = due.min_by_key(|(_, (due, _))| *due)?;
        Some(self.0.swap_remove(at).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_once_in_order_at_the_time_that_was_set_last() {
        let at = Duration::from_millis;
        let mut timers = Timers::default();
        assert_eq!((timers.pause(at(0)), timers.take(at(9))), (None, None));
        timers.set(at(5), Timer::Banner);
        timers.set(at(9), Timer::Limit(1));
        timers.set(at(7), Timer::Limit(2));
        timers.set(at(12), Timer::Banner);
        assert_eq!((timers.pause(at(3)), timers.take(at(6))), (Some(at(4)), None));
        let taken: Vec<_> = std::iter::from_fn(|| timers.take(at(20))).collect();
        assert_eq!(taken, [Timer::Limit(2), Timer::Limit(1), Timer::Banner]);
    }
}
