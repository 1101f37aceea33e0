//! The configuration that `firecracker --config-file` reads (Firecracker's `docs/getting-started.md` and
//! `src/firecracker/swagger/firecracker.yaml`).

use serde_json::{Map, Value, json};

/// A machine for Firecracker. Paths are as Firecracker opens them: relative ones from its working directory, or in its jail.
#[derive(Clone, Copy, Debug)]
pub struct MicroVm<'a> {
    /// The kernel: a `vmlinux` on x86, an `Image` on arm64.
    pub kernel: &'a str,
    /// The initrd, if there is one.
    pub initrd: Option<&'a str>,
    /// The command line. For a root device Firecracker appends `root=/dev/vda` and `ro` or `rw` to it.
    pub cmdline: &'a str,
    /// The disks, in order: `vda`, `vdb` and so on.
    pub drives: &'a [Drive<'a>],
    /// MiB of memory.
    pub memory_mib: u64,
    /// Processors, 32 at most.
    pub cpus: u32,
}

/// A disk of a [`MicroVm`].
#[derive(Clone, Copy, Debug)]
pub struct Drive<'a> {
    /// Letters, digits and underscores.
    pub id: &'a str,
    /// The file.
    pub path: &'a str,
    /// Whether it is the root; Firecracker makes it the first disk.
    pub is_root: bool,
    /// Whether the guest may not write.
    pub is_read_only: bool,
}

impl MicroVm<'_> {
    /// The configuration, as a text that people can edit.
    #[must_use]
    pub fn config(&self) -> String {
        let mut boot = Map::new();
        boot.insert("kernel_image_path".to_owned(), json!(self.kernel));
        if let Some(initrd) = self.initrd {
            boot.insert("initrd_path".to_owned(), json!(initrd));
        }
        boot.insert("boot_args".to_owned(), json!(self.cmdline));
        let drives: Vec<Value> = self
            .drives
            .iter()
            .map(|drive| {
                json!({
                    "drive_id": drive.id,
                    "path_on_host": drive.path,
                    "is_root_device": drive.is_root,
                    "is_read_only": drive.is_read_only,
                })
            })
            .collect();
        // The list of drives must be there even if it is empty.
        let config = json!({
            "boot-source": boot,
            "drives": drives,
            "machine-config": { "vcpu_count": self.cpus, "mem_size_mib": self.memory_mib },
        });
        format!("{config:#}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_has_firecrackers_names() {
        let drives = [Drive { id: "root", path: "m-squashfs.img", is_root: true, is_read_only: true }];
        let machine = MicroVm {
            kernel: "m-kernel",
            initrd: None,
            cmdline: "console=ttyS0 x=\"y\"",
            drives: &drives,
            memory_mib: 128,
            cpus: 1,
        };
        let want = r#"{
  "boot-source": {
    "kernel_image_path": "m-kernel",
    "boot_args": "console=ttyS0 x=\"y\""
  },
  "drives": [
    {
      "drive_id": "root",
      "path_on_host": "m-squashfs.img",
      "is_root_device": true,
      "is_read_only": true
    }
  ],
  "machine-config": {
    "vcpu_count": 1,
    "mem_size_mib": 128
  }
}
"#;
        assert_eq!(machine.config(), want);

        let with_initrd = MicroVm { initrd: Some("m-initrd.img"), drives: &[], ..machine };
        let config: Value = serde_json::from_str(&with_initrd.config()).expect("it is JSON");
        assert_eq!(config["boot-source"]["initrd_path"], "m-initrd.img");
        assert_eq!(config["drives"], json!([]));
    }
}
