//! What every verb shares: the global flags, the store, the network's rules.

use std::path::PathBuf;

use bootwright_oci::Store;
use clap::Args;

use crate::failure::Failure;
use crate::printer::Verbosity;

/// Flags that every verb takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Directory of the image store [default: ~/.cache/bootwright]
    #[arg(long, global = true, value_name = "DIR", env = "BOOTWRIGHT_CACHE")]
    cache: Option<PathBuf>,
    /// Pull through a mirror: `[REGISTRY=]URL`; without REGISTRY for all (repeatable)
    #[arg(long, global = true, value_name = "[REG=]URL")]
    mirror: Vec<String>,
    /// Trust the certificates in a PEM file as well (repeatable)
    #[arg(long, global = true, value_name = "FILE")]
    cert_file: Vec<PathBuf>,
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// 0 quiet, 1 what happens, 2 and 3 more [default: 1]
    #[arg(short, long, global = true, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = clap::value_parser!(u8).range(0..=3))]
    verbose: Option<Verbosity>,
    /// Results and errors as JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    /// How much to say.
    pub fn verbosity(&self) -> Verbosity {
        if self.quiet { 0 } else { self.verbose.unwrap_or(1) }
    }

    /// Where the store is.
    pub fn cache_directory(&self) -> Result<PathBuf, Failure> {
        if let Some(cache) = &self.cache {
            return Ok(cache.clone());
        }
        let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        set("XDG_CACHE_HOME")
            .or_else(|| set("HOME").map(|home| home.join(".cache")))
            .map(|caches| caches.join("bootwright"))
            .ok_or_else(|| Failure::usage("no cache directory: neither `--cache` nor `HOME` is set"))
    }

    /// Opens the store.
    pub fn store(&self) -> Result<Store, Failure> {
        let directory = self.cache_directory()?;
        Store::open(&directory)
            .map_err(|e| Failure::from(e).context(format!("opening the image store in `{}`", directory.display())))
    }
}
