//! `bootwright run [qemu] NAME`.

use std::path::PathBuf;
use std::time::Duration;

use bootwright_machine::{AccelChoice, Arch, Artefact, Board, Bus, Disk, MachineConfig, Network, Publish, Terminal};
use bootwright_oci::Reporter;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::Global;

/// Boot what was built, in QEMU, with the serial console on the terminal
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// What was built, by its prefix (`out/web`) or one of its files; `qemu` before it is allowed
    #[arg(value_name = "[qemu] NAME", num_args = 1..=2, required_unless_present = "kernel_file")]
    name: Vec<String>,
    /// Memory in MiB
    #[arg(long, default_value_t = 1024, value_name = "MIB")]
    mem: u64,
    /// Number of CPUs
    #[arg(long, default_value_t = 1)]
    cpus: u32,
    /// A disk: [file=]PATH[,size=N[M|G]][,format=F][,bus=B] (repeatable)
    #[arg(long, value_name = "DISK")]
    disk: Vec<Disk>,
    /// Let the host reach a port of the guest: [ADDRESS:]HOST:GUEST[/tcp|udp] (repeatable)
    #[arg(long, value_name = "HOST:GUEST")]
    publish: Vec<Publish>,
    /// user, none, tap,NAME or bridge,NAME
    #[arg(long, default_value = "user")]
    networking: Network,
    /// End the guest after this long: 90, 90s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    timeout: Option<Duration>,
    /// auto, kvm, tcg, or LinuxKit's list such as kvm:tcg [default: $LINUXKIT_QEMU_ACCEL, else auto]
    #[arg(long)]
    accel: Option<AccelChoice>,
    /// Architecture of the guest [default: this machine's]
    #[arg(long)]
    arch: Option<Arch>,
    /// Words to add to the kernel's command line
    #[arg(long, value_name = "WORDS")]
    append: Option<String>,
    /// The kernel's file, instead of NAME
    #[arg(long = "kernel-file", value_name = "FILE")]
    kernel_file: Option<PathBuf>,
    /// With --kernel-file: the initrd
    #[arg(long, value_name = "FILE", requires = "kernel_file")]
    initrd: Option<PathBuf>,
    /// With --kernel-file: a file with the command line
    #[arg(long, value_name = "FILE", requires = "kernel_file")]
    cmdline: Option<PathBuf>,
    /// Keep new disks and the MAC address here
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Also write all that the console says to a file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// QEMU's binary [default: qemu-system-ARCH on the path]
    #[arg(long, value_name = "PATH")]
    qemu: Option<PathBuf>,
    /// One of QEMU's -device arguments (repeatable)
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// q35, pc or microvm [default: q35]
    #[arg(long, value_name = "BOARD", default_value = "q35", hide_default_value = true)]
    machine: Board,
    /// What the disk or ISO that boots is attached to: virtio, ide, scsi, nvme or usb [default: virtio; an ISO is a CD]
    #[arg(long, value_name = "BUS")]
    boot_bus: Option<Bus>,
    /// A window with the machine's screen
    #[arg(long)]
    gui: bool,
    /// A USB controller
    #[arg(long)]
    usb: bool,
    /// Boot through UEFI
    #[arg(long)]
    uefi: bool,
    /// Without the control channel (`bootwright ctl`)
    #[arg(long)]
    no_control: bool,
    /// A firmware image in place of the default
    #[arg(long, value_name = "FILE")]
    fw: Option<PathBuf>,
    #[command(flatten)]
    linuxkit: LinuxKit,
}

const AFTER: &str = "\
Exit codes: 0 the guest powered off, 10 onboot failed, 11 kernel panic, 12 it rebooted, 13 timeout, 14 too little memory, \
15 no root; \
1, 2 and 3 as everywhere: input, usage, the world.

LinuxKit's flags are accepted with one dash too. --kernel, --iso and --squashfs say nothing new (the files decide); --data, \
--data-file, --virtiofs, --virtiofsd and --detached are accepted and do nothing yet; each says so.";

/// Flags of `linuxkit run qemu` that have nothing to do here, or not yet.
#[derive(Debug, clap::Args)]
struct LinuxKit {
    #[arg(long, hide = true)]
    kernel: bool,
    #[arg(long, hide = true)]
    iso: bool,
    #[arg(long, hide = true)]
    squashfs: bool,
    #[arg(long, hide = true)]
    data: Option<String>,
    #[arg(long, hide = true)]
    data_file: Option<PathBuf>,
    #[arg(long, hide = true)]
    virtiofs: Vec<String>,
    #[arg(long, hide = true)]
    virtiofsd: Option<String>,
    #[arg(long, hide = true)]
    detached: bool,
}

impl LinuxKit {
    fn say_no_effect(&self, printer: &Printer) {
        let notices = [
            (self.kernel, "`--kernel` has no effect: the files decide how they boot"),
            (self.iso, "`--iso` has no effect: the files decide how they boot"),
            (self.squashfs, "`--squashfs` has no effect: the files decide how they boot"),
            (self.data.is_some(), "`--data` has no effect yet: the guest gets no metadata"),
            (self.data_file.is_some(), "`--data-file` has no effect yet: the guest gets no metadata"),
            (!self.virtiofs.is_empty(), "`--virtiofs` has no effect yet: nothing is shared"),
            (self.virtiofsd.is_some(), "`--virtiofsd` has no effect yet: nothing is shared"),
            (self.detached, "`--detached` has no effect: the guest ends with this command"),
        ];
        printer.notices(&notices);
    }
}

impl Args {
    pub fn run(self, global: &Global, printer: &Printer) -> Result<u8, Failure> {
        self.linuxkit.say_no_effect(printer);
        let cache = global.cache_directory()?;
        let config = self.config()?;
        let mut terminal = Terminal::new()?;
        let outcome = bootwright_machine::run(&config, &mut terminal, &cache)?;
        drop(terminal);
        printer.note(&outcome.to_string());
        Ok(outcome.exit_code())
    }

    fn config(self) -> Result<MachineConfig, Failure> {
        let artefact = match (&self.kernel_file, &self.name[..]) {
            (Some(kernel), []) => Artefact::explicit(kernel, self.initrd.as_deref(), self.cmdline.as_deref())?,
            (None, [name]) => Artefact::find(name)?,
            (None, [backend, name]) if backend == "qemu" => Artefact::find(name)?,
            (None, [backend, _]) => {
                return Err(Failure::usage(format!("`{backend}` is not a backend: `qemu` is the only one yet")));
            }
            _ => return Err(Failure::usage("give a NAME or --kernel-file, not both")),
        };
        let append = self.append.iter().flat_map(|words| words.split_whitespace()).map(str::to_owned).collect();
        let config = MachineConfig {
            append,
            arch: self.arch.unwrap_or(Arch::host()),
            board: self.machine,
            boot_bus: self.boot_bus,
            memory_mib: self.mem,
            cpus: self.cpus,
            accel: match self.accel {
                Some(accel) => accel,
                None => accel_from_env()?,
            },
            disks: self.disk,
            network: self.networking,
            publish: self.publish,
            devices: self.device,
            uefi: self.uefi,
            firmware: self.fw,
            gui: self.gui,
            usb: self.usb,
            qemu: self.qemu,
            state: self.state,
            timeout: self.timeout,
            log: self.log,
            control: !self.no_control,
            ..MachineConfig::new(artefact)
        };
        config.check()?;
        Ok(config)
    }
}

/// What LinuxKit's variable says; an empty one says nothing.
pub fn accel_from_env() -> Result<AccelChoice, Failure> {
    match std::env::var("LINUXKIT_QEMU_ACCEL") {
        Ok(text) if !text.is_empty() => text.parse().map_err(|e| Failure::usage(format!("LINUXKIT_QEMU_ACCEL: {e}"))),
        _ => Ok(AccelChoice::Auto),
    }
}

/// Seconds, or a number with `s`, `m` or `h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm', 'h']) {
        Some(number) => (number, text.chars().last().unwrap_or('s')),
        None => (text, 's'),
    };
    let factor = match unit {
        'm' => 60,
        'h' => 3600,
        _ => 1,
    };
    let seconds = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).filter(|s| *s > 0);
    seconds.map(Duration::from_secs).ok_or_else(|| format!("`{text}` is not a time such as 90, 90s or 5m"))
}
