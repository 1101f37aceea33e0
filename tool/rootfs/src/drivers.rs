//! Whether a machine has a driver: in its kernel, or among the modules that were kept.

use bootwright_oci::Kind;

use crate::kernel_config::{Support, module};
use crate::machine::Machine;
use crate::modules_index::module_name;

impl Machine {
    /// Whether the machine has what a symbol of Kconfig stands for; none where the kernel's image does not say.
    #[must_use]
    pub fn has_driver(&self, symbol: &str) -> Option<bool> {
        match self.boot.config.as_ref()?.support(symbol) {
            Support::BuiltIn => Some(true),
            Support::Absent => Some(false),
            Support::Unknown => None,
            Support::Module => {
                let name = module(symbol)?;
                let is_it = |path: &bootwright_oci::TreePath| module_name(path.file_name()).as_deref() == Some(name);
                let is_file = |kind: &Kind| matches!(kind, Kind::File(_) | Kind::HardLink(_));
                Some(self.tree.iter().any(|(path, placed)| is_file(&placed.node.kind) && is_it(path)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bootwright_oci::Content;
    use bootwright_spec::Kernel;
    use serde_json::json;

    use crate::testing::{Bench, text, texts, tree};

    #[test]
    fn a_module_that_was_left_out_is_no_driver() {
        let mut bench = Bench::new();
        let tar = Content::inline(&b"tar"[..]);
        let dep = "kernel/drivers/nvme/host/nvme.ko:\nkernel/drivers/scsi/virtio_scsi.ko:\n";
        let files = [
            "lib/modules/6/kernel/drivers/nvme/host/nvme.ko=ELF",
            "lib/modules/6/kernel/drivers/scsi/virtio_scsi.ko=ELF",
            &format!("lib/modules/6/modules.dep={dep}"),
        ];
        bench.store.tars.insert(tar.digest(), tree(&files));
        let config = "config=CONFIG_VIRTIO_BLK=y\nCONFIG_BLK_DEV_NVME=m\nCONFIG_SCSI_VIRTIO=m\n";
        bench.image("kernel", &json!({}), tree(&["kernel=K", "kernel.tar=tar", config]));
        let kernel = Kernel { image: Some(text("kernel")), modules: texts(&["nvme"]), ..Kernel::default() };
        bench.spec.kernel = Some(kernel);
        let machine = bench.machine();
        for (symbol, has) in [
            ("VIRTIO_BLK", Some(true)),
            ("BLK_DEV_NVME", Some(true)),
            ("SCSI_VIRTIO", Some(false)),
            ("HYPERV_STORAGE", Some(false)),
        ] {
            assert_eq!(machine.has_driver(symbol), has, "{symbol}");
        }
    }
}
