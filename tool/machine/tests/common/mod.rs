//! What the tests of this crate share: a console that remembers, a fake QEMU with a script, a kernel of a few bytes.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "each test binary uses its part")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bootwright_machine::{Arch, Artefact, Console, Error, MachineConfig, Network, Outcome, run};

/// A console that remembers, notices included.
#[derive(Debug, Default)]
pub struct Recorder(pub String);

impl Console for Recorder {
    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.push_str(&String::from_utf8_lossy(bytes));
        Ok(())
    }

    fn notice(&mut self, line: &str) {
        self.0.push_str(&format!("bootwright: {line}\n"));
    }
}

/// A machine that a fake QEMU plays.
#[derive(Debug)]
pub struct Fake {
    dir: tempfile::TempDir,
    pub config: MachineConfig,
}

impl Fake {
    pub fn new(kvm: &str, tcg: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("fake-kvm"), kvm).unwrap();
        fs::write(dir.path().join("fake-tcg"), tcg).unwrap();
        let kernel = dir.path().join("kernel");
        let mut config = MachineConfig::new(Artefact::direct(kernel, None, ""));
        config.arch = Arch::X86_64;
        config.accel = "kvm:tcg".parse().unwrap();
        config.qemu = Some(env!("CARGO_BIN_EXE_bootwright-fake-qemu").into());
        Self { dir, config }
    }

    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    pub fn run(&self) -> (Result<Outcome, Error>, String) {
        let mut console = Recorder::default();
        let outcome = run(&self.config, &mut console, &self.cache());
        (outcome, console.0)
    }

    /// The accelerators under which it was started.
    pub fn attempts(&self) -> Vec<String> {
        let log = fs::read_to_string(self.dir.path().join("fake-log")).unwrap_or_default();
        log.lines().map(str::to_owned).collect()
    }
}

/// How the tiny kernel ends.
#[derive(Clone, Copy, Debug)]
pub enum Finish {
    /// ACPI's power off, as q35 has it.
    PowerOff,
    /// A triple fault.
    Reset,
    /// Says what is typed up to `!`, then powers off.
    Echo,
    /// Stands still.
    Hang,
}

/// A multiboot kernel of a few bytes that says `text` on the serial console and then does `finish`: what the real QEMU is
/// tried with, in a quarter of a second and without a Linux.
pub fn tiny_kernel(dir: &Path, text: &str, finish: Finish) -> PathBuf {
    const BASE: u32 = 0x10_0000;
    const HEADER: u32 = 32;
    let mut code: Vec<u8> = Vec::new();
    // mov esi, text; text is patched in below
    code.extend([0xbe, 0, 0, 0, 0]);
    // next: lodsb; test al, al; jz done; mov dx, 0x3f8; out dx, al; jmp next
    code.extend([0xac, 0x84, 0xc0, 0x74, 0x07, 0x66, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf4]);
    let power_off: &[u8] = &[
        // The chipset's ACPI registers have no address before a kernel gives them one: bus 0, device 31, function 0,
        // register 0x40 gets 0x600, and 0x44 the enable bit.
        0xb8, 0x40, 0xf8, 0x00, 0x80, 0x66, 0xba, 0xf8, 0x0c,
        0xef, // mov eax, 0x8000f840; mov dx, 0xcf8; out dx, eax
        0xb8, 0x01, 0x06, 0x00, 0x00, 0x66, 0xba, 0xfc, 0x0c, 0xef, // mov eax, 0x601; mov dx, 0xcfc; out dx, eax
        0xb8, 0x44, 0xf8, 0x00, 0x80, 0x66, 0xba, 0xf8, 0x0c,
        0xef, // mov eax, 0x8000f844; mov dx, 0xcf8; out dx, eax
        0xb8, 0x80, 0x00, 0x00, 0x00, 0x66, 0xba, 0xfc, 0x0c, 0xef, // mov eax, 0x80; mov dx, 0xcfc; out dx, eax
        0x66, 0xb8, 0x00, 0x20, 0x66, 0xba, 0x04, 0x06, 0x66, 0xef, // mov ax, 0x2000; mov dx, 0x604; out dx, ax
    ];
    match finish {
        Finish::PowerOff => code.extend(power_off),
        // lidt of a table without entries; int3
        Finish::Reset => code.extend([0x6a, 0, 0x6a, 0, 0x0f, 0x01, 0x1c, 0x24, 0xcc]),
        Finish::Echo => {
            // wait: mov dx, 0x3fd; in al, dx; test al, 1; jz wait; mov dx, 0x3f8; in al, dx; out dx, al
            code.extend([0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xf7, 0x66, 0xba, 0xf8, 0x03, 0xec, 0xee]);
            // cmp al, '!'; jne wait
            code.extend([0x3c, b'!', 0x75, 0xed]);
            code.extend(power_off);
        }
        Finish::Hang => {}
    }
    // cli; hlt; jmp to the hlt
    code.extend([0xfa, 0xf4, 0xeb, 0xfd]);
    let text_at = BASE + HEADER + code.len() as u32;
    code[1..5].copy_from_slice(&text_at.to_le_bytes());

    let end = text_at + text.len() as u32 + 1;
    let (magic, flags) = (0x1bad_b002_u32, 0x0001_0000_u32);
    let checksum = 0u32.wrapping_sub(magic).wrapping_sub(flags);
    let header = [magic, flags, checksum, BASE, BASE, end, end, BASE + HEADER];
    let mut image: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    image.extend(code);
    image.extend(text.bytes());
    image.push(0);
    let path = dir.join("tiny-kernel");
    fs::write(&path, image).unwrap();
    path
}

/// A machine with the tiny kernel, under TCG.
pub fn tiny_machine(dir: &Path, text: &str, finish: Finish) -> MachineConfig {
    let kernel = tiny_kernel(dir, text, finish);
    let mut config = MachineConfig::new(Artefact::direct(kernel, None, ""));
    config.arch = Arch::X86_64;
    config.accel = "tcg".parse().unwrap();
    config.memory_mib = 64;
    config.network = Network::None;
    config
}
