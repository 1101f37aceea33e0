//! From the kernel's call of `/init` to the first container: an ordinary root, devices, a whole root, modules, names.
//!
//! The order matters. The root comes first, so that everything is mounted where it stays. The consoles come as soon as
//! there are devices, so that all that follows can be said. The manifest is checked before anything that needs memory, so
//! that a machine that is too small says so. Nothing here ends the boot but that check: what fails is said and left out.

mod identity;
mod root;
mod volumes;
mod xattrs;

use std::path::Path;
use std::process::ExitCode;

use bootwright_early::modules::Loader;
use bootwright_early::{Cmdline, Consoles, manifest, mounts, say_panics, uevents};

use crate::journal::last_words;
use crate::report::BootReport;
use crate::{cgroups, supervise};

/// What the boot hands on to the supervision.
#[derive(Debug)]
pub struct Machine {
    /// The command line.
    pub cmdline: Cmdline,
    /// Where to speak.
    pub consoles: Consoles,
    /// Modules of devices that come later.
    pub loader: Loader,
    /// Signals, as a descriptor.
    pub signals: Option<std::os::fd::OwnedFd>,
    /// The kernel's device events.
    pub uevents: Option<std::os::fd::OwnedFd>,
    /// When what happened so far.
    pub report: BootReport,
}

/// Is PID 1. Does not return: the kernel panics when PID 1 ends.
pub fn run() -> ExitCode {
    let mut report = BootReport::begin();
    say_panics("init", last_words::repeat);
    let mut troubles = root::own_root();
    troubles.extend(mounts::mount_kernel_filesystems());
    let cmdline = Cmdline::read();
    let mut consoles = Consoles::open(&cmdline.consoles);
    consoles.say(&format!(
        "init {}, Linux {}",
        env!("CARGO_PKG_VERSION"),
        rustix::system::uname().release().to_string_lossy()
    ));
    report.phase("consoles");
    let manifest = manifest::check(&mut consoles, &cmdline);
    report.phase("manifest");
    // Before modules are loaded, so that no device that they make is missed, and no signal.
    let signals = note(supervise::signals(), "receiving signals", &mut troubles);
    let uevents = note(uevents(), "receiving device events", &mut troubles);
    let _ = rustix::system::reboot(rustix::system::RebootCommand::CadOff);
    troubles.extend(root::mount_the_rest());
    report.phase("mounts");
    let mut loader = Loader::new(&cmdline);
    loader.coldplug().say(&mut consoles);
    loader.make_nodes();
    // Not by any device: what the last kernel left in the firmware's variables is seen with it.
    if Path::new("/sys/firmware/efi").exists() {
        let _ = loader.want_one("efi_pstore");
    }
    for batch in loader.take_batches() {
        report.modules(batch.names.join(" "), batch.start, batch.end);
    }
    report.phase("modules");
    for console in &cmdline.consoles {
        consoles.add(console);
    }
    troubles.extend(identity::set());
    troubles.extend(xattrs::set(&manifest));
    troubles.extend(volumes::prepare());
    // Late, so that what the boot itself took is not given to containers.
    troubles.extend(cgroups::prepare());
    troubles.extend(root::seal_root());
    troubles.extend(cmdline.wrong.iter().map(|word| format!("`{word}` on the kernel's command line means nothing")));
    for trouble in troubles {
        consoles.say(&trouble);
    }
    report.phase("system");
    supervise::run(Machine { cmdline, consoles, loader, signals, uevents, report })
}

/// A machine without signals or device events is a poor one, but one that runs.
fn note<T>(result: std::io::Result<T>, what: &str, troubles: &mut Vec<String>) -> Option<T> {
    result.map_err(|error| troubles.push(format!("{what}: {error}"))).ok()
}
