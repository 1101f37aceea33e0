//! From a checked tree of nodes to the model.
//!
//! What `validate` has complained about is left out here without another word, so that the checks that need the whole model
//! (names that clash, volumes that do not exist) still run on the rest. Complaints made here are those that concern several
//! keys at once, or the place of the file.

mod container;
mod control;
mod supervision;
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::findings::Findings;
use crate::node::Node;
use crate::validate::head;
use crate::{
    Container, Diagnostic, FileContents, FileEntry, Kernel, MetadataFormat, Owner, Root, RootKind, Span, Spanned, Spec,
    Volume, VolumeFormat, values,
};

/// What the values of a file are relative to.
pub(crate) struct Reader<'a> {
    /// Directory of the file; none for a text that came from no directory.
    pub(crate) directory: Option<&'a Path>,
    /// The user's home.
    pub(crate) home: Option<&'a Path>,
    /// How each source that was resolved was written.
    pub(crate) written: BTreeMap<PathBuf, String>,
    /// Where complaints go.
    pub(crate) findings: &'a mut Findings,
}

impl Reader<'_> {
    /// Reads a whole spec.
    pub(crate) fn spec(&mut self, root: &Node) -> Spec {
        Spec {
            kernel: root.get("kernel").map(|node| self.kernel(node)),
            boot: root.get("boot").and_then(|node| node.get("image")).and_then(|node| self.image(node)),
            root: root.get("root").map(root_image).unwrap_or_default(),
            init: items(root, "init").iter().filter_map(|node| self.image(node)).collect(),
            onboot: self.containers(root, "onboot"),
            onshutdown: self.containers(root, "onshutdown"),
            services: self.containers(root, "services"),
            volumes: items(root, "volumes").iter().filter_map(|node| self.volume(node)).collect(),
            files: items(root, "files").iter().filter_map(|node| self.file(node)).collect(),
            watchdog: root.get("watchdog").and_then(supervision::watchdog),
            control: root.get("control").map(control::control).unwrap_or_default(),
            logging: root.get("logging").map(control::logging).unwrap_or_default(),
            tests: self.tests(root),
            written_sources: std::mem::take(&mut self.written),
            warnings: Vec::new(),
        }
    }

    fn kernel(&mut self, node: &Node) -> Kernel {
        Kernel {
            image: node.get("image").and_then(|node| self.image(node)),
            cmdline: text(node, "cmdline"),
            binary: text(node, "binary"),
            tar: text(node, "tar"),
            ucode: text(node, "ucode"),
            modules: texts(node, "modules"),
        }
    }

    fn containers(&mut self, root: &Node, key: &str) -> Vec<Container> {
        let read = |node: &std::rc::Rc<Node>| {
            let config = self.config(node);
            let name = text(node, "name")?;
            let image = node.get("image").and_then(|node| self.image(node))?;
            Some(Container { name, image, config, span: node.span })
        };
        items(root, key).iter().filter_map(read).collect()
    }

    /// Reads a reference; the directory of `@pkg:` is put behind that of the file.
    fn image(&mut self, node: &Node) -> Option<Spanned<String>> {
        let reference = spanned(node).filter(|reference| !reference.is_empty())?;
        let Some(directory) = reference.strip_prefix("@pkg:").filter(|directory| !Path::new(directory).is_absolute())
        else {
            return Some(reference);
        };
        let Some(base) = self.directory else {
            self.findings.push(
                Diagnostic::error("`@pkg:` has nothing to be relative to")
                    .at(node.span)
                    .label("this text came from no directory")
                    .hint("give an absolute path: `@pkg:/path/to/package`"),
            );
            return None;
        };
        let Some(path) = base.join(directory).to_str().map(str::to_owned) else {
            let problem = Diagnostic::error("the path of the package is not UTF-8").at(node.span);
            self.findings.push(problem.label("the directory of this file has a name that is not UTF-8"));
            return None;
        };
        Some(Spanned { value: format!("@pkg:{path}"), span: reference.span })
    }

    fn volume(&mut self, node: &Node) -> Option<Volume> {
        let image = node.get("image").and_then(|node| self.image(node));
        let format = match node.get("format").and_then(Node::text) {
            Some("oci") => VolumeFormat::Oci,
            _ => VolumeFormat::Filesystem,
        };
        let place = |key| node.get(key).map_or_else(|| head(node), |node| node.span);
        if format == VolumeFormat::Oci && node.get("image").and_then(Node::text).is_none_or(str::is_empty) {
            let problem = Diagnostic::error("an `oci` volume needs an image").at(place("format"));
            self.findings.push(problem.label("there is no `image` to keep as a layout"));
        }
        let platforms = strings(node, "platforms").unwrap_or_default();
        if format == VolumeFormat::Filesystem && !platforms.is_empty() {
            let warning = Diagnostic::warning("`platforms` does nothing for a `filesystem` volume")
                .at(head(node.get("platforms")?));
            self.findings.push(warning.label("only `format: oci` keeps several platforms"));
        }
        let size = node.get("size").and_then(|node| values::size(node.text()?).ok());
        let readonly = flag(node, "readonly").is_some_and(|flag| *flag);
        if readonly && size.is_some() {
            let problem = Diagnostic::error("a read-only volume has no size").at(place("size"));
            self.findings.push(problem.label("nothing is written into it").hint("drop `size` or `readonly`"));
        }
        Some(Volume { name: text(node, "name")?, image, readonly, size, format, platforms })
    }

    /// Reads an entry of `files`.
    pub(crate) fn file(&mut self, node: &Node) -> Option<FileEntry> {
        let directory = flag(node, "directory").filter(|flag| **flag).map(|flag| flag.span);
        let said: Vec<(&str, Span)> = ["symlink", "contents", "source", "metadata"]
            .into_iter()
            .filter_map(|key| Some((key, node.get(key)?.span)))
            .chain(directory.map(|span| ("directory", span)))
            .collect();
        let path = text(node, "path");
        let contents = match said[..] {
            [("symlink", _)] => FileContents::Symlink(text(node, "symlink")?.value),
            [("contents", _)] => FileContents::Text(text(node, "contents")?.value),
            [("source", _)] => FileContents::Source(self.source(node.get("source")?)?),
            [("metadata", _)] => match node.get("metadata")?.text()? {
                "yaml" => FileContents::Metadata(MetadataFormat::Yaml),
                "json" => FileContents::Metadata(MetadataFormat::Json),
                _ => return None,
            },
            [(_, _)] => FileContents::Directory,
            [] => {
                let keys = "`directory: true`, `symlink`, `contents`, `source` or `metadata`";
                if path.is_some() {
                    let problem = Diagnostic::error("an entry of `files` does not say what the file is").at(head(node));
                    self.findings.push(problem.label(format!("needs one of {keys}")));
                }
                return None;
            }
            [_, (second, span), ..] => {
                let keys = said.iter().map(|(key, _)| format!("`{key}`")).collect::<Vec<_>>().join(", ");
                let problem = Diagnostic::error(format!("an entry of `files` says twice what the file is: {keys}"));
                self.findings.push(problem.at(span).label(format!("`{second}` cannot stand beside the others")));
                return None;
            }
        };
        let path = path?;
        Some(FileEntry {
            path: Spanned { value: values::file_path(&path).ok()?, span: path.span },
            contents,
            mode: mode(node, "mode"),
            uid: owner(node, "uid"),
            gid: owner(node, "gid"),
            optional: flag(node, "optional").is_some_and(|flag| *flag),
        })
    }

    /// Reads a path on the building machine.
    pub(crate) fn source(&mut self, node: &Node) -> Option<Spanned<PathBuf>> {
        let written = node.text().filter(|text| !text.is_empty())?;
        let base = if written == "~" || written.starts_with("~/") { self.home } else { self.directory };
        let rest = written.strip_prefix('~').map_or(written, |rest| rest.trim_start_matches('/'));
        let rest = if written == "~" || written.starts_with("~/") {
            rest
        } else {
            written.strip_prefix("./").unwrap_or(written)
        };
        if Path::new(rest).is_absolute() {
            return Some(Spanned { value: rest.into(), span: node.span });
        }
        let Some(base) = base else {
            let problem =
                Diagnostic::error(format!("the source {} has nothing to be relative to", values::quoted(written)));
            let why = if written.starts_with('~') {
                "there is no home directory"
            } else {
                "this text came from no directory"
            };
            self.findings.push(problem.at(node.span).label(why).hint("give an absolute path"));
            return None;
        };
        let path = base.join(rest);
        self.written.insert(path.clone(), written.to_owned());
        Some(Spanned { value: path, span: node.span })
    }
}

fn root_image(node: &Node) -> Root {
    let word = |key| text(node, key);
    Root {
        kind: word("kind").and_then(|kind| {
            let value = match kind.as_str() {
                "squashfs" => RootKind::Squashfs,
                "initrd" => RootKind::Initrd,
                _ => return None,
            };
            Some(Spanned { value, span: kind.span })
        }),
        verity: flag(node, "verity"),
        restart_on_corruption: word("corruption")
            .map(|word| Spanned { value: word.as_str() == "restart", span: word.span }),
    }
}

/// The entries of a list under a key.
pub(crate) fn items<'a>(node: &'a Node, key: &str) -> &'a [std::rc::Rc<Node>] {
    node.get(key).map_or(&[], Node::list)
}

/// A scalar's text with its place.
pub(crate) fn spanned(node: &Node) -> Option<Spanned<String>> {
    Some(Spanned { value: node.text()?.to_owned(), span: node.span })
}

/// The text under a key.
pub(crate) fn text(node: &Node, key: &str) -> Option<Spanned<String>> {
    spanned(node.get(key)?)
}

/// The texts of the list under a key.
pub(crate) fn texts(node: &Node, key: &str) -> Option<Vec<Spanned<String>>> {
    Some(node.get(key)?.list().iter().filter_map(|node| spanned(node)).collect())
}

/// The same without places.
pub(crate) fn strings(node: &Node, key: &str) -> Option<Vec<String>> {
    Some(node.get(key)?.list().iter().filter_map(|node| node.text()).map(str::to_owned).collect())
}

/// The boolean under a key.
pub(crate) fn flag(node: &Node, key: &str) -> Option<Spanned<bool>> {
    let node = node.get(key)?;
    Some(Spanned { value: values::flag(node.text()?)?, span: node.span })
}

/// The whole number under a key.
pub(crate) fn integer(node: &Node, key: &str) -> Option<i64> {
    values::integer(node.get(key)?.text()?, i64::MIN, i64::MAX).ok()
}

/// Whether a scalar was written without quotes.
pub(crate) fn plain(node: &Node) -> bool {
    matches!(node.value, crate::node::Value::Scalar { plain: true, .. })
}

/// The permission bits under a key.
pub(crate) fn mode(node: &Node, key: &str) -> Option<u32> {
    let node = node.get(key)?;
    values::mode(node.text()?, plain(node)).ok()
}

/// The uid or gid under a key.
pub(crate) fn owner(node: &Node, key: &str) -> Option<Spanned<Owner>> {
    let node = node.get(key)?;
    Some(Spanned { value: values::owner(node.text()?, plain(node)).ok()?, span: node.span })
}
