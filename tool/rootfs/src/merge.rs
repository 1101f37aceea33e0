//! The tree in the making: components laid over each other, as the kernel's initramfs unpacker or tar would do it, but
//! with the outcome known before anything is written.
//!
//! What always holds: every node's parent is there and is a directory; a hard link points to a file of its own component;
//! a directory belongs to the first component that has it.

use std::collections::{BTreeMap, BTreeSet};

use bootwright_oci::{Kind, Metadata, Node, Tree, TreePath};

use crate::machine::{Component, Placed};
use crate::resolve::resolve;

/// Time of everything that we make: 2017-04-18 16:30:00 UTC, as LinuxKit has it.
pub(crate) const MTIME: i64 = 1_492_533_000;

#[derive(Debug, Default)]
pub(crate) struct Merge {
    pub(crate) components: Vec<Component>,
    pub(crate) tree: BTreeMap<TreePath, Placed>,
    /// Hard links by what they point to.
    links: BTreeMap<TreePath, BTreeSet<TreePath>>,
}

impl Merge {
    /// Opens a component; what is put next names it by this number.
    pub(crate) fn component(&mut self, location: &str, source: &str, name: Option<&str>) -> usize {
        let name = name.map_or_else(|| location.to_owned(), |name| format!("{location} {name}"));
        self.components.push(Component { location: location.to_owned(), source: source.to_owned(), name });
        self.components.len() - 1
    }

    pub(crate) fn kind(&self, path: &TreePath) -> Option<&Kind> {
        self.tree.get(path).map(|placed| &placed.node.kind)
    }

    /// Where a path really lies: links in its parents are followed, so that `lib/modules` ends in `usr/lib/modules` where
    /// `lib` is a link. A loop is taken literally.
    pub(crate) fn locate(&self, path: &TreePath) -> TreePath {
        resolve(|p| self.kind(p), path.as_bytes(), false).unwrap_or_else(|_| path.clone())
    }

    /// The parent of a path that is there and is no directory, if any is.
    pub(crate) fn blocker(&self, path: &TreePath) -> Option<TreePath> {
        std::iter::successors(path.parent(), TreePath::parent)
            .filter(|p| !p.is_root())
            .find(|p| self.kind(p).is_some_and(|k| !matches!(k, Kind::Directory)))
    }

    /// Lays a tree over the root: later metadata, files and links win, links to directories are kept and followed.
    pub(crate) fn overlay(&mut self, component: usize, tree: &Tree) {
        let mut links = Vec::new();
        // Siblings follow each other, so that most parents need not be located again.
        let mut parent: Option<(TreePath, TreePath)> = None;
        for (path, node) in tree.iter() {
            if let Kind::HardLink(target) = &node.kind {
                links.push((path, node, target));
            } else if !path.is_root() {
                let above = path.parent().unwrap_or_default();
                let at = match &parent {
                    Some((given, located)) if *given == above => {
                        located.join(&TreePath::new(path.file_name()).unwrap_or_default())
                    }
                    _ => self.locate(path),
                };
                parent = at.parent().map(|located| (above, located));
                if matches!(node.kind, Kind::Symlink(_)) {
                    self.move_under_link(&at, node);
                }
                self.put(component, &at, node.clone());
            }
        }
        for (path, node, target) in links {
            let (at, target_at) = (self.locate(path), self.locate(target));
            let ours = self.tree.get(&target_at).is_some_and(|p| p.component == component && is_file(&p.node));
            let kind = if ours {
                Kind::HardLink(target_at)
            } else {
                tree.get(target).map_or_else(|| node.kind.clone(), |n| n.kind.clone())
            };
            self.put(component, &at, Node { meta: node.meta.clone(), kind });
        }
    }

    /// Puts a tree below a directory, as it is: nothing there is followed. The root's own metadata becomes the directory's.
    pub(crate) fn graft(&mut self, component: usize, below: &TreePath, tree: &Tree) {
        self.directories(component, below);
        for (path, node) in tree.iter() {
            let mut node = node.clone();
            if let Kind::HardLink(target) = &node.kind {
                let target = below.join(target);
                self.links.entry(target.clone()).or_default().insert(below.join(path));
                node.kind = Kind::HardLink(target);
            }
            self.tree.insert(below.join(path), Placed { node, component });
        }
    }

    /// Puts one node, parents included; whatever stood there goes, and a directory takes what is below it along.
    /// A directory over a directory, or over a link to one, only brings its metadata.
    pub(crate) fn put(&mut self, component: usize, path: &TreePath, node: Node) {
        if path.is_root() {
            return;
        }
        if let Some(parent) = path.parent() {
            self.directories(component, &parent);
        }
        if matches!(node.kind, Kind::Directory)
            && let Some(existing) = self.directory_at(path)
        {
            if let Some(placed) = self.tree.get_mut(&existing) {
                placed.node.meta = node.meta;
            }
            return;
        }
        self.remove(path);
        if let Kind::HardLink(target) = &node.kind {
            self.links.entry(target.clone()).or_default().insert(path.clone());
        }
        self.tree.insert(path.clone(), Placed { node, component });
    }

    /// Makes a directory and its parents (0755, root) where they do not exist; what exists is left as it is.
    pub(crate) fn directories(&mut self, component: usize, path: &TreePath) {
        let mut missing = Vec::new();
        let mut at = path.clone();
        while !at.is_root() && !matches!(self.kind(&at), Some(Kind::Directory)) {
            let parent = at.parent().unwrap_or_default();
            missing.push(std::mem::replace(&mut at, parent));
        }
        for path in missing.into_iter().rev() {
            self.remove(&path);
            self.tree.insert(path, Placed { node: directory(0o755), component });
        }
    }

    /// Removes a node and all below it. A file that has further names lives on under the first of them.
    pub(crate) fn remove(&mut self, path: &TreePath) {
        let doomed: Vec<TreePath> = self
            .tree
            .range(path.clone()..)
            .take_while(|(p, _)| p.as_bytes().starts_with(path.as_bytes()))
            .filter(|(p, _)| p.is_within(path))
            .map(|(p, _)| p.clone())
            .collect();
        // Links first, so that no file is moved to a name that goes as well.
        for path in &doomed {
            if let Some(Kind::HardLink(target)) = self.kind(path) {
                let target = target.clone();
                if let Some(names) = self.links.get_mut(&target) {
                    names.remove(path);
                }
                self.tree.remove(path);
            }
        }
        for path in &doomed {
            let Some(placed) = self.tree.remove(path) else { continue };
            let Some(mut names) = self.links.remove(path) else { continue };
            let Some(first) = names.pop_first() else { continue };
            for name in &names {
                if let Some(link) = self.tree.get_mut(name) {
                    link.node.kind = Kind::HardLink(first.clone());
                }
            }
            self.tree.insert(first.clone(), placed);
            if !names.is_empty() {
                self.links.insert(first, names);
            }
        }
    }

    /// Takes a subtree out, paths relative to it; hard links out of it become files.
    pub(crate) fn split_off(&mut self, root: &TreePath) -> BTreeMap<TreePath, Node> {
        let mut out = BTreeMap::new();
        for (path, placed) in self.tree.range(root.clone()..) {
            if !path.as_bytes().starts_with(root.as_bytes()) {
                break;
            }
            if !path.is_within(root) || path == root {
                continue;
            }
            let mut node = placed.node.clone();
            if let Kind::HardLink(target) = &node.kind {
                node.kind = match target.as_bytes().get(root.as_bytes().len() + 1..) {
                    Some(rest) if target.is_within(root) => Kind::HardLink(TreePath::new(rest).unwrap_or_default()),
                    _ => self.kind(target).cloned().unwrap_or(Kind::Directory),
                };
            }
            let relative = path.as_bytes().get(root.as_bytes().len() + 1..).unwrap_or_default();
            out.insert(TreePath::new(relative).unwrap_or_default(), node);
        }
        self.remove(root);
        out
    }

    /// The directory at a path, or the one that a link there leads to.
    fn directory_at(&self, path: &TreePath) -> Option<TreePath> {
        let real = resolve(|p| self.kind(p), path.as_bytes(), true).ok()?;
        matches!(self.kind(&real), Some(Kind::Directory)).then_some(real)
    }

    /// Where a link to a directory comes after a directory with content (a merged `/usr` over a kernel's `/lib/modules`), the
    /// content moves to where the link leads, as it would have had the link been there first.
    fn move_under_link(&mut self, path: &TreePath, link: &Node) {
        let Kind::Symlink(target) = &link.kind else { return };
        if !matches!(self.kind(path), Some(Kind::Directory)) {
            return;
        }
        let parent = path.parent().unwrap_or_default();
        let from = if target.first() == Some(&b'/') { TreePath::default() } else { parent };
        let full = [from.as_bytes(), b"/", target].concat();
        let Ok(to) = resolve(|p| self.kind(p), &full, true) else { return };
        if to.is_within(path) || path.is_within(&to) {
            return;
        }
        let Some(component) = self.tree.get(path).map(|p| p.component) else { return };
        let owners: BTreeMap<TreePath, usize> = self
            .tree
            .range(path.clone()..)
            .take_while(|(p, _)| p.as_bytes().starts_with(path.as_bytes()))
            .map(|(p, placed)| (p.clone(), placed.component))
            .collect();
        self.directories(component, &to);
        for (relative, mut node) in self.split_off(path) {
            let owner = owners.get(&path.join(&relative)).copied().unwrap_or(component);
            if let Kind::HardLink(target) = &node.kind {
                node.kind = Kind::HardLink(to.join(target));
            }
            self.put(owner, &to.join(&relative), node);
        }
    }
}

/// A directory as we make them.
pub(crate) fn directory(mode: u32) -> Node {
    Node { meta: meta(mode), kind: Kind::Directory }
}

/// Metadata as we make it: root's, of the fixed time.
pub(crate) fn meta(mode: u32) -> Metadata {
    Metadata { mode, mtime: MTIME, ..Metadata::default() }
}

/// A file of ours.
pub(crate) fn file(mode: u32, bytes: impl Into<std::sync::Arc<[u8]>>) -> Node {
    Node { meta: meta(mode), kind: Kind::File(bootwright_oci::Content::inline(bytes)) }
}

/// A symbolic link of ours.
pub(crate) fn symlink(target: &str) -> Node {
    Node { meta: meta(0o777), kind: Kind::Symlink(target.as_bytes().to_vec()) }
}

fn is_file(node: &Node) -> bool {
    matches!(node.kind, Kind::File(_))
}
