//! What is booted: the files that `bootwright build` wrote, found by path or by name, and what each is by its content.
//!
//! LinuxKit's names: `N-kernel`, `N-initrd.img`, `N-cmdline` for a build called `N`. The user may name the build (`N`,
//! `dir/N`), any of its files, its YAML file, a kernel by itself, or a disk, ISO or UKI whatever it is called.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bootwright_bundle::MEMORY_ARGUMENT;

use crate::DiskFormat;
use crate::medium::{self, Medium};

/// What boots, and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artefact {
    /// The files and who boots them.
    pub boot: Boot,
    /// The kernel's command line, verbatim, where it is known.
    pub cmdline: String,
    /// Path and name without the endings: what `PREFIX-state` is named after.
    pub prefix: PathBuf,
}

/// Who boots what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Boot {
    /// QEMU loads a kernel.
    Kernel {
        /// The kernel.
        kernel: PathBuf,
        /// The initrd.
        initrd: Option<PathBuf>,
        /// A root filesystem, which becomes the first disk.
        root: Option<PathBuf>,
    },
    /// Firmware boots an EFI program that QEMU hands to it.
    Uki(PathBuf),
    /// Firmware boots a disk.
    Disk {
        /// The disk.
        path: PathBuf,
        /// Its format.
        format: DiskFormat,
        /// Whether a BIOS can; else it takes UEFI.
        bios: bool,
    },
    /// Firmware boots an ISO.
    Iso {
        /// The ISO.
        path: PathBuf,
        /// Whether a BIOS can; else it takes UEFI.
        bios: bool,
    },
    /// Firmware boots the disk in an archive.
    Archive(PathBuf),
}

impl Default for Boot {
    fn default() -> Self {
        Self::Kernel { kernel: PathBuf::new(), initrd: None, root: None }
    }
}

/// No machine was found, or one that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// Nothing there.
    #[error("no machine `{name}`: looked for {}", list(.looked))]
    NotFound {
        /// As the user wrote it.
        name: String,
        /// Every path that was tried, in order.
        looked: Vec<PathBuf>,
    },
    /// A kernel without its initrd, or the other way round.
    #[error("the machine `{prefix}` is incomplete: `{missing}` does not exist")]
    Incomplete {
        /// Path and name of the build.
        prefix: PathBuf,
        /// What lacks.
        missing: PathBuf,
    },
    /// There and unreadable.
    #[error("cannot read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ArtefactError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { name, .. } => {
                let spec = if is_yaml(Path::new(name)) { name.clone() } else { format!("{name}.yml") };
                Some(format!("`bootwright build {spec}` makes it"))
            }
            Self::Incomplete { .. } => Some("build it again, with the format `kernel+initrd`".into()),
            Self::Read { .. } => None,
        }
    }
}

const KERNEL: &str = "-kernel";
const INITRD: &str = "-initrd.img";
const CMDLINE: &str = "-cmdline";
/// A script for iPXE, which has the command line where there is no file of it.
const IPXE: &str = ".ipxe";
/// Root filesystems beside a kernel, each with the small initrd that a kernel without the drivers needs.
const ROOTS: [(&str, &str); 3] =
    [("-squashfs.img", "-squashfs-initrd.img"), ("-erofs.img", "-erofs-initrd.img"), (".iso", "-iso-initrd.img")];
/// One file that firmware boots, the likeliest first.
const WHOLE: [&str; 16] = [
    ".img",
    ".qcow2",
    ".iso",
    ".efi",
    "-bios.img",
    "-efi.img",
    "-efi.qcow2",
    "-efi.iso",
    "-efi-initrd.iso",
    ".raw",
    ".vhd",
    "-azure.vhd",
    ".vhdx",
    ".vmdk",
    ".ova",
    ".img.tar.gz",
];

impl Artefact {
    /// Finds a build by its name, one of its files, or its YAML file (whose build lies in the current directory).
    pub fn find(name: &str) -> Result<Self, ArtefactError> {
        Self::find_in(name, Path::new(""))
    }

    fn find_in(name: &str, here: &Path) -> Result<Self, ArtefactError> {
        let given = here.join(name);
        if given.is_file()
            && let Some(found) = Self::of_file(&given)?
        {
            return Ok(found);
        }
        let mut prefixes = vec![name.to_owned()];
        let endings =
            [KERNEL, INITRD, CMDLINE].into_iter().chain(ROOTS.into_iter().flat_map(|(root, initrd)| [initrd, root]));
        prefixes.extend(endings.filter_map(|e| name.strip_suffix(e)).map(str::to_owned));
        if is_yaml(Path::new(name)) {
            let stem = Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            prefixes.push(stem);
            prefixes.extend(name.rsplit_once('.').map(|(prefix, _)| prefix.to_owned()));
        }
        let mut looked = Vec::new();
        for prefix in &prefixes {
            let prefix = here.join(prefix);
            let kernel = with_ending(&prefix, KERNEL);
            if kernel.is_file() {
                return Self::of_kernel(kernel, prefix);
            }
            if !looked.contains(&kernel) {
                looked.push(kernel);
            }
        }
        for path in prefixes.iter().flat_map(|prefix| WHOLE.map(|ending| with_ending(&here.join(prefix), ending))) {
            if path.is_file()
                && let Some(found) = Self::of_file(&path)?
            {
                return Ok(found);
            }
        }
        Err(ArtefactError::NotFound { name: name.into(), looked })
    }

    /// What a file is by itself; none if it is one of several.
    fn of_file(path: &Path) -> Result<Option<Self>, ArtefactError> {
        if path.extension().is_some_and(|e| e == "json") {
            return firecracker(path);
        }
        let medium = Medium::of(path).map_err(|source| ArtefactError::Read { path: path.into(), source })?;
        let path = path.to_owned();
        let prefix = path.with_extension("");
        let cmdline = match medium {
            Some(Medium::Uki) => medium::uki_cmdline(&path),
            _ => Ok(String::new()),
        };
        let cmdline = cmdline.map_err(|source| ArtefactError::Read { path: path.clone(), source })?;
        let boot = match medium {
            Some(Medium::Uki) => Boot::Uki(path),
            Some(Medium::Disk { format, bios }) => Boot::Disk { path, format, bios },
            Some(Medium::Iso { bios }) => Boot::Iso { path, bios },
            Some(Medium::Archive) => Boot::Archive(path),
            Some(Medium::Kernel | Medium::Root) | None => return Ok(None),
        };
        Ok(Some(Self { boot, cmdline, prefix }))
    }

    /// A kernel and what lies beside it: an initrd with all of it, or a root filesystem.
    fn of_kernel(kernel: PathBuf, prefix: PathBuf) -> Result<Self, ArtefactError> {
        let existing = |ending: &str| Some(with_ending(&prefix, ending)).filter(|path| path.is_file());
        let (initrd, root) = match existing(INITRD) {
            Some(initrd) => (Some(initrd), None),
            None => match ROOTS.into_iter().find_map(|(root, initrd)| Some((existing(root)?, existing(initrd)))) {
                Some((root, initrd)) => (initrd, Some(root)),
                None => {
                    let missing = with_ending(&prefix, INITRD);
                    return Err(ArtefactError::Incomplete { prefix, missing });
                }
            },
        };
        let cmdline = match cmdline(&with_ending(&prefix, CMDLINE))? {
            none if none.is_empty() => ipxe_cmdline(&cmdline(&with_ending(&prefix, IPXE))?),
            cmdline => cmdline,
        };
        Ok(Self { boot: Boot::Kernel { kernel, initrd, root }, cmdline, prefix })
    }

    /// A kernel named by itself, with the initrd and command line beside it where they exist.
    pub fn explicit(kernel: &Path, initrd: Option<&Path>, cmdline_file: Option<&Path>) -> Result<Self, ArtefactError> {
        fs::File::open(kernel).map_err(|source| ArtefactError::Read { path: kernel.into(), source })?;
        let name = kernel.to_string_lossy();
        let prefix = PathBuf::from(name.strip_suffix(KERNEL).unwrap_or(&name));
        let initrd = match initrd {
            Some(path) => Some(path.to_owned()),
            None => Some(with_ending(&prefix, INITRD)).filter(|p| p.is_file()),
        };
        let cmdline = match cmdline_file {
            Some(path) => read(path)?,
            None => cmdline(&with_ending(&prefix, CMDLINE))?,
        };
        Ok(Self { boot: Boot::Kernel { kernel: kernel.into(), initrd, root: None }, cmdline, prefix })
    }

    /// A kernel that QEMU loads, with this initrd and command line.
    #[must_use]
    pub fn direct(kernel: PathBuf, initrd: Option<PathBuf>, cmdline: &str) -> Self {
        let prefix = kernel.clone();
        Self { boot: Boot::Kernel { kernel, initrd, root: None }, cmdline: cmdline.to_owned(), prefix }
    }

    /// A disk or an ISO as a file, whatever it is called.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is nothing that firmware boots.
    pub fn whole(path: &Path) -> Result<Self, ArtefactError> {
        let none = || ArtefactError::NotFound { name: path.display().to_string(), looked: vec![path.to_owned()] };
        Self::of_file(path)?.ok_or_else(none)
    }

    /// The kernel that QEMU loads; none where firmware boots.
    #[must_use]
    pub fn kernel(&self) -> Option<&Path> {
        match &self.boot {
            Boot::Kernel { kernel, .. } => Some(kernel),
            _ => None,
        }
    }

    /// The initrd that QEMU loads.
    #[must_use]
    pub fn initrd(&self) -> Option<&Path> {
        match &self.boot {
            Boot::Kernel { initrd, .. } => initrd.as_deref(),
            _ => None,
        }
    }

    /// What it is, in a word for people.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.boot {
            Boot::Kernel { root: None, .. } => "kernel+initrd",
            Boot::Kernel { root: Some(_), .. } => "kernel and root",
            Boot::Uki(_) => "uki",
            Boot::Disk { .. } => "disk",
            Boot::Iso { .. } => "iso",
            Boot::Archive(_) => "archive",
        }
    }

    /// Every file of it, but for what only says how it boots.
    #[must_use]
    pub fn files(&self) -> Vec<&Path> {
        match &self.boot {
            Boot::Kernel { kernel, initrd, root } => {
                [Some(kernel), initrd.as_ref(), root.as_ref()].into_iter().flatten().map(PathBuf::as_path).collect()
            }
            Boot::Uki(path) | Boot::Disk { path, .. } | Boot::Iso { path, .. } | Boot::Archive(path) => vec![path],
        }
    }

    /// MiB of memory that the machine needs, where the command line is known and says so.
    #[must_use]
    pub fn memory_mib(&self) -> Option<u64> {
        // As init reads it: the last one counts, and what follows a `--` is not for it.
        let words = self.cmdline.split_ascii_whitespace().take_while(|word| *word != "--");
        let values = words.filter_map(|word| word.strip_prefix(MEMORY_ARGUMENT)?.strip_prefix('=')?.parse().ok());
        values.last()
    }

    /// Whether it takes UEFI.
    #[must_use]
    pub fn needs_uefi(&self) -> bool {
        match &self.boot {
            Boot::Uki(_) => true,
            Boot::Disk { bios, .. } | Boot::Iso { bios, .. } => !bios,
            Boot::Kernel { .. } | Boot::Archive(_) => false,
        }
    }
}

/// Firecracker's configuration, whose paths are relative to it; none if it is another JSON file.
fn firecracker(path: &Path) -> Result<Option<Artefact>, ArtefactError> {
    let Ok(json) = serde_json::from_str::<serde_json::Value>(&read(path)?) else { return Ok(None) };
    let beside = |value: &serde_json::Value| Some(path.parent().unwrap_or(Path::new("")).join(value.as_str()?));
    let source = &json["boot-source"];
    let Some(kernel) = beside(&source["kernel_image_path"]) else { return Ok(None) };
    let root = json["drives"].as_array().into_iter().flatten().find(|drive| drive["is_root_device"] == true);
    let boot = Boot::Kernel {
        kernel,
        initrd: beside(&source["initrd_path"]),
        root: root.and_then(|drive| beside(&drive["path_on_host"])),
    };
    let cmdline = source["boot_args"].as_str().unwrap_or_default().to_owned();
    Ok(Some(Artefact { boot, cmdline, prefix: path.with_extension("") }))
}

fn cmdline(path: &Path) -> Result<String, ArtefactError> {
    match read(path) {
        Err(ArtefactError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

/// The command line in a script for iPXE, without the word that tells EFI's stub where the initrd is.
fn ipxe_cmdline(script: &str) -> String {
    let words =
        script.lines().find_map(|line| line.strip_prefix("kernel ")).unwrap_or_default().split_ascii_whitespace();
    let words = words.skip(1).filter(|word| !word.starts_with("initrd="));
    words.collect::<Vec<_>>().join(" ")
}

fn read(path: &Path) -> Result<String, ArtefactError> {
    let text = fs::read_to_string(path).map_err(|source| ArtefactError::Read { path: path.into(), source })?;
    Ok(text.trim_end_matches('\n').to_owned())
}

fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yml" || e == "yaml")
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|p| format!("`{}`", p.display())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_found_by_its_name_its_files_and_its_spec() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("web-kernel", "k"), ("web-initrd.img", "i"), ("web-cmdline", "console=ttyS0 quiet\n")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        for name in ["web", "web-kernel", "web-initrd.img", "web-cmdline", "web.yml", "specs/web.yaml"] {
            let found = Artefact::find_in(name, dir.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(found.kernel(), Some(&*dir.path().join("web-kernel")), "{name}");
            assert_eq!(found.initrd(), Some(&*dir.path().join("web-initrd.img")), "{name}");
            assert_eq!(found.cmdline, "console=ttyS0 quiet", "{name}");
            assert_eq!(found.prefix, dir.path().join("web"), "{name}");
        }
        for (name, text) in [
            ("n-kernel", "k"),
            ("n-initrd.img", "i"),
            ("n.ipxe", "#!ipxe\nkernel n-kernel initrd=initrd.img console=ttyS0 quiet\nboot\n"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(Artefact::find_in("n", dir.path()).unwrap().cmdline, "console=ttyS0 quiet");
        let explicit = Artefact::explicit(&dir.path().join("web-kernel"), None, None).unwrap();
        assert_eq!(explicit, Artefact::find_in("web", dir.path()).unwrap());
    }

    #[test]
    fn a_root_beside_a_kernel_and_whole_disks_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("r-kernel", b"k");
        write("r-squashfs.img", b"hsqs");
        let root = dir.path().join("r-squashfs.img");
        for name in ["r", "r-squashfs.img", "r.yml"] {
            let found = Artefact::find_in(name, dir.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let kernel = dir.path().join("r-kernel");
            assert_eq!(found.boot, Boot::Kernel { kernel, initrd: None, root: Some(root.clone()) }, "{name}");
        }
        let mut sector = vec![0; 512];
        sector[510..].copy_from_slice(&[0x55, 0xaa]);
        write("d-efi.img", &sector);
        for name in ["d", "d-efi.img", "d.yml"] {
            let found = Artefact::find_in(name, dir.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
            let path = dir.path().join("d-efi.img");
            assert_eq!(found.boot, Boot::Disk { path, format: DiskFormat::Raw, bios: false }, "{name}");
            assert!(found.needs_uefi());
        }
        let config = r#"{"boot-source": {"kernel_image_path": "f-vmlinux", "boot_args": "console=ttyS0"},
                         "drives": [{"path_on_host": "f-rootfs.img", "is_root_device": true}]}"#;
        write("f-firecracker.json", config.as_bytes());
        let found = Artefact::find_in("f-firecracker.json", dir.path()).unwrap();
        let place = |name: &str| dir.path().join(name);
        let root = Some(place("f-rootfs.img"));
        assert_eq!(found.boot, Boot::Kernel { kernel: place("f-vmlinux"), initrd: None, root });
        assert_eq!(found.cmdline, "console=ttyS0");
    }

    #[test]
    fn the_memory_it_needs_stands_on_the_command_line() {
        for (cmdline, mib) in [
            ("console=ttyS0", None),
            ("bootwright.memory=96 console=ttyS0", Some(96)),
            ("bootwright.memory=96 bootwright.memory=x bootwright.memory=80 -- bootwright.memory=7", Some(80)),
            ("xbootwright.memory=96 bootwright.memory bootwright.memory.x=1", None),
        ] {
            let artefact = Artefact { cmdline: cmdline.into(), ..Artefact::default() };
            assert_eq!(artefact.memory_mib(), mib, "{cmdline}");
        }
    }

    #[test]
    fn what_is_not_there_is_said_with_every_place() {
        let error = Artefact::find_in("specs/web.yml", Path::new("")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no machine `specs/web.yml`: looked for `specs/web.yml-kernel`, `web-kernel`, `specs/web-kernel`"
        );
        assert_eq!(error.hint().unwrap(), "`bootwright build specs/web.yml` makes it");

        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("web-kernel"), "k").unwrap();
        let error = Artefact::find_in("web", dir.path()).unwrap_err();
        assert!(matches!(error, ArtefactError::Incomplete { .. }), "{error}");
    }
}
