//! From a configuration to QEMU's arguments, in one pure function.
//!
//! The machine is lean: nothing that was not asked for, virtio for everything, no option ROMs. It starts stopped (`-S`),
//! so that no event is missed before QMP is spoken, and a guest that resets, powers off or panics stays there
//! (`-action`) until its reason has been read. Every option here is in QEMU 7.2, Debian 12's.

use std::ffi::OsString;
use std::path::Path;

use bootwright_bundle::control::CONTROL_PORT;
use serde_json::json;

use crate::{Accelerator, Arch, Board, Boot, Bus, MachineConfig, Network, Session};

/// What TCG emulates well: x86-64-v2, and RDRAND, without which a kernel's early random numbers cost 0.2 s of a boot.
const TCG_X86: &str = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf-lm,+rdrand";

/// On a busy host the emulated timer comes too late for the kernel's check of it, which then tries wirings until it panics;
/// under KVM the kernel skips the check by itself.
const TCG_X86_ARGUMENT: &str = "no_timer_check";

/// What differs between architectures: machine, CPU under TCG, and whether QEMU has a panic device for it.
fn machine(arch: Arch, board: Board) -> (&'static str, &'static str, Option<&'static str>) {
    match (arch, board) {
        (Arch::X86_64, Board::Default) => ("q35,vmport=off", TCG_X86, Some("pvpanic")),
        (Arch::X86_64, Board::Pc) => ("pc,vmport=off", TCG_X86, Some("pvpanic")),
        // Without ACPI, because with it TCG gives this board no clock that the kernel would trust.
        (Arch::X86_64, Board::Microvm) => ("microvm,acpi=off", TCG_X86, None),
        // `-cpu max` costs 3 s of a boot here: pointer authentication is emulated at full strength.
        (Arch::Aarch64, _) => ("virt,gic-version=max", "cortex-a57", Some("pvpanic-pci")),
        (Arch::Riscv64, _) => ("virt", "rv64", Some("pvpanic-pci")),
    }
}

/// QEMU's arguments, without the program.
pub fn argv(config: &MachineConfig, accelerator: Accelerator, session: &Session) -> Vec<OsString> {
    let mut argv = Vec::new();
    let (board, emulated_cpu, panic_device) = machine(config.arch, config.board);
    let virtio = Virtio(config.board);
    let host_cpu = if accelerator == Accelerator::Kvm { "host" } else { emulated_cpu };
    let mut add = |option: &str, value: &str| {
        argv.extend([option, value].map(OsString::from).into_iter().filter(|v| !v.is_empty()))
    };

    add("-nodefaults", "");
    add("-no-user-config", "");
    add("-machine", board);
    add("-accel", &accelerator.to_string());
    add("-cpu", config.cpu.as_deref().unwrap_or(host_cpu));
    add("-smp", &config.cpus.to_string());
    add("-m", &config.memory_mib.to_string());
    add("-S", "");
    add("-action", "reboot=shutdown,shutdown=pause,panic=shutdown");
    add("-chardev", &format!("socket,id=qmp,path={}", escape(&session.qmp)));
    add("-mon", "chardev=qmp,mode=control");
    add("-chardev", "stdio,id=console,signal=off");
    add("-serial", "chardev:console");
    if let Some(control) = &session.control {
        add("-chardev", &format!("socket,id=control,path={}", escape(control)));
        add("-device", &virtio.device("virtio-serial"));
        add("-device", &format!("virtserialport,chardev=control,name={CONTROL_PORT}"));
    }
    if config.gui {
        add("-device", if config.arch == Arch::X86_64 { "VGA" } else { "virtio-gpu-pci" });
    } else {
        add("-display", "none");
    }
    for (unit, (path, readonly)) in session.firmware.iter().enumerate() {
        let readonly = if *readonly { "on" } else { "off" };
        add("-drive", &format!("if=pflash,unit={unit},format=raw,readonly={readonly},file={}", escape(path)));
    }
    add("-device", &virtio.device("virtio-rng"));
    if let Some(device) = panic_device {
        add("-device", device);
    }
    let root = session.boot.iter();
    let buses: Vec<Bus> = root.clone().map(|boot| boot.bus).chain(session.disks.iter().map(|disk| disk.bus)).collect();
    if config.usb || buses.contains(&Bus::Usb) {
        add("-device", "qemu-xhci");
    }
    if buses.contains(&Bus::Scsi) {
        add("-device", &virtio.device("virtio-scsi"));
    }
    for boot in root {
        // What was built stays as it was: the machine's writes go with it.
        let (medium, snapshot) = if boot.cd { ("cdrom,readonly=on", "") } else { ("disk", ",snapshot=on") };
        let path = escape(&boot.path);
        add("-drive", &format!("if=none,id=boot,media={medium},format={}{snapshot},file={path}", boot.format));
        let device = if boot.cd { "ide-cd".to_owned() } else { virtio.disk(boot.bus, "boot") };
        // Where QEMU loads a kernel, that is the first to boot.
        let order = if config.artefact.kernel().is_some() { "" } else { ",bootindex=0" };
        add("-device", &format!("{device},drive=boot{order}"));
    }
    for (index, disk) in session.disks.iter().enumerate() {
        let node = json!({
            "driver": disk.format.to_string(),
            "node-name": format!("disk{index}"),
            "discard": "unmap",
            "file": {"driver": "file", "filename": disk.path.to_string_lossy(), "discard": "unmap"},
        });
        add("-blockdev", &node.to_string());
        let name = format!("disk{index}");
        add("-device", &format!("{},drive={name}", virtio.disk(disk.bus, &name)));
    }
    if let Some(netdev) = netdev(config) {
        add("-netdev", &netdev);
        let mac = session.mac.as_ref().map(|mac| format!(",mac={mac}")).unwrap_or_default();
        // An empty romfile keeps iPXE out of the boot, and Debian's package of it off the list of what is needed.
        let rom = if config.board == Board::Microvm { "" } else { ",romfile=" };
        add("-device", &format!("{},netdev=net0{rom}{mac}", virtio.device("virtio-net")));
    }
    for device in &config.devices {
        add("-device", device);
    }
    match &config.artefact.boot {
        Boot::Kernel { kernel, initrd, .. } => {
            add("-kernel", &kernel.to_string_lossy());
            if let Some(initrd) = initrd {
                // QEMU takes a comma for the start of a second initrd only with multiboot kernels, where it must be doubled.
                add("-initrd", &initrd.to_string_lossy());
            }
            // At the front: what follows a `--` is for init.
            let timer = (config.arch == Arch::X86_64 && accelerator == Accelerator::Tcg).then_some(TCG_X86_ARGUMENT);
            let words = timer.into_iter().chain([config.artefact.cmdline.as_str()]);
            let words = words.chain(config.append.iter().map(String::as_str)).filter(|w| !w.is_empty());
            let cmdline = words.collect::<Vec<_>>().join(" ");
            if !cmdline.is_empty() {
                add("-append", &cmdline);
            }
        }
        // The firmware finds it as it would a kernel.
        Boot::Uki(path) => add("-kernel", &path.to_string_lossy()),
        Boot::Disk { .. } | Boot::Iso { .. } | Boot::Archive(_) => {}
    }
    argv.extend(config.extra.iter().cloned());
    argv
}

/// How virtio devices are called on a board, and the disks beside them.
#[derive(Clone, Copy)]
struct Virtio(Board);

impl Virtio {
    fn device(self, name: &str) -> String {
        format!("{name}-{}", if self.0 == Board::Microvm { "device" } else { "pci" })
    }

    /// The device of a disk; `name` makes a serial number where one must be.
    fn disk(self, bus: Bus, name: &str) -> String {
        match bus {
            Bus::Virtio => self.device("virtio-blk"),
            Bus::Ide => "ide-hd".to_owned(),
            Bus::Scsi => "scsi-hd".to_owned(),
            Bus::Nvme => format!("nvme,serial={name}"),
            Bus::Usb => "usb-storage".to_owned(),
        }
    }
}

fn netdev(config: &MachineConfig) -> Option<String> {
    match &config.network {
        Network::None => None,
        Network::Tap(name) => Some(format!("tap,id=net0,ifname={name},script=no,downscript=no")),
        Network::Bridge(name) => Some(format!("bridge,id=net0,br={name}")),
        Network::User => {
            let mut netdev = "user,id=net0".to_owned();
            for port in &config.publish {
                let address =
                    if port.address.is_ipv6() { format!("[{}]", port.address) } else { port.address.to_string() };
                netdev.push_str(&format!(",hostfwd={}:{address}:{}-:{}", port.protocol, port.host, port.guest));
            }
            Some(netdev)
        }
    }
}

/// In QEMU's `key=value,…` lists a comma within a value is doubled.
fn escape(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::PreparedDisk;
    use crate::session::BootMedium;
    use crate::{Artefact, DiskFormat, Publish};

    fn artefact() -> Artefact {
        Artefact {
            boot: Boot::Kernel { kernel: "web-kernel".into(), initrd: Some("web-initrd.img".into()), root: None },
            cmdline: "console=ttyS0 quiet".into(),
            prefix: "web".into(),
        }
    }

    fn words(config: &MachineConfig, accelerator: Accelerator, session: &Session) -> String {
        let argv = argv(config, accelerator, session);
        let words: Vec<String> = argv.iter().map(|w| w.to_string_lossy().into_owned()).collect();
        words.join("\n").replace("\n-", " -").replace(" -", "\n-").replace("-\n", "- ")
    }

    fn session() -> Session {
        Session::of("/tmp/x/qmp".into(), Vec::new(), None, Vec::new())
    }

    #[test]
    fn the_plain_machine() {
        let config = MachineConfig { arch: Arch::X86_64, ..MachineConfig::new(artefact()) };
        let expected = "\
-nodefaults
-no-user-config
-machine\nq35,vmport=off
-accel\ntcg
-cpu\nqemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+lahf-lm,+rdrand
-smp\n1
-m\n1024
-S
-action\nreboot=shutdown,shutdown=pause,panic=shutdown
-chardev\nsocket,id=qmp,path=/tmp/x/qmp
-mon\nchardev=qmp,mode=control
-chardev\nstdio,id=console,signal=off
-serial\nchardev:console
-display\nnone
-device\nvirtio-rng-pci
-device\npvpanic
-netdev\nuser,id=net0
-device\nvirtio-net-pci,netdev=net0,romfile=
-kernel\nweb-kernel
-initrd\nweb-initrd.img
-append\nno_timer_check console=ttyS0 quiet";
        assert_eq!(words(&config, Accelerator::Tcg, &session()), expected);
    }

    #[test]
    fn firmware_boots_disks_and_isos_from_whatever_they_are_attached_to() {
        let boot = |format, bus, cd| {
            let mut session = session();
            session.boot = Some(BootMedium { path: "web,1.img".into(), format, bus, cd });
            session
        };
        for (board, session, expected) in [
            (
                Board::Default,
                boot(DiskFormat::Qcow2, Bus::Virtio, false),
                "-drive\nif=none,id=boot,media=disk,format=qcow2,snapshot=on,file=web,,1.img\n-device\nvirtio-blk-pci,drive=boot,bootindex=0",
            ),
            (Board::Pc, boot(DiskFormat::Raw, Bus::Ide, false), "-device\nide-hd,drive=boot,bootindex=0"),
            (
                Board::Default,
                boot(DiskFormat::Raw, Bus::Scsi, false),
                "-device\nvirtio-scsi-pci\n-drive\nif=none,id=boot,media=disk,format=raw,snapshot=on,file=web,,1.img\n-device\nscsi-hd",
            ),
            (Board::Default, boot(DiskFormat::Raw, Bus::Nvme, false), "nvme,serial=boot,drive=boot,bootindex=0"),
            (Board::Default, boot(DiskFormat::Raw, Bus::Usb, false), "usb-storage,drive=boot,bootindex=0"),
            (
                Board::Default,
                boot(DiskFormat::Raw, Bus::Ide, true),
                "media=cdrom,readonly=on,format=raw,file=web,,1.img\n-device\nide-cd,drive=boot,bootindex=0",
            ),
        ] {
            let iso = Boot::Iso { path: "unused".into(), bios: true };
            let artefact = Artefact { boot: iso, ..artefact() };
            let config = MachineConfig { arch: Arch::X86_64, board, ..MachineConfig::new(artefact) };
            let words = words(&config, Accelerator::Tcg, &session);
            assert!(words.contains(expected), "{expected:?} is not in\n{words}");
            assert!(!words.contains("-kernel") && !words.contains("-append"), "{words}");
        }
        // Beside a kernel it is not what boots.
        for (board, expected) in [(Board::Default, "virtio-blk-pci"), (Board::Microvm, "virtio-blk-device")] {
            let config = MachineConfig { arch: Arch::X86_64, board, ..MachineConfig::new(artefact()) };
            let words = words(&config, Accelerator::Tcg, &boot(DiskFormat::Raw, Bus::Virtio, false));
            assert!(words.contains(&format!("-device\n{expected},drive=boot\n-netdev")), "{words}");
        }
        let uki = Artefact { boot: Boot::Uki("web.efi".into()), ..artefact() };
        let config = MachineConfig { arch: Arch::X86_64, ..MachineConfig::new(uki) };
        assert!(words(&config, Accelerator::Tcg, &session()).ends_with("-kernel\nweb.efi"));
    }

    #[test]
    fn each_option_reaches_qemu() {
        let base = MachineConfig { arch: Arch::X86_64, ..MachineConfig::new(artefact()) };
        let disk = |path: &str, format| PreparedDisk { path: path.into(), format, bus: Bus::Virtio };
        for (config, session, expected) in [
            (MachineConfig { memory_mib: 96, ..base.clone() }, session(), "-m\n96"),
            (MachineConfig { cpus: 2, ..base.clone() }, session(), "-smp\n2"),
            (MachineConfig { cpu: Some("max".into()), ..base.clone() }, session(), "-cpu\nmax"),
            (MachineConfig { usb: true, ..base.clone() }, session(), "-device\nqemu-xhci"),
            (MachineConfig { gui: true, ..base.clone() }, session(), "-device\nVGA"),
            (MachineConfig { devices: vec!["e1000".into()], ..base.clone() }, session(), "-device\ne1000"),
            (MachineConfig { extra: vec!["-d".into()], ..base.clone() }, session(), "quiet\n-d"),
            (
                MachineConfig { append: vec!["a=1".into(), "b".into()], ..base.clone() },
                session(),
                "-append\nno_timer_check console=ttyS0 quiet a=1 b",
            ),
            (
                MachineConfig {
                    publish: vec![Publish::tcp(8080, 80), "[::1]:53:53/udp".parse().unwrap()],
                    ..base.clone()
                },
                session(),
                "-netdev\nuser,id=net0,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:[::1]:53-:53",
            ),
            (
                MachineConfig { network: Network::Bridge("br0".into()), ..base.clone() },
                Session::of("q".into(), Vec::new(), Some("52:54:00:01:02:03".into()), Vec::new()),
                "-netdev\nbridge,id=net0,br=br0\n-device\nvirtio-net-pci,netdev=net0,romfile=,mac=52:54:00:01:02:03",
            ),
            (
                MachineConfig { network: Network::Tap("tap0".into()), ..base.clone() },
                session(),
                "-netdev\ntap,id=net0,ifname=tap0,script=no,downscript=no",
            ),
            (
                base.clone(),
                Session::of("q".into(), vec![disk("a,b.img", DiskFormat::Qcow2)], None, Vec::new()),
                "-blockdev\n{\"driver\":\"qcow2\",\"node-name\":\"disk0\",\"discard\":\"unmap\",\"file\":{\"driver\":\"file\",\
                 \"filename\":\"a,b.img\",\"discard\":\"unmap\"}}\n-device\nvirtio-blk-pci,drive=disk0",
            ),
            (
                base.clone(),
                Session::of("q".into(), Vec::new(), None, vec![("c,1".into(), true), ("v".into(), false)]),
                "-drive\nif=pflash,unit=0,format=raw,readonly=on,file=c,,1\n-drive\nif=pflash,unit=1,format=raw,readonly=off,file=v",
            ),
            (
                MachineConfig { arch: Arch::Aarch64, ..base.clone() },
                session(),
                "-machine\nvirt,gic-version=max\n-accel\ntcg\n-cpu\ncortex-a57",
            ),
        ] {
            let words = words(&config, Accelerator::Tcg, &session);
            assert!(words.contains(expected), "{expected:?} is not in\n{words}");
        }
        let mut controlled = session();
        controlled.control = Some("/tmp/x/control".into());
        assert!(words(&base, Accelerator::Tcg, &controlled).contains(
            "-chardev\nsocket,id=control,path=/tmp/x/control\n-device\nvirtio-serial-pci\n-device\n\
             virtserialport,chardev=control,name=org.bootwright.control.0"
        ));
        assert!(words(&base, Accelerator::Kvm, &session()).contains("-accel\nkvm\n-cpu\nhost"));
        assert!(words(&base, Accelerator::Kvm, &session()).ends_with("-append\nconsole=ttyS0 quiet"));
        let alone = MachineConfig { network: Network::None, ..base };
        assert!(!words(&alone, Accelerator::Tcg, &session()).contains("net0"));
    }
}
