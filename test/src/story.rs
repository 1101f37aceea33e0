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

/// What is around a build and must not matter to it.
struct Around {
    umask: &'static str,
    store: PathBuf,
}

impl Default for Around {
    fn default() -> Self {
        Self { umask: "022", store: place::store() }
    }
}

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

    /// Further words on the kernel's command line, as the spec has it.
    pub fn cmdline(mut self, words: &str) -> Self {
        self.head = self.head.replace("panic=-1", &format!("panic=-1 {words}"));
        self
    }

    /// Further text at the end of what comes before the containers, such as `logging: {console: false}`.
    pub fn end(mut self, yaml: &str) -> Self {
        self.head.push_str(yaml);
        self
    }

    /// With the boot loaders that disks take.
    pub fn boot_loader(mut self) -> Self {
        self.head.push_str("boot:\n  image: \"@pkg:REPO/pkg/boot\"\n");
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
        self.build_with(&[])
    }

    /// Builds it with further arguments to the tool.
    pub fn build_with(self, arguments: &[&str]) -> Built {
        self.build_formats(&[], arguments)
    }

    /// Builds these formats, with further arguments to the tool.
    pub fn build_formats(self, formats: &[&str], arguments: &[&str]) -> Built {
        let output = self.run_build(formats, arguments);
        assert!(output.status.success(), "{}\n{}", text(&output), self.yaml());
        Built { name: self.dir.path().join("story"), warnings: text(&output), dir: self.dir }
    }

    /// Builds what must be refused with exit code 1 and leave nothing behind, and returns what the tool said.
    #[track_caller]
    pub fn refused(&self, formats: &[&str], arguments: &[&str]) -> String {
        let output = self.run_build(formats, arguments);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert_eq!(names(self.dir()), ["story.yml"]);
        text(&output)
    }

    /// Builds a tar of the whole machine and returns its path.
    pub fn build_tar(&self) -> PathBuf {
        let output = self.run_build(&["tar"], &[]);
        assert!(output.status.success(), "{}\n{}", text(&output), self.yaml());
        self.dir.path().join("story.tar")
    }

    fn run_build(&self, formats: &[&str], arguments: &[&str]) -> Output {
        let spec = self.dir.path().join("story.yml");
        fs::write(&spec, self.yaml()).expect("the directory is ours");
        build(&spec, self.dir.path(), &Around::default(), formats, arguments)
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
        Self::example_as(name, &[])
    }

    /// Builds one of `examples/` in these formats.
    pub fn example_as(name: &str, formats: &[&str]) -> Self {
        let dir = TempDir::with_prefix("bootwright-story-").expect("a temporary directory");
        let spec = place::repository().join("examples").join(format!("{name}.yml"));
        let output = build(&spec, dir.path(), &Around::default(), formats, &[]);
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

    /// One of its files, by what follows the name.
    pub fn file(&self, ending: &str) -> PathBuf {
        let mut path = self.name.clone().into_os_string();
        path.push(ending);
        path.into()
    }

    /// A boot of one of its files or, by what comes before `-kernel`, of several.
    pub fn boot_of(&self, ending: &str) -> Boot {
        let name = self.file(ending);
        Boot::new(Artefact::find(&name.to_string_lossy()).unwrap_or_else(|e| panic!("{e}")))
    }

    /// Builds the story of this machine once more, into a directory of its own, with another umask, and from a store in which
    /// nothing was packed yet.
    pub fn again(&self, formats: &[&str]) -> TempDir {
        let dir = TempDir::with_prefix("bootwright-again-").expect("a temporary directory");
        let store = place::unpacked_store();
        let around = Around { umask: "077", store: store.path().to_owned() };
        let output = build(&self.file(".yml"), dir.path(), &around, formats, &[]);
        assert!(output.status.success(), "{}", text(&output));
        dir
    }

    /// The entries of each of the initrd's segments.
    pub fn segments(&self) -> Vec<Vec<CpioEntry>> {
        initrd::segments(self.artefact().initrd().expect("the build made one"))
    }

    /// MiB of memory that the build says the machine needs. The initrd's manifest, where QEMU loads one, must agree.
    pub fn memory_mib(&self) -> u64 {
        let said = self.warnings.lines().find_map(|line| line.strip_prefix("needs ")?.strip_suffix(" MiB of memory"));
        let mib = said.and_then(|number| number.parse().ok());
        let mib = mib.unwrap_or_else(|| panic!("the build does not say how much memory is needed: {}", self.warnings));
        if let Some(initrd) = self.artefact().initrd() {
            let first = initrd::first_segment(initrd);
            let manifest = first.iter().find(|e| e.name == words::MANIFEST);
            let manifest = manifest.unwrap_or_else(|| panic!("{} is not in the first segment", words::MANIFEST));
            let manifest: serde_json::Value = serde_json::from_slice(&manifest.data).expect("the manifest is JSON");
            assert_eq!(manifest["memory_mib"].as_u64(), Some(mib));
        }
        mib
    }

    /// A boot of the same machine that knows no figure, so that it starts with whatever memory it has.
    pub fn boot_unchecked(&self) -> Boot {
        let mut artefact = self.artefact();
        let bootwright_machine::Boot::Kernel { initrd: Some(initrd), .. } = &mut artefact.boot else {
            panic!("QEMU loads no initrd")
        };
        let path = self.dir.path().join("unchecked.img");
        initrd::copy_without_figure(initrd, &path);
        *initrd = path;
        Boot::new(artefact).argument(&format!("{}0", words::MEMORY))
    }

    /// A boot of another file of the build, by what follows its name: a disk, an ISO.
    pub fn boot_file(&self, ending: &str) -> Boot {
        let mut path = self.name.clone().into_os_string();
        path.push(ending);
        Boot::new(Artefact::whole(Path::new(&path)).unwrap_or_else(|e| panic!("{e}")))
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

fn build(spec: &Path, dir: &Path, around: &Around, formats: &[&str], arguments: &[&str]) -> Output {
    let _lock = place::build_lock();
    Command::new("sh")
        .args(["-c", "umask $0; exec \"$@\"", around.umask])
        .arg(place::tool())
        .arg("build")
        .args(formats.iter().flat_map(|format| ["--format", format]))
        .args(arguments)
        .arg("--dir")
        .arg(dir)
        .arg(spec)
        .env("BOOTWRIGHT_CACHE", &around.store)
        .output()
        .unwrap_or_else(|e| panic!("cannot start {}: {e}", place::tool().display()))
}

/// The names in a directory, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("it is there").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
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
