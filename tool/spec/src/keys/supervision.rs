//! How containers and the machine are looked after: the keys behind `restart`, `ready`, `health`, `stop` and `watchdog`.

use super::{Kind, Shape, TEXT, key, shape};
use crate::values::Text;

const DURATION: Kind = Kind::Text(Text::Duration);
const PORT: Kind = Kind::Integer(1, u16::MAX as i64);
const COUNT: Kind = Kind::Integer(1, 10_000);

/// `restart`, and `policy` of its long form.
pub(crate) static POLICIES: &[(&str, &str)] = &[
    ("always", "after every end"),
    ("on-failure", "after an exit code other than 0, a signal, or a start that failed"),
    ("never", "never"),
];

pub(super) static RESTART: Shape = shape(
    "restart",
    "`restart`",
    "When a service that has ended is started again, in full. Pauses grow from `delay`, twice as long each time, to `max-delay`; after a minute of running they start anew.",
    &[
        key("policy", Kind::Word(POLICIES), "After which ends.").default("`always`"),
        key("delay", DURATION, "The first pause.").default("`1s`"),
        key("max-delay", DURATION, "The longest pause.").default("`30s`, or `delay` if that is longer"),
        key(
            "limit",
            COUNT,
            "How often within `window`; one more end is a failure for good, and `onfail` says what follows.",
        )
        .default("no limit"),
        key("window", DURATION, "The time in which restarts are counted.").default("`10m`"),
    ],
);

pub(crate) static READY: Shape = shape(
    "ready",
    "`ready`",
    "When a service is ready: one of `exec`, `tcp`, `file` and `notify`. One that is not ready in time has failed.",
    &[
        key("exec", Kind::List(&TEXT), "A command, run in the container until it exits with 0."),
        key("tcp", PORT, "A port of the container's network that accepts a connection."),
        key("file", Kind::Text(Text::Path), "A path of the container's root that exists."),
        key("notify", Kind::Flag, "The service says `READY=1` to the socket `NOTIFY_SOCKET` (sd_notify)."),
        key("timeout", DURATION, "How long that may take.").default("`60s`"),
    ],
);

pub(crate) static HEALTH: Shape = shape(
    "health",
    "`health`",
    "How a service that is ready is watched: one of `exec`, `tcp`, `http` and `notify`. When it fails too often in a row, the service is ended, which counts as a failure.",
    &[
        key("exec", Kind::List(&TEXT), "A command, run in the container, that exits with 0."),
        key("tcp", PORT, "A port of the container's network that accepts a connection."),
        key("http", Kind::Map(&HTTP), "A page whose status is 2xx or 3xx."),
        key(
            "notify",
            Kind::Flag,
            "The service says `WATCHDOG=1` to the socket `NOTIFY_SOCKET` (sd_notify) at least once in each `interval`.",
        ),
        key("interval", DURATION, "Time between two checks.").default("`10s`"),
        key("timeout", DURATION, "How long one may take.").default("`5s`"),
        key("threshold", COUNT, "Failures in a row that are too many.").default("`3`"),
        key("start-period", DURATION, "Time from ready to the first check.").default("`interval`"),
    ],
);

static HTTP: Shape = shape(
    "http",
    "`http`",
    "A page of the service.",
    &[
        key("port", PORT, "The port, in the container's network.").required(),
        key("path", Kind::Text(Text::UrlPath), "The path.").default("`/`"),
    ],
);

pub(super) static STOP: Shape = shape(
    "stop",
    "`stop`",
    "How a container is asked to end.",
    &[
        key("signal", Kind::Text(Text::Signal), "The signal that its first process gets.")
            .default("the image's `StopSignal`, else `SIGTERM`"),
        key("grace", DURATION, "How long it may take to end; after that it is killed.").default("`10s`"),
    ],
);

pub(super) static WATCHDOG: Shape = shape(
    "watchdog",
    "`watchdog`",
    "The watchdog. When several files give it, the last one counts.",
    &[
        key(
            "device",
            Kind::Text(Text::Device),
            "The device. Its driver must be in the kernel, or among `kernel.modules`.",
        )
        .default("`/dev/watchdog0`; where there is none, the kernel's `softdog`"),
        key("timeout", DURATION, "Time without feeding after which it restarts the machine; whole seconds.").required(),
    ],
);
