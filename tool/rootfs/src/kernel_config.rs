//! What a kernel has built in, as formats ask for it: by the names of Kconfig, without the `CONFIG_`.
//!
//! A kernel image that has its `config` at its root says everything, and a symbol that is not in it is absent. Of others
//! (LinuxKit's) `modules.builtin` and `modules.dep` of `kernel.tar` say which drivers are in the kernel and which are files;
//! they know module names only, so that a table gives the drivers and file systems that formats may ask for. Whatever
//! neither says is unknown, which is no reason to refuse anything.

use std::collections::{BTreeMap, BTreeSet};

use bootwright_oci::{Content, Kind, ReadContent, Tree, TreePath};

use crate::inputs::read_all;
use crate::modules_index::module_name;

/// Larger than any `config`, `modules.builtin` or `modules.dep`; Debian's are 0.3, 0.01 and 0.5 MB.
const LIMIT: u64 = 8 << 20;

/// Symbols of which a boot may depend, and the modules that they make.
const MODULES: [(&str, &str); 45] = [
    ("ATA", "libata"),
    ("ATA_PIIX", "ata_piix"),
    ("BLK_DEV_DM", "dm_mod"),
    ("BLK_DEV_LOOP", "loop"),
    ("BLK_DEV_NVME", "nvme"),
    ("BLK_DEV_SD", "sd_mod"),
    ("BLK_DEV_SR", "sr_mod"),
    ("DM_VERITY", "dm_verity"),
    ("E1000", "e1000"),
    ("E1000E", "e1000e"),
    ("EFIVAR_FS", "efivarfs"),
    ("EFI_VARS_PSTORE", "efi_pstore"),
    ("ENA_ETHERNET", "ena"),
    ("EROFS_FS", "erofs"),
    ("EXT4_FS", "ext4"),
    ("FUSION_SPI", "mptspi"),
    ("GVE", "gve"),
    ("HYPERV", "hv_vmbus"),
    ("HYPERV_NET", "hv_netvsc"),
    ("HYPERV_STORAGE", "hv_storvsc"),
    ("ISO9660_FS", "isofs"),
    ("IXGBEVF", "ixgbevf"),
    ("MICROSOFT_MANA", "mana"),
    ("OVERLAY_FS", "overlay"),
    ("SATA_AHCI", "ahci"),
    ("SCSI", "scsi_mod"),
    ("SCSI_VIRTIO", "virtio_scsi"),
    ("SERIAL_8250", "8250"),
    ("SQUASHFS", "squashfs"),
    ("USB_STORAGE", "usb_storage"),
    ("USB_UAS", "uas"),
    ("USB_XHCI_HCD", "xhci_hcd"),
    ("VFAT_FS", "vfat"),
    ("VIRTIO", "virtio"),
    ("VIRTIO_BLK", "virtio_blk"),
    ("VIRTIO_CONSOLE", "virtio_console"),
    ("VIRTIO_FS", "virtiofs"),
    ("VIRTIO_MMIO", "virtio_mmio"),
    ("VIRTIO_NET", "virtio_net"),
    ("VIRTIO_PCI", "virtio_pci"),
    ("VMWARE_PVSCSI", "vmw_pvscsi"),
    ("VMXNET3", "vmxnet3"),
    ("XEN_BLKDEV_FRONTEND", "xen_blkfront"),
    ("XEN_NETDEV_FRONTEND", "xen_netfront"),
    ("XEN_SCSI_FRONTEND", "xen_scsifront"),
];

/// Whether a kernel has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// In the kernel itself.
    BuiltIn,
    /// In a module.
    Module,
    /// Not at all.
    Absent,
    /// Its image does not say.
    Unknown,
}

/// What a kernel's image says of how it was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelConfig(Known);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Known {
    /// The `.config`: value by symbol, symbols without `CONFIG_`.
    Symbols(BTreeMap<String, String>),
    /// Names of the modules that are in the kernel, and of those that are files.
    Modules { builtin: BTreeSet<String>, files: BTreeSet<String> },
}

impl KernelConfig {
    /// Reads a `.config`. Lines that are no setting are passed over.
    #[must_use]
    pub fn parse(config: &[u8]) -> Self {
        let setting = |line: &str| {
            let (symbol, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
            Some((symbol.to_owned(), value.trim_end().to_owned()))
        };
        Self(Known::Symbols(String::from_utf8_lossy(config).lines().filter_map(setting).collect()))
    }

    /// Reads `modules.builtin` and `modules.dep`, for a kernel whose `.config` is not there.
    #[must_use]
    pub fn of_modules(builtin: &[u8], dep: &[u8]) -> Self {
        let names = |text: &[u8]| {
            let paths = text.split(|b| *b == b'\n').map(|l| l.split(|b| *b == b':').next().unwrap_or_default());
            paths.filter_map(|path| module_name(path.trim_ascii())).collect()
        };
        Self(Known::Modules { builtin: names(builtin), files: names(dep) })
    }

    /// Whether the kernel has what a symbol (`VIRTIO_BLK`, with or without `CONFIG_`) stands for. For symbols that are no
    /// switch, `BuiltIn` says that they have a value.
    #[must_use]
    pub fn support(&self, symbol: &str) -> Support {
        let symbol = symbol.strip_prefix("CONFIG_").unwrap_or(symbol);
        match &self.0 {
            Known::Symbols(symbols) => match symbols.get(symbol).map(String::as_str) {
                Some("m") => Support::Module,
                Some("n") | None => Support::Absent,
                Some(_) => Support::BuiltIn,
            },
            Known::Modules { builtin, files } => match MODULES.iter().find(|(s, _)| *s == symbol) {
                Some((_, module)) if builtin.contains(*module) => Support::BuiltIn,
                Some((_, module)) if files.contains(*module) => Support::Module,
                // A kernel without a list of what is built in has said nothing about it.
                Some(_) if !builtin.is_empty() => Support::Absent,
                _ => Support::Unknown,
            },
        }
    }

    /// The value of a symbol that is no switch, without its quotes; none where only modules are known.
    #[must_use]
    pub fn value(&self, symbol: &str) -> Option<&str> {
        let symbol = symbol.strip_prefix("CONFIG_").unwrap_or(symbol);
        match &self.0 {
            Known::Symbols(symbols) => symbols.get(symbol).map(|value| value.trim_matches('"')),
            Known::Modules { .. } => None,
        }
    }
}

/// The module that a symbol makes, if a boot may depend on it.
pub(crate) fn module(symbol: &str) -> Option<&'static str> {
    MODULES.iter().find(|(known, _)| *known == symbol).map(|(_, module)| *module)
}

/// What a kernel's image says: its `config`, else what lies in the tree of its `kernel.tar`, before anything is left out of
/// it.
pub(crate) fn of_image(
    config: Option<&Content>,
    tar: &Tree,
    store: &(impl ReadContent + ?Sized),
) -> std::io::Result<Option<KernelConfig>> {
    // A file that is only called so has no settings.
    if let Some(content) = config.filter(|content| content.size() <= LIMIT) {
        let parsed = KernelConfig::parse(&read_all(store, content, LIMIT)?);
        if !matches!(&parsed.0, Known::Symbols(symbols) if symbols.is_empty()) {
            return Ok(Some(parsed));
        }
    }
    let homes = ["lib/modules", "usr/lib/modules"].map(|p| TreePath::new(p).unwrap_or_default());
    let file = |name: &[u8]| {
        let found = tar.iter().find_map(|(path, node)| match &node.kind {
            Kind::File(content) if path.file_name() == name => {
                let home = path.parent()?.parent()?;
                homes.contains(&home).then_some(content)
            }
            _ => None,
        });
        found.map(|content| read_all(store, content, LIMIT)).transpose()
    };
    let Some(builtin) = file(b"modules.builtin")? else { return Ok(None) };
    let dep = file(b"modules.dep")?.unwrap_or_default();
    Ok(Some(KernelConfig::of_modules(&builtin, &dep)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Memory, tree};

    #[test]
    fn a_configuration_says_everything() {
        let config = KernelConfig::parse(
            b"# Linux/x86 6.12\nCONFIG_VIRTIO_BLK=y\nCONFIG_EXT4_FS=m\n# CONFIG_DM_INIT is not set\nCONFIG_NR_CPUS=64\n\
              CONFIG_LSM=\"landlock,lockdown\"\nCONFIG_OFF=n\nnonsense\n\xff\xfe=y\nCONFIG_CUT",
        );
        for (symbol, want) in [
            ("VIRTIO_BLK", Support::BuiltIn),
            ("CONFIG_VIRTIO_BLK", Support::BuiltIn),
            ("EXT4_FS", Support::Module),
            ("DM_INIT", Support::Absent),
            ("OFF", Support::Absent),
            ("SQUASHFS", Support::Absent),
            ("CUT", Support::Absent),
            ("NR_CPUS", Support::BuiltIn),
        ] {
            assert_eq!(config.support(symbol), want, "{symbol}");
        }
        assert_eq!(config.value("NR_CPUS"), Some("64"));
        assert_eq!(config.value("CONFIG_LSM"), Some("landlock,lockdown"));
        assert_eq!(config.value("DM_INIT"), None);
    }

    #[test]
    fn without_a_configuration_depmods_files_say_what_they_can() {
        let builtin = b"kernel/drivers/block/virtio_blk.ko\nkernel/drivers/md/dm-mod.ko\n";
        let dep =
            b"kernel/fs/squashfs/squashfs.ko.xz:\nkernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-bufio.ko\n";
        let config = KernelConfig::of_modules(builtin, dep);
        for (symbol, want) in [
            ("VIRTIO_BLK", Support::BuiltIn),
            ("BLK_DEV_DM", Support::BuiltIn),
            ("SQUASHFS", Support::Module),
            ("CONFIG_DM_VERITY", Support::Module),
            ("EROFS_FS", Support::Absent),
            // No module: the files cannot know.
            ("DM_INIT", Support::Unknown),
        ] {
            assert_eq!(config.support(symbol), want, "{symbol}");
        }
        assert_eq!(KernelConfig::of_modules(b"", dep).support("EROFS_FS"), Support::Unknown);
        assert_eq!(KernelConfig::of_modules(b"", dep).support("SQUASHFS"), Support::Module);
    }

    #[test]
    fn the_configuration_comes_first_and_a_kernel_that_says_nothing_is_none() {
        let store = Memory::default();
        let tar = tree(&[
            "lib/modules/6.1/modules.builtin=kernel/fs/ext4/ext4.ko",
            "lib/modules/6.1/modules.dep=kernel/drivers/block/loop.ko:",
            "usr/share/modules.builtin=kernel/fs/xfs/xfs.ko",
        ]);
        let config = Content::inline(&b"CONFIG_EXT4_FS=m\n"[..]);
        let of = |config: Option<&Content>, tar: &Tree| of_image(config, tar, &store).unwrap();
        assert_eq!(of(Some(&config), &tar).unwrap().support("EXT4_FS"), Support::Module);
        let known = of(None, &tar).unwrap();
        assert_eq!(known.support("EXT4_FS"), Support::BuiltIn);
        assert_eq!(known.support("BLK_DEV_LOOP"), Support::Module);
        assert_eq!(of(None, &tree(&["lib/modules/6.1/kernel/a.ko=x"])), None);
        // Files of another kind, or of another size, than a kernel's configuration.
        let large = b"CONFIG_A=y\n".repeat(LIMIT as usize / 11 + 1);
        for other in [&b"[section]\nCONFIG\n"[..], &large] {
            assert_eq!(of(Some(&Content::inline(other)), &tar), of(None, &tar));
        }
    }
}
