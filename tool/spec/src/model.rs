//! What a spec says once it is parsed, validated and merged. Every value keeps its [`Span`], so that what is found wrong
//! later (a command that its image lacks) is still shown where it was written.
//!
//! Keys are those of LinuxKit's YAML (`docs/spec.md`); a key that can come from an image's label is an `Option`: `None`
//! means "not said here", `Some(empty)` clears what the label says.

mod control;
mod supervision;
mod tests;

pub use control::{Control, Forward, Logging};

use crate::{Span, Spanned};

pub use supervision::{Check, Health, Ready, Restart, RestartPolicy, Stop, Watchdog};
pub use tests::{Expectation, FileContent, Test, TestCheck};

/// A whole machine.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// `kernel:`; none for machines that bring no kernel.
    pub kernel: Option<Kernel>,
    /// `boot:` (ours): the image with the boot loader.
    pub boot: Option<Spanned<String>>,
    /// `root:` (ours).
    pub root: Root,
    /// `init:` image references, unpacked over `/` in order.
    pub init: Vec<Spanned<String>>,
    /// `onboot:`, run one after the other before the services.
    pub onboot: Vec<Container>,
    /// `onshutdown:`, run one after the other after the services were stopped.
    pub onshutdown: Vec<Container>,
    /// `services:`.
    pub services: Vec<Container>,
    /// `volumes:`.
    pub volumes: Vec<Volume>,
    /// `files:`.
    pub files: Vec<FileEntry>,
    /// `watchdog:` (ours).
    pub watchdog: Option<Spanned<Watchdog>>,
    /// `control:` (ours).
    pub control: Control,
    /// `logging:` (ours).
    pub logging: Logging,
    /// `tests:` (ours), of which nothing reaches an image.
    pub tests: Vec<Test>,
    /// Each `files.source` that was resolved, and how it was written: a machine must not show where it was built.
    pub written_sources: std::collections::BTreeMap<std::path::PathBuf, String>,
    /// Problems that did not stop the parse.
    pub warnings: Vec<crate::Diagnostic>,
}

/// `kernel:`. Each member is overridden by a later file that says it.
#[derive(Clone, Debug, Default)]
pub struct Kernel {
    /// `image`.
    pub image: Option<Spanned<String>>,
    /// `cmdline`, verbatim.
    pub cmdline: Option<Spanned<String>>,
    /// `binary`, the kernel's file in its image; default `kernel`.
    pub binary: Option<Spanned<String>>,
    /// `tar`, unpacked at `/`; default `kernel.tar`; `none` or empty for none.
    pub tar: Option<Spanned<String>>,
    /// `ucode`, a cpio in the kernel's image.
    pub ucode: Option<Spanned<String>>,
    /// `modules` (ours): names, globs and presets (`virtio`, `cloud`, `all`). None: what the kernel image's label
    /// `org.bootwright.kernel.modules` says, else `all`, as LinuxKit does.
    pub modules: Option<Vec<Spanned<String>>>,
}

/// `root:` (ours). Each member is overridden by a later file that says it.
#[derive(Clone, Debug, Default)]
pub struct Root {
    /// `kind`.
    pub kind: Option<Spanned<RootKind>>,
    /// `verity`.
    pub verity: Option<Spanned<bool>>,
    /// `corruption`: whether a block that fails its check restarts the machine.
    pub restart_on_corruption: Option<Spanned<bool>>,
}

/// What a root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootKind {
    /// One compressed, read-only image.
    Squashfs,
    /// All files in memory.
    Initrd,
}

/// An entry of `onboot`, `onshutdown` or `services`.
#[derive(Clone, Debug)]
pub struct Container {
    /// `name`, unique within services, safe as a directory name.
    pub name: Spanned<String>,
    /// `image`, a reference in any of the forms that `bootwright-oci` reads (`@pkg:` still unresolved).
    pub image: Spanned<String>,
    /// Everything else.
    pub config: ContainerConfig,
    /// The whole entry.
    pub span: Span,
}

/// The keys of a container that can come from YAML and from the image label `org.mobyproject.config` alike.
#[derive(Clone, Debug, Default)]
pub struct ContainerConfig {
    /// `capabilities`: `CAP_*` names, or the single word `all` or `none`.
    pub capabilities: Option<Vec<Spanned<String>>>,
    /// `capabilities.add`.
    pub capabilities_add: Option<Vec<Spanned<String>>>,
    /// `ambient`.
    pub ambient: Option<Vec<Spanned<String>>>,
    /// `mounts`.
    pub mounts: Option<Vec<Mount>>,
    /// `binds`.
    pub binds: Option<Vec<Bind>>,
    /// `binds.add`.
    pub binds_add: Option<Vec<Bind>>,
    /// `devices`.
    pub devices: Option<Vec<Device>>,
    /// `tmpfs`, `destination[:options]`.
    pub tmpfs: Option<Vec<Mount>>,
    /// `command`, in place of the image's entrypoint and command.
    pub command: Option<Spanned<Vec<Spanned<String>>>>,
    /// `env`, `NAME=value`, over the image's environment, name by name.
    pub env: Option<Vec<Spanned<String>>>,
    /// `cwd`.
    pub cwd: Option<Spanned<String>>,
    /// `net`, `ipc`, `uts`, `pid`, `userns` and our `cgroupns`.
    pub namespaces: Namespaces,
    /// `hostname`.
    pub hostname: Option<Spanned<String>>,
    /// `readonly`.
    pub readonly: Option<Spanned<bool>>,
    /// `maskedPaths`; none: Docker's, unless the container has CAP_SYS_ADMIN.
    pub masked_paths: Option<Vec<Spanned<String>>>,
    /// `readonlyPaths`; none: Docker's, unless the container has CAP_SYS_ADMIN or CAP_NET_ADMIN.
    pub readonly_paths: Option<Vec<Spanned<String>>>,
    /// `uid`.
    pub uid: Option<Spanned<Owner>>,
    /// `gid`.
    pub gid: Option<Spanned<Owner>>,
    /// `additionalGids`.
    pub additional_gids: Option<Vec<Spanned<Owner>>>,
    /// `noNewPrivileges`; none: true where the container has no capabilities at all.
    pub no_new_privileges: Option<Spanned<bool>>,
    /// `oomScoreAdj`, -1000 to 1000.
    pub oom_score_adj: Option<Spanned<i32>>,
    /// `rootfsPropagation`.
    pub rootfs_propagation: Option<Spanned<String>>,
    /// `cgroupsPath`.
    pub cgroups_path: Option<Spanned<String>>,
    /// `resources`: OCI's LinuxResources as JSON, camel-case keys as in the runtime specification.
    pub resources: Option<Spanned<serde_json::Value>>,
    /// `sysctl`.
    pub sysctl: Option<Vec<(Spanned<String>, Spanned<String>)>>,
    /// `rlimits`.
    pub rlimits: Option<Vec<Spanned<Rlimit>>>,
    /// `uidMappings`.
    pub uid_mappings: Option<Vec<IdMapping>>,
    /// `gidMappings`.
    pub gid_mappings: Option<Vec<IdMapping>>,
    /// `annotations`.
    pub annotations: Option<Vec<(Spanned<String>, Spanned<String>)>>,
    /// `runtime`; merged with the label member by member.
    pub runtime: RuntimeConfig,
    /// `seccomp` (ours): `default`, or `unconfined`; none: default, unless `capabilities: [all]`.
    pub seccomp: Option<Spanned<String>>,
    /// `landlock` (ours).
    pub landlock: Option<Spanned<Landlock>>,
    /// `onfail` (ours).
    pub onfail: Option<Spanned<OnFail>>,
    /// `restart` (ours).
    pub restart: Option<Spanned<Restart>>,
    /// `after` (ours): names of services.
    pub after: Option<Vec<Spanned<String>>>,
    /// `requires` (ours): names of services.
    pub requires: Option<Vec<Spanned<String>>>,
    /// `ready` (ours).
    pub ready: Option<Spanned<Ready>>,
    /// `health` (ours).
    pub health: Option<Spanned<Health>>,
    /// `stop` (ours).
    pub stop: Option<Stop>,
    /// `parallel` (ours).
    pub parallel: Option<Spanned<bool>>,
}

/// `landlock`: absolute paths, each with what lies below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landlock {
    /// `read`.
    pub read: Vec<String>,
    /// `write`, which includes reading.
    pub write: Vec<String>,
    /// `execute`, which includes reading.
    pub execute: Vec<String>,
}

/// A mount of `mounts`, `tmpfs` or `runtime.mounts`, with the defaults that its type implies filled in.
#[derive(Clone, Debug)]
pub struct Mount {
    /// Where it appears.
    pub destination: Spanned<String>,
    /// Filesystem type; `bind` is none in the kernel's eyes.
    pub kind: String,
    /// Device, directory, volume name, or the type again.
    pub source: Spanned<String>,
    /// Mount options in the order they were given.
    pub options: Vec<String>,
}

/// `source:destination[:options]`.
#[derive(Clone, Debug)]
pub struct Bind {
    /// A path in the machine, or the name of a volume (no leading slash).
    pub source: Spanned<String>,
    /// Where it appears in the container.
    pub destination: String,
    /// The options as given; none means `rw,rbind,rshared`, given ones get `rbind` added when it is assembled.
    pub options: Option<Vec<String>>,
}

/// An entry of `devices`.
#[derive(Clone, Debug)]
pub struct Device {
    /// A path below /dev, or `all`.
    pub path: Spanned<String>,
    /// `c`, `b`, `u`, `p` or `a`.
    pub kind: String,
    /// Major number.
    pub major: i64,
    /// Minor number.
    pub minor: i64,
    /// Permission bits; none only for `all`.
    pub mode: Option<u32>,
}

/// The namespace keys: `host`/`root`, `new`, or a path.
#[derive(Clone, Debug, Default)]
pub struct Namespaces {
    /// `net`; `none` is `new`.
    pub net: Option<Spanned<String>>,
    /// `ipc`.
    pub ipc: Option<Spanned<String>>,
    /// `uts`.
    pub uts: Option<Spanned<String>>,
    /// `pid`; the only one that is new unless said otherwise.
    pub pid: Option<Spanned<String>>,
    /// `userns`.
    pub user: Option<Spanned<String>>,
    /// `cgroupns` (ours); none: new.
    pub cgroup: Option<Spanned<String>>,
}

/// A uid or gid as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A number, also one written as a string.
    Id(u32),
    /// A name: one of the spec's containers, else looked up in the image's passwd or group.
    Name(String),
}

/// `name,soft,hard`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// `RLIMIT_*`.
    pub name: String,
    /// Soft limit; `u64::MAX` for `unlimited`.
    pub soft: u64,
    /// Hard limit; `u64::MAX` for `unlimited`.
    pub hard: u64,
}

/// `{hostID, containerID, size}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdMapping {
    /// First id in the machine.
    pub host_id: u32,
    /// First id in the container.
    pub container_id: u32,
    /// How many.
    pub size: u32,
}

/// `runtime`.
#[derive(Clone, Debug, Default)]
pub struct RuntimeConfig {
    /// `cgroups` made before the container.
    pub cgroups: Option<Vec<Spanned<String>>>,
    /// `mounts` made in the machine's mount namespace before the container.
    pub mounts: Option<Vec<Mount>>,
    /// `mkdir`.
    pub mkdir: Option<Vec<Spanned<String>>>,
    /// `interfaces`.
    pub interfaces: Option<Vec<Interface>>,
    /// `bindNS`.
    pub bind_ns: BindNs,
    /// `namespace`, containerd's.
    pub namespace: Option<Spanned<String>>,
}

/// An entry of `runtime.interfaces`.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// Name in the container.
    pub name: String,
    /// Link type to make.
    pub add: String,
    /// The other end of a veth, left in the root namespace.
    pub peer: String,
    /// Make it in the root namespace and move it.
    pub create_in_root: bool,
}

/// `runtime.bindNS`: where to bind each namespace of the container.
#[derive(Clone, Debug, Default)]
pub struct BindNs {
    /// Cgroup namespace.
    pub cgroup: Option<String>,
    /// IPC namespace.
    pub ipc: Option<String>,
    /// Mount namespace.
    pub mnt: Option<String>,
    /// Network namespace.
    pub net: Option<String>,
    /// PID namespace.
    pub pid: Option<String>,
    /// User namespace.
    pub user: Option<String>,
    /// UTS namespace.
    pub uts: Option<String>,
}

/// What happens when a container fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFail {
    /// Go on as if nothing had happened.
    Continue,
    /// Run it again.
    Retry,
    /// Say so on every console and power off after 30 s.
    Stop,
    /// Reboot.
    Reboot,
    /// Power off at once.
    Poweroff,
    /// A shell on the console.
    Shell,
}

/// An entry of `volumes`.
#[derive(Clone, Debug)]
pub struct Volume {
    /// `name`.
    pub name: Spanned<String>,
    /// `image`; none for an empty volume.
    pub image: Option<Spanned<String>>,
    /// `readonly`.
    pub readonly: bool,
    /// `size` (ours), in bytes; none: half of the memory.
    pub size: Option<u64>,
    /// `format`.
    pub format: VolumeFormat,
    /// `platforms`, for `oci` only; empty for all.
    pub platforms: Vec<String>,
}

/// `format` of a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumeFormat {
    /// The image's files.
    #[default]
    Filesystem,
    /// An OCI layout.
    Oci,
}

/// An entry of `files`.
#[derive(Clone, Debug)]
pub struct FileEntry {
    /// `path`, normalised, without a leading slash.
    pub path: Spanned<String>,
    /// What it is.
    pub contents: FileContents,
    /// `mode`; default 0600, directories 0700.
    pub mode: Option<u32>,
    /// `uid`.
    pub uid: Option<Spanned<Owner>>,
    /// `gid`.
    pub gid: Option<Spanned<Owner>>,
    /// `optional`: leave it out when `source` does not exist.
    pub optional: bool,
}

/// Exactly one of the keys that say what a file is.
#[derive(Clone, Debug)]
pub enum FileContents {
    /// `directory: true`.
    Directory,
    /// `symlink`.
    Symlink(String),
    /// `contents`.
    Text(String),
    /// `source`, resolved against the directory of its YAML file (`~/` expanded).
    Source(Spanned<std::path::PathBuf>),
    /// `metadata: yaml` or `json`: the merged spec.
    Metadata(MetadataFormat),
}

/// Format of a `metadata:` file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataFormat {
    /// YAML.
    Yaml,
    /// JSON.
    Json,
}

/// A package's `build.yml`: LinuxKit's keys `image org tag arches config`, and four recipes that may be combined (`cargo`,
/// `debian`, `kernel`, `files`), applied in that order into one layer each.
#[derive(Clone, Debug)]
pub struct Package {
    /// `image`, the name without organisation and tag.
    pub image: Spanned<String>,
    /// `org`; default `bootwright`.
    pub org: String,
    /// `arches`, Go names; default `[amd64, arm64]`.
    pub arches: Vec<Spanned<String>>,
    /// `config`: what becomes the label `org.mobyproject.config`, as JSON; checked like a container.
    pub config: Option<serde_json::Value>,
    /// `cargo`, one or several.
    pub cargo: Vec<CargoRecipe>,
    /// `debian`.
    pub debian: Option<DebianRecipe>,
    /// `kernel`.
    pub kernel: Option<KernelRecipe>,
    /// `files`, as in a machine's spec; `source` also accepts a directory.
    pub files: Vec<FileEntry>,
    /// `process`: the image's own configuration.
    pub process: ProcessConfig,
    /// `labels`: further labels of the image, in the order written.
    pub labels: Vec<(String, String)>,
}

/// `cargo:` a static binary of a cargo workspace.
#[derive(Clone, Debug)]
pub struct CargoRecipe {
    /// `package`, the cargo package.
    pub package: Spanned<String>,
    /// `bin`; default the package's name.
    pub bin: Option<String>,
    /// `profile`; default `image`.
    pub profile: String,
    /// `features`.
    pub features: Vec<String>,
    /// `target` libc: `musl` (default) or `gnu` (linked with `crt-static`).
    pub libc: String,
    /// `pie`: whether the binary can be loaded anywhere; default true.
    pub pie: bool,
    /// `path`, where the binary goes, without a leading slash.
    pub path: Spanned<String>,
    /// `links`: symbolic links made to it.
    pub links: Vec<String>,
}

/// `debian:` packages resolved and unpacked from the machine's own apt.
#[derive(Clone, Debug)]
pub struct DebianRecipe {
    /// `packages`.
    pub packages: Vec<Spanned<String>>,
    /// `depends: false` takes only the packages named; default true.
    pub depends: bool,
    /// `include` globs; empty for everything.
    pub include: Vec<String>,
    /// `exclude` globs, applied after `include`.
    pub exclude: Vec<String>,
    /// `kernel: true` turns a linux-image package into LinuxKit's kernel image shape (`kernel`, `kernel.tar`).
    pub kernel: bool,
}

/// `kernel:` a kernel built from source.
#[derive(Clone, Debug)]
pub struct KernelRecipe {
    /// `source`: the Debian package that holds the source.
    pub source: Spanned<String>,
    /// `config`: fragments of a configuration, in order; later ones win.
    pub config: Vec<Spanned<std::path::PathBuf>>,
}

/// `process:` the fields of the OCI image configuration.
#[derive(Clone, Debug, Default)]
pub struct ProcessConfig {
    /// `entrypoint`.
    pub entrypoint: Vec<String>,
    /// `cmd`.
    pub cmd: Vec<String>,
    /// `env`.
    pub env: Vec<String>,
    /// `workdir`.
    pub workdir: Option<String>,
    /// `user`.
    pub user: Option<String>,
}
