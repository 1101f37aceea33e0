//! The one table of every key: name, kind, default and help. Validation (`validate`), the JSON Schema (`schema`), the page
//! `docs/spec.md` (`markdown`) and the conversion of `resources` are made from it; a new key is one row here and one line
//! in `read` and `emit`.

mod container;
mod control;
mod package;
mod resources;
mod supervision;
mod tests;

use crate::values::Text;

pub(crate) use container::CONFIG;
use container::CONTAINER;
use control::{CONTROL, LOGGING};
pub(crate) use package::PACKAGE;
pub(crate) use resources::RESOURCES;
use supervision::WATCHDOG;
pub(crate) use supervision::{HEALTH, READY};
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

/// As [`shape`], for limits of OCI's.
const fn limits(name: &'static str, title: &'static str, doc: &'static str, keys: &'static [Key]) -> Shape {
    Shape { any_case: true, ..shape(name, title, doc, keys) }
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
