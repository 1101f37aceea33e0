//! Containers: entries of `onboot`, `onshutdown` and `services`, an image's label, and what is prepared around them (`runtime`).

use super::resources::RESOURCES;
use super::supervision::{HEALTH, POLICIES, READY, RESTART, STOP};
use super::{ANY_INTEGER, IMAGE, Kind, PATHS, Shape, TEXT, U32, key, limits, shape};
use crate::values::Text;

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
