//! From spec files to an assembled machine: what `build` and `check` share.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use bootwright_oci::{LoadedImage, Platform, Reporter, Store};
use bootwright_rootfs::Machine;
use bootwright_spec::{Diagnostic, Diagnostics, Input, Severity, Sources, Spec};

use super::build::Images;
use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::session::{self, Global};

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
        let platform = images.arch.as_deref().map_or_else(Platform::host, |arch| Platform::linux(architecture(arch)));
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
        self.build_packages(&mut spec)?;
        let (images, layouts) = self.load_images(&spec)?;
        // Labels are parsed while the spec's own sources are borrowed; theirs are added when rendering.
        let labels = RefCell::new(&mut sources.sources);
        let parse = |name: &str, text: &str| {
            bootwright_spec::parse_label(name, text, &mut labels.borrow_mut())
        };
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

    /// Replaces each `@pkg:` by the image of that package, built if the store lacks it.
    fn build_packages(&self, spec: &mut Spec) -> Result<(), Failure> {
        let builder = packages::builder(self.global, &self.store, self.platform.clone(), self.images.offline, self.printer)?;
        let kernel = spec.kernel.as_mut().and_then(|k| k.image.as_mut());
        let containers = [&mut spec.onboot, &mut spec.onshutdown, &mut spec.services];
        let images = kernel
            .into_iter()
            .chain(&mut spec.init)
            .chain(spec.volumes.iter_mut().filter_map(|v| v.image.as_mut()))
            .chain(containers.into_iter().flatten().map(|c| &mut c.image));
        let mut built: BTreeMap<String, String> = BTreeMap::new();
        for image in images.filter(|i| i.value.starts_with(PACKAGE)) {
            image.value = match built.get(&image.value) {
                Some(name) => name.clone(),
                None => {
                    let name = builder.resolve(&image.value, Path::new(""))?;
                    built.insert(image.value.clone(), name.clone());
                    name
                }
            };
        }
        Ok(())
    }

    /// Every image that the spec names, by the name that it uses.
    fn load_images(&self, spec: &Spec) -> Result<(BTreeMap<String, LoadedImage>, BTreeMap<String, Layout>), Failure> {
        todo!()
    }
}

/// LinuxKit's and the kernel's names for architectures, as Go's.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
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
        let text = bootwright_oci::get_text(spec, SPEC_LIMIT).map_err(Failure::from)?;
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
    if missing { failure.hint("give the path of a YAML file, `-` for standard input, or an http(s) URL".to_owned()) } else { failure }
}

fn bounded(reader: impl Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    reader.take(SPEC_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| unreadable(name, e))?;
    if bytes.len() as u64 > SPEC_LIMIT {
        return Err(Failure::input(format!("`{name}` is larger than {} MiB: not a spec", SPEC_LIMIT >> 20)));
    }
    String::from_utf8(bytes).map_err(|_| Failure::input(format!("`{name}` is not UTF-8 text")))
}
