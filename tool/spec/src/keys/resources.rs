//! Limits of containers (`resources`), in the words of the OCI runtime specification (config-linux.md, "Control groups").

use super::{ANY_INTEGER, Kind, NATURAL, Shape, TEXT, U16, U32, key, limits, shape};

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
