//! From spec files to an assembled machine: what `build` and `check` share.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bootwright_formats::Format;
use bootwright_oci::registry::fetch_text;
use bootwright_oci::{
    Content, FetchOptions, Fetcher, Image, ImageSource, LoadedImage, Platform, PlatformError, Reference, Store, Tree,
};
use bootwright_rootfs::{Layout, Machine};
use bootwright_spec::{
    ContainerConfig, Diagnostic, Diagnostics, Input, Severity, Sources, Span, Spanned, Spec, Volume, VolumeFormat,
};

use super::build::Images;
use super::pkg;
use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::session::Global;

/// What a reference to a package begins with.
const PACKAGE: &str = "@pkg:";
/// Prefixes of references that name files.
const FILES: [&str; 3] = ["oci:", "oci-archive:", "docker-archive:"];
/// The name of a spec that has no file.
const STDIN: &str = "<stdin>";
/// The largest spec read from a file, pipe or server: the parser's own limit.
const SPEC_LIMIT: u64 = bootwright_spec::MAX_BYTES as u64;

/// Specs as given on the command line, read.
pub struct Inputs {
    inputs: Vec<Input>,
    sources: Sources,
}

impl Inputs {
    /// Reads each of the arguments: a path, `-` or a URL.
    pub fn read(specs: &[String], global: &Global) -> Result<Self, Failure> {
        if specs.iter().filter(|spec| *spec == "-").count() > 1 {
            return Err(Failure::usage("standard input can be read only once: give `-` once"));
        }
        let inputs = specs.iter().map(|spec| read(spec, global)).collect::<Result<_, _>>()?;
        Ok(Self { inputs, sources: Sources::default() })
    }

    /// Parses and merges them, for verbs that need no images.
    pub fn parse(mut self, printer: &Printer) -> Result<Spec, Failure> {
        let spec = self.spec()?;
        say(&Diagnostics(spec.warnings.clone()), Severity::Warning, &self.sources, printer);
        Ok(spec)
    }

    fn spec(&mut self) -> Result<Spec, Failure> {
        let home = std::env::var_os("HOME").map(PathBuf::from);
        let inputs = std::mem::take(&mut self.inputs);
        let spec = bootwright_spec::load(inputs, home.as_deref(), &mut self.sources);
        let spec = spec.map_err(|found| refused(found, &self.sources))?;
        let wrong: Vec<Diagnostic> = spec.tests.iter().flat_map(|test| &test.formats).filter_map(no_format).collect();
        if wrong.is_empty() { Ok(spec) } else { Err(refused(Diagnostics(wrong), &self.sources)) }
    }
}

/// What is known beside a machine: its spec, and what was found that does not stop a build.
pub struct Findings {
    /// The spec, its packages and archives resolved.
    pub spec: Spec,
    /// As JSON.
    pub json: serde_json::Value,
    /// Number of warnings.
    pub warnings: usize,
    /// Number of notes.
    pub notes: usize,
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

    /// One image and its files; paths and packages are relative to this process's directory.
    pub fn image(&self, name: &str) -> Result<(Image, Tree), Failure> {
        let mut name = name.to_owned();
        if name.starts_with(PACKAGE) {
            let platform = self.platform.clone();
            let builder = pkg::builder(self.global, &self.store, platform, self.images.offline, self.printer)?;
            name = builder.resolve(&name, Path::new(""))?;
        }
        let image = Fetcher::new(&self.store, self.options(self.platform.clone())?).fetch(&name, self.printer)?;
        let tree = self.store.flatten(&image, self.printer)?;
        Ok((image, tree))
    }

    /// Assembles the machine; what does not stop it is said from `least` on.
    pub fn machine(&self, mut inputs: Inputs, least: Severity) -> Result<(Machine, Findings), Failure> {
        let (machine, spec, found) = self.assemble(&mut inputs)?;
        say(&found, least, &inputs.sources, self.printer);
        let count = |severity| found.0.iter().filter(|d| d.severity == severity).count();
        let (warnings, notes) = (count(Severity::Warning), count(Severity::Note));
        Ok((machine, Findings { spec, json: found.to_json(&inputs.sources), warnings, notes }))
    }

    fn assemble(&self, sources: &mut Inputs) -> Result<(Machine, Spec, Diagnostics), Failure> {
        let mut spec = sources.spec()?;
        self.build_packages(&mut spec, &sources.sources)?;
        // What the machine is told about itself must not depend on where it is built: paths as they were written.
        let shown = spec.clone();
        let written = place_archives(&mut spec, &sources.sources);
        let (images, layouts) = self.load_images(&spec, &written, &sources.sources)?;
        // Labels are parsed while the spec's own sources are borrowed; theirs are added when rendering. Assembly and
        // check ask for the same ones.
        let sources = RefCell::new(&mut sources.sources);
        let parsed: RefCell<HashMap<(String, String), Result<ContainerConfig, Diagnostics>>> = RefCell::default();
        let parse = |name: &str, text: &str| {
            let key = (name.to_owned(), text.to_owned());
            let parse = || bootwright_spec::parse_label(name, text, &mut sources.borrow_mut());
            parsed.borrow_mut().entry(key).or_insert_with(parse).clone()
        };
        let metadata = |format| bootwright_spec::to_metadata(&shown, format);
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
        let mut found = Diagnostics(std::mem::take(&mut spec.warnings));
        let checked = bootwright_rootfs::check(&spec, &inputs, machine);
        let (machine, more) = match assembled {
            Ok((machine, more)) => (Some(machine), more),
            Err(more) => (None, more),
        };
        for problem in more.0.into_iter().chain(checked.0) {
            if !found.0.contains(&problem) {
                found.0.push(problem);
            }
        }
        found.0.sort_by_key(|d| (d.span.is_none(), d.span));
        match machine {
            Some(machine) if !found.has_errors() => Ok((machine, spec, found)),
            _ => Err(refused(found, *sources.borrow())),
        }
    }

    /// Replaces each `@pkg:` by the image of that package, which is built if the store lacks it.
    fn build_packages(&self, spec: &mut Spec, sources: &Sources) -> Result<(), Failure> {
        let platform = self.platform.clone();
        let builder = pkg::builder(self.global, &self.store, platform, self.images.offline, self.printer)?;
        let mut built: BTreeMap<String, String> = BTreeMap::new();
        for image in references(spec).filter(|image| image.value.starts_with(PACKAGE)) {
            if let Some(name) = built.get(&image.value) {
                image.value.clone_from(name);
                continue;
            }
            let name = builder.resolve(&image.value, Path::new("")).map_err(|error| {
                let directory = &image.value[PACKAGE.len()..];
                let place = Diagnostic::error(format!("the package `{directory}` cannot be had")).at(image.span);
                let failure = Failure::from(error);
                let known = !failure.hints().is_empty();
                let hint = if known { None } else { missing(Path::new(directory), image.span, sources) };
                failure.hint(hint).asked_at(place, sources)
            })?;
            built.insert(std::mem::replace(&mut image.value, name.clone()), name);
        }
        Ok(())
    }

    /// Every image that the spec names, by the name that it uses; and those that volumes want as OCI layouts.
    fn load_images(
        &self,
        spec: &Spec,
        written: &BTreeMap<String, String>,
        sources: &Sources,
    ) -> Result<Loaded, Failure> {
        let fetcher = Fetcher::new(&self.store, self.options(self.platform.clone())?);
        let is_layout = |v: &&Volume| v.format == VolumeFormat::Oci;
        let mut wanted: BTreeMap<&str, Span> = BTreeMap::new();
        let images = spec
            .kernel
            .iter()
            .filter_map(|k| k.image.as_ref())
            .chain(&spec.boot)
            .chain(&spec.init)
            .chain(spec.volumes.iter().filter(|v| !is_layout(v)).filter_map(|v| v.image.as_ref()))
            .chain(spec.onboot.iter().chain(&spec.onshutdown).chain(&spec.services).map(|c| &c.image));
        for image in images {
            wanted.entry(&image.value).or_insert(image.span);
        }
        let unavailable = |name: &str, span: Span, failure: Failure| {
            let hint = match ImageSource::parse(name, Path::new("")) {
                Ok(
                    ImageSource::OciDirectory { path, .. }
                    | ImageSource::OciArchive { path, .. }
                    | ImageSource::DockerArchive { path, .. },
                ) => missing(&path, span, sources),
                _ => None,
            };
            let name = written.get(name).map_or(name, String::as_str);
            let place = Diagnostic::error(format!("the image `{name}` cannot be had")).at(span);
            failure.hint(hint).asked_at(place, sources)
        };
        let names: Vec<String> = wanted.keys().map(|name| (*name).to_owned()).collect();
        let mut images = BTreeMap::new();
        for ((name, span), image) in wanted.into_iter().zip(fetcher.fetch_all(&names, self.printer)) {
            let mut image = image.map_err(|e| unavailable(name, span, e.into()))?;
            let tree = self.store.flatten(&image, self.printer).map_err(|e| unavailable(name, span, e.into()))?;
            if let Some(written) = written.get(name) {
                image.name.clone_from(written);
            }
            images.insert(name.to_owned(), LoadedImage { image, tree });
        }
        let mut layouts = BTreeMap::new();
        for volume in spec.volumes.iter().filter(is_layout) {
            if let Some(image) = &volume.image {
                let layout = self.layout(&image.value, &volume.platforms);
                let layout = layout.map_err(|failure| unavailable(&image.value, image.span, failure))?;
                layouts.insert(image.value.clone(), layout);
            }
        }
        Ok((images, layouts))
    }

    /// An image as an OCI layout of these platforms, or of all that it offers.
    fn layout(&self, name: &str, platforms: &[String]) -> Result<Layout, Failure> {
        let reference: Reference = name.parse()?;
        let mut images = Vec::new();
        let stored = self.store.find(&reference)?.filter(|_| platforms.is_empty() && !self.images.pull);
        if let Some(root) = stored {
            // What a package was built for, or what was pulled or imported before, is what it offers here.
            for platform in self.store.complete_platforms(&root)? {
                images.push(self.store.image(name, &root, &platform)?);
            }
        }
        if platforms.is_empty() && images.is_empty() {
            let options = self.options(self.platform.clone())?;
            images = Fetcher::new(&self.store, options).pull_all(name, self.printer)?.1;
        }
        for platform in platforms {
            let platform: Platform = platform.parse().map_err(|e: PlatformError| Failure::new(Kind::Input, e))?;
            images.push(Fetcher::new(&self.store, self.options(platform)?).fetch(name, self.printer)?);
        }
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

/// Every place that names an image.
fn references(spec: &mut Spec) -> impl Iterator<Item = &mut Spanned<String>> {
    let kernel = spec.kernel.as_mut().and_then(|k| k.image.as_mut());
    let containers = [&mut spec.onboot, &mut spec.onshutdown, &mut spec.services];
    kernel
        .into_iter()
        .chain(&mut spec.boot)
        .chain(&mut spec.init)
        .chain(spec.volumes.iter_mut().filter_map(|v| v.image.as_mut()))
        .chain(containers.into_iter().flatten().map(|c| &mut c.image))
}

/// Makes the paths of archives relative to the file that names them; returns what each new reference was.
fn place_archives(spec: &mut Spec, sources: &Sources) -> BTreeMap<String, String> {
    let mut written = BTreeMap::new();
    for image in references(spec) {
        let Some(prefix) = FILES.into_iter().find(|p| image.value.starts_with(p)) else { continue };
        let name = sources.name(image.span.source);
        // A URL has no directory here; nor has `<stdin>`.
        let file = if is_url(name) { Path::new("") } else { Path::new(name) };
        let below = file.parent().unwrap_or(Path::new(""));
        let placed = format!("{prefix}{}", below.join(&image.value[prefix.len()..]).display());
        written.insert(placed.clone(), std::mem::replace(&mut image.value, placed));
    }
    written
}

/// How to name a path that is not there, if it depends on the file that names it.
fn missing(path: &Path, span: Span, sources: &Sources) -> Option<String> {
    let written = sources.text(span.source).get(span.start as usize..span.end as usize)?;
    if path.exists() || written.contains(":/") {
        return None;
    }
    let start = match sources.name(span.source) {
        name if name == STDIN || is_url(name) => "the working directory".to_owned(),
        name => format!("the folder of `{name}`"),
    };
    Some(format!("give its path from {start}, where relative paths start"))
}

/// Says what does not stop the build, from `least` on.
fn say(found: &Diagnostics, least: Severity, sources: &Sources, printer: &Printer) {
    let told = found.0.iter().filter(|d| d.severity >= least);
    if !printer.json() {
        printer.diagnostics(&Diagnostics(told.cloned().collect()), sources);
    }
}

/// The failure for a spec that must be refused.
fn refused(problems: Diagnostics, sources: &Sources) -> Failure {
    let errors = problems.0.iter().filter(|d| d.severity == Severity::Error).count();
    let plural = if errors == 1 { "" } else { "s" };
    let told = problems.0.into_iter().filter(|d| d.severity > Severity::Note);
    Failure::input(format!("the spec has {errors} error{plural}; nothing was built"))
        .report(Diagnostics(told.collect()), sources)
}

/// Whether an argument names a spec, and not what was built of one.
pub fn is_spec(argument: &str) -> bool {
    argument == "-" || is_url(argument) || argument.ends_with(".yml") || argument.ends_with(".yaml")
}

/// What is wrong with a format that a test names.
fn no_format(name: &Spanned<String>) -> Option<Diagnostic> {
    let label = match name.parse::<Format>() {
        Ok(format) if format.is_bootable() => return None,
        Ok(_) => "this is nothing that boots".to_owned(),
        Err(_) => {
            let names = Format::built().filter(|format| format.is_bootable()).map(Format::name);
            match bootwright_spec::nearest(&name.value, names) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "not one of the formats that boot (`docs/formats.md`)".to_owned(),
            }
        }
    };
    let problem = Diagnostic::error(format!("`tests` names the format `{}`", name.value));
    Some(problem.at(name.span).label(label))
}

fn is_url(spec: &str) -> bool {
    spec.starts_with("http://") || spec.starts_with("https://")
}

fn read(spec: &str, global: &Global) -> Result<Input, Failure> {
    let (name, text, directory) = if spec == "-" {
        (STDIN.to_owned(), bounded(io::stdin().lock(), "standard input")?, Some(PathBuf::from(".")))
    } else if is_url(spec) {
        let text = fetch_text(spec, SPEC_LIMIT, &global.registry_options()?)
            .map_err(|e| Failure::from(e).context(format!("reading the spec `{spec}`")))?;
        if text.len() as u64 > SPEC_LIMIT {
            return Err(too_large(spec));
        }
        (spec.to_owned(), text, None)
    } else {
        let file = std::fs::File::open(spec).map_err(|e| unreadable(spec, e))?;
        let directory = Path::new(spec).parent().map(|p| if p.as_os_str().is_empty() { Path::new(".") } else { p });
        (spec.to_owned(), bounded(file, spec)?, directory.map(Path::to_owned))
    };
    Ok(Input { name, text, directory })
}

fn unreadable(spec: &str, error: io::Error) -> Failure {
    let missing = error.kind() == io::ErrorKind::NotFound;
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
        return Err(too_large(name));
    }
    String::from_utf8(bytes).map_err(|_| Failure::input(format!("`{name}` is not UTF-8 text")))
}

fn too_large(name: &str) -> Failure {
    Failure::input(format!("`{name}` is larger than {} MiB: not a spec", SPEC_LIMIT >> 20))
}
