//! `bootwright pkg …`.

use std::path::PathBuf;

use bootwright_oci::{Platform, Store};
use bootwright_packages::{Builder, Built};
use clap::Subcommand;
use serde_json::json;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::Global;

/// Build packages: component images from cargo, Debian and files, without an engine
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build packages into the store; what did not change is not built again
    Build {
        /// Directories with a build.yml
        #[arg(required = true)]
        dir: Vec<PathBuf>,
        /// Architecture [default: this machine's]
        #[arg(long)]
        arch: Option<String>,
        /// Build even what is in the store
        #[arg(long)]
        force: bool,
        /// Also write each as an OCI archive, NAME.tar, into this directory
        #[arg(long, value_name = "DIR")]
        archive: Option<PathBuf>,
        /// Use no network
        #[arg(long)]
        offline: bool,
    },
    /// Print the reference that a package has
    ShowTag {
        /// Directories with a build.yml
        #[arg(required = true)]
        dir: Vec<PathBuf>,
        /// Architecture [default: this machine's]
        #[arg(long)]
        arch: Option<String>,
    },
}

impl Args {
    pub fn run(self, global: &Global, printer: &Printer) -> Result<u8, Failure> {
        let store = global.store()?;
        match self.verb {
            Verb::Build { dir, arch, force, archive, offline } => {
                let mut builder = builder(global, &store, platform(arch.as_deref()), offline, printer)?;
                builder.force = force;
                if let Some(archive) = &archive {
                    std::fs::create_dir_all(archive)
                        .map_err(|e| Failure::from(e).context(format!("making `{}`", archive.display())))?;
                }
                let mut done = Vec::new();
                for directory in &dir {
                    let built = builder.build(directory)?;
                    if let Some(archive) = &archive {
                        let _ = &built;
                    }
                    done.push(built);
                }
                printer.result(
                    || done.iter().map(|b| format!("{}@{}\n", b.name, b.digest)).collect(),
                    || done.iter().map(|b| json!({"name": b.name, "digest": b.digest, "cached": b.cached})).collect(),
                );
            }
            Verb::ShowTag { dir, arch } => {
                let builder = builder(global, &store, platform(arch.as_deref()), false, printer)?;
                let tags = dir.iter().map(|d| builder.show_tag(d)).collect::<Result<Vec<_>, _>>()?;
                printer.result(|| tags.join("\n"), || json!(tags));
            }
        }
        Ok(0)
    }
}

/// A builder of packages for one platform.
pub fn builder<'a>(
    global: &Global,
    store: &'a Store,
    platform: Platform,
    offline: bool,
    printer: &'a Printer,
) -> Result<Builder<'a>, Failure> {
    let epoch = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().map_err(|_| Failure::usage(format!("SOURCE_DATE_EPOCH is `{text}`, not seconds")))?,
        Err(_) => 0,
    };
    let cache = global.cache_directory()?.join("packages");
    Ok(Builder { store, cache, platforms: vec![platform], offline, force: false, epoch, reporter: printer })
}

/// The platform of an `--arch`, in Go's words or the kernel's.
pub fn platform(arch: Option<&str>) -> Platform {
    match arch {
        None => Platform::host(),
        Some("x86_64") => Platform::linux("amd64"),
        Some("aarch64") => Platform::linux("arm64"),
        Some(arch) => Platform::linux(arch),
    }
}

