//! A machine that its firmware boots, from whatever medium: QEMU with a serial port, and nothing but what a test asks for.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::{place, words};

/// A running machine. When the test fails, what its serial port said is printed; when it is dropped, it ends.
#[derive(Debug)]
pub struct Serial {
    qemu: Child,
    lines: Receiver<String>,
    said: Vec<String>,
    _slot: File,
}

impl Serial {
    /// Starts QEMU with these arguments, separated by spaces.
    #[track_caller]
    pub fn start(arguments: &str) -> Self {
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args("-no-user-config".split(' ')).args(arguments.split(' '));
        Self::of(qemu)
    }

    /// Starts a QEMU that has everything but a serial port.
    #[track_caller]
    pub(crate) fn of(mut qemu: Command) -> Self {
        let slot = place::guest_slot();
        let mut qemu = qemu
            .args("-accel tcg -nodefaults -display none -serial stdio -no-reboot".split(' '))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start qemu-system-x86_64 (apt-get install qemu-system-x86): {e}"));
        let serial = BufReader::new(qemu.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = serial.split(b'\n').map_while(Result::ok);
            for line in lines.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { qemu, lines, said: Vec::new(), _slot: slot }
    }

    /// Waits for a line with this text, and returns it.
    #[track_caller]
    pub fn sees(&mut self, text: &str) -> String {
        self.sees_one(&[text]);
        self.said.last().cloned().unwrap_or_default()
    }

    /// Waits for a line with one of these texts, and returns which.
    #[track_caller]
    pub fn sees_one<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        let deadline = Instant::now() + words::BOOT;
        loop {
            let Some(line) = self.line(deadline) else { panic!("the machine ended without any of {texts:?}") };
            if let Some(text) = texts.iter().find(|text| line.contains(**text)) {
                return text;
            }
        }
    }

    /// Waits until the machine is off.
    #[track_caller]
    pub fn ends(&mut self) {
        let deadline = Instant::now() + words::SHUTDOWN;
        while self.line(deadline).is_some() {}
    }

    /// The next line; none at the end.
    #[track_caller]
    fn line(&mut self, deadline: Instant) -> Option<String> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                self.said.push(line.clone());
                Some(line)
            }
            Err(RecvTimeoutError::Timeout) => panic!("the machine says nothing more in time"),
            Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    /// Everything that was read of the serial port so far.
    pub fn said(&self) -> &[String] {
        &self.said
    }
}

impl Drop for Serial {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        if thread::panicking() {
            let late = std::iter::from_fn(|| self.lines.recv_timeout(Duration::from_secs(1)).ok());
            self.said.extend(late.collect::<Vec<_>>());
            println!("--- serial port of the machine ---\n{}\n--- end of it ---", self.said.join("\n"));
        }
    }
}
