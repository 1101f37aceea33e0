//! Images of tests: OCI archives of one layer, written entry by entry, extended attributes and labels included.
//!
//! They do not come from our own writers on purpose: a mistake that writer and reader share would not be seen.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// `security.capability` with cap_net_bind_service permitted and effective: `struct vfs_cap_data` of revision 2 (capability.h).
pub const NET_BIND_SERVICE: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An image in the making.
#[derive(Debug, Default)]
pub struct ImageBuilder {
    layer: Vec<Entry>,
    label: Option<serde_json::Value>,
    labels: Vec<(String, String)>,
    user: Option<String>,
}

/// One entry of the layer.
#[derive(Debug)]
struct Entry {
    header: Header,
    path: PathBuf,
    bytes: Vec<u8>,
    target: Option<PathBuf>,
    /// PAX records.
    records: Vec<(String, Vec<u8>)>,
}

impl ImageBuilder {
    /// An empty image.
    pub fn new() -> Self {
        Self::default()
    }

    /// An image with Debian's static busybox as `/bin/busybox` and its shell.
    pub fn busybox() -> Self {
        let mut image = Self::new().program("bin/busybox", Path::new(crate::BUSYBOX));
        let applets = [
            "sh", "cat", "chmod", "tr", "touch", "unshare", "echo", "grep", "mount", "umount", "mkdir", "mkswap",
            "swapon", "sysctl", "ifconfig", "udhcpc", "stat", "ls", "id", "httpd", "sleep", "kill", "ip", "awk", "sed",
            "test", "true", "dd", "wc", "chroot", "poweroff", "ln", "route",
        ];
        for applet in applets {
            image = image.symlink(&format!("bin/{applet}"), "busybox");
        }
        image
    }

    /// An executable file, copied from the host.
    pub fn program(self, path: &str, from: &Path) -> Self {
        let bytes = fs::read(from).unwrap_or_else(|e| panic!("cannot read {}: {e}", from.display()));
        self.entry(path, EntryType::Regular, 0o755, bytes, None, Vec::new())
    }

    /// Executable files of the host and the shared libraries that they want, at the same places.
    pub fn programs(self, programs: &[&str]) -> Self {
        let mut files: BTreeSet<PathBuf> = programs.iter().map(PathBuf::from).collect();
        for program in programs {
            let output = Command::new("ldd").arg(program).output().expect("ldd is there");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            files.extend(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from));
        }
        files.iter().fold(self, |image, path| image.program(path.to_string_lossy().trim_start_matches('/'), path))
    }

    /// A file.
    pub fn file(self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.entry(path, EntryType::Regular, mode, bytes.into(), None, Vec::new())
    }

    /// A file with extended attributes, as PAX `SCHILY.xattr.` records.
    pub fn file_with_xattr(self, path: &str, mode: u32, bytes: Vec<u8>, name: &str, value: &[u8]) -> Self {
        let record = (format!("SCHILY.xattr.{name}"), value.to_vec());
        self.entry(path, EntryType::Regular, mode, bytes, None, vec![record])
    }

    /// A directory of the host with all that is in it, at the same place.
    pub fn tree(mut self, dir: &Path) -> Self {
        let inside = dir.strip_prefix("/").unwrap_or(dir).to_string_lossy().into_owned();
        self = self.directory(&inside, 0o755);
        let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it is there").path()).collect();
        paths.sort();
        for path in paths {
            let inside = path.strip_prefix("/").unwrap_or(&path).to_string_lossy().into_owned();
            self = match fs::read_link(&path) {
                Ok(target) => self.symlink(&inside, &target.to_string_lossy()),
                Err(_) if path.is_dir() => self.tree(&path),
                Err(_) => self.program(&inside, &path),
            };
        }
        self
    }

    /// A symbolic link.
    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Symlink, 0o777, Vec::new(), Some(target), Vec::new())
    }

    /// A hard link to a file that was added before.
    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(path, EntryType::Link, 0o644, Vec::new(), Some(target), Vec::new())
    }

    /// A directory.
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(path, EntryType::Directory, mode, Vec::new(), None, Vec::new())
    }

    /// The label `org.mobyproject.config`.
    pub fn config(mut self, config: serde_json::Value) -> Self {
        self.label = Some(config);
        self
    }

    /// Another label.
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.labels.push((name.into(), value.into()));
        self
    }

    /// The image's user.
    pub fn user(mut self, user: &str) -> Self {
        self.user = Some(user.into());
        self
    }

    fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        bytes: Vec<u8>,
        target: Option<&str>,
        records: Vec<(String, Vec<u8>)>,
    ) -> Self {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        let (path, target) = (path.into(), target.map(PathBuf::from));
        self.layer.push(Entry { header, path, bytes, target, records });
        self
    }

    /// Writes the archive to `DIR/NAME.tar` and returns the reference to write into a spec.
    pub fn write(self, dir: &Path, name: &str) -> String {
        let mut layer = Builder::new(Vec::new());
        for Entry { mut header, path, bytes, target, records } in self.layer {
            let records = records.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
            layer.append_pax_extensions(records).expect("memory");
            match target {
                Some(target) => layer.append_link(&mut header, path, target).expect("memory"),
                None => layer.append_data(&mut header, path, bytes.as_slice()).expect("memory"),
            }
        }
        let layer = layer.into_inner().expect("memory");
        let mut labels = serde_json::Map::new();
        labels.extend(self.label.map(|label| ("org.mobyproject.config".to_owned(), label.to_string().into())));
        labels.extend(self.labels.into_iter().map(|(name, value)| (name, value.into())));
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"], "Labels": labels, "User": self.user.unwrap_or_default()},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = config.to_string().into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let mut described = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        described["platform"] = json!({"architecture": "amd64", "os": "linux"});
        described["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [described],
        });

        let path = dir.join(format!("{name}.tar"));
        let mut archive = Builder::new(fs::File::create(&path).expect("the directory is ours"));
        let mut add = |name: String, bytes: &[u8]| {
            let mut header = Header::new_gnu();
            header.set_mode(0o644);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name, bytes).expect("room on the disk");
        };
        add("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#);
        add("index.json".into(), index.to_string().as_bytes());
        for blob in [&layer, &config, &manifest] {
            add(format!("blobs/{}", digest(blob).replace(':', "/")), blob);
        }
        archive.finish().expect("room on the disk");
        format!("oci-archive:{}", path.display())
    }
}

/// What no compressor makes smaller.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

fn descriptor(kind: &str, bytes: &[u8]) -> serde_json::Value {
    json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn skopeo_reads_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let reference = ImageBuilder::new()
            .directory("d", 0o755)
            .file_with_xattr("d/f", 0o755, b"x".to_vec(), "security.capability", &NET_BIND_SERVICE)
            .hardlink("d/g", "d/f")
            .config(json!({"pid": "host"}))
            .write(dir.path(), "image");
        let output = Command::new("skopeo").args(["inspect", "--config", &reference]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let config: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(config["config"]["Labels"]["org.mobyproject.config"], "{\"pid\":\"host\"}");
        let copy = format!("dir:{}/copy", dir.path().display());
        assert!(Command::new("skopeo").args(["copy", "-q", &reference, &copy]).status().unwrap().success());
    }
}
