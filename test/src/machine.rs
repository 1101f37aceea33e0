//! A machine of a story while it runs.

use std::ffi::OsString;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

use bootwright_machine::{
    Accelerator, Artefact, Board, Bus, Guest, MachineConfig, Network, Outcome, Publish, WaitError,
};
use serde_json::json;

use crate::{free_port, place, words};

/// A boot that is still to be configured: 512 MiB, one CPU, TCG, no network.
#[derive(Debug)]
pub struct Boot {
    config: MachineConfig,
}

impl Boot {
    /// A boot of these files.
    pub fn new(artefact: Artefact) -> Self {
        let mut config = MachineConfig::new(artefact);
        config.memory_mib = 512;
        config.network = Network::None;
        Self { config }
    }

    /// With this much memory.
    pub fn memory(mut self, mib: u64) -> Self {
        self.config.memory_mib = mib;
        self
    }

    /// On this board.
    pub fn board(mut self, board: Board) -> Self {
        self.config.board = board;
        self
    }

    /// With the disk or ISO attached to this.
    pub fn bus(mut self, bus: Bus) -> Self {
        self.config.boot_bus = Some(bus);
        self
    }

    /// By UEFI.
    pub fn uefi(mut self) -> Self {
        self.config.uefi = true;
        self
    }

    /// With a network.
    pub fn network(mut self) -> Self {
        self.config.network = Network::User;
        self
    }

    /// With what it writes outside of its disks, such as UEFI's variables, kept in a directory.
    pub fn state(mut self, directory: &Path) -> Self {
        self.config.state = Some(directory.to_owned());
        self
    }

    /// With a control channel.
    pub fn control(mut self) -> Self {
        self.config.control = true;
        self
    }

    /// With a further word on the kernel's command line.
    pub fn argument(mut self, word: &str) -> Self {
        self.config.append.push(word.into());
        self
    }

    /// With a QEMU device.
    pub fn device(mut self, device: &str) -> Self {
        self.config.devices.push(device.into());
        self
    }

    /// With a disk, as `--disk` takes it.
    pub fn disk(mut self, spec: &str) -> Self {
        self.config.disks.push(spec.parse().unwrap_or_else(|e| panic!("{e}")));
        self
    }

    /// With further arguments to QEMU.
    pub fn qemu<const N: usize>(mut self, arguments: [&str; N]) -> Self {
        self.config.extra.extend(arguments.map(OsString::from));
        self
    }

    /// Starts it.
    #[track_caller]
    pub fn start(self) -> Running {
        self.start_on(0).0
    }

    /// Starts it with a port of the machine published, and returns the host's port.
    #[track_caller]
    pub fn start_published(mut self, guest_port: u16) -> (Running, u16) {
        self.config.network = Network::User;
        self.start_on(guest_port)
    }

    #[track_caller]
    fn start_on(mut self, guest_port: u16) -> (Running, u16) {
        let slot = place::guest_slot();
        // Another process may take the port between our look and QEMU's bind; then there is another one.
        for attempt in 0..5 {
            let port = free_port();
            if guest_port != 0 {
                self.config.publish = vec![Publish::tcp(port, guest_port)];
            }
            match Guest::start(&self.config, Accelerator::Tcg) {
                Ok(guest) => return (Running { guest, _slot: slot }, port),
                Err(e) if attempt < 4 && e.is_port_taken() => {}
                Err(e) => panic!("{e} {}", e.hint().unwrap_or_default()),
            }
        }
        unreachable!("the last attempt returns or panics")
    }
}

/// A running machine. When the test fails, its console is printed; when it is dropped, it ends.
#[derive(Debug)]
pub struct Running {
    guest: Guest,
    _slot: File,
}

impl Running {
    /// Waits for text on the console, after what was last waited for, and returns its line.
    #[track_caller]
    pub fn sees(&self, text: &str) -> String {
        self.sees_within(text, words::BOOT)
    }

    /// As [`Self::sees`], for this long.
    #[track_caller]
    pub fn sees_within(&self, text: &str, limit: Duration) -> String {
        self.guest.wait_for_line(text, limit).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Waits for several lines, in whatever order.
    #[track_caller]
    pub fn sees_all(&self, texts: &[&str]) {
        let mut missing: Vec<&str> = texts.to_vec();
        while !missing.is_empty() {
            let what = format!("one of {missing:?}");
            let found = self.guest.wait_for_match(&what, words::BOOT, |line| {
                missing.iter().filter_map(|text| line.find(text).map(|at| at + text.len())).min()
            });
            let line = found.unwrap_or_else(|e| panic!("{e}"));
            missing.retain(|text| !line.contains(text));
        }
    }

    /// Waits for the line that says that the services run.
    #[track_caller]
    pub fn is_ready(&self) {
        self.sees(words::READY);
    }

    /// Waits until the services run, or the machine has ended without.
    pub fn wait_ready(&self) -> bool {
        match self.guest.wait_for_line(words::READY, words::BOOT) {
            Ok(_) => true,
            Err(WaitError::Ended { .. }) => false,
            Err(e) => panic!("{e}"),
        }
    }

    /// Whether this is said before the machine ends or has had the time of several boots: with little memory, a root image is read
    /// page by page, again and again.
    pub fn comes_up(&self, text: &str) -> bool {
        self.guest.wait_for_line(text, words::THRASHING).is_ok()
    }

    /// Types at the console.
    #[track_caller]
    pub fn types(&self, text: &str) {
        self.guest.send(text).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Presses the power button.
    #[track_caller]
    pub fn presses_power(&self) {
        self.guest.powerdown().unwrap_or_else(|e| panic!("{e}"));
    }

    /// Presses keys together.
    #[track_caller]
    pub fn presses(&self, keys: &[&str]) {
        self.guest.qmp().send_key(keys).unwrap_or_else(|e| panic!("{e}"));
    }

    /// Plugs a raw disk into a PCI port that was given to [`Boot::device`].
    #[track_caller]
    pub fn plugs_in(&self, disk: &Path, port: &str) {
        let file = json!({"driver": "file", "filename": disk});
        let node = json!({"driver": "raw", "node-name": "late", "read-only": true, "file": file});
        let device = json!({"driver": "virtio-blk-pci", "drive": "late", "bus": port});
        for (command, arguments) in [("blockdev-add", node), ("device_add", device)] {
            self.guest.qmp().execute(command, arguments).unwrap_or_else(|e| panic!("{command}: {e}"));
        }
    }

    /// Where its control channel is called.
    #[track_caller]
    pub fn control_socket(&self) -> &Path {
        self.guest.control_socket().expect("it was booted with a control channel")
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub fn ends(&mut self) -> Outcome {
        self.guest.wait(words::BOOT).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Presses the power button and waits for the end.
    #[track_caller]
    pub fn powers_off(&mut self) {
        self.presses_power();
        let outcome = self.guest.wait(words::SHUTDOWN).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(outcome, Outcome::PoweredOff);
    }

    /// Waits for its end, which is that it has no root: after one sentence with this in it, and init is not reached.
    #[track_caller]
    pub fn has_no_root(mut self, sentence: &str) {
        self.sees(sentence);
        assert_eq!(self.ends(), Outcome::NoRoot);
        let said = self.own();
        println!("{:.1} s of CPU: {sentence}", self.cpu_seconds());
        assert_eq!(said.len(), 2, "the sentence and the end: {said:#?}");
        assert!(said[0].contains(sentence) && said[1] == format!("{}root", words::END), "{said:#?}");
    }

    /// What early and init said themselves.
    pub fn own(&self) -> Vec<String> {
        let own = |line: &String| line.starts_with(words::INIT) && line != words::LOADING;
        self.lines().into_iter().filter(own).collect()
    }

    /// Everything that the console said.
    pub fn lines(&self) -> Vec<String> {
        self.guest.lines()
    }

    /// Whether the console said this so far.
    pub fn said(&self, text: &str) -> bool {
        self.lines().iter().any(|line| line.contains(text))
    }

    /// User and system seconds of QEMU.
    pub fn cpu_seconds(&self) -> f64 {
        self.guest.cpu_seconds().unwrap_or_else(|e| panic!("{e}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.guest.lines();
            println!("--- console of the machine ---\n{}\n--- end of the console ---", lines.join("\n"));
        }
    }
}
