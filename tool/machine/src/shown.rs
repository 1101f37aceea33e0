//! A console that several threads speak on, of which only one may wait for it.
//!
//! The machine's output waits for a terminal that takes nothing at the moment; a notice must not, since a signal or a command
//! comes with it. It is left for whoever has the console then.

use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, PoisonError};

use crate::Console;

/// Notices that wait at most.
const WAITING: usize = 16;

/// The console.
pub(crate) struct Shown<'a> {
    console: Mutex<&'a mut dyn Console>,
    waiting: Mutex<VecDeque<String>>,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(console: &'a mut dyn Console) -> Self {
        Self { console: Mutex::new(console), waiting: Mutex::default() }
    }

    /// Shows the machine's output.
    pub(crate) fn output(&self, bytes: &[u8]) -> io::Result<()> {
        let shown = self.console.lock().unwrap_or_else(PoisonError::into_inner).output(bytes);
        self.pass_on();
        shown
    }

    /// Says something of the machine, now or when the console is free.
    pub(crate) fn notice(&self, line: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING {
            waiting.push_back(line.to_owned());
        }
        drop(waiting);
        self.pass_on();
    }

    /// Says what waits, unless another has the console: he comes by here when he is done with it.
    fn pass_on(&self) {
        let waiting = || self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while !waiting().is_empty() {
            let Ok(mut console) = self.console.try_lock() else { return };
            while let Some(line) = { waiting().pop_front() } {
                console.notice(&line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    /// Takes output when it is told to.
    struct Slow(Sender<String>, Receiver<()>);

    impl Console for Slow {
        fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
            let _ = self.0.send("begins".to_owned());
            let _ = self.1.recv();
            let _ = self.0.send(String::from_utf8_lossy(bytes).into_owned());
            Ok(())
        }

        fn notice(&mut self, line: &str) {
            let _ = self.0.send(line.to_owned());
        }
    }

    #[test]
    fn a_notice_neither_waits_nor_is_lost() {
        let ((said, hears), (go, goes)) = (channel(), channel());
        let mut slow = Slow(said, goes);
        let shown = Shown::new(&mut slow);
        thread::scope(|scope| {
            scope.spawn(|| shown.output(b"output"));
            assert_eq!(hears.recv().unwrap(), "begins");
            (0..2 * WAITING).for_each(|n| shown.notice(&format!("notice {n}")));
            go.send(()).unwrap();
            assert_eq!(hears.recv().unwrap(), "output");
            assert_eq!(hears.iter().take(WAITING).count(), WAITING);
        });
        shown.notice("free");
        assert_eq!(hears.try_recv().unwrap(), "free");
    }
}
