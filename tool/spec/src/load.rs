//! From texts to one spec: each file parsed, validated and read, all merged, then the checks that need the whole.
//!
//! Files merge from left to right: a key of `kernel` is overridden by a later file that gives it, every list is appended.
//! Names are checked over all files, so a volume of any file can be used in any other.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::findings::Findings;
use crate::keys::{SPEC, Shape};
use crate::node::{self, Node};
use crate::read::{self, Reader};
use crate::validate::{validate, validate_label};
use crate::values::quoted;
use crate::{
    Container, ContainerConfig, Diagnostic, Diagnostics, Kernel, SourceId, Sources, Span, Spanned, Spec, Volume,
    nearest,
};

/// A text to read.
#[derive(Clone, Debug)]
pub struct Input {
    /// What messages call it: a path, a URL, `<stdin>`.
    pub name: String,
    /// The YAML.
    pub text: String,
    /// The directory that its relative paths start from; none for a text that has none, such as one from a URL.
    pub directory: Option<PathBuf>,
}

/// Reads and merges the files of a spec.
///
/// # Errors
/// Every problem of every file, warnings among them, if one of them is an error.
pub fn load(inputs: Vec<Input>, home: Option<&Path>, sources: &mut Sources) -> Result<Spec, Diagnostics> {
    let mut findings = Findings::default();
    let mut spec = Spec::default();
    for input in inputs {
        let source = sources.add(input.name, input.text);
        let Some(root) = tree(source, &SPEC, sources, &mut findings) else { continue };
        let mut reader =
            Reader { directory: input.directory.as_deref(), home, written: BTreeMap::new(), findings: &mut findings };
        merge(&mut spec, reader.spec(&root));
    }
    check(&spec, sources, &mut findings);
    finish(findings, |warnings| spec.warnings = warnings)?;
    Ok(spec)
}

/// Reads the text of an image's label `org.mobyproject.config`, YAML or JSON; `name` is what messages call it.
///
/// # Errors
/// Every problem of the label.
pub fn parse_label(name: &str, text: &str, sources: &mut Sources) -> Result<ContainerConfig, Diagnostics> {
    let mut findings = Findings::default();
    let source = sources.add(name, text);
    if text.trim().is_empty() {
        return Ok(ContainerConfig::default());
    }
    let mut root = node::parse(source, sources, &mut findings);
    if root.is_none() {
        // JSON is YAML but for small print (tabs between tokens, surrogate pairs): what the one parser refuses, the other may read.
        if let Ok(json @ serde_json::Value::Object(_)) = serde_json::from_str(text) {
            findings = Findings::default();
            let source = sources.add(name, json.to_string());
            root = node::parse(source, sources, &mut findings);
        }
    }
    let config = root.map(|root| {
        validate_label(&root, &mut findings);
        Reader { directory: None, home: None, written: BTreeMap::new(), findings: &mut findings }.config(&root)
    });
    finish(findings, drop)?;
    Ok(config.unwrap_or_default())
}

/// Parses and validates one text.
pub(crate) fn tree(
    source: SourceId,
    shape: &'static Shape,
    sources: &Sources,
    findings: &mut Findings,
) -> Option<Rc<Node>> {
    let root = node::parse(source, sources, findings)?;
    validate(&root, shape, findings);
    Some(root)
}

/// All problems if one is an error; else the warnings go where they belong.
pub(crate) fn finish(findings: Findings, keep: impl FnOnce(Vec<Diagnostic>)) -> Result<(), Diagnostics> {
    let stop = findings.has_errors();
    let all = findings.finish();
    if stop {
        return Err(all);
    }
    keep(all.0);
    Ok(())
}

fn merge(spec: &mut Spec, later: Spec) {
    if let Some(later) = later.kernel {
        let earlier = spec.kernel.take().unwrap_or_default();
        // An empty image, command line or binary overrides nothing; an empty `tar` or `ucode` says "none".
        let filled = |value: Option<Spanned<String>>| value.filter(|value| !value.is_empty());
        spec.kernel = Some(Kernel {
            image: filled(later.image).or(earlier.image),
            cmdline: filled(later.cmdline).or(earlier.cmdline),
            binary: filled(later.binary).or(earlier.binary),
            tar: later.tar.or(earlier.tar),
            ucode: later.ucode.or(earlier.ucode),
            modules: later.modules.or(earlier.modules),
        });
    }
    spec.boot = later.boot.or(spec.boot.take());
    spec.root.kind = later.root.kind.or(spec.root.kind.take());
    spec.root.verity = later.root.verity.or(spec.root.verity.take());
    spec.root.restart_on_corruption = later.root.restart_on_corruption.or(spec.root.restart_on_corruption.take());
    spec.watchdog = later.watchdog.or(spec.watchdog.take());
    spec.init.extend(later.init);
    spec.onboot.extend(later.onboot);
    spec.onshutdown.extend(later.onshutdown);
    spec.services.extend(later.services);
    spec.volumes.extend(later.volumes);
    spec.files.extend(later.files);
    spec.control = std::mem::take(&mut spec.control).under(later.control);
    spec.logging = std::mem::take(&mut spec.logging).under(later.logging);
    spec.tests.extend(later.tests);
    spec.written_sources.extend(later.written_sources);
}

/// What can only be seen with everything read.
fn check(spec: &Spec, sources: &Sources, findings: &mut Findings) {
    unique("service", spec.services.iter().map(|service| &service.name), sources, findings);
    unique("test", spec.tests.iter().map(|test| &test.name), sources, findings);
    read::tests::check(spec, findings);
    unique("volume", spec.volumes.iter().map(|volume| &volume.name), sources, findings);
    let volumes: HashMap<&str, &Volume> = spec.volumes.iter().map(|volume| (volume.name.as_str(), volume)).collect();
    for container in spec.onboot.iter().chain(&spec.onshutdown).chain(&spec.services) {
        volume_uses(container, &volumes, findings);
    }
    if let Some(Kernel { image: None, cmdline, binary, tar, .. }) = &spec.kernel {
        let place = [cmdline, binary, tar].into_iter().flatten().next().map(|text| text.span);
        let warning = Diagnostic::warning("`kernel` without an image: the machine gets no kernel")
            .label("needs `image` beside it");
        findings.push(Diagnostic { span: place, ..warning });
    }
}

fn unique<'a>(
    what: &str,
    names: impl Iterator<Item = &'a Spanned<String>>,
    sources: &Sources,
    findings: &mut Findings,
) {
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for name in names {
        if let Some(first) = seen.insert(name.as_str(), name.span) {
            seen.insert(name.as_str(), first);
            if findings.only_counts() {
                continue;
            }
            let problem = Diagnostic::error(format!("two {what}s are named {}", quoted(name))).at(name.span);
            findings.push(problem.label(format!("the first is at {}", sources.place(first))));
        }
    }
}

fn volume_uses(container: &Container, volumes: &HashMap<&str, &Volume>, findings: &mut Findings) {
    let config = &container.config;
    let binds = config.binds.iter().chain(&config.binds_add).flatten();
    let binds = binds.map(|bind| (&bind.source, bind.options.as_deref().unwrap_or_default()));
    let mounts = config.mounts.iter().flatten().filter(|mount| mount.kind == "bind");
    let mounts = mounts.map(|mount| (&mount.source, mount.options.as_slice()));
    for (source, options) in binds.chain(mounts).filter(|(source, _)| !source.starts_with('/')) {
        if findings.full() {
            return;
        }
        let Some(volume) = volumes.get(source.as_str()) else {
            let problem = Diagnostic::error(format!("there is no volume {}", quoted(source))).at(source.span);
            let mut names: Vec<_> = volumes.keys().copied().collect();
            names.sort_unstable();
            let problem = match nearest(source, names.iter().copied()) {
                Some(near) => problem.label(format!("did you mean `{near}`?")),
                None if names.is_empty() => problem.label("no `volumes:` are defined"),
                None => problem.label(format!(
                    "defined are {}",
                    names.iter().take(20).map(|n| quoted(n)).collect::<Vec<_>>().join(", ")
                )),
            };
            findings.push(problem.hint("a source that does not start with `/` names a volume"));
            continue;
        };
        if volume.readonly && !options.iter().any(|option| option == "ro") {
            let problem = Diagnostic::error(format!("the volume {} is read-only", quoted(source))).at(source.span);
            findings.push(problem.label("bound here so that it could be written").hint("add the option `ro`"));
        }
    }
}
