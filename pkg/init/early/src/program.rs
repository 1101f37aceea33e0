//! What the binary does: as PID 1 it goes into the root; otherwise the kernel calls it for a module.

use std::process::ExitCode;

use bootwright_bundle::Ending;
use rustix::process::{Pid, getpid};

use crate::{Cmdline, Consoles, end, manifest, modules, mounts, root, say_panics};

/// Runs `bootwright-early`. As PID 1 it does not return: the root's init takes its place, or the machine ends.
pub fn run() -> ExitCode {
    if getpid() != Pid::INIT {
        return be_called();
    }
    say_panics("early", |_| {});
    let troubles = mounts::mount_kernel_filesystems();
    let cmdline = Cmdline::read();
    let mut consoles = Consoles::open(&cmdline.consoles);
    for trouble in troubles {
        consoles.say(&trouble);
    }
    manifest::check(&mut consoles, &cmdline);
    let Err(error) = root::enter(&cmdline, &mut consoles);
    consoles.say(&error.to_string());
    end(&mut consoles, Ending::Root, || {})
}

/// The kernel's modprobe, `/init -q -- NAME`.
fn be_called() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    match arguments.as_slice() {
        [quiet, dashes, name] if quiet == "-q" && dashes == "--" => modules::modprobe(name),
        _ => {
            eprintln!("bootwright-early is the /init of an initrd");
            ExitCode::from(2)
        }
    }
}
