//! Small builders for tests.

use std::collections::BTreeMap;
use std::io;

use bootwright_oci::{
    Content, Digest, Image, Kind, LoadedImage, Metadata, Node, Platform, ReadContent, Tree, TreePath, UnpackTar,
};
use bootwright_spec::{Container, ContainerConfig, SourceId, Span, Spanned};

pub(crate) const SPAN: Span = Span { source: SourceId(0), start: 0, end: 0 };

pub(crate) fn spanned<T>(value: T) -> Spanned<T> {
    Spanned { value, span: SPAN }
}

pub(crate) fn text(value: &str) -> Spanned<String> {
    spanned(value.to_owned())
}

pub(crate) fn texts(values: &[&str]) -> Option<Vec<Spanned<String>>> {
    Some(values.iter().map(|v| text(v)).collect())
}

pub(crate) fn path(text: &str) -> TreePath {
    TreePath::new(text).unwrap()
}

pub(crate) fn container(name: &str, image: &str, config: ContainerConfig) -> Container {
    Container { name: text(name), image: text(image), config, span: SPAN }
}

/// A tree from lines: `etc/`, `etc/passwd=text`, `bin/sh->busybox`, `b=>a` (hard link), `!` before a path for mode 0755.
pub(crate) fn tree(lines: &[&str]) -> Tree {
    let mut out = Tree::default();
    for line in lines {
        let (mode, line) = line.strip_prefix('!').map_or((0o644, *line), |rest| (0o755, rest));
        let (name, kind) = if let Some((name, target)) = line.split_once("->") {
            (name, Kind::Symlink(target.as_bytes().to_vec()))
        } else if let Some((name, target)) = line.split_once("=>") {
            (name, Kind::HardLink(path(target)))
        } else if let Some((name, bytes)) = line.split_once('=') {
            (name, Kind::File(Content::inline(bytes.as_bytes())))
        } else {
            (line, Kind::Directory)
        };
        let mode = if matches!(kind, Kind::Directory) { 0o755 } else { mode };
        let at = path(name);
        let mut parent = at.parent();
        while let Some(directory) = parent.filter(|p| !p.is_root()) {
            parent = directory.parent();
            let meta = Metadata { mode: 0o755, ..Metadata::default() };
            out.nodes_mut().entry(directory).or_insert(Node { meta, kind: Kind::Directory });
        }
        out.nodes_mut().insert(at, Node { meta: Metadata { mode, ..Metadata::default() }, kind });
    }
    out
}

pub(crate) fn image(name: &str, config: &serde_json::Value, tree: Tree) -> LoadedImage {
    let full = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": config, "rootfs": {"type": "layers", "diff_ids": []},
    });
    LoadedImage {
        image: Image {
            name: format!("docker.io/library/{name}"),
            digest: Digest::of(name.as_bytes()),
            platform: Platform::linux("amd64"),
            config: serde_json::from_value(full).unwrap(),
            layers: Vec::new(),
        },
        tree,
    }
}

/// A store of what is inline, and of tars by digest.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) tars: BTreeMap<Digest, Tree>,
}

impl ReadContent for Memory {
    fn open(&self, content: &Content) -> io::Result<Box<dyn io::Read + Send + '_>> {
        match content {
            Content::Inline(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
            Content::Host { path, .. } => Ok(Box::new(std::fs::File::open(path)?)),
            Content::Layer { .. } => Err(io::Error::other("no layers in tests")),
        }
    }
}

impl UnpackTar for Memory {
    fn unpack_tar(&self, content: &Content) -> io::Result<Tree> {
        self.tars.get(&content.digest()).cloned().ok_or_else(|| io::Error::other("not a tar"))
    }
}

/// Assembles and checks a spec with images in memory. Labels are JSON of a few keys, enough to tell precedence.
pub(crate) struct Bench {
    pub(crate) spec: bootwright_spec::Spec,
    pub(crate) images: BTreeMap<String, LoadedImage>,
    pub(crate) layouts: BTreeMap<String, crate::Layout>,
    pub(crate) store: Memory,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            spec: bootwright_spec::Spec::default(),
            images: BTreeMap::new(),
            layouts: BTreeMap::new(),
            store: Memory::default(),
        }
    }

    pub(crate) fn image(&mut self, name: &str, config: &serde_json::Value, tree: Tree) -> &mut Self {
        self.images.insert(name.to_owned(), image(name, config, tree));
        self
    }

    pub(crate) fn with<T>(&self, run: impl FnOnce(&crate::Inputs<'_>) -> T) -> T {
        let platform = Platform::linux("amd64");
        run(&crate::Inputs {
            images: &self.images,
            layouts: &self.layouts,
            store: &self.store,
            platform: &platform,
            labels: &label,
            metadata: &|format| format!("{format:?} of the spec"),
            host: &crate::host_file,
        })
    }

    pub(crate) fn assemble(&self) -> Result<(crate::Machine, Vec<String>), Vec<String>> {
        self.with(|inputs| crate::assemble(&self.spec, inputs))
            .map(|(machine, said)| (machine, lines(said)))
            .map_err(lines)
    }

    pub(crate) fn machine(&self) -> crate::Machine {
        self.assemble().expect("the machine assembles").0
    }

    pub(crate) fn check(&self) -> Vec<String> {
        self.with(|inputs| {
            let machine = crate::assemble(&self.spec, inputs).ok().map(|(machine, _)| machine);
            lines(crate::check(&self.spec, inputs, machine.as_ref()))
        })
    }
}

/// `error: message; hint`.
pub(crate) fn lines(all: bootwright_spec::Diagnostics) -> Vec<String> {
    let line = |d: bootwright_spec::Diagnostic| {
        format!("{}: {}", d.severity, std::iter::once(d.message).chain(d.hints).collect::<Vec<_>>().join("; "))
    };
    all.0.into_iter().map(line).collect()
}

fn label(_: &str, json: &str) -> Result<ContainerConfig, bootwright_spec::Diagnostics> {
    let value: serde_json::Value = serde_json::from_str(json).map_err(|error| {
        let mut problems = crate::problems::Problems::default();
        problems.error(None, error.to_string());
        problems.finish()
    })?;
    let list = |key: &str| {
        let words = value.get(key)?.as_array()?.iter().map(|v| text(v.as_str().unwrap()));
        Some(words.collect::<Vec<_>>())
    };
    Ok(ContainerConfig {
        capabilities: list("capabilities"),
        binds: list("binds").map(|all| all.iter().map(|b| bind(b)).collect()),
        env: list("env"),
        readonly: value.get("readonly").and_then(serde_json::Value::as_bool).map(spanned),
        ..ContainerConfig::default()
    })
}

/// `source:destination[:options]`.
pub(crate) fn bind(given: &str) -> bootwright_spec::Bind {
    let parts: Vec<&str> = given.split(':').collect();
    bootwright_spec::Bind {
        source: text(parts[0]),
        destination: parts[1].to_owned(),
        options: parts.get(2).map(|o| o.split(',').map(str::to_owned).collect()),
    }
}

pub(crate) fn command(words: &[&str]) -> Option<Spanned<Vec<Spanned<String>>>> {
    Some(spanned(words.iter().map(|w| text(w)).collect()))
}

/// The text of a generated file of a machine.
pub(crate) fn read(machine: &crate::Machine, at: &str) -> String {
    match &machine.tree.get(&path(at)).unwrap_or_else(|| panic!("{at} is there")).node.kind {
        Kind::File(Content::Inline(bytes)) => String::from_utf8(bytes.to_vec()).unwrap(),
        other => panic!("{at} is {other:?}"),
    }
}

pub(crate) fn json(machine: &crate::Machine, at: &str) -> serde_json::Value {
    serde_json::from_str(&read(machine, at)).unwrap()
}
