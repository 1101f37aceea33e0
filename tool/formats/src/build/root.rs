//! Which root a machine gets, and whether its kernel can reach it.

use bootwright_rootfs::{Machine, Reach, Support};
use bootwright_spec::RootKind;

use super::Options;
use crate::format::Beside;
use crate::{Error, Format};

/// What the root is: what was asked for, or a root image where the init can have one.
///
/// # Errors
///
/// [`Error::NoEarly`], [`Error::VerityRoot`].
pub(super) fn kind(machine: &Machine, options: &Options) -> Result<RootKind, Error> {
    let asked = options.root.or(machine.root.kind);
    let can = machine.early.is_some();
    let kind = asked.unwrap_or(if can { RootKind::Squashfs } else { RootKind::Initrd });
    if kind == RootKind::Squashfs && !can {
        let init = machine.components.iter().rfind(|c| c.location.starts_with("init"));
        return Err(Error::NoEarly { init: init.map_or_else(|| "none".to_owned(), |c| c.source.clone()) });
    }
    if kind == RootKind::Initrd && verity(machine, options) {
        return Err(Error::VerityRoot);
    }
    Ok(kind)
}

/// Whether dm-verity checks the root.
pub(super) fn verity(machine: &Machine, options: &Options) -> bool {
    options.verity || machine.root.verity
}

/// How the root beside a kernel is reached: by the kernel itself (none), or by a small initrd.
///
/// # Errors
///
/// [`Error::KernelLacks`], [`Error::Unverified`].
pub(super) fn reach(
    machine: &Machine,
    format: Format,
    beside: Beside,
    options: &Options,
) -> Result<Option<Reach>, Error> {
    let filesystem = match beside {
        Beside::Squashfs | Beside::Firecracker => "SQUASHFS",
        Beside::Erofs => "EROFS_FS",
        Beside::Iso => "ISO9660_FS",
    };
    let mut needed = vec![filesystem, "VIRTIO_BLK"];
    if beside == Beside::Firecracker {
        // It has no PCI bus unless it is asked for one.
        needed.push("VIRTIO_MMIO");
    }
    if verity(machine, options) {
        let mut words = machine.boot.cmdline.split_ascii_whitespace();
        if beside == Beside::Iso {
            return Err(Error::Unverified { format, why: "an ISO has no hash tree" });
        }
        if words.any(|word| word.starts_with("root=")) {
            return Err(Error::Unverified { format, why: "the kernel's command line names another root (`root=`)" });
        }
        needed.extend(["DM_VERITY", "DM_INIT"]);
    }
    let Some(config) = &machine.boot.config else { return Ok(None) };
    let lacks = |symbol: &&&str| matches!(config.support(symbol), Support::Module | Support::Absent);
    let lacks: Vec<String> = needed.iter().filter(lacks).map(|symbol| format!("CONFIG_{symbol}")).collect();
    // What is a module that the machine has kept, early loads; it knows squashfs and EROFS.
    let module = |symbol: &&str| machine.has_driver(symbol) != Some(false) || *symbol == "DM_INIT";
    let by_initrd = machine.early.is_some() && beside != Beside::Iso && needed.iter().all(module);
    match (lacks.is_empty(), by_initrd) {
        (true, _) => Ok(None),
        (false, true) => Ok(Some(Reach::Disk)),
        (false, false) => Err(Error::KernelLacks { format, lacks }),
    }
}
