//! `bootwright cache …`.

use std::path::PathBuf;

use bootwright_oci::{ExportFormat, ImportReport, Platform, PushOptions, Reporter};
use clap::Subcommand;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::{self, Global};

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
