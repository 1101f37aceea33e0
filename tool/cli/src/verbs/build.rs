//! `bootwright build`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootwright_formats::authenticode::Signer;
use bootwright_formats::{
    ComponentSize, Compression, Format, Options, Output, Report, SquashfsCompression, SquashfsOptions,
};
use bootwright_oci::Reporter;
use bootwright_spec::{RootKind, Severity};

use super::compose::{Composer, Inputs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::Global;

/// Build images from one or more specs, merged left to right
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Spec files; `-` is standard input, and http(s) URLs are read too
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<String>,
    /// Output formats, separated by commas or repeated [default: kernel+initrd; tar with --output]
    #[arg(short, long, value_name = "LIST", value_delimiter = ',')]
    format: Vec<String>,
    /// Prefix of the output files [default: name of the last spec; `moby` for standard input]
    #[arg(long)]
    name: Option<String>,
    /// Directory of the output files
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// One output file, or `-`, for formats that are a single stream (tar, docker)
    #[arg(short, long, visible_alias = "o", value_name = "FILE", conflicts_with_all = ["name", "dir"])]
    output: Option<PathBuf>,
    #[command(flatten)]
    images: Images,
    /// Compression of the initrd: zstd, gzip, lz4 or none, with a level after a colon
    #[arg(long, value_name = "NAME[:LEVEL]", default_value = "zstd", value_parser = compression)]
    compress: (Compression, Option<i32>),
    /// What the root is: squashfs or initrd, over what the spec says [default: squashfs where the init can have one]
    #[arg(long, value_name = "KIND", value_parser = root_kind)]
    root: Option<RootKind>,
    /// Compression of the root's squashfs: zstd, gzip, xz or lz4, with a level after a colon
    #[arg(long, value_name = "NAME[:LEVEL]", default_value = "zstd", value_parser = squashfs)]
    root_compress: SquashfsOptions,
    /// Let dm-verity check each block of the root when it is read
    #[arg(long)]
    verity: bool,
    /// Sign EFI programs for Secure Boot with this RSA key (PEM)
    #[arg(long, value_name = "KEY", requires = "cert")]
    sign: Option<PathBuf>,
    /// With --sign: the key's certificate
    #[arg(long, value_name = "CERT", requires = "sign")]
    cert: Option<PathBuf>,
    /// Size of disks, to leave room on them: a number with M or G [default: what they hold]
    #[arg(long, value_name = "SIZE", value_parser = size_of_disk)]
    size: Option<u64>,
    /// Write the kernel decompressed
    #[arg(long)]
    decompress_kernel: bool,
    /// Print the merged spec and build nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    linuxkit: LinuxKit,
}

const AFTER: &str = "LinuxKit's flags are accepted with one dash too. --input-tar, --no-sbom, --sbom-output and \
--sbom-current-time are accepted and do nothing yet; each says so.";

/// Where images come from; `build` and `check` share these.
#[derive(Clone, Debug, clap::Args)]
pub struct Images {
    /// Ask the registry even for images that are in the store
    #[arg(long)]
    pub pull: bool,
    /// Never use the network
    #[arg(long, conflicts_with = "pull")]
    pub offline: bool,
    /// Look in the running Docker engine first
    #[arg(long)]
    pub docker: bool,
    /// Architecture of the machine: amd64, arm64, riscv64 [default: this machine's]
    #[arg(long)]
    pub arch: Option<String>,
}

/// Flags of `linuxkit build` that have nothing to do here.
#[derive(Debug, clap::Args)]
struct LinuxKit {
    #[arg(long, hide = true, conflicts_with = "pull")]
    input_tar: Option<PathBuf>,
    #[arg(long, hide = true)]
    no_sbom: bool,
    #[arg(long, hide = true)]
    sbom_output: Option<String>,
    #[arg(long, hide = true)]
    sbom_current_time: bool,
}

impl LinuxKit {
    fn say_no_effect(&self, printer: &Printer) {
        let notices = [
            (
                self.input_tar.is_some(),
                "`--input-tar` has no effect: whatever did not change is taken from the store anyway",
            ),
            (self.no_sbom, "`--no-sbom` has no effect: no SBOM is written yet"),
            (self.sbom_output.is_some(), "`--sbom-output` has no effect: no SBOM is written yet"),
            (self.sbom_current_time, "`--sbom-current-time` has no effect: no SBOM is written yet"),
        ];
        printer.notices(&notices);
    }
}

impl Args {
    pub fn run(self, global: &Global, printer: &Printer) -> Result<u8, Failure> {
        self.linuxkit.say_no_effect(printer);
        let formats = self.formats()?;
        let output = self.output();
        printer.notices(&[
            (
                self.size.is_some() && !formats.iter().any(|format| format.is_disk()),
                "`--size` has no effect: none of these formats is a disk",
            ),
            (
                self.sign.is_some() && !formats.iter().any(|format| format.is_signable()),
                "`--sign` has no effect: none of these formats holds an EFI program",
            ),
        ]);
        let options = self.options()?;
        // What needs no machine to be refused is refused before any image is fetched.
        bootwright_formats::check_request(&formats, &output, &options)?;
        let inputs = Inputs::read(&self.specs, global)?;
        if self.dry_run {
            let spec = inputs.parse(printer)?;
            let json = serde_json::from_str(&bootwright_spec::to_json(&spec)).unwrap_or_default();
            printer.result(|| bootwright_spec::to_yaml(&spec), || json);
            return Ok(0);
        }
        let composer = Composer::new(global, &self.images, printer)?;
        let least = if printer.details() { Severity::Note } else { Severity::Warning };
        let (machine, found) = composer.machine(inputs, least)?;
        let store = composer.store();
        let report = bootwright_formats::write(&machine, &formats, &output, &options, store, store.derived(), printer)?;
        let text = describe(&report, global.verbosity() > 1);
        if output == Output::Stdout {
            printer.note(&text);
        } else {
            let json = || {
                let mut json = serde_json::to_value(&report).unwrap_or_default();
                json["diagnostics"] = found.json.clone();
                json
            };
            printer.result(|| text, json);
        }
        Ok(0)
    }

    fn options(&self) -> Result<Options, Failure> {
        let (compression, level) = self.compress;
        let signer = match (&self.sign, &self.cert) {
            (Some(key), Some(certificate)) => Some(Arc::new(Signer::read(key, certificate)?)),
            _ => None,
        };
        Ok(Options {
            compression,
            level,
            decompress_kernel: self.decompress_kernel,
            threads: None,
            root: self.root,
            verity: self.verity,
            squashfs: self.root_compress,
            size: self.size,
            signer,
        })
    }

    fn formats(&self) -> Result<Vec<Format>, Failure> {
        if self.format.is_empty() {
            return Ok(vec![if self.output.is_some() { Format::Tar } else { Format::KernelInitrd }]);
        }
        formats(&self.format)
    }

    fn output(&self) -> Output {
        match &self.output {
            Some(file) if file.as_os_str() == "-" => Output::Stdout,
            Some(file) => Output::File(file.clone()),
            None => Output::Directory {
                directory: self.dir.clone().unwrap_or_else(|| PathBuf::from(".")),
                name: self.name.clone().unwrap_or_else(|| default_name(&self.specs)),
            },
        }
    }
}

/// The formats of these names, each once.
pub fn formats(names: &[String]) -> Result<Vec<Format>, Failure> {
    let mut formats = Vec::new();
    for name in names {
        let format: Format = name.parse().map_err(|e| Failure::usage(e).hint(built()))?;
        if !formats.contains(&format) {
            formats.push(format);
        }
    }
    Ok(formats)
}

/// What to do about a format that there is not.
fn built() -> String {
    let built: Vec<_> = Format::built().map(Format::name).collect();
    format!("this version builds {}", built.join(", "))
}

/// LinuxKit's rule: the last spec's file name without its extension.
pub fn default_name(specs: &[String]) -> String {
    let last = specs.last().map_or("-", String::as_str);
    if last == "-" {
        return "moby".to_owned();
    }
    Path::new(last).file_stem().map_or_else(|| "moby".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// `zstd`, `zstd:19`.
fn compression(text: &str) -> Result<(Compression, Option<i32>), String> {
    let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
    let compression: Compression = name.parse().map_err(|e| format!("{e}"))?;
    let level = level.map(|l| l.parse::<i32>().map_err(|_| format!("`{l}` is not a level"))).transpose()?;
    compression.level(level).map_err(|e| e.to_string())?;
    Ok((compression, level))
}

/// `squashfs` or `initrd`.
fn root_kind(text: &str) -> Result<RootKind, String> {
    match text {
        "squashfs" => Ok(RootKind::Squashfs),
        "initrd" => Ok(RootKind::Initrd),
        _ => Err(format!("`{text}` is neither `squashfs` nor `initrd`")),
    }
}

/// `zstd`, `xz:9`.
fn squashfs(text: &str) -> Result<SquashfsOptions, String> {
    let (name, level) = text.split_once(':').map_or((text, None), |(name, level)| (name, Some(level)));
    let compression: SquashfsCompression = name.parse().map_err(|e| format!("{e}"))?;
    let level = level.map(|l| l.parse::<i32>().map_err(|_| format!("`{l}` is not a level"))).transpose()?;
    compression.level(level).map_err(|e| e.to_string())?;
    Ok(SquashfsOptions { compression, level, ..SquashfsOptions::default() })
}

/// Bytes: a number with `M` or `G`; a bare number is in GB, as LinuxKit has it.
fn size_of_disk(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['M', 'G']) {
        Some(digits) if text.ends_with('M') => (digits, 1 << 20),
        Some(digits) => (digits, 1 << 30),
        None => (text, 1_u64 << 30),
    };
    let bytes = digits.parse::<u64>().ok().filter(|n| *n > 0).and_then(|n| n.checked_mul(unit));
    bytes.ok_or_else(|| format!("`{text}` is no size: a number with `M` or `G`; a bare number is in GB"))
}

/// What was made: each file, then the memory needed, then (with `details`) what each component weighs.
fn describe(report: &Report, details: bool) -> String {
    let mut text = String::new();
    for artefact in &report.artefacts {
        let path = artefact.path.as_ref().map_or_else(|| "-".to_owned(), |p| p.display().to_string());
        text += &format!("{:>11}  {path}\n", size(artefact.size));
    }
    if let Some(memory) = report.memory_mib {
        text += &format!("needs {memory} MiB of memory\n");
    }
    if details {
        for ComponentSize { name, unpacked, packed, cached, .. } in &report.components {
            let packed = packed.map_or_else(String::new, |p| format!(", {} packed", size(p)));
            let cached = if *cached == Some(true) { ", from the store" } else { "" };
            text += &format!("{:>11}  {name}{packed}{cached}\n", size(*unpacked));
        }
    }
    text
}

/// For people: bytes below a KiB, else KiB or MiB.
fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20)),
    }
}
