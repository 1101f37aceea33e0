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
