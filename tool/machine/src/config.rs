//! What machine it is: everything that the user can choose about a run, before anything of the host is looked at.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::{AccelChoice, Artefact, Bus, Disk, Error, ParseError, Publish};

/// A machine to be run.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// What is booted.
    pub artefact: Artefact,
    /// Words added to the end of the kernel's command line.
    pub append: Vec<String>,
    /// Of which architecture it is.
    pub arch: Arch,
    /// On which board.
    pub board: Board,
    /// What the disk that boots is attached to; none: virtio, and an ISO is a CD.
    pub boot_bus: Option<Bus>,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Number of CPUs.
    pub cpus: u32,
    /// QEMU's CPU model; none: the host's under KVM, x86-64-v2 or its like under TCG.
    pub cpu: Option<String>,
    /// KVM or TCG.
    pub accel: AccelChoice,
    /// Disks, in order.
    pub disks: Vec<Disk>,
    /// The network interface.
    pub network: Network,
    /// Ports, with [`Network::User`] only.
    pub publish: Vec<Publish>,
    /// QEMU's `-device` arguments.
    pub devices: Vec<String>,
    /// Boot through UEFI, with the firmware of Debian's package unless [`Self::firmware`] names one.
    pub uefi: bool,
    /// A firmware image in place of SeaBIOS.
    pub firmware: Option<PathBuf>,
    /// A window with the machine's screen.
    pub gui: bool,
    /// A USB controller.
    pub usb: bool,
    /// QEMU's binary; none: `qemu-system-ARCH` on the path.
    pub qemu: Option<PathBuf>,
    /// Where new disks and the MAC address are kept; none: a temporary directory.
    pub state: Option<PathBuf>,
    /// After how long the machine is ended.
    pub timeout: Option<Duration>,
    /// A file that gets all that the console says.
    pub log: Option<PathBuf>,
    /// With a virtio-serial port for the control channel.
    pub control: bool,
    /// Further arguments to QEMU, verbatim, last.
    pub extra: Vec<OsString>,
}

impl MachineConfig {
    /// A machine of the host's architecture with 1024 MiB (LinuxKit's default), one CPU, a user network and no disks.
    pub fn new(artefact: Artefact) -> Self {
        Self {
            artefact,
            append: Vec::new(),
            arch: Arch::host(),
            board: Board::Default,
            boot_bus: None,
            memory_mib: 1024,
            cpus: 1,
            cpu: None,
            accel: AccelChoice::Auto,
            disks: Vec::new(),
            network: Network::User,
            publish: Vec::new(),
            devices: Vec::new(),
            uefi: false,
            firmware: None,
            gui: false,
            usb: false,
            qemu: None,
            state: None,
            timeout: None,
            log: None,
            control: false,
            extra: Vec::new(),
        }
    }

    /// Refuses what cannot be, before anything is started.
    pub fn check(&self) -> Result<(), Error> {
        if !self.publish.is_empty() && self.network != Network::User {
            return Err(Error::Conflict("`--publish` works with `--networking user` only"));
        }
        if self.memory_mib == 0 {
            return Err(Error::Conflict("a machine needs memory: `--mem` is 0"));
        }
        if self.cpus == 0 {
            return Err(Error::Conflict("a machine needs a CPU: `--cpus` is 0"));
        }
        let uefi = self.uefi || self.artefact.needs_uefi();
        if uefi && self.firmware.is_none() && self.arch != Arch::X86_64 {
            return Err(Error::Conflict("UEFI on this architecture needs the firmware: `--fw FILE`"));
        }
        if !self.append.is_empty() && self.artefact.kernel().is_none() {
            return Err(Error::Conflict("`--append` works where QEMU loads the kernel; here firmware does"));
        }
        if self.board == Board::Microvm && self.artefact.kernel().is_none() {
            return Err(Error::Conflict("`--machine microvm` has no firmware that boots disks: it takes a kernel"));
        }
        Ok(())
    }

    /// Refuses a machine with less memory than its root needs, where that is known before it boots. Not part of
    /// [`Self::check`]: a test may well want to see such a machine.
    pub fn check_memory(&self) -> Result<(), Error> {
        match self.artefact.memory_mib() {
            Some(needed) if self.memory_mib < needed => Err(Error::LittleMemory { needed, given: self.memory_mib }),
            _ => Ok(()),
        }
    }

    /// The QEMU to execute.
    pub fn program(&self) -> PathBuf {
        self.qemu.clone().unwrap_or_else(|| format!("qemu-system-{}", self.arch).into())
    }
}

/// An architecture that QEMU has a machine for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// `amd64`.
    X86_64,
    /// `arm64`.
    Aarch64,
    /// `riscv64`.
    Riscv64,
}

impl Arch {
    /// That of this program.
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else if cfg!(target_arch = "riscv64") {
            Self::Riscv64
        } else {
            Self::X86_64
        }
    }

    /// The Debian package that has its QEMU.
    pub(crate) const fn package(self) -> &'static str {
        match self {
            Self::X86_64 => "qemu-system-x86",
            Self::Aarch64 => "qemu-system-arm",
            Self::Riscv64 => "qemu-system-misc",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
        })
    }
}

impl FromStr for Arch {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "x86_64" | "amd64" => Ok(Self::X86_64),
            "aarch64" | "arm64" => Ok(Self::Aarch64),
            "riscv64" => Ok(Self::Riscv64),
            _ => Err(ParseError::new(text, "architecture", "it is none of `x86_64`, `aarch64`, `riscv64`")),
        }
    }
}

/// A board of QEMU's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Board {
    /// `q35` on x86-64, `virt` elsewhere.
    #[default]
    Default,
    /// The older PC.
    Pc,
    /// A board like Firecracker's: virtio devices without PCI.
    Microvm,
}

impl FromStr for Board {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "q35" | "virt" => Ok(Self::Default),
            "pc" => Ok(Self::Pc),
            "microvm" => Ok(Self::Microvm),
            _ => Err(ParseError::new(text, "machine", "it is none of `q35`, `pc`, `microvm`")),
        }
    }
}

/// How the machine is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Network {
    /// Through QEMU, without privileges; the machine reaches out, and in where ports are published.
    User,
    /// Not at all.
    None,
    /// A tap device that exists.
    Tap(String),
    /// A bridge that exists, through QEMU's bridge helper.
    Bridge(String),
}

impl FromStr for Network {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = |problem: &str| Err(ParseError::new(text, "network", problem));
        match text.split_once(',') {
            None if text == "user" => Ok(Self::User),
            None if text == "none" => Ok(Self::None),
            Some(("tap" | "bridge", name)) if name.is_empty() || name.contains([',', '/']) => {
                wrong("that is not the name of an interface")
            }
            Some(("tap", name)) => Ok(Self::Tap(name.into())),
            Some(("bridge", name)) => Ok(Self::Bridge(name.into())),
            _ => wrong("it is none of `user`, `none`, `tap,NAME`, `bridge,NAME`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_architectures_are_read() {
        assert_eq!("user".parse(), Ok(Network::User));
        assert_eq!("none".parse(), Ok(Network::None));
        assert_eq!("tap,tap0".parse(), Ok(Network::Tap("tap0".into())));
        assert_eq!("bridge,br0".parse(), Ok(Network::Bridge("br0".into())));
        for text in ["", "tap", "tap,", "bridge,a,b", "vde,x", "user,x"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        for (text, arch) in [("amd64", Arch::X86_64), ("aarch64", Arch::Aarch64), ("riscv64", Arch::Riscv64)] {
            assert_eq!(text.parse(), Ok(arch));
        }
        assert!("s390x".parse::<Arch>().unwrap_err().to_string().contains("none of"));
    }

    #[test]
    fn less_memory_than_the_root_needs_is_refused() {
        let artefact = Artefact { cmdline: "bootwright.memory=96".into(), ..Artefact::default() };
        let machine = |memory_mib| MachineConfig { memory_mib, ..MachineConfig::new(artefact.clone()) };
        machine(96).check_memory().unwrap();
        machine(95).check().unwrap();
        let error = machine(95).check_memory().unwrap_err();
        assert_eq!(error.to_string(), "too little memory: the machine needs 96 MiB and gets 95 MiB");
        assert_eq!(error.hint().unwrap(), "`--mem 96`");
        MachineConfig { memory_mib: 1, ..MachineConfig::new(Artefact::default()) }.check_memory().unwrap();
    }

    #[test]
    fn contradictions_are_refused() {
        let good = MachineConfig::new(Artefact::default());
        good.check().unwrap();
        let uki = Artefact { boot: crate::Boot::Uki("web.efi".into()), ..Artefact::default() };
        for bad in [
            MachineConfig { network: Network::None, publish: vec![Publish::tcp(1, 1)], ..good.clone() },
            MachineConfig { memory_mib: 0, ..good.clone() },
            MachineConfig { cpus: 0, ..good.clone() },
            MachineConfig { uefi: true, arch: Arch::Aarch64, ..good.clone() },
            MachineConfig { append: vec!["x".into()], artefact: uki.clone(), ..good.clone() },
            MachineConfig { board: Board::Microvm, artefact: uki, ..good },
        ] {
            bad.check().unwrap_err();
        }
    }
}
