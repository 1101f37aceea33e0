//! A machine's spec, written in a test, and its build by the real tool.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bootwright_machine::Artefact;
use tempfile::TempDir;

use crate::machine::Boot;
use crate::{CpioEntry, initrd, place, words};

/// Kernel and init of most stories. `REPO` becomes the way to the repository, whatever the directory of the spec.
const HEAD: &str = r#"
kernel:
  image: "@pkg:REPO/kernel/debian/cloud"
  cmdline: "console=ttyS0 quiet panic=-1"
init:
  - "@pkg:REPO/pkg/init"
"#;

/// An entry of `onboot`, `onshutdown` or `services`.
#[derive(Clone, Debug)]
pub struct Entry {
    name: String,
    image: String,
    keys: Vec<(String, String)>,
}

impl Entry {
    /// A container of an image.
    pub fn new(name: &str, image: &str) -> Self {
        Self { name: name.into(), image: image.into(), keys: Vec::new() }
    }

    /// A shell script in a busybox container.
    pub fn shell(name: &str, script: &str) -> Self {
        Self::new(name, "@pkg:REPO/pkg/busybox").script(script)
    }

    /// A shell script as this container's command.
    pub fn script(self, script: &str) -> Self {
        let command = serde_json::json!(["/bin/sh", "-c", script]);
        self.key("command", &command.to_string())
    }

    /// Another key, with its value as YAML (or JSON, which is YAML).
    pub fn key(mut self, key: &str, value: &str) -> Self {
        self.keys.push((key.into(), value.into()));
        self
    }
}

/// A machine to be built: `kernel` and `init` unless `Story::whole` gave the whole text, and what is added.
#[derive(Debug)]
pub struct Story {
    dir: TempDir,
    head: String,
    sections: [(&'static str, Vec<String>); 5],
}

impl Default for Story {
    fn default() -> Self {
        Self::new()
    }
}

impl Story {
    /// A machine with Debian's cloud kernel and our init, and nothing else yet.
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("bootwright-story-").expect("a temporary directory");
        let sections = ["onboot", "onshutdown", "services", "volumes", "files"].map(|name| (name, Vec::new()));
        Self { dir, head: HEAD.into(), sections }
    }

    /// Another beginning of the spec: `kernel:`, `init:` and what else is wanted of it.
    pub fn head(mut self, yaml: &str) -> Self {
        self.head = yaml.into();
        self
    }

    /// Further text in the section `kernel:`, such as `modules: [virtio]`.
    pub fn kernel(mut self, yaml: &str) -> Self {
        self.head = self.head.replace("kernel:\n", &format!("kernel:\n  {yaml}\n"));
        self
    }

    /// The story's directory, for images and files that the spec names.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds a container that runs at boot.
    pub fn onboot(self, entry: Entry) -> Self {
        self.container("onboot", &entry)
    }

    /// Adds a container that runs at shutdown.
    pub fn onshutdown(self, entry: Entry) -> Self {
        self.container("onshutdown", &entry)
    }

    /// Adds a service.
    pub fn service(self, entry: Entry) -> Self {
        self.container("services", &entry)
    }

    /// Adds a volume, as YAML in one line.
    pub fn volume(self, yaml: &str) -> Self {
        self.item("volumes", yaml.into())
    }

    /// Adds a file, as YAML in one line; [`file()`] writes one.
    pub fn file(self, yaml: &str) -> Self {
        self.item("files", yaml.into())
    }

    fn container(self, section: &str, entry: &Entry) -> Self {
        let mut text = format!("name: {}\n    image: {:?}", entry.name, entry.image);
        for (key, value) in &entry.keys {
            let _ = write!(text, "\n    {key}: {value}");
        }
        self.item(section, text)
    }

    fn item(mut self, section: &str, text: String) -> Self {
        let found = self.sections.iter_mut().find(|(name, _)| *name == section);
        found.expect("the sections are fixed").1.push(text);
        self
    }

    /// The whole spec.
    pub fn yaml(&self) -> String {
        let mut yaml = self.head.clone();
        for (section, items) in self.sections.iter().filter(|(_, items)| !items.is_empty()) {
            let _ = writeln!(yaml, "{section}:");
            for item in items {
                let _ = writeln!(yaml, "  - {item}");
            }
        }
        // `@pkg:` is relative to the spec: climb to the root, then down to the repository.
        let place = self.dir.path().canonicalize().expect("the directory is ours");
        let depth = place.components().count().saturating_sub(1);
        let repository = place::repository();
        let down = repository.strip_prefix("/").unwrap_or(&repository);
        yaml.replace("REPO", &format!("{}{}", "../".repeat(depth), down.display()))
    }

    /// Builds `kernel+initrd`; the tool's words are shown when it fails.
    pub fn build(self) -> Built {
        let spec = self.dir.path().join("story.yml");
        fs::write(&spec, self.yaml()).expect("the directory is ours");
        let output = build(&spec, self.dir.path(), &[]);
        assert!(output.status.success(), "{}\n{}", text(&output), self.yaml());
        Built { name: self.dir.path().join("story"), warnings: text(&output), dir: self.dir }
    }

    /// Builds a tar of the whole machine and returns its path.
    pub fn build_tar(&self) -> PathBuf {
        let spec = self.dir.path().join("story.yml");
        fs::write(&spec, self.yaml()).expect("the directory is ours");
        let output = build(&spec, self.dir.path(), &["--format", "tar"]);
        assert!(output.status.success(), "{}\n{}", text(&output), self.yaml());
        self.dir.path().join("story.tar")
    }

    /// Bytes of all files of the root, without the kernel and its like in `boot/`.
    pub fn unpacked_size(&self) -> u64 {
        let tar = fs::File::open(self.build_tar()).expect("the tool made it");
        let mut archive = tar::Archive::new(std::io::BufReader::new(tar));
        let entries = archive.entries().expect("it is a tar").map(|entry| entry.expect("it is whole"));
        let root = entries.filter(|entry| {
            entry.path().is_ok_and(|path| !path.strip_prefix(".").unwrap_or(&path).starts_with("boot"))
        });
        root.map(|entry| entry.size()).sum()
    }
}

/// A machine that was built.
#[derive(Debug)]
pub struct Built {
    dir: TempDir,
    name: PathBuf,
    warnings: String,
}

impl Built {
    /// Builds one of `examples/`.
    pub fn example(name: &str) -> Self {
        let dir = TempDir::with_prefix("bootwright-story-").expect("a temporary directory");
        let spec = place::repository().join("examples").join(format!("{name}.yml"));
        let output = build(&spec, dir.path(), &[]);
        assert!(output.status.success(), "{}", text(&output));
        Self { name: dir.path().join(name), warnings: text(&output), dir }
    }

    /// What the tool said while it built.
    pub fn said(&self) -> &str {
        &self.warnings
    }

    /// Kernel, initrd and command line.
    pub fn artefact(&self) -> Artefact {
        let name = self.name.to_string_lossy();
        Artefact::find(&name).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The name under which `bootwright run` finds it.
    pub fn prefix(&self) -> &Path {
        &self.name
    }

    /// The entries of each of the initrd's segments.
    pub fn segments(&self) -> Vec<Vec<CpioEntry>> {
        initrd::segments(self.artefact().initrd().expect("the build made one"))
    }

    /// MiB of memory that the build says the machine needs.
    pub fn memory_mib(&self) -> u64 {
        let segments = self.segments();
        let found = segments.first().and_then(|s| s.iter().find(|e| e.name == words::MANIFEST));
        let manifest = found.unwrap_or_else(|| panic!("{} is not in the first segment", words::MANIFEST));
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.data).expect("the manifest is JSON");
        manifest["memory_mib"].as_u64().unwrap_or_else(|| panic!("no `memory_mib` in the manifest"))
    }

    /// A directory that lives as long as the build.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A boot of it, still to be configured.
    pub fn boot(&self) -> Boot {
        Boot::new(self.artefact())
    }
}

fn build(spec: &Path, dir: &Path, arguments: &[&str]) -> Output {
    let _lock = place::build_lock();
    Command::new(place::tool())
        .arg("build")
        .args(arguments)
        .arg("--dir")
        .arg(dir)
        .arg(spec)
        .env("BOOTWRIGHT_CACHE", place::store())
        .output()
        .unwrap_or_else(|e| panic!("cannot start {}: {e}", place::tool().display()))
}

fn text(output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{err}")
}

/// An entry of `files:`.
pub fn file(path: &str, mode: &str, contents: &str) -> String {
    serde_json::json!({"path": path, "mode": mode, "contents": contents}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_story_is_a_spec() {
        let story = Story::new()
            .kernel("modules: [virtio]")
            .onboot(Entry::shell("one", "echo \"1\"").key("pid", "host"))
            .file(&file("etc/x", "0644", "y\n"));
        let yaml = story.yaml();
        for part in [
            "kernel:\n  modules: [virtio]\n  image: \"@pkg:../",
            "onboot:\n  - name: one\n    image: \"@pkg:../",
            "    command: [\"/bin/sh\",\"-c\",\"echo \\\"1\\\"\"]\n    pid: host\n",
            "files:\n  - {\"path\":\"etc/x\",\"mode\":\"0644\",\"contents\":\"y\\n\"}\n",
        ] {
            assert!(yaml.contains(part), "{part:?} is not in\n{yaml}");
        }
        assert!(!yaml.contains("services:"));
        let init = yaml.split('"').find(|w| w.ends_with("pkg/init")).unwrap().strip_prefix("@pkg:").unwrap();
        let found = story.dir().join(init).parent().and_then(Path::parent).unwrap().canonicalize().unwrap();
        assert_eq!(found, place::repository().canonicalize().unwrap());
    }
}
