//! The keys of `control` and `logging`.

use super::{Kind, Shape, U32, key, shape};
use crate::values::Text;

/// `control.allow`.
static RIGHTS: &[(&str, &str)] = &[
    ("status", "see which containers run"),
    ("logs", "read logs"),
    ("exec", "run programs in services"),
    ("debug", "run a debug container, which is root of the machine"),
    ("services", "start, stop and restart services"),
    ("power", "power off and reboot"),
    ("report", "read the boot report"),
];

pub(super) static CONTROL: Shape = shape(
    "control",
    "`control`",
    "The control channel (`docs/control.md`), by which a running machine is asked and told things. When several files give it, each key is overridden by a later file that gives it.",
    &[
        key("virtio-serial", Kind::Flag, "Serves the virtio-serial port `org.bootwright.control.0`.")
            .default("where the hypervisor gives the machine that port, as `bootwright run` does"),
        key("vsock", U32, "Serves this port of vsock, which every program of the host may call.").default("none"),
        key("socket", Kind::Flag, "Serves the unix socket `/run/bootwright/control.sock` inside, which is root's.")
            .default("`false`"),
        key("allow", Kind::List(&Kind::Word(RIGHTS)), "What may be asked, by whatever way.").default("everything"),
    ],
);

/// `logging.files`.
static WHEN: &[(&str, &str)] =
    &[("auto", "where `/var/log` is on a disk"), ("always", "also where it is in memory"), ("never", "not at all")];

pub(super) static LOGGING: Shape = shape(
    "logging",
    "`logging`",
    "Where what containers print goes, beside the last 64 KiB of each, which are kept in memory (`docs/logs.md`). When several files give it, each key is overridden by a later file that gives it.",
    &[
        key("console", Kind::Flag, "Shows what containers print on the consoles.").default("`true`"),
        key("files", Kind::Word(WHEN), "Writes `/var/log/NAME.log` for each container and for `init`.")
            .default("`auto`"),
        key(
            "fileSize",
            Kind::Integer(4096, 1 << 36),
            "Bytes after which a file is renamed to `NAME.log.1`, and that to `NAME.log.2`, and so on.",
        )
        .default("1048576"),
        key("fileCount", Kind::Integer(1, 1000), "Files that are kept of each.").default("4"),
        key("forward", Kind::List(&Kind::Map(&FORWARD)), "Sends everything elsewhere as well."),
    ],
);

/// `logging.forward.format`.
static FORMATS: &[(&str, &str)] = &[("syslog", "RFC 5424"), ("json", "a JSON object per line")];

static FORWARD: Shape = shape(
    "forward",
    "a destination",
    "An entry of `logging.forward`.",
    &[
        key("to", Kind::Text(Text::Destination), "`udp://ADDRESS:PORT` or `tcp://ADDRESS:PORT`.").required(),
        key("format", Kind::Word(FORMATS), "How a line is sent.").default("`syslog`"),
    ],
);
