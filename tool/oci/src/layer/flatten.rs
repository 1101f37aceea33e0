//! Layers applied one upon the other (OCI image-spec 1.1, layer.md, "Applying Changesets" and "Whiteouts").
//!
//! A layer is applied in two passes: its whiteouts, which only ever concern the layers below it, wherever they stand in
//! the archive; then everything else in the archive's order, a later entry of a name replacing an earlier one.
//!
//! Names point to inodes, as in a file system: a hard link is a second name of one inode, and stays what it is when the
//! first name is removed or replaced. Only at the end is one name of each file, the bytewise first, made the
//! [`Kind::File`] and the others its [`Kind::HardLink`]s.
//!
//! An entry whose parent directory is a symbolic link (`lib` → `usr/lib`, entry `lib/x`) goes where the link leads, `/`
//! being the image's root. That is what containerd does for a layer and the layers below it where it applies them to
//! one directory, and every engine inside one layer. On overlayfs engines apply each layer alone, so that there the
//! entry replaces a link of a lower layer by a directory of its own; whoever relies on that has an image without a
//! loader. A link that leads out of the root is refused, where engines stop at the root: no honest archive needs it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::error::{LayerError, Problem, show};
use super::index::{Entry, LayerIndex};
use crate::{Kind, Metadata, Node, Tree, TreePath};

const WHITEOUT: &[u8] = b".wh.";
/// Prefix of AUFS's own files; engines pass over them.
const AUFS: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Symbolic links followed for one entry, as in the kernel (MAXSYMLINKS).
const LINKS: u32 = 40;
/// Bytes of a path with all links followed, as in the kernel (PATH_MAX).
const LONGEST: usize = 4096;
/// Components looked at for all entries behind links of a tree together, so that mazes cost no more than seconds.
const STEPS: u64 = 1 << 24;

/// Flattens layers, lowest first, into one tree.
///
/// # Errors
///
/// A layer that cannot be applied or must be refused; the error names the layer and the entry.
pub fn flatten(layers: &[Arc<LayerIndex>]) -> Result<Tree, LayerError> {
    let mut names = Names::default();
    for layer in layers {
        names.next_layer();
        names.remove_whiteouts(&layer.entries).map_err(|problem| problem.of(layer.key))?;
        let added = layer.entries.iter().filter(|entry| !entry.path.file_name().starts_with(WHITEOUT));
        added.into_iter().try_for_each(|entry| names.add(entry)).map_err(|problem| problem.of(layer.key))?;
    }
    Ok(names.into_tree())
}

/// The tree of one archive in which whiteouts have no meaning.
pub(super) fn plain(archive: &LayerIndex) -> Result<Tree, LayerError> {
    let mut names = Names::default();
    archive.entries.iter().try_for_each(|entry| names.add(entry)).map_err(|problem| problem.of(archive.key))?;
    Ok(names.into_tree())
}

/// A name of an inode.
#[derive(Clone, Copy)]
struct Name {
    inode: usize,
    /// Number of the layer that gave this name.
    layer: usize,
}

/// A file tree in the making. Keys are normalised paths; their bytewise order puts everything below `a` between `a/`
/// and `a0`, the byte after `/`.
#[derive(Default)]
struct Names {
    names: BTreeMap<Vec<u8>, Name>,
    inodes: Vec<Node>,
    layer: usize,
    steps: u64,
}

impl Names {
    fn next_layer(&mut self) {
        self.layer += 1;
    }

    fn remove_whiteouts(&mut self, entries: &[Entry]) -> Result<(), Problem> {
        for entry in entries {
            let name = entry.path.file_name();
            let Some(victim) = name.strip_prefix(WHITEOUT) else { continue };
            let shown = || show(entry.path.as_bytes());
            if matches!(victim, b"" | b"." | b"..") {
                return Err(Problem::Whiteout { entry: shown() });
            }
            if name.starts_with(AUFS) && name != OPAQUE {
                continue;
            }
            let parent = entry.path.parent().unwrap_or_default();
            let directory = self.resolve(parent.as_bytes(), &entry.path)?;
            if name == OPAQUE {
                self.remove_below(&directory);
            } else {
                self.remove(&below(&directory, victim));
            }
        }
        Ok(())
    }

    fn add(&mut self, Entry { path, node }: &Entry) -> Result<(), Problem> {
        let Some(parent) = path.parent() else {
            self.put(Vec::new(), node.clone());
            return Ok(());
        };
        let directory = self.resolve(parent.as_bytes(), path)?;
        self.make_directories(&directory, path)?;
        let at = below(&directory, path.file_name());
        match &node.kind {
            Kind::HardLink(target) => self.link(at, target, path)?,
            Kind::Directory if self.is_directory(&at) => self.put(at, node.clone()),
            _ => {
                self.remove(&at);
                self.put(at, node.clone());
            }
        }
        Ok(())
    }

    fn link(&mut self, at: Vec<u8>, target: &TreePath, entry: &TreePath) -> Result<(), Problem> {
        let problem = |why| Problem::LinkTarget { entry: show(entry.as_bytes()), target: show(target.as_bytes()), why };
        let directory = self.resolve(target.parent().unwrap_or_default().as_bytes(), entry)?;
        let found = below(&directory, target.file_name());
        let &Name { inode, .. } = self.names.get(&found).ok_or_else(|| problem("is not there"))?;
        if self.inodes[inode].kind == Kind::Directory {
            return Err(problem("is a directory"));
        }
        if found != at {
            self.remove(&at);
            self.names.insert(at, Name { inode, layer: self.layer });
        }
        Ok(())
    }

    /// Follows the symbolic links among the components of a directory's path. What is not there counts as a directory.
    fn resolve(&mut self, path: &[u8], entry: &TreePath) -> Result<Vec<u8>, Problem> {
        // The common case: nothing to follow. A directory's parents are directories.
        if path.is_empty() || self.is_directory(path) {
            return Ok(path.to_vec());
        }
        let mut resolved = Vec::new();
        // Components still to go, the next one last.
        let mut rest: Vec<Vec<u8>> = components(path);
        // The link that the components come from, and how many were followed.
        let (mut link, mut links) = (Vec::new(), 0);
        while let Some(component) = rest.pop() {
            self.steps += 1;
            let shown = |link: &[u8]| (show(entry.as_bytes()), show(link));
            if component == b".." {
                if resolved.is_empty() {
                    let (entry, link) = shown(&link);
                    return Err(Problem::SymlinkEscape { entry, link });
                }
                resolved.truncate(resolved.iter().rposition(|b| *b == b'/').unwrap_or(0));
                continue;
            }
            let here = below(&resolved, &component);
            let target = match self.kind(&here) {
                Some(Kind::Symlink(target)) => target.clone(),
                _ => {
                    resolved = here;
                    continue;
                }
            };
            links += 1;
            if links > LINKS || self.steps > STEPS || here.len() > LONGEST {
                let (entry, link) = shown(&here);
                return Err(Problem::SymlinkLoop { entry, link, steps: links });
            }
            if target.starts_with(b"/") {
                resolved.clear();
            }
            rest.extend(components(&target));
            link = here;
        }
        Ok(resolved)
    }

    /// Makes sure that a resolved path and its parents are directories.
    fn make_directories(&mut self, path: &[u8], entry: &TreePath) -> Result<(), Problem> {
        if path.is_empty() || self.is_directory(path) {
            return Ok(());
        }
        let ends = path.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let part = &path[..end];
            match self.names.get(part) {
                Some(_) if self.is_directory(part) => continue,
                Some(name) if name.layer == self.layer => {
                    let (entry, parent) = (show(entry.as_bytes()), show(part));
                    return Err(Problem::NotADirectory { entry, parent });
                }
                // A layer that has something below a lower layer's file means a directory there.
                Some(_) => self.remove(part),
                None => {}
            }
            let meta = Metadata { mode: 0o755, ..Metadata::default() };
            self.put(part.to_vec(), Node { meta, kind: Kind::Directory });
        }
        Ok(())
    }

    fn kind(&self, path: &[u8]) -> Option<&Kind> {
        self.names.get(path).map(|name| &self.inodes[name.inode].kind)
    }

    fn is_directory(&self, path: &[u8]) -> bool {
        self.kind(path) == Some(&Kind::Directory)
    }

    fn put(&mut self, path: Vec<u8>, node: Node) {
        self.names.insert(path, Name { inode: self.inodes.len(), layer: self.layer });
        self.inodes.push(node);
    }

    fn remove(&mut self, path: &[u8]) {
        if self.names.remove(path).is_some() {
            self.remove_below(path);
        }
    }

    fn remove_below(&mut self, directory: &[u8]) {
        if directory.is_empty() {
            self.names.retain(|path, _| path.is_empty());
            return;
        }
        let (start, end) = ([directory, b"/"].concat(), [directory, b"0"].concat());
        let within = (Bound::Excluded(start), Bound::Excluded(end));
        let gone: Vec<_> = self.names.range::<Vec<u8>, _>(within).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.names.remove(&path);
        }
    }

    fn into_tree(self) -> Tree {
        let mut tree = Tree::default();
        let mut first: Vec<Option<TreePath>> = vec![None; self.inodes.len()];
        for (path, Name { inode, .. }) in self.names {
            let path = TreePath::new(&path).expect("names are made of normalised paths");
            let mut node = self.inodes[inode].clone();
            // Only files are linked; a second name of anything else is as good as a copy.
            if let (Kind::File(_), Some(first)) = (&node.kind, &first[inode]) {
                node.kind = Kind::HardLink(first.clone());
            } else {
                first[inode] = Some(path.clone());
            }
            tree.nodes_mut().insert(path, node);
        }
        tree
    }
}

fn below(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

/// The components of a path, the first one last; `.` and empty ones are left out.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/').rev().filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec).collect()
}
