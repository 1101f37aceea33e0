//! The real QEMU, with kernels of a few bytes: that its arguments are taken, its events understood, and that it goes.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use bootwright_machine::{
    Accelerator, Artefact, Board, Bus, Disk, Error, Guest, MachineConfig, Network, Outcome, Publish, WaitError, run,
};
use common::{Finish, Recorder, tiny_machine};

const LONG: Duration = Duration::from_secs(60);

fn run_it(config: &MachineConfig) -> (Outcome, String) {
    let mut console = Recorder::default();
    let outcome = run(config, &mut console, &std::env::temp_dir().join("bootwright-no-cache")).unwrap();
    (outcome, console.0)
}

#[test]
fn a_machine_that_ends_is_told_by_reason_and_last_line() {
    for (text, finish, outcome) in [
        ("hello\n", Finish::PowerOff, Outcome::PoweredOff),
        ("hello\nbootwright: end: onboot-failed\n", Finish::PowerOff, Outcome::OnbootFailed),
        ("hello\nbootwright: end: memory", Finish::PowerOff, Outcome::OutOfMemory),
        ("hello\n", Finish::Reset, Outcome::Rebooted),
        ("hello\n[    1.0] Kernel panic - not syncing: no\n", Finish::Reset, Outcome::Panicked),
        ("hello\nKernel panic - not syncing: no\n---[ end Kernel panic - no ]---\n", Finish::Hang, Outcome::Panicked),
        ("hello\nbootwright: end: halt\n[    1.0] reboot: System halted\n", Finish::Hang, Outcome::Halted),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = tiny_machine(dir.path(), text, finish);
        config.timeout = Some(LONG);
        config.log = Some(dir.path().join("console.log"));
        let (found, console) = run_it(&config);
        assert_eq!(found, outcome, "{text} became {console}");
        assert_eq!(console.trim_end(), text.trim_end());
        assert_eq!(fs::read_to_string(dir.path().join("console.log")).unwrap(), text);
    }
}

/// Here KVM is whatever this host has: none, a good one, or one under which kernels hang. The machine runs all the same.
#[test]
fn auto_finds_a_way_on_this_host() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = tiny_machine(dir.path(), "hello\n", Finish::PowerOff);
    config.accel = "auto".parse().unwrap();
    config.timeout = Some(LONG);
    let mut console = Recorder::default();
    let outcome = run(&config, &mut console, dir.path()).unwrap();
    assert_eq!(outcome, Outcome::PoweredOff, "{}", console.0);
    assert!(console.0.ends_with("hello\n"), "{}", console.0);
}

#[test]
fn every_kind_of_device_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = tiny_machine(dir.path(), "hello\n", Finish::PowerOff);
    let kernel = config.artefact.kernel().unwrap().to_owned();
    config.artefact = Artefact::direct(kernel.clone(), Some(kernel), "quiet");
    let named = Disk { path: Some(dir.path().join("a,b.img")), size_mib: Some(1), ..Disk::default() };
    config.disks = ["size=1M,bus=nvme", "size=1M,bus=scsi", "size=1M,bus=ide", "size=1M,bus=usb"]
        .map(|d| d.parse().unwrap())
        .into();
    config.disks.push(named);
    config.network = Network::User;
    config.publish = vec![Publish::tcp(free_port(), 80)];
    config.usb = true;
    config.cpus = 2;
    config.devices = vec!["virtio-balloon-pci".into()];
    config.extra = ["-name", "tiny"].map(Into::into).to_vec();
    assert_eq!(run_it(&config).0, Outcome::PoweredOff);
    assert!(dir.path().join("a,b.img").exists());
}

/// A disk whose first sector says hello on the serial port, on every bus from which SeaBIOS boots.
#[test]
fn a_bios_boots_a_disk_from_every_bus_and_the_disk_stays_as_it_was() {
    // mov si, 0x7c16; lodsb; test al, al; jz halt; mov dx, 0x3f8; out dx, al; jmp lodsb; halt: hlt; jmp halt
    let code = b"\x31\xc0\x8e\xd8\xbe\x16\x7c\xac\x84\xc0\x74\x06\xba\xf8\x03\xee\xeb\xf5\xf4\xeb\xfd\x90hello\n\0";
    let mut disk = vec![0; 1 << 20];
    disk[..code.len()].copy_from_slice(code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    fs::write(&path, &disk).unwrap();
    for (board, bus) in [
        (Board::Default, Bus::Virtio),
        (Board::Pc, Bus::Ide),
        (Board::Default, Bus::Ide),
        (Board::Default, Bus::Scsi),
        (Board::Default, Bus::Nvme),
        (Board::Default, Bus::Usb),
    ] {
        let mut config = tiny_machine(dir.path(), "", Finish::Hang);
        config.artefact = Artefact::whole(&path).unwrap();
        (config.board, config.boot_bus) = (board, Some(bus));
        let guest = Guest::start(&config, Accelerator::Tcg).unwrap();
        guest.wait_for_line("hello", LONG).unwrap_or_else(|e| panic!("{board:?} {bus}: {e}"));
    }
    assert_eq!(fs::read(&path).unwrap(), disk);
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_port_that_is_taken_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = tiny_machine(dir.path(), "hello\n", Finish::PowerOff);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    config.network = Network::User;
    config.publish = vec![Publish::tcp(listener.local_addr().unwrap().port(), 80)];
    let error = Guest::start(&config, Accelerator::Tcg).unwrap_err();
    assert!(error.hint().unwrap().contains("another program listens"), "{error}");
}

#[test]
fn a_machine_that_hangs_is_ended_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = tiny_machine(dir.path(), "hello\n", Finish::Hang);
    config.timeout = Some(Duration::from_secs(2));
    assert_eq!(run_it(&config).0, Outcome::TimedOut);
}

#[test]
fn a_script_talks_to_a_guest() {
    let dir = tempfile::tempdir().unwrap();
    let mut guest = Guest::start(&tiny_machine(dir.path(), "login: ", Finish::Echo), Accelerator::Tcg).unwrap();
    guest.wait_for_line("login:", LONG).unwrap();
    guest.send("root").unwrap();
    assert_eq!(guest.wait_for_line("root", LONG).unwrap(), "login: root");
    assert_eq!(guest.qmp().status().unwrap(), "running");
    let late = guest.wait_for_line("root", Duration::from_millis(50)).unwrap_err();
    assert!(matches!(late, WaitError::Late { .. }), "{late}");
    let running = guest.cpu_seconds().unwrap();
    guest.send("!").unwrap();
    let ended = guest.wait_for_line("never", LONG);
    assert_eq!(guest.wait(LONG).unwrap(), Outcome::PoweredOff);
    assert!(matches!(ended, Err(WaitError::Ended { .. })), "a machine that stopped says no more: {ended:?}");
    assert!(guest.cpu_seconds().unwrap() >= running);
    assert!(matches!(guest.wait_for_line("never", LONG), Err(WaitError::Ended { .. })));
    assert_eq!(guest.lines(), ["login: root!"]);
}

#[test]
fn a_guest_that_is_dropped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = tiny_machine(dir.path(), "hello\n", Finish::Hang);
    config.disks = vec!["size=1M".parse().unwrap()];
    let guest = Guest::start(&config, Accelerator::Tcg).unwrap();
    guest.wait_for_line("hello", LONG).unwrap();
    let process = format!("/proc/{}", guest.pid());
    let open = fs::read_dir(format!("{process}/fd")).unwrap().filter_map(|fd| fs::read_link(fd.unwrap().path()).ok());
    let open: Vec<String> = open.map(|path| path.display().to_string()).collect();
    let disk = open.iter().find(|path| path.contains("disk0.img")).unwrap_or_else(|| panic!("no disk in {open:?}"));
    assert!(disk.ends_with(" (deleted)"), "a kill would leave {disk}");
    drop(guest);
    assert!(!Path::new(&process).exists());
}

#[test]
fn a_kernel_that_is_none_is_qemus_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = tiny_machine(dir.path(), "", Finish::Hang);
    config.artefact = Artefact::direct(dir.path().join("nothing"), None, "");
    let begin = Instant::now();
    let error = Guest::start(&config, Accelerator::Tcg).unwrap_err();
    assert!(matches!(&error, Error::Died { stderr, .. } if stderr.contains("nothing")), "{error}");
    assert!(begin.elapsed() < Duration::from_secs(9), "a QEMU that ends at once is noticed at once");
}
