//! Recipe `cargo`: a static binary of the cargo workspace that the package lies in.
//!
//! The binary is a function of the sources: no path of this machine gets in (`--remap-path-prefix`), flags and profiles
//! of the user's environment are left out, and a target directory of its own keeps the ordinary builds warm. The tag
//! covers the sources of the package and of its path dependencies, the lock file, the compiler, and for gnu the machine's libc,
//! which is linked in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootwright_oci::{Digest, Reporter, TreePath};
use bootwright_spec::CargoRecipe;
use serde::Deserialize;

use crate::assembly::{Assembly, AssemblyError, Bytes, Entry};
use crate::command::{CommandError, command, find, run};
use crate::elf::{self, ElfError};
use crate::sources::{self, SourceError};

/// A cargo recipe that did not work.
#[derive(Debug, thiserror::Error)]
pub enum CargoError {
    /// cargo or rustc.
    #[error("cannot build the cargo package `{package}`")]
    Cargo {
        /// The cargo package.
        package: String,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// What cargo says about the workspace is not what it should be.
    #[error("cannot read what `cargo metadata` says in `{directory}`")]
    Metadata {
        /// Where it ran.
        directory: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// No such package.
    #[error("the workspace at `{workspace}` has no package `{package}`")]
    NoPackage {
        /// The workspace.
        workspace: PathBuf,
        /// The cargo package.
        package: String,
    },
    /// An architecture or libc that we do not know.
    #[error("there is no Rust target for {architecture} with libc `{libc}`")]
    NoTarget {
        /// Go's architecture.
        architecture: String,
        /// libc.
        libc: String,
    },
    /// The standard library for a target is not installed.
    #[error("the Rust target `{0}` is not installed")]
    TargetMissing(&'static str),
    /// Sources that cannot be read.
    #[error(transparent)]
    Sources(#[from] SourceError),
    /// The binary cannot be read.
    #[error("cannot read the binary `{}`", .path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The binary will not run in an image.
    #[error("`{}` cannot go into an image", .path.display())]
    Elf {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: ElfError,
    },
    /// It does not fit where it was to go.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// A path that leaves the image.
    #[error("`{0}` is no path in an image")]
    Path(String),
}

impl CargoError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::TargetMissing(target) => Some(format!("rustup target add {target}")),
            Self::Cargo { source, .. } if source.stderr().contains("linker `cc` not found") => {
                Some("as root: apt-get install gcc libc6-dev".to_owned())
            }
            Self::Cargo { source, .. } => source.hint(),
            Self::NoTarget { .. } => {
                Some("`libc` is `musl` or `gnu`; architectures are amd64, arm64 and riscv64".to_owned())
            }
            _ => None,
        }
    }
}

/// A Rust target and what linking it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Target {
    triple: &'static str,
    /// Debian's multiarch directory, where the machine's C libraries are.
    multiarch: &'static str,
    /// Whether the machine's glibc is linked in.
    gnu: bool,
}

fn target(architecture: &str, libc: &str) -> Option<Target> {
    let (musl, gnu, multiarch) = match architecture {
        "amd64" => ("x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu", "x86_64-linux-gnu"),
        "arm64" => ("aarch64-unknown-linux-musl", "aarch64-unknown-linux-gnu", "aarch64-linux-gnu"),
        "riscv64" => ("riscv64gc-unknown-linux-musl", "riscv64gc-unknown-linux-gnu", "riscv64-linux-gnu"),
        _ => return None,
    };
    match libc {
        "musl" => Some(Target { triple: musl, multiarch, gnu: false }),
        "gnu" => Some(Target { triple: gnu, multiarch, gnu: true }),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    workspace_root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    path: Option<PathBuf>,
    kind: Option<String>,
}

/// A recipe and the workspace that it builds in.
pub(crate) struct CargoBuild<'a> {
    recipe: &'a CargoRecipe,
    target: Target,
    machine: u16,
    metadata: Metadata,
    /// The directories of the package and its path dependencies.
    directories: BTreeSet<PathBuf>,
}

impl<'a> CargoBuild<'a> {
    /// Finds the workspace that encloses a package's directory.
    pub(crate) fn new(recipe: &'a CargoRecipe, directory: &Path, architecture: &str) -> Result<Self, CargoError> {
        let no_target = || CargoError::NoTarget { architecture: architecture.to_owned(), libc: recipe.libc.clone() };
        let target = target(architecture, &recipe.libc).ok_or_else(no_target)?;
        let machine = elf::machine(architecture).ok_or_else(no_target)?;
        let mut known = read_metadata(recipe, directory)?;
        let package = recipe.package.value.as_str();
        let Some(first) = known.packages.iter().find(|p| p.name == package) else {
            let workspace = known.workspace_root;
            return Err(CargoError::NoPackage { workspace, package: package.to_owned() });
        };
        let mut waiting = vec![directory_of(first)];
        let mut directories = BTreeSet::new();
        while let Some(next) = waiting.pop() {
            if !directories.insert(next.clone()) {
                continue;
            }
            if !known.packages.iter().any(|p| directory_of(p) == next) {
                // A path dependency outside the workspace.
                known.packages.extend(read_metadata(recipe, &next)?.packages);
            }
            let here = known.packages.iter().filter(|p| directory_of(p) == next);
            let dependencies = here.flat_map(|p| &p.dependencies).filter(|d| d.kind.as_deref() != Some("dev"));
            waiting.extend(dependencies.filter_map(|d| d.path.clone()));
        }
        Ok(Self { recipe, target, machine, metadata: known, directories })
    }

    /// Everything that the binary depends on, by name.
    pub(crate) fn inputs(&self) -> Result<BTreeMap<String, Digest>, CargoError> {
        let root = &self.metadata.workspace_root;
        let mut inputs = BTreeMap::new();
        for name in ["Cargo.toml", "Cargo.lock", "rust-toolchain", "rust-toolchain.toml", ".cargo/config.toml"] {
            let path = root.join(name);
            if path.is_file() {
                inputs.insert(format!("workspace {name}"), sources::file_digest(&path)?);
            }
        }
        for directory in &self.directories {
            // Outside the workspace, only the last component is the same on every machine.
            let name = directory.strip_prefix(root).unwrap_or(Path::new(directory.file_name().unwrap_or_default()));
            inputs.insert(format!("sources {}", name.display()), sources::tree_digest(directory)?);
        }
        let compiler = self.run(self.command("rustc")?.arg("-vV"))?;
        inputs.insert("rustc".to_owned(), Digest::of(&compiler.stdout));
        let libc: &[&str] = if self.target.gnu { &["libc.a", "libm.a"] } else { &[] };
        for library in libc {
            let path = Path::new("/usr/lib").join(self.target.multiarch).join(library);
            if path.is_file() {
                inputs.insert(format!("library {library}"), sources::file_digest(&path)?);
            }
        }
        Ok(inputs)
    }

    /// Builds the binary and puts it into the layer begun last.
    pub(crate) fn build(
        &self,
        offline: bool,
        epoch: i64,
        reporter: &dyn Reporter,
        tree: &mut Assembly,
    ) -> Result<(), CargoError> {
        self.check_tools()?;
        let recipe = self.recipe;
        let package = recipe.package.value.as_str();
        let bin = recipe.bin.as_deref().unwrap_or(package);
        let target_directory = self.metadata.target_directory.join("packages");
        reporter.note(&format!("compiling {package} for {}", self.target.triple));
        let mut cargo = self.command("cargo")?;
        cargo.args(["build", "--locked", "--profile", &recipe.profile, "--target", self.target.triple]);
        cargo.args(["--package", package, "--bin", bin]).arg("--target-dir").arg(&target_directory);
        if !recipe.features.is_empty() {
            cargo.arg("--features").arg(recipe.features.join(","));
        }
        if offline {
            cargo.arg("--offline");
        }
        self.clean_environment(&mut cargo);
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.flags(&target_directory)?.join("\x1f"));
        self.run(&mut cargo)?;
        let profile = if recipe.profile == "dev" { "debug" } else { &recipe.profile };
        let path = target_directory.join(self.target.triple).join(profile).join(bin);
        let binary = fs::read(&path).map_err(|source| CargoError::Read { path: path.clone(), source })?;
        elf::check_static(&binary, self.machine).map_err(|source| CargoError::Elf { path, source })?;
        self.warn_of_host_paths(&binary, reporter);
        let place = |text: &str| TreePath::new(text).map_err(|_| CargoError::Path(text.to_owned()));
        let landed = tree.insert(&place(&recipe.path)?, Entry::file(Bytes::Memory(binary.into()), 0o755, epoch))?;
        for link in &recipe.links {
            let link = tree.land(&place(link)?)?;
            tree.insert(&link, Entry::symlink(relative(&link, &landed), epoch))?;
        }
        Ok(())
    }

    /// Says what is missing before minutes of compiling say it.
    fn check_tools(&self) -> Result<(), CargoError> {
        let libdir =
            self.run(self.command("rustc")?.args(["--print", "target-libdir", "--target", self.target.triple]))?;
        if !Path::new(String::from_utf8_lossy(&libdir.stdout).trim()).is_dir() {
            return Err(CargoError::TargetMissing(self.target.triple));
        }
        if let Some(linker) = self.cross_linker().filter(|l| find(l).is_none()) {
            let package: &'static str = match linker {
                "aarch64-linux-gnu-gcc" => "gcc-aarch64-linux-gnu",
                _ => "gcc-riscv64-linux-gnu",
            };
            return Err(self.error(CommandError::Missing { program: linker.to_owned(), package }));
        }
        Ok(())
    }

    /// The C compiler that links for another architecture's gnu libc.
    fn cross_linker(&self) -> Option<&'static str> {
        let foreign = !self.target.triple.starts_with(std::env::consts::ARCH);
        match self.target.multiarch {
            _ if !self.target.gnu => None,
            "aarch64-linux-gnu" if foreign => Some("aarch64-linux-gnu-gcc"),
            "riscv64-linux-gnu" if foreign && std::env::consts::ARCH != "riscv64" => Some("riscv64-linux-gnu-gcc"),
            _ => None,
        }
    }

    fn flags(&self, target_directory: &Path) -> Result<Vec<String>, CargoError> {
        let sysroot = self.run(self.command("rustc")?.args(["--print", "sysroot"]))?;
        let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
        let root = self.metadata.workspace_root.display().to_string();
        let mut flags = Vec::new();
        // rustc takes the last prefix that fits, so the more specific ones come later.
        let remapped = [
            (cargo_home().map(|h| h.display().to_string()), "/cargo"),
            (Some(sysroot), "/rust"),
            (Some(root), "/src"),
            (Some(target_directory.display().to_string()), "/target"),
        ];
        for (from, to) in remapped {
            flags.extend(from.filter(|f| f.len() > 1).map(|from| format!("--remap-path-prefix={from}={to}")));
        }
        flags.push("-Ctarget-feature=+crt-static".to_owned());
        if !self.recipe.pie {
            flags.push("-Crelocation-model=static".to_owned());
        }
        if !self.target.gnu {
            // musl's start files, libc and linker come with the Rust toolchain: no C toolchain, and one linker everywhere.
            flags.push("-Clinker=rust-lld".to_owned());
        }
        flags.extend(self.cross_linker().map(|linker| format!("-Clinker={linker}")));
        Ok(flags)
    }

    /// Whatever the user's environment says about how things are compiled does not count here.
    fn clean_environment(&self, cargo: &mut Command) {
        const NAMES: [&str; 6] =
            ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CFLAGS", "CXXFLAGS"];
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            let prefixes = ["CARGO_PROFILE_", "CARGO_BUILD_", "CARGO_TARGET_", "CARGO_CFG_", "CARGO_FEATURE_"];
            if NAMES.contains(&&*text) || prefixes.iter().any(|p| text.starts_with(p)) {
                cargo.env_remove(&name);
            }
        }
        cargo.env("CARGO_INCREMENTAL", "0").env("SOURCE_DATE_EPOCH", "0").env("ZERO_AR_DATE", "1");
    }

    fn warn_of_host_paths(&self, binary: &[u8], reporter: &dyn Reporter) {
        let package = &self.recipe.package.value;
        let paths = [Some(self.metadata.workspace_root.clone()), cargo_home()];
        for path in paths.into_iter().flatten().filter(|p| p.components().count() > 2) {
            let text = path.display().to_string();
            if binary.windows(text.len()).any(|w| w == text.as_bytes()) {
                reporter.warn(&format!(
                    "`{package}` holds the path `{text}` of this machine: other machines make other bytes"
                ));
            }
        }
    }

    fn command(&self, program: &str) -> Result<Command, CargoError> {
        let mut command = command(program, "rust").map_err(|source| self.error(source))?;
        command.current_dir(&self.metadata.workspace_root);
        Ok(command)
    }

    fn run(&self, command: &mut Command) -> Result<std::process::Output, CargoError> {
        run(command).map_err(|source| self.error(source))
    }

    fn error(&self, source: CommandError) -> CargoError {
        CargoError::Cargo { package: self.recipe.package.value.clone(), source }
    }
}

fn read_metadata(recipe: &CargoRecipe, directory: &Path) -> Result<Metadata, CargoError> {
    let error = |source| CargoError::Cargo { package: recipe.package.value.clone(), source };
    let mut cargo = command("cargo", "rust").map_err(error)?;
    let output =
        run(cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(directory)).map_err(error)?;
    let bad = |source| CargoError::Metadata { directory: directory.to_owned(), source };
    serde_json::from_slice(&output.stdout).map_err(bad)
}

fn directory_of(package: &MetadataPackage) -> PathBuf {
    package.manifest_path.parent().unwrap_or(Path::new("/")).to_owned()
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cargo")))
}

/// The target of a link at `link` that leads to `target`.
fn relative(link: &TreePath, target: &TreePath) -> Vec<u8> {
    let from: Vec<&[u8]> = link.as_bytes().split(|b| *b == b'/').collect();
    let to: Vec<&[u8]> = target.as_bytes().split(|b| *b == b'/').collect();
    let shared = from[..from.len() - 1].iter().zip(&to[..to.len() - 1]).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(&b".."[..], from.len() - 1 - shared);
    up.chain(to[shared..].iter().copied()).collect::<Vec<_>>().join(&b'/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_where_they_lie() {
        for (link, target, want) in [
            ("sbin/halt", "init", "../init"),
            ("init.old", "init", "init"),
            ("usr/bin/sh", "usr/bin/busybox", "busybox"),
            ("usr/sbin/ip", "usr/bin/busybox", "../bin/busybox"),
            ("a/b/c", "a/d", "../d"),
        ] {
            let path = |t| TreePath::new(t).unwrap();
            assert_eq!(String::from_utf8(relative(&path(link), &path(target))).unwrap(), want);
        }
    }
}
