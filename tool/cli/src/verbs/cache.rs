//! `bootwright cache …`.

use std::path::PathBuf;

use bootwright_oci::archive::{
    ArchiveLimits, ExportFormat, ExportOptions, Imported, export, export_file, import, import_stream,
};
use bootwright_oci::registry::{PushOptions, Pushed, Registry};
use bootwright_oci::{FetchOptions, Fetcher, Named, Platform, Reference, Reporter, Store};
use clap::Subcommand;
use serde_json::json;

use super::pkg;
use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::Global;

/// Look at and change the image store
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the images
    #[command(alias = "list")]
    Ls,
    /// Fetch images from their registries
    Pull {
        /// References; `:latest` where there is no tag
        #[arg(required = true)]
        name: Vec<String>,
        /// Architecture [default: this machine's]
        #[arg(long)]
        arch: Option<String>,
    },
    /// Send images to their registries
    Push {
        /// References
        #[arg(required = true)]
        name: Vec<String>,
        /// Push under this reference
        #[arg(long, value_name = "REFERENCE")]
        remote_name: Option<String>,
        /// Tag each architecture's image as NAME-ARCH too
        #[arg(long)]
        with_arch_tags: bool,
        /// Replace what the registry has under this name
        #[arg(long = "override")]
        replace: bool,
    },
    /// Take images out of an archive: OCI layout tar or `docker save` tar; `-` is standard input
    Import {
        /// The archive
        file: PathBuf,
        /// Name for the image, where the archive holds one and does not name it
        #[arg(long, value_name = "REFERENCE")]
        name: Option<String>,
    },
    /// Write an image to an archive
    Export {
        /// Reference
        name: String,
        /// oci, docker or filesystem
        #[arg(long, default_value = "oci")]
        format: ExportFormat,
        /// The file; `-` is standard output
        #[arg(short, long, visible_alias = "output", value_name = "FILE")]
        outfile: PathBuf,
        /// Platform, as os/architecture [default: this machine's]
        #[arg(long)]
        platform: Option<Platform>,
        /// Name to write into the archive
        #[arg(long = "name", value_name = "REFERENCE")]
        rename: Option<String>,
    },
    /// Forget images; their blobs stay until `gc`, and no other image loses any
    Rm {
        /// References
        #[arg(required = true)]
        name: Vec<String>,
        /// Only those that their registry has, with the same digest
        #[arg(long)]
        published_only: bool,
    },
    /// Delete what no image needs, and what can be made again
    Gc,
    /// Forget every image, then `gc`
    Clean {
        /// Only those that their registry has, with the same digest
        #[arg(long)]
        published_only: bool,
    },
}

impl Args {
    pub fn run(self, global: &Global, printer: &Printer) -> Result<u8, Failure> {
        let mut store = global.store()?;
        match self.verb {
            Verb::Ls => list(&store, printer)?,
            Verb::Pull { name, arch } => {
                let options = FetchOptions { pull: true, ..global.fetch_options(pkg::platform(arch.as_deref()))? };
                let fetcher = Fetcher::new(&store, options);
                let mut pulled = Vec::new();
                for image in fetcher.fetch_all(&name, printer) {
                    pulled.push(image?);
                }
                let json = || pulled.iter().map(|i| json!({"name": i.name, "digest": i.digest})).collect();
                printer.result(|| pulled.iter().map(|i| format!("{}@{}\n", i.name, i.digest)).collect(), json);
            }
            Verb::Push { name, remote_name, with_arch_tags, replace } => {
                if remote_name.is_some() && name.len() > 1 {
                    return Err(Failure::usage("--remote-name names one image; push the others without it"));
                }
                let remote_name = remote_name.as_deref().map(reference).transpose()?;
                let registry = registry(global)?;
                let options = PushOptions { remote_name, with_arch_tags, overwrite: replace };
                for name in &name {
                    push(&registry, &store, &reference(name)?, &options, printer)?;
                }
            }
            Verb::Import { file, name } => {
                let name = name.as_deref().map(reference).transpose()?;
                let limits = ArchiveLimits::default();
                let imported = if file.as_os_str() == "-" {
                    import_stream(&store, &mut std::io::stdin().lock(), name.as_ref(), &limits, printer)?
                } else {
                    import(&store, &file, name.as_ref(), &limits, printer)?
                };
                let text = || imported.iter().map(|i| format!("{}@{}\n", i.name, i.descriptor.digest)).collect();
                let one = |i: &Imported| json!({"name": i.name.to_string(), "digest": i.descriptor.digest});
                printer.result(text, || imported.iter().map(one).collect());
            }
            Verb::Export { name, format, outfile, platform, rename } => {
                // An OCI archive holds all that the store has; the others are of one platform.
                let platform = match format {
                    ExportFormat::Oci => platform,
                    _ => Some(platform.unwrap_or_else(Platform::host)),
                };
                let rename = rename.as_deref().map(reference).transpose()?;
                let options = ExportOptions { format, platform, name: rename };
                let name = reference(&name)?;
                if outfile.as_os_str() == "-" {
                    export(&store, &name, &options, &mut std::io::stdout().lock(), printer)?;
                } else {
                    export_file(&store, &name, &options, &outfile, printer)?;
                }
            }
            Verb::Rm { name, published_only } => {
                for name in &name {
                    let name = listed(name)?;
                    if !published_only || is_published(global, &store, &name)? {
                        store.remove_name(&name)?;
                        printer.note(&format!("removed {name}"));
                    } else {
                        printer.note(&format!("kept {name}: its registry does not have it"));
                    }
                }
            }
            Verb::Gc => collect(&mut store, printer)?,
            Verb::Clean { published_only } => {
                for named in store.list()? {
                    if !published_only || is_published(global, &store, &named.name)? {
                        store.remove_name(&named.name)?;
                        printer.note(&format!("removed {}", named.name));
                    }
                }
                collect(&mut store, printer)?;
            }
        }
        Ok(0)
    }
}

fn list(store: &Store, printer: &Printer) -> Result<(), Failure> {
    let all = store.list()?;
    let width = all.iter().map(|n| n.name.len()).max().unwrap_or_default();
    let line = |n: &Named| format!("{:width$}  {}\n", n.name, n.descriptor.digest);
    let one = |n: &Named| json!({"name": n.name, "digest": n.descriptor.digest, "mediaType": n.descriptor.media_type});
    printer.result(|| all.iter().map(line).collect(), || all.iter().map(one).collect());
    Ok(())
}

fn push(
    registry: &Registry,
    store: &Store,
    name: &Reference,
    options: &PushOptions,
    printer: &Printer,
) -> Result<(), Failure> {
    let remote = options.remote_name.as_ref().unwrap_or(name);
    match registry.push(store, name, options, printer)? {
        Pushed::Done(digest) => printer.note(&format!("pushed {remote}@{digest}")),
        Pushed::Same(digest) => printer.note(&format!("the registry has {remote}@{digest} already")),
        Pushed::Kept(digest) => {
            let hint = "--override replaces it".to_owned();
            return Err(Failure::input(format!("the registry has another `{remote}`: {digest}")).hint(hint));
        }
    }
    Ok(())
}

fn collect(store: &mut Store, printer: &Printer) -> Result<(), Failure> {
    let freed = store.gc(printer)?;
    let json = json!({"blobs": freed.blobs, "derived": freed.derived, "bytes": freed.bytes});
    let mib = freed.bytes as f64 / f64::from(1 << 20);
    let text = format!("freed {mib:.1} MiB: {} blobs, {} derived files", freed.blobs, freed.derived);
    printer.result(|| text, || json);
    Ok(())
}

/// What begins the names of what a container engine gave.
const ENGINE: &str = "docker-daemon:";

/// A name as `cache ls` shows it, from a reference or from such a name.
fn listed(text: &str) -> Result<String, Failure> {
    match text.strip_prefix(ENGINE) {
        Some(rest) => Ok(format!("{ENGINE}{}", reference(rest)?)),
        None => Ok(reference(text)?.to_string()),
    }
}

/// Whether the image's registry has it under this name with the same digest. What an engine gave is of no registry.
fn is_published(global: &Global, store: &Store, name: &str) -> Result<bool, Failure> {
    if name.starts_with(ENGINE) {
        return Ok(false);
    }
    let name = reference(name)?;
    let local = store.find(&name)?.map(|descriptor| descriptor.digest);
    Ok(local.is_some() && registry(global)?.digest(&name)? == local)
}

fn registry(global: &Global) -> Result<Registry, Failure> {
    Ok(Registry::new(global.registry_options()?))
}

fn reference(text: &str) -> Result<Reference, Failure> {
    Ok(text.parse::<Reference>()?)
}
