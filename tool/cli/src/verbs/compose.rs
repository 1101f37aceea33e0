//! From spec files to an assembled machine: what `build` and `check` share.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use bootwright_oci::registry::{RegistryOptions, fetch_text};
use bootwright_oci::{
    Content, FetchError, FetchOptions, Fetcher, LoadedImage, Platform, PlatformError, Reference, ReferenceError, Store,
};
use bootwright_rootfs::{Layout, Machine};
use bootwright_spec::{Diagnostic, Diagnostics, Input, MetadataFormat, Severity, Sources, Spec, Volume, VolumeFormat};

use super::build::Images;
use super::pkg;
use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::session::Global;

/// What a reference to a package begins with.
const PACKAGE: &str = "@pkg:";
/// Prefixes of references that name files.
const FILES: [&str; 3] = ["oci:", "oci-archive:", "docker-archive:"];
/// The largest spec read from a file, pipe or server; the parser's own limit is below it.
const SPEC_LIMIT: u64 = 8 << 20;

/// Specs as given on the command line, read.
pub struct Inputs {
    inputs: Vec<Input>,
    sources: Sources,
}

impl Inputs {
    /// Reads each of the arguments: a path, `-` or a URL.
    pub fn read(specs: &[String]) -> Result<Self, Failure> {
        let inputs = specs.iter().map(|spec| read(spec)).collect::<Result<_, _>>()?;
        Ok(Self { inputs, sources: Sources::default() })
    }

    /// Parses and merges them, for verbs that need no images.
    pub fn parse(mut self, printer: &Printer) -> Result<Spec, Failure> {
        self.spec(printer)
    }

    fn spec(&mut self, printer: &Printer) -> Result<Spec, Failure> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let inputs = std::mem::take(&mut self.inputs);
        let spec = bootwright_spec::load(inputs, home.as_deref(), &mut self.sources)
            .map_err(|problems| refused(problems, &self.sources, printer))?;
        say(&spec.warnings, &self.sources, printer);
        Ok(spec)
    }
}

/// What `check` found.
pub struct Checked {
    /// Number of warnings and notes.
    pub count: usize,
    /// The same as JSON.
    pub json: serde_json::Value,
}

/// Everything needed to turn specs into machines.
pub struct Composer<'a> {
    global: &'a Global,
    printer: &'a Printer,
    images: Images,
    platform: Platform,
    store: Store,
}

impl<'a> Composer<'a> {
    /// Opens the store.
    pub fn new(global: &'a Global, images: &Images, printer: &'a Printer) -> Result<Self, Failure> {
        let platform = pkg::platform(images.arch.as_deref());
        Ok(Self { global, printer, images: images.clone(), platform, store: global.store()? })
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Assembles the machine; problems that do not stop it are said.
    pub fn machine(&self, mut inputs: Inputs) -> Result<Machine, Failure> {
        let (machine, findings) = self.assemble(&mut inputs)?;
        say(&findings.0, &inputs.sources, self.printer);
        Ok(machine)
    }

    /// Assembles the machine and throws it away; all problems are said.
    pub fn check(&self, mut inputs: Inputs) -> Result<Checked, Failure> {
        let (_, findings) = self.assemble(&mut inputs)?;
        say(&findings.0, &inputs.sources, self.printer);
        Ok(Checked { count: findings.0.len(), json: findings.to_json(&inputs.sources) })
    }

    fn assemble(&self, sources: &mut Inputs) -> Result<(Machine, Diagnostics), Failure> {
        let mut spec = sources.spec(self.printer)?;
        self.resolve_references(&mut spec, &sources.sources)?;
        let (images, layouts) = self.load_images(&spec, &sources.sources)?;
        // Labels are parsed while the spec's own sources are borrowed; theirs are added when rendering.
        let labels = RefCell::new(&mut sources.sources);
        let parse = |name: &str, text: &str| bootwright_spec::parse_label(name, text, &mut labels.borrow_mut());
        let metadata = |format| match format {
            MetadataFormat::Yaml => bootwright_spec::to_yaml(&spec),
            MetadataFormat::Json => bootwright_spec::to_json(&spec),
        };
        let inputs = bootwright_rootfs::Inputs {
            images: &images,
            layouts: &layouts,
            store: &self.store,
            platform: &self.platform,
            labels: &parse,
            metadata: &metadata,
            host: &bootwright_rootfs::host_file,
        };
        let assembled = bootwright_rootfs::assemble(&spec, &inputs);
        let machine = assembled.as_ref().ok().map(|(machine, _)| machine);
        let mut found = bootwright_rootfs::check(&spec, &inputs, machine);
        match assembled {
            Ok((machine, more)) if !found.has_errors() => {
                found.0.extend(more.0);
                Ok((machine, found))
            }
            Ok((_, more)) | Err(more) => {
                found.0.splice(0..0, more.0);
                Err(refused(found, &sources.sources, self.printer))
            }
        }
    }

    /// Replaces each `@pkg:` by the image of that package, built if the store lacks it, and makes paths of archives
    /// relative to the file that names them.
    fn resolve_references(&self, spec: &mut Spec, sources: &Sources) -> Result<(), Failure> {
        let platform = self.platform.clone();
        let builder = pkg::builder(self.global, &self.store, platform, self.images.offline, self.printer)?;
        let kernel = spec.kernel.as_mut().and_then(|k| k.image.as_mut());
        let containers = [&mut spec.onboot, &mut spec.onshutdown, &mut spec.services];
        let images = kernel
            .into_iter()
            .chain(&mut spec.init)
            .chain(spec.volumes.iter_mut().filter_map(|v| v.image.as_mut()))
            .chain(containers.into_iter().flatten().map(|c| &mut c.image));
        let mut built: BTreeMap<String, String> = BTreeMap::new();
        for image in images {
            if let Some(name) = built.get(&image.value) {
                image.value.clone_from(name);
            } else if image.value.starts_with(PACKAGE) {
                let name = builder.resolve(&image.value, Path::new(""))?;
                built.insert(std::mem::replace(&mut image.value, name.clone()), name);
            } else if let Some(prefix) = FILES.into_iter().find(|p| image.value.starts_with(p)) {
                let below = Path::new(sources.name(image.span.source)).parent().unwrap_or(Path::new(""));
                image.value = format!("{prefix}{}", below.join(&image.value[prefix.len()..]).display());
            }
        }
        Ok(())
    }

    /// Every image that the spec names, by the name that it uses; and those that volumes want as OCI layouts.
    fn load_images(&self, spec: &Spec, sources: &Sources) -> Result<Loaded, Failure> {
        let fetcher = Fetcher::new(&self.store, self.options(self.platform.clone())?);
        let is_layout = |v: &&Volume| v.format == VolumeFormat::Oci;
        let wanted: BTreeSet<String> = spec
            .kernel
            .iter()
            .filter_map(|k| k.image.as_ref())
            .chain(&spec.init)
            .chain(spec.volumes.iter().filter(|v| !is_layout(v)).filter_map(|v| v.image.as_ref()))
            .chain(spec.onboot.iter().chain(&spec.onshutdown).chain(&spec.services).map(|c| &c.image))
            .map(|image| image.value.clone())
            .collect();
        let wanted: Vec<String> = wanted.into_iter().collect();
        let mut images = BTreeMap::new();
        for (name, image) in wanted.iter().zip(fetcher.fetch_all(&wanted, self.printer)) {
            let image = image.map_err(|e| unfetched(spec, name, sources, e, self.printer))?;
            let tree = self.store.flatten(&image, self.printer)?;
            images.insert(name.clone(), LoadedImage { image, tree });
        }
        let mut layouts = BTreeMap::new();
        for volume in spec.volumes.iter().filter(is_layout) {
            if let Some(image) = &volume.image {
                layouts.insert(image.value.clone(), self.layout(&image.value, &volume.platforms)?);
            }
        }
        Ok((images, layouts))
    }

    /// An image as an OCI layout of these platforms, or of all that it offers.
    fn layout(&self, name: &str, platforms: &[String]) -> Result<Layout, Failure> {
        let mut images = Vec::new();
        if platforms.is_empty() {
            let options = self.options(self.platform.clone())?;
            images = Fetcher::new(&self.store, options).pull_all(name, self.printer)?.1;
        }
        for platform in platforms {
            let platform: Platform =
                platform.parse().map_err(|e| Failure::new(Kind::Input, anyhow::Error::new::<PlatformError>(e)))?;
            images.push(Fetcher::new(&self.store, self.options(platform)?).fetch(name, self.printer)?);
        }
        let reference: Reference =
            name.parse().map_err(|e| Failure::new(Kind::Input, anyhow::Error::new::<ReferenceError>(e)))?;
        let root =
            self.store.find(&reference)?.ok_or_else(|| Failure::input(format!("`{name}` is not in the store")))?;
        let mut blobs = BTreeMap::new();
        let digests = images.iter().map(|image| self.store.image_blobs(image)).collect::<Result<Vec<_>, _>>()?;
        for digest in digests.into_iter().flatten().chain([root.digest]) {
            let size = self.store.blob_size(digest)?.unwrap_or_default();
            blobs.insert(digest, Content::Host { path: self.store.blob_path(digest), size, digest });
        }
        Ok(Layout {
            name: reference.to_string(),
            media_type: root.media_type,
            digest: root.digest,
            size: root.size,
            blobs,
        })
    }

    fn options(&self, platform: Platform) -> Result<FetchOptions, Failure> {
        let mut options = self.global.fetch_options(platform)?;
        (options.pull, options.offline, options.docker) = (self.images.pull, self.images.offline, self.images.docker);
        Ok(options)
    }
}

/// Images by the name that the spec uses: their files, and those that are wanted as OCI layouts.
type Loaded = (BTreeMap<String, LoadedImage>, BTreeMap<String, Layout>);

/// The failure for an image that is not to be had, with the place that names it.
fn unfetched(spec: &Spec, name: &str, sources: &Sources, error: FetchError, printer: &Printer) -> Failure {
    let mut failure = Failure::from(error);
    let containers = spec.onboot.iter().chain(&spec.onshutdown).chain(&spec.services).map(|c| &c.image);
    let volumes = spec.volumes.iter().filter_map(|v| v.image.as_ref());
    let kernel = spec.kernel.iter().filter_map(|k| k.image.as_ref());
    if let Some(image) = kernel.chain(&spec.init).chain(volumes).chain(containers).find(|i| i.value == name) {
        let place = Diagnostics(vec![Diagnostic::error(format!("image `{name}` cannot be had")).at(image.span)]);
        failure.rendered = Some(place.render(sources, printer.color()));
        failure.json = Some(place.to_json(sources));
    }
    failure
}

/// Says what does not stop the build.
fn say(findings: &[Diagnostic], sources: &Sources, printer: &Printer) {
    let told = findings.iter().filter(|d| d.severity > Severity::Note || printer.details());
    let told = Diagnostics(told.cloned().collect());
    if !told.0.is_empty() && !printer.json() {
        printer.raw(&told.render(sources, printer.color()));
    }
}

/// The failure for a spec that must be refused.
fn refused(problems: Diagnostics, sources: &Sources, printer: &Printer) -> Failure {
    let errors = problems.0.iter().filter(|d| d.severity == Severity::Error).count();
    let plural = if errors == 1 { "" } else { "s" };
    let mut failure = Failure::input(format!("the spec has {errors} error{plural}; nothing was built"));
    failure.rendered = Some(problems.render(sources, printer.color()));
    failure.json = Some(problems.to_json(sources));
    failure
}

fn read(spec: &str) -> Result<Input, Failure> {
    let (name, text, directory) = if spec == "-" {
        ("<stdin>".to_owned(), bounded(std::io::stdin().lock(), "standard input")?, None)
    } else if spec.starts_with("http://") || spec.starts_with("https://") {
        let text = fetch_text(spec, SPEC_LIMIT, &RegistryOptions::default())?;
        (spec.to_owned(), text, None)
    } else {
        let file = std::fs::File::open(spec).map_err(|e| unreadable(spec, e))?;
        let directory = Path::new(spec).parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        (spec.to_owned(), bounded(file, spec)?, directory.map(Path::to_owned))
    };
    Ok(Input { name, text, directory })
}

fn unreadable(spec: &str, error: std::io::Error) -> Failure {
    let missing = error.kind() == std::io::ErrorKind::NotFound;
    let failure = Failure::new(Kind::Input, error).context(format!("reading the spec `{spec}`"));
    if missing {
        failure.hint("give the path of a YAML file, `-` for standard input, or an http(s) URL".to_owned())
    } else {
        failure
    }
}

fn bounded(reader: impl Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    reader.take(SPEC_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| unreadable(name, e))?;
    if bytes.len() as u64 > SPEC_LIMIT {
        return Err(Failure::input(format!("`{name}` is larger than {} MiB: not a spec", SPEC_LIMIT >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| Failure::input(format!("`{name}` is not UTF-8 text")))
}
