//! The keys of `tests`.

use super::{Kind, Shape, TEXT, key, shape};
use crate::values::Text;

const DURATION: Kind = Kind::Text(Text::Duration);
const FILLED: Kind = Kind::Text(Text::Filled);
const PORT: Kind = Kind::Integer(1, u16::MAX as i64);
const SERVICE_NAME: Kind = Kind::Text(Text::ContainerName);

pub(super) static TEST: Shape = shape(
    "test",
    "a test",
    "An entry of `tests`: one machine that `bootwright test` boots (`docs/test.md`). Nothing of it is in any image.",
    &[
        key("name", Kind::Text(Text::ContainerName), "The test's name.").required(),
        key("memory", Kind::Text(Text::Size), "Memory that the machine boots with, which is a bound on what it needs.")
            .default("`1G`, as with `bootwright run`"),
        key("cpus", Kind::Integer(1, 255), "CPUs.").default("`1`"),
        key(
            "disks",
            Kind::List(&Kind::Text(Text::Size)),
            "Sizes of disks, empty at the first boot and kept between the boots of this machine.",
        )
        .default("none"),
        key("uefi", Kind::Flag, "Boots through UEFI also where a BIOS could.").default("`false`"),
        key("size", Kind::Text(Text::Size), "Bytes that the files which are booted may have together.")
            .default("no bound"),
        key("timeout", DURATION, "How long it all may take.").default("`2m` under KVM, `5m` under TCG"),
        key(
            "formats",
            Kind::List(&TEXT),
            "The formats that it is meant for. Without `--format`, those that are named are built.",
        )
        .default("all, and `kernel+initrd` is built"),
        key(
            "ready",
            FILLED,
            "Text of the console line that says that the machine is up, for an init that is not ours.",
        )
        .default("what our init says"),
        key("checks", Kind::List(&Kind::Map(&CHECK)), "What must hold, in order, once the machine is up.")
            .default("none: it comes up and powers off"),
    ],
);

pub(crate) static CHECK: Shape = shape(
    "check",
    "a check",
    "An entry of `tests.checks`: one of `exec`, `http`, `tcp`, `console`, `file`, `service` and `reboot`. It is tried again until it holds or `within` is over.",
    &[
        key("exec", Kind::Map(&EXEC), "A program in a running service."),
        key("http", Kind::Map(&HTTP), "A page, asked for from the host."),
        key("tcp", Kind::Map(&TCP), "An answer on a port, asked for from the host."),
        key("console", FILLED, "Text of a console line; of this boot, since power on."),
        key("file", Kind::Map(&FILE), "A file of a service, or of the machine."),
        key("service", Kind::Map(&SERVICE), "The state of a container."),
        key("reboot", Kind::Flag, "The machine reboots in order and comes up again; what follows is about that boot.")
            .nullable(),
        key("name", FILLED, "What the report calls it.").default("what it looks at"),
        key("within", DURATION, "How long it may take to hold.")
            .default("`30s`; `exec` is tried once; `reboot` may take what is left of `timeout`"),
    ],
);

static EXEC: Shape = shape(
    "check-exec",
    "`exec`",
    "A program in a running service, with the service's user, capabilities and environment.",
    &[
        key("service", SERVICE_NAME, "The service.").required(),
        key("command", Kind::List(&TEXT), "The program and its arguments.").required(),
        key(
            "code",
            Kind::Integer(0, 255),
            "The exit code: 127 where it cannot be executed, 128 and the signal's number where one ended it.",
        )
        .default("`0`"),
        key("stdout", FILLED, "What its standard output must hold."),
        key("stderr", FILLED, "What its standard error must hold."),
    ],
);

static HTTP: Shape = shape(
    "check-http",
    "`http`",
    "A page. Its port is published on a free port of the host's loopback. Redirections are not followed.",
    &[
        key("port", PORT, "The machine's port.").required(),
        key("path", Kind::Text(Text::UrlPath), "The path.").default("`/`"),
        key("status", Kind::Integer(100, 599), "The status.").default("`200`"),
        key("contains", FILLED, "What the page must hold."),
        key("header", FILLED, "`NAME: TEXT`, a header that must hold the text."),
    ],
);

static TCP: Shape = shape(
    "check-tcp",
    "`tcp`",
    "An answer on a port. It is published on a free port of the host's loopback, where QEMU accepts whatever the machine does; so an answer is what counts.",
    &[
        key("port", PORT, "The machine's port.").required(),
        key("send", TEXT, "What is sent.").default("nothing"),
        key("contains", FILLED, "What the answer must hold.").required(),
    ],
);

static FILE: Shape = shape(
    "check-file",
    "`file`",
    "A regular file of at most 1 MiB. It is read by init, so that the container needs no program for it, and links lead nowhere out of the container.",
    &[
        key("service", SERVICE_NAME, "In the root of this running service.").default("the machine's root"),
        key("path", Kind::Text(Text::Path), "The path.").required(),
        key("contains", FILLED, "What it must hold."),
        key("equals", TEXT, "What it must be, to the byte."),
        key("absent", Kind::Flag, "Whether there must be no such file.").default("`false`: it must be there"),
    ],
);

/// `service.state`: the words of `bootwright ctl NAME status`.
static STATES: &[(&str, &str)] = &[
    ("ready", "it runs and is ready"),
    ("running", "it runs, ready or not"),
    ("waiting", "its turn has not come"),
    ("backoff", "it has ended and will be started again"),
    ("down", "it has ended, as it should"),
    ("failed", "it has failed for good"),
];

static SERVICE: Shape = shape(
    "check-service",
    "`service`",
    "The state of a container of `services` or `onboot`.",
    &[
        key("name", SERVICE_NAME, "The container.").required(),
        key("state", Kind::Word(STATES), "What it does.").default("`ready`"),
        key("restarts", Kind::Integer(0, u32::MAX as i64), "How often it was started again, exactly."),
    ],
);
