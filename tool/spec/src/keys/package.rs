//! Packages: `build.yml`, LinuxKit's keys and our recipes.

use super::{CONFIG, FILE, Kind, Shape, TEXT, key, shape};
use crate::values::Text;

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
