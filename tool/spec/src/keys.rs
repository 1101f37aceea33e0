//! The one table of every key: name, kind, default and help. Validation (`validate`), the JSON Schema (`schema`), the page
//! `docs/spec.md` (`markdown`) and the conversion of `resources` are made from it; a new key is one row here and one line
//! in `read` and `emit`.

mod control;
mod supervision;
mod tests;

use crate::values::Text;

use control::{CONTROL, LOGGING};
pub(crate) use supervision::{HEALTH, READY};
use supervision::{POLICIES, RESTART, STOP, WATCHDOG};
pub(crate) use tests::CHECK;
use tests::TEST;

/// What may stand under a key.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A scalar, taken as the text that was written.
    Text(Text),
    /// One of a few words, each with its meaning.
    Word(&'static [(&'static str, &'static str)]),
    /// A boolean.
    Flag,
    /// A whole number between two bounds.
    Integer(i64, i64),
    /// A uid or gid: a number or a name.
    Id,
    /// Permission bits, octal.
    Mode,
    /// A list.
    List(&'static Kind),
    /// One value, or a list of such.
    OneOrMore(&'static Kind),
    /// A map with the keys of a shape.
    Map(&'static Shape),
    /// One of a few words, or a map with the keys of a shape, which says more.
    WordOr(&'static [(&'static str, &'static str)], &'static Shape),
    /// A map with free keys.
    Table(&'static Kind),
}

/// The keys of a map.
#[derive(Debug)]
pub(crate) struct Shape {
    /// What messages call it: "a key of {title}".
    pub(crate) title: &'static str,
    /// Its name in the schema and its heading on the page.
    pub(crate) name: &'static str,
    /// What it is, for the page.
    pub(crate) doc: &'static str,
    /// The keys.
    pub(crate) keys: &'static [Key],
    /// Further keys, shared with another shape.
    pub(crate) shared: &'static [Key],
    /// Whether the letter case of keys does not matter: LinuxKit's own reader takes all-lower-case spellings only.
    pub(crate) any_case: bool,
}

impl Shape {
    /// All keys.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static Key> + use<> {
        self.keys.iter().chain(self.shared)
    }

    /// The key of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&'static Key> {
        let exact = self.all().find(|key| key.name == name);
        exact.or_else(|| self.all().find(|key| self.any_case && key.name.eq_ignore_ascii_case(name)))
    }
}

/// A key.
#[derive(Debug)]
pub(crate) struct Key {
    /// Its name.
    pub(crate) name: &'static str,
    /// What may stand under it.
    pub(crate) kind: Kind,
    /// What it means, in Markdown.
    pub(crate) doc: &'static str,
    /// What holds where it is not given, in Markdown; empty when nothing does.
    pub(crate) default: &'static str,
    /// Whether it must be given.
    pub(crate) required: bool,
    /// Whether it may be given without a value, which means the default.
    pub(crate) nullable: bool,
    /// Whether it is ours, beside LinuxKit's.
    pub(crate) ours: bool,
    /// Why a key that is accepted does nothing.
    pub(crate) ignored: Option<&'static str>,
}

const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, kind, doc, default: "", required: false, nullable: false, ours: false, ignored: None }
}

impl Key {
    const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    const fn ours(mut self) -> Self {
        self.ours = true;
        self
    }

    const fn ignored(mut self, why: &'static str) -> Self {
        self.ignored = Some(why);
        self
    }
}

const fn shape(name: &'static str, title: &'static str, doc: &'static str, keys: &'static [Key]) -> Shape {
    Shape { title, name, doc, keys, shared: &[], any_case: false }
}

const TEXT: Kind = Kind::Text(Text::Any);
const IMAGE: Kind = Kind::Text(Text::Image);
const IMAGE_OR_NONE: Kind = Kind::Text(Text::ImageOrNone);
const PATHS: Kind = Kind::List(&Kind::Text(Text::Path));
const NATURAL: Kind = Kind::Integer(0, i64::MAX);
const ANY_INTEGER: Kind = Kind::Integer(i64::MIN, i64::MAX);
const U16: Kind = Kind::Integer(0, u16::MAX as i64);
const U32: Kind = Kind::Integer(0, u32::MAX as i64);

/// A spec.
pub(crate) static SPEC: Shape = shape(
    "spec",
    "a spec",
    "The top level of a spec.",
    &[
        key("kernel", Kind::Map(&KERNEL), "The kernel, its command line and its modules. Leave it out for machines that bring none.").nullable(),
        key("boot", Kind::Map(&BOOT), "What boots the kernel where no loader is there yet: on disks, ISOs and as a UKI.").nullable().ours(),
        key("root", Kind::Map(&ROOT), "How the root filesystem travels and is checked.").nullable().ours(),
        key("init", Kind::List(&IMAGE), "Images unpacked over `/` in this order; later files win.").nullable(),
        key("onboot", Kind::List(&Kind::Map(&CONTAINER)), "Containers run one after the other before the services.").nullable(),
        key("onshutdown", Kind::List(&Kind::Map(&CONTAINER)), "Containers run one after the other after the services were stopped.").nullable(),
        key("services", Kind::List(&Kind::Map(&CONTAINER)), "Containers that run as long as the machine does. Names are unique.").nullable(),
        key("volumes", Kind::List(&Kind::Map(&VOLUME)), "Directories that several containers share, empty or filled from an image.").nullable(),
        key("watchdog", Kind::Map(&WATCHDOG), "A watchdog that init feeds: a machine whose init hangs is restarted.").default("none").ours(),
        key("files", Kind::List(&Kind::Map(&FILE)), "Files, directories and symbolic links put into the machine's root. Parent directories that exist already are never touched.").nullable(),
        key("control", Kind::Map(&CONTROL), "The control channel: who may ask the running machine for what.").nullable().ours(),
        key("logging", Kind::Map(&LOGGING), "Where what containers print goes.").nullable().ours(),
        key("tests", Kind::List(&Kind::Map(&TEST)), "Machines that `bootwright test` boots, and what must hold in each. Names are unique.").nullable().ours(),
        key("trust", Kind::Map(&TRUST), "LinuxKit's content trust.").nullable().ignored("content trust has been removed from LinuxKit as well; pin images by digest instead"),
    ],
);

static TRUST: Shape = shape(
    "trust",
    "`trust`",
    "Accepted and ignored, as LinuxKit does.",
    &[
        key("image", Kind::List(&TEXT), "Images to verify."),
        key("org", Kind::List(&TEXT), "Organisations whose images to verify."),
    ],
);

static KERNEL: Shape = shape(
    "kernel",
    "`kernel`",
    "The kernel. When several files give it, each key is overridden by a later file that gives it.",
    &[
        key("image", IMAGE_OR_NONE, "The image that holds the kernel."),
        key("cmdline", TEXT, "The kernel's command line, verbatim."),
        key("binary", TEXT, "The kernel's file in its image.").default("`kernel`"),
        key("tar", TEXT, "A tar archive in the image that is unpacked at `/` (modules); `none` or an empty string for none.").default("`kernel.tar`"),
        key("ucode", TEXT, "A cpio archive in the image with CPU microcode, loaded before the initrd."),
        key("modules", Kind::List(&Kind::Text(Text::Module)), "The modules to keep: names, globs, and the presets `virtio`, `cloud` and `all`. What they depend on and what booting needs always comes along.")
            .default("what the kernel image's label `org.bootwright.kernel.modules` says, else `all`").ours(),
    ],
);

static BOOT: Shape = shape(
    "boot",
    "`boot`",
    "The boot loader. Formats that a kernel alone boots (`kernel+initrd`, `netboot`) need none.",
    &[key("image", IMAGE, "The image with the BIOS loader and the EFI stub, such as `@pkg:../pkg/boot`.").required()],
);

/// `root.kind`.
static ROOT_KINDS: &[(&str, &str)] = &[
    ("squashfs", "one compressed, read-only image, of which only what is used takes memory"),
    ("initrd", "all files in memory, unpacked by the kernel"),
];

/// `root.corruption`.
static CORRUPTIONS: &[(&str, &str)] =
    &[("eio", "the read fails, and the kernel says so on the console"), ("restart", "the machine restarts at once")];

static ROOT: Shape = shape(
    "root",
    "`root`",
    "The root filesystem. When several files give it, each key is overridden by a later file that gives it.",
    &[
        key("kind", Kind::Word(ROOT_KINDS), "What the root is.")
            .default("`squashfs` where the init can have one, else `initrd`"),
        key(
            "verity",
            Kind::Flag,
            "Whether each block of the root is checked against a hash tree when it is read (dm-verity).",
        )
        .default("`false`"),
        key("corruption", Kind::Word(CORRUPTIONS), "What a block that fails the check does.").default("`eio`"),
    ],
);

/// An entry of `onboot`, `onshutdown` or `services`.
pub(crate) static CONTAINER: Shape = Shape {
    title: "a container",
    name: "container",
    doc: "An entry of `onboot`, `onshutdown` or `services`. All keys but `name` and `image` may also come from the image's label `org.mobyproject.config`.",
    keys: &[
        key("name", Kind::Text(Text::ContainerName), "The container's name, which names its directory too.").required(),
        key("image", IMAGE, "The image: a reference, `oci:DIR`, `oci-archive:FILE`, `docker-archive:FILE`, `docker-daemon:NAME`, or `@pkg:DIR` for a package to build.").required(),
    ],
    shared: CONFIG.keys,
    any_case: false,
};

/// The label `org.mobyproject.config`, and `config:` of a package.
pub(crate) static CONFIG: Shape = shape(
    "label",
    "an image's configuration",
    "What the label `org.mobyproject.config` may say.",
    &[
        key(
            "capabilities",
            Kind::List(&Kind::Text(Text::Capability)),
            "Capabilities by their full names (`CAP_NET_ADMIN`), or one word alone: `all` or `none`.",
        )
        .default("none"),
        key(
            "capabilities.add",
            Kind::List(&Kind::Text(Text::Capability)),
            "Capabilities added to those of the label. Does nothing beside `capabilities`.",
        ),
        key(
            "ambient",
            Kind::List(&Kind::Text(Text::Capability)),
            "Ambient capabilities, which programs without file capabilities keep when they are not root.",
        )
        .default("none"),
        key(
            "mounts",
            Kind::List(&Kind::Map(&MOUNT)),
            "Filesystems mounted in the container. One at the destination of a default mount replaces it.",
        ),
        key(
            "binds",
            Kind::List(&Kind::Text(Text::Bind)),
            "Paths of the machine, or volumes by name, shown in the container. Without options `rw,rbind,rshared`; `rbind` is added to those given.",
        ),
        key(
            "binds.add",
            Kind::List(&Kind::Text(Text::Bind)),
            "Binds added to those of the label. Does nothing beside `binds`.",
        ),
        key("devices", Kind::List(&Kind::Map(&DEVICE)), "Devices made in the container and allowed to it."),
        key("tmpfs", Kind::List(&Kind::Text(Text::Tmpfs)), "Filesystems in memory mounted in the container."),
        key("command", Kind::List(&TEXT), "The command, in place of the image's entrypoint and command.")
            .default("the image's"),
        key(
            "env",
            Kind::List(&Kind::Text(Text::Env)),
            "Environment variables, set over those of the image name by name.",
        )
        .default("the image's"),
        key("cwd", Kind::Text(Text::Path), "The working directory.").default("the image's, else `/`"),
        key(
            "net",
            Kind::Text(Text::NetNamespace),
            "The network namespace: `host` or `root` for the machine's, `new` or `none` for one of its own, or a path.",
        )
        .default("`host`"),
        key("ipc", Kind::Text(Text::Namespace), "The IPC namespace.").default("`host`"),
        key("uts", Kind::Text(Text::Namespace), "The namespace of host and domain name.").default("`host`"),
        key("pid", Kind::Text(Text::Namespace), "The PID namespace.").default("`new`"),
        key("userns", Kind::Text(Text::Namespace), "The user namespace.").default("`host`"),
        key("cgroupns", Kind::Text(Text::Namespace), "The cgroup namespace.").default("`new`").ours(),
        key("hostname", TEXT, "The host name, in a new `uts` namespace."),
        key("readonly", Kind::Flag, "Makes the container's root read-only.").default("`false`"),
        key("maskedPaths", PATHS, "Paths hidden from the container. `[]` hides none.")
            .default("Docker's, unless the container has `CAP_SYS_ADMIN`"),
        key("readonlyPaths", PATHS, "Paths made read-only. `[]` makes none so.")
            .default("Docker's, unless the container has `CAP_SYS_ADMIN` or `CAP_NET_ADMIN`"),
        key(
            "uid",
            Kind::Id,
            "The user: a number, the name of a container of the spec, or a name from the image's passwd.",
        )
        .nullable()
        .default("the image's `USER`, else `0`"),
        key("gid", Kind::Id, "The group, likewise.").nullable().default("the image's `USER`, else `0`"),
        key("additionalGids", Kind::List(&Kind::Id), "Supplementary groups."),
        key("noNewPrivileges", Kind::Flag, "Keeps set-uid programs and file capabilities from giving privileges.")
            .default("`true` for containers without any capability, else `false`"),
        key("oomScoreAdj", Kind::Integer(-1000, 1000), "How readily the kernel kills it when memory is short."),
        key("rootfsPropagation", Kind::Word(PROPAGATIONS), "Mount propagation of the container's root."),
        key("cgroupsPath", TEXT, "The container's cgroup."),
        key("resources", Kind::Map(&RESOURCES), "Limits, as in the OCI runtime specification.").nullable(),
        key("sysctl", Kind::Table(&TEXT), "Kernel parameters of the container's namespaces."),
        key(
            "rlimits",
            Kind::List(&Kind::Text(Text::Rlimit)),
            "Limits of the process: `RLIMIT_NOFILE,1024,4096`; `unlimited` is a number too.",
        ),
        key("uidMappings", Kind::List(&Kind::Map(&ID_MAPPING)), "User ids of a new user namespace."),
        key("gidMappings", Kind::List(&Kind::Map(&ID_MAPPING)), "Group ids of a new user namespace."),
        key("annotations", Kind::Table(&TEXT), "OCI annotations, for runtimes that read them."),
        key("runtime", Kind::Map(&RUNTIME), "What is prepared around the container.").nullable(),
        key("seccomp", Kind::Text(Text::Seccomp), "The filter of system calls: `default` is Docker's profile.")
            .default("`default`, but `unconfined` with `capabilities: [all]`")
            .ours(),
        key(
            "landlock",
            Kind::Map(&LANDLOCK),
            "The only files that it may use, kept by the kernel's Landlock whatever its user and capabilities are. A machine whose kernel has no Landlock does not start the container.",
        )
        .ours(),
        key("onfail", Kind::Word(ON_FAIL), "What happens when it has failed and is not started again. Without `restart`, a service with `onfail` is not: `retry` is `restart: on-failure`, the others are `restart: never`.")
            .default("`stop` for onboot, `continue` for services and onshutdown")
            .ours(),
        key("restart", Kind::WordOr(POLICIES, &RESTART), "When a service that has ended is started again.")
            .default("`always`; with `onfail`, what that says")
            .ours(),
        key("after", Kind::List(&Kind::Text(Text::ContainerName)), "Services that are ready, or have failed for good, before this service starts.").ours(),
        key("requires", Kind::List(&Kind::Text(Text::ContainerName)), "Services that are ready before this service starts. It stays down when one of them has failed for good.").ours(),
        key("ready", Kind::Map(&READY), "When a service is ready.").default("when it has started").ours(),
        key("health", Kind::Map(&HEALTH), "How a service that is ready is watched.").ours(),
        key("stop", Kind::Map(&STOP), "How it is asked to end.").ours(),
        key("parallel", Kind::Flag, "Runs an onboot container side by side with those before and behind it of which the same is said. The next one waits for all of them.")
            .default("`false`")
            .ours(),
    ],
);

/// `landlock`.
static LANDLOCK: Shape = shape(
    "landlock",
    "`landlock`",
    "Paths in the container, each with all that lies below it. What is not below one of them cannot be used, `/dev/null` neither.",
    &[
        key("read", PATHS, "May be read and listed."),
        key("write", PATHS, "May be read, written, made, renamed and removed."),
        key("execute", PATHS, "May be read and executed. Programs need it for their loader and libraries as well."),
    ],
);

static PROPAGATIONS: &[(&str, &str)] = &[
    ("private", "mounts are seen in the container only"),
    ("rprivate", "the same, with everything below"),
    ("shared", "mounts are seen on both sides"),
    ("rshared", "the same, with everything below"),
    ("slave", "the machine's mounts are seen in the container"),
    ("rslave", "the same, with everything below"),
    ("unbindable", "as private, and cannot be bound elsewhere"),
    ("runbindable", "the same, with everything below"),
];

/// `onfail`.
pub(crate) static ON_FAIL: &[(&str, &str)] = &[
    ("continue", "go on as if nothing had happened"),
    ("retry", "run it again"),
    ("stop", "say so on every console and power off after 30 s"),
    ("reboot", "reboot"),
    ("poweroff", "power off at once"),
    ("shell", "a shell on the console"),
];

static MOUNT: Shape = shape(
    "mount",
    "a mount",
    "An entry of `mounts` or `runtime.mounts`.",
    &[
        key("destination", Kind::Text(Text::Filled), "Where it appears; a relative path starts at the container's root.").default("for proc, sysfs, devpts, mqueue and cgroup their usual place"),
        key("type", TEXT, "The filesystem's type; `bind` for a directory of the machine or a volume.").default("`source`, if that is proc, sysfs, devpts, mqueue or cgroup; `tmpfs` at `/dev`; `bind` with an option `bind` or `rbind`"),
        key("source", Kind::Text(Text::Filled), "A device, a directory, or the name of a volume.").default("`type`"),
        key("options", Kind::List(&Kind::Text(Text::MountOption)), "Mount options."),
        key("uidmappings", Kind::List(&Kind::Map(&ID_MAPPING)), "User ids of an id-mapped mount.").ignored("id-mapped mounts are not made"),
        key("gidmappings", Kind::List(&Kind::Map(&ID_MAPPING)), "Group ids of an id-mapped mount.").ignored("id-mapped mounts are not made"),
    ],
);

static DEVICE_TYPES: &[(&str, &str)] = &[
    ("c", "character device"),
    ("b", "block device"),
    ("u", "character device, unbuffered"),
    ("p", "named pipe"),
    ("a", "any, with `path: all`"),
];

static DEVICE: Shape = shape(
    "device",
    "a device",
    "An entry of `devices`.",
    &[
        key("path", Kind::Text(Text::Device), "The device's path, or `all` for every device of the type.").required(),
        key("type", Kind::Word(DEVICE_TYPES), "What it is.").default("`a` with `path: all`"),
        key("major", ANY_INTEGER, "Major number.").default("`0`"),
        key("minor", ANY_INTEGER, "Minor number.").default("`0`"),
        key("mode", Kind::Mode, "Permission bits, octal, in quotes. Needed unless `path: all`."),
    ],
);

static ID_MAPPING: Shape = limits(
    "idMapping",
    "an id mapping",
    "An entry of `uidMappings` or `gidMappings`.",
    &[
        key("hostID", U32, "First id in the machine.").required(),
        key("containerID", U32, "First id in the container.").required(),
        key("size", Kind::Integer(1, u32::MAX as i64), "How many.").required(),
    ],
);

static RUNTIME: Shape = shape(
    "runtime",
    "`runtime`",
    "What is prepared around the container. Merged with the label's key by key.",
    &[
        key("cgroups", Kind::List(&Kind::Text(Text::Filled)), "Cgroups made before the container."),
        key(
            "mounts",
            Kind::List(&Kind::Map(&MOUNT)),
            "Mounts made in the machine's mount namespace before the container; a relative destination lies in the container's root.",
        ),
        key(
            "mkdir",
            Kind::List(&Kind::Text(Text::Filled)),
            "Directories made after these mounts; a relative path lies in the container's root.",
        ),
        key(
            "interfaces",
            Kind::List(&Kind::Map(&INTERFACE)),
            "Network interfaces moved into the container's new network namespace, or made there.",
        ),
        key(
            "bindNS",
            Kind::Map(&BIND_NS),
            "Files to which the container's namespaces are bound, so that others can join them.",
        ),
        key("namespace", TEXT, "The containerd namespace of a service."),
    ],
);

static INTERFACE: Shape = shape(
    "interface",
    "an interface",
    "An entry of `runtime.interfaces`.",
    &[
        key("name", Kind::Text(Text::Filled), "The interface's name.").required(),
        key("add", TEXT, "Makes a link of this type (`veth`, `wireguard`, …) instead of moving an existing one."),
        key("peer", TEXT, "The other end of a `veth`, left in the machine."),
        key("createInRoot", Kind::Flag, "Makes the link in the machine's namespace and moves it then.")
            .default("`false`"),
    ],
);

static BIND_NS: Shape = shape(
    "bindNS",
    "`bindNS`",
    "Paths to which namespaces are bound.",
    &[
        key("cgroup", TEXT, "Cgroup namespace."),
        key("ipc", TEXT, "IPC namespace."),
        key("mnt", TEXT, "Mount namespace."),
        key("net", TEXT, "Network namespace."),
        key("pid", TEXT, "PID namespace."),
        key("user", TEXT, "User namespace."),
        key("uts", TEXT, "UTS namespace."),
    ],
);

/// Why some keys of `resources` do nothing. They stay in `config.json`, for machines with another init and cgroup v1.
const NO_COUNTERPART: &str = "cgroup v2 has no counterpart";

/// `resources`: OCI's LinuxResources.
pub(crate) static RESOURCES: Shape = Shape {
    any_case: true,
    ..shape(
        "resources",
        "`resources`",
        "Limits, with the keys of the OCI runtime specification's `linux.resources`. All-lower-case spellings, which are all that LinuxKit honours, are accepted throughout.",
        &[
            key(
                "devices",
                Kind::List(&Kind::Map(&DEVICE_RULE)),
                "Rules of the device cgroup, before those made from the container's `devices`.",
            ),
            key("memory", Kind::Map(&MEMORY), "Memory."),
            key("cpu", Kind::Map(&CPU), "Processor time."),
            key("pids", Kind::Map(&PIDS), "Number of processes."),
            key("blockIO", Kind::Map(&BLOCK_IO), "Block devices."),
            key("hugepageLimits", Kind::List(&Kind::Map(&HUGEPAGE)), "Huge pages."),
            key("network", Kind::Map(&NETWORK), "Network class and priorities."),
            key("rdma", Kind::Table(&Kind::Map(&RDMA)), "RDMA resources, by device.")
                .ignored("write it as cgroup v2 has it, into the file `rdma.max` of `unified`"),
            key(
                "unified",
                Kind::Table(&TEXT),
                "Files of cgroup v2 and what to write into them, such as `memory.high: \"64M\"`.",
            ),
        ],
    )
};

const fn limits(name: &'static str, title: &'static str, doc: &'static str, keys: &'static [Key]) -> Shape {
    Shape { any_case: true, ..shape(name, title, doc, keys) }
}

static DEVICE_RULE: Shape = limits(
    "deviceRule",
    "a device rule",
    "An entry of `resources.devices`.",
    &[
        key("allow", Kind::Flag, "Allows rather than denies.").default("`false`"),
        key("type", Kind::Word(&[("a", "any"), ("b", "block devices"), ("c", "character devices")]), "Which devices.")
            .default("any"),
        key("major", ANY_INTEGER, "Major number.").default("any"),
        key("minor", ANY_INTEGER, "Minor number.").default("any"),
        key("access", TEXT, "`r` for reading, `w` for writing, `m` for making them, together."),
    ],
);

static MEMORY: Shape = limits(
    "memory",
    "`memory`",
    "Memory limits in bytes; `-1` for none.",
    &[
        key("limit", ANY_INTEGER, "Most memory."),
        key("reservation", ANY_INTEGER, "Memory kept when it is short."),
        key("swap", ANY_INTEGER, "Most memory and swap together."),
        key("kernel", ANY_INTEGER, "Most kernel memory.").ignored("with cgroup v2 it counts as memory: use `limit`"),
        key("kernelTCP", ANY_INTEGER, "Most memory of TCP buffers.")
            .ignored("with cgroup v2 it counts as memory: use `limit`"),
        key("swappiness", Kind::Integer(0, 100), "How readily it is swapped.").ignored(NO_COUNTERPART),
        key("disableOOMKiller", Kind::Flag, "Pauses the container instead of killing it.").ignored(NO_COUNTERPART),
        key("useHierarchy", Kind::Flag, "Counts children too.").ignored("cgroup v2 always does"),
        key("checkBeforeUpdate", Kind::Flag, "Refuses limits below what is used.")
            .ignored("a container starts with its limits"),
    ],
);

static CPU: Shape = limits(
    "cpu",
    "`cpu`",
    "Processor time.",
    &[
        key("shares", NATURAL, "Share relative to other containers."),
        key("quota", ANY_INTEGER, "Microseconds per period."),
        key("burst", NATURAL, "Microseconds that may be saved up over periods."),
        key("period", NATURAL, "Length of a period in microseconds."),
        key("realtimeRuntime", ANY_INTEGER, "Microseconds of realtime scheduling per realtime period.")
            .ignored(NO_COUNTERPART),
        key("realtimePeriod", NATURAL, "Length of a realtime period in microseconds.").ignored(NO_COUNTERPART),
        key("cpus", TEXT, "The CPUs it may run on, such as `0-2,7`."),
        key("mems", TEXT, "The memory nodes it may use."),
        key("idle", Kind::Integer(0, 1), "`1` runs it only when nothing else wants to run."),
    ],
);

static PIDS: Shape =
    limits("pids", "`pids`", "Number of processes.", &[key("limit", ANY_INTEGER, "Most processes and threads.")]);

static BLOCK_IO: Shape = limits(
    "blockIO",
    "`blockIO`",
    "Block devices.",
    &[
        key("weight", U16, "Weight relative to other containers."),
        key("leafWeight", U16, "Weight against child cgroups.").ignored(NO_COUNTERPART),
        key("weightDevice", Kind::List(&Kind::Map(&WEIGHT_DEVICE)), "Weights per device."),
        key("throttleReadBpsDevice", Kind::List(&Kind::Map(&THROTTLE_DEVICE)), "Bytes read per second."),
        key("throttleWriteBpsDevice", Kind::List(&Kind::Map(&THROTTLE_DEVICE)), "Bytes written per second."),
        key("throttleReadIOPSDevice", Kind::List(&Kind::Map(&THROTTLE_DEVICE)), "Reads per second."),
        key("throttleWriteIOPSDevice", Kind::List(&Kind::Map(&THROTTLE_DEVICE)), "Writes per second."),
    ],
);

static WEIGHT_DEVICE: Shape = limits(
    "weightDevice",
    "a weight",
    "A weight for one device.",
    &[
        key("major", NATURAL, "Major number.").required(),
        key("minor", NATURAL, "Minor number.").required(),
        key("weight", U16, "Weight."),
        key("leafWeight", U16, "Weight against child cgroups.").ignored(NO_COUNTERPART),
    ],
);

static THROTTLE_DEVICE: Shape = limits(
    "throttleDevice",
    "a throttle",
    "A limit for one device.",
    &[
        key("major", NATURAL, "Major number.").required(),
        key("minor", NATURAL, "Minor number.").required(),
        key("rate", NATURAL, "Rate.").required(),
    ],
);

static HUGEPAGE: Shape = limits(
    "hugepageLimit",
    "a huge page limit",
    "An entry of `hugepageLimits`.",
    &[
        key("pageSize", TEXT, "Size of the pages, such as `2MB`.").required(),
        key("limit", NATURAL, "Most bytes.").required(),
    ],
);

static NETWORK: Shape = limits(
    "network",
    "`network`",
    "Network class and priorities.",
    &[
        key("classID", U32, "Class of its packets.").ignored(NO_COUNTERPART),
        key("priorities", Kind::List(&Kind::Map(&PRIORITY)), "Priorities per interface.").ignored(NO_COUNTERPART),
    ],
);

static PRIORITY: Shape = limits(
    "priority",
    "a priority",
    "An entry of `network.priorities`.",
    &[key("name", TEXT, "The interface.").required(), key("priority", U32, "Its priority.").required()],
);

static RDMA: Shape = limits(
    "rdma",
    "an RDMA limit",
    "Limits of one RDMA device.",
    &[key("hcaHandles", U32, "Most handles."), key("hcaObjects", U32, "Most objects.")],
);

static VOLUME_FORMATS: &[(&str, &str)] = &[("filesystem", "the image's files"), ("oci", "the image as an OCI layout")];

static VOLUME: Shape = shape(
    "volume",
    "a volume",
    "An entry of `volumes`. A container refers to it by its name as the source of a bind or mount.",
    &[
        key(
            "name",
            Kind::Text(Text::VolumeName),
            "The volume's name: lower-case letters, digits, `_` and `-`. Names are unique.",
        )
        .required(),
        key("image", IMAGE_OR_NONE, "The image it is filled from.").default("empty"),
        key("readonly", Kind::Flag, "Refuses binds that could write, and holds at run time too.").default("`false`"),
        key(
            "size",
            Kind::Text(Text::Size),
            "Most that can be written into it: bytes, or with `K`, `M` or `G` (of 1024). All of it is memory.",
        )
        .default("half of the memory")
        .ours(),
        key("format", Kind::Word(VOLUME_FORMATS), "How the image is put into it.").default("`filesystem`"),
        key("platforms", Kind::List(&Kind::Text(Text::Platform)), "The platforms an `oci` volume keeps.")
            .default("all"),
    ],
);

/// `metadata` of a file.
pub(crate) static METADATA: &[(&str, &str)] =
    &[("yaml", "the merged spec as YAML"), ("json", "the merged spec as JSON")];

static FILE: Shape = shape(
    "file",
    "a file",
    "An entry of `files`. Exactly one of `directory`, `symlink`, `contents`, `source` and `metadata` says what it is.",
    &[
        key("path", Kind::Text(Text::FilePath), "Where it lies in the machine.").required(),
        key("directory", Kind::Flag, "Makes a directory.").default("`false`"),
        key("symlink", Kind::Text(Text::Filled), "Makes a symbolic link to this."),
        key("contents", TEXT, "The text of the file."),
        key(
            "source",
            Kind::Text(Text::Source),
            "A file on the building machine, relative to the YAML file; `~/` is the home directory.",
        ),
        key("metadata", Kind::Word(METADATA), "Puts the merged spec itself there."),
        key("optional", Kind::Flag, "Leaves the file out when `source` does not exist.").default("`false`"),
        key("mode", Kind::Mode, "Permission bits, octal, in quotes: `\"0644\"`.")
            .default("`\"0600\"`, directories `\"0700\"`"),
        key("uid", Kind::Id, "The owner: a number, or the name of a container of the spec.").nullable().default("`0`"),
        key("gid", Kind::Id, "The group, likewise.").nullable().default("`0`"),
    ],
);

const DOCKERFILE: &str = "it belongs to packages made by a Dockerfile";

/// A package's `build.yml`.
pub(crate) static PACKAGE: Shape = shape(
    "package",
    "a package",
    "A package's `build.yml`: LinuxKit's keys, and four recipes that may be combined; each makes one layer, in the order `cargo`, `debian`, `kernel`, `files`.",
    &[
        key("image", Kind::Text(Text::Filled), "The image's name, without organisation and tag.").required(),
        key("org", Kind::Text(Text::Filled), "The organisation.").default("`bootwright`"),
        key("arches", Kind::List(&Kind::Text(Text::Architecture)), "Architectures it is built for, by Go's names.")
            .nullable()
            .default("`[amd64, arm64]`"),
        key("config", Kind::Map(&CONFIG), "What becomes the label `org.mobyproject.config`."),
        key("cargo", Kind::OneOrMore(&Kind::Map(&CARGO)), "Static binaries of a cargo workspace.").ours(),
        key("debian", Kind::Map(&DEBIAN), "Packages of Debian, unpacked without running their scripts.").ours(),
        key("kernel", Kind::Map(&KERNEL_RECIPE), "A kernel built from source.").ours(),
        key("files", Kind::List(&Kind::Map(&FILE)), "Files, as in a machine's spec; `source` may also be a directory.")
            .ours(),
        key("process", Kind::Map(&PROCESS), "The image's own configuration.").ours(),
        key("labels", Kind::Table(&TEXT), "Further labels of the image.").ours(),
        key("tag", TEXT, "Template of the tag.")
            .default("`{{.Hash}}`")
            .ignored("tags are the hash of what the package is made from"),
        key("dockerfile", TEXT, "The Dockerfile's name.").default("`Dockerfile`").ignored(DOCKERFILE),
        key("extra-sources", Kind::List(&TEXT), "Further directories of the build's context, `source:destination`.")
            .ignored(DOCKERFILE),
        key("gitrepo", TEXT, "The repository the package comes from.").ignored(DOCKERFILE),
        key("network", Kind::Flag, "Whether the build may use the network.").default("`false`").ignored(DOCKERFILE),
        key("disable-cache", Kind::Flag, "Builds without a cache.").default("`false`").ignored(DOCKERFILE),
        key("buildArgs", Kind::List(&TEXT), "Arguments of the build, `NAME=value`.").ignored(DOCKERFILE),
        key("depends", Kind::Map(&DEPENDS), "Images saved into the package's directory before the build.")
            .ignored(DOCKERFILE),
    ],
);

static DEPENDS: Shape = shape(
    "depends",
    "`depends`",
    "What a Dockerfile package needs before it is built.",
    &[key("docker-images", Kind::Map(&DOCKER_IMAGES), "Images.")],
);

static DOCKER_IMAGES: Shape = shape(
    "dockerImages",
    "`docker-images`",
    "Images saved as archives.",
    &[
        key("list", Kind::List(&TEXT), "The images, by digest."),
        key("from-file", TEXT, "A file that lists them."),
        key("target", TEXT, "The archive for all of them."),
        key("target-dir", TEXT, "The directory for one archive each."),
    ],
);

static CARGO: Shape = shape(
    "cargo",
    "`cargo`",
    "A static binary of a cargo workspace.",
    &[
        key("package", Kind::Text(Text::Filled), "The cargo package.").required(),
        key("bin", Kind::Text(Text::Filled), "The binary.").default("the package's name"),
        key("profile", Kind::Text(Text::Filled), "The cargo profile.").default("`image`"),
        key("features", Kind::List(&Kind::Text(Text::Filled)), "Cargo features."),
        key(
            "target",
            Kind::Word(&[("musl", "musl, always static"), ("gnu", "glibc, linked with `crt-static`")]),
            "The C library it is linked with.",
        )
        .default("`musl`"),
        key("pie", Kind::Flag, "Position-independent: the kernel loads it where nobody can guess.").default("`true`"),
        key("path", Kind::Text(Text::FilePath), "Where the binary goes.").required(),
        key("links", Kind::List(&Kind::Text(Text::FilePath)), "Symbolic links to it."),
    ],
);

static DEBIAN: Shape = shape(
    "debian",
    "`debian`",
    "Packages of Debian.",
    &[
        key("packages", Kind::List(&Kind::Text(Text::Filled)), "The packages.").required(),
        key("depends", Kind::Flag, "Whether what they depend on comes along.").default("`true`"),
        key("include", Kind::List(&Kind::Text(Text::Filled)), "Globs of the files to keep.").default("all"),
        key("exclude", Kind::List(&Kind::Text(Text::Filled)), "Globs of the files to leave out, after `include`.")
            .default("none"),
        key("kernel", Kind::Flag, "Turns a `linux-image` package into a kernel image: `kernel` and `kernel.tar`.")
            .default("`false`"),
    ],
);

static KERNEL_RECIPE: Shape = shape(
    "kernelRecipe",
    "`kernel`",
    "A kernel built from source.",
    &[
        key("source", Kind::Text(Text::Filled), "The Debian package of the source, such as `linux-source-6.12`.")
            .required(),
        key(
            "config",
            Kind::List(&Kind::Text(Text::Filled)),
            "Files of `CONFIG_X=…` lines, relative to this file, over `make tinyconfig`; later ones win.",
        )
        .required(),
    ],
);

static PROCESS: Shape = shape(
    "process",
    "`process`",
    "The image's own configuration.",
    &[
        key("entrypoint", Kind::List(&TEXT), "Entrypoint."),
        key("cmd", Kind::List(&TEXT), "Command."),
        key("env", Kind::List(&Kind::Text(Text::Env)), "Environment."),
        key("workdir", Kind::Text(Text::Path), "Working directory."),
        key("user", TEXT, "User."),
    ],
);
