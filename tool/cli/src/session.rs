//! What every verb shares: the global flags, the store, the network's rules.

use std::ffi::OsString;
use std::path::PathBuf;

use bootwright_oci::registry::{MirrorError, RegistryOptions};
use bootwright_oci::{FetchOptions, Platform, Store};
use clap::Args;

use crate::failure::{Failure, Kind};
use crate::printer::Verbosity;

/// What the help calls these flags.
const GLOBAL: &str = "Options of every command";

/// Flags that every verb takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Directory of the image store [default: ~/.cache/bootwright]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", env = "BOOTWRIGHT_CACHE", value_parser = clap::builder::OsStringValueParser::new())]
    cache: Option<OsString>,
    /// Pull through a mirror: `[REGISTRY=]URL`; without REGISTRY for all (repeatable)
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "[REG=]URL")]
    mirror: Vec<String>,
    /// Trust the certificates in a PEM file as well (repeatable)
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FILE")]
    cert_file: Vec<PathBuf>,
    /// Say nothing but warnings and errors
    #[arg(short, long, global = true, help_heading = GLOBAL, conflicts_with = "verbose")]
    quiet: bool,
    /// 0 quiet, 1 what happens, 2 and 3 more [default: 1]
    #[arg(short, long, global = true, help_heading = GLOBAL, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "2", value_parser = clap::value_parser!(u8).range(0..=3))]
    verbose: Option<Verbosity>,
    /// Results and errors as JSON on standard output
    #[arg(long, global = true, help_heading = GLOBAL)]
    pub json: bool,
}

impl Global {
    /// How much to say.
    pub fn verbosity(&self) -> Verbosity {
        if self.quiet { 0 } else { self.verbose.unwrap_or(1) }
    }

    /// Where the store is.
    pub fn cache_directory(&self) -> Result<PathBuf, Failure> {
        // An empty variable is one that is not set.
        if let Some(cache) = self.cache.as_ref().filter(|cache| !cache.is_empty()) {
            // Programs that work elsewhere get paths below it.
            return std::path::absolute(cache)
                .map_err(|e| Failure::usage(format!("`--cache {}`: {e}", cache.display())));
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

    /// Where images come from and what the network's rules are, LinuxKit's environment first.
    pub fn fetch_options(&self, platform: Platform) -> Result<FetchOptions, Failure> {
        let mut options = FetchOptions::new(platform, "");
        options.registry = self.registry_options()?;
        Ok(options)
    }

    /// The network's rules.
    pub fn registry_options(&self) -> Result<RegistryOptions, Failure> {
        let environment = std::env::var("LINUXKIT_MIRROR").unwrap_or_default();
        let mirrors = environment.split([' ', ',']).filter(|m| !m.is_empty());
        let mut options = RegistryOptions::from_env();
        for mirror in mirrors.chain(self.mirror.iter().map(String::as_str)) {
            let mirror = mirror.parse().map_err(|e: MirrorError| Failure::new(Kind::Usage, e))?;
            options.mirrors.push(mirror);
        }
        options.ca_files.clone_from(&self.cert_file);
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        global: Global,
    }

    #[test]
    fn the_cache_is_found_from_everywhere() {
        for (given, ends) in [("store", "store"), ("./a/store", "a/store"), ("/a/store", "/a/store")] {
            let command = Command::try_parse_from(["bootwright", "--cache", given]).unwrap();
            let found = command.global.cache_directory().unwrap();
            assert!(found.is_absolute() && found.ends_with(ends), "{}", found.display());
        }
    }
}
