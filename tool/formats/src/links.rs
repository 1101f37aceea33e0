//! Which names of the machine's tree are one file.
//!
//! Those are its hard links. An image that nobody can write to makes one file of equal ones too, so that the kernel unpacks and
//! caches them once, but only of those in different components. What one container has as two files stays two: a copy that keeps
//! hard links (`cp -a`, `tar`) would tie them together where they can be written, and so would an overlay with `index=on`.

use std::collections::BTreeMap;

use bootwright_oci::{Content, Digest, Kind, Metadata, TreePath};
use bootwright_rootfs::{Machine, Placed};

use crate::Error;
use crate::content::component_name;

/// Smallest file that is shared with other components. Less saves few pages, and there are programs that refuse a configuration
/// with several names: Debian's cron does.
const SHARED_MIN: u64 = 16 << 10;

/// The files of a tree that have several names.
#[derive(Debug, Default)]
pub(crate) struct Links<'m> {
    /// All names, in order, by the path that holds the content.
    names: BTreeMap<&'m TreePath, Vec<&'m TreePath>>,
    /// That path, by name.
    holders: BTreeMap<&'m TreePath, &'m TreePath>,
}

impl<'m> Links<'m> {
    /// Gathers them.
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] for a link whose target is not a file of the tree.
    pub(crate) fn of(machine: &'m Machine) -> Result<Self, Error> {
        let mut names: BTreeMap<&TreePath, Vec<&TreePath>> = BTreeMap::new();
        for (path, placed) in &machine.tree {
            let Kind::HardLink(target) = &placed.node.kind else { continue };
            let Some((target, Placed { node, .. })) = machine.tree.get_key_value(target) else {
                return Err(broken(machine, path, placed, "a hard link to nothing"));
            };
            if !matches!(node.kind, Kind::File(_)) {
                return Err(broken(machine, path, placed, "a hard link to something else than a file"));
            }
            names.entry(target).or_insert_with(|| vec![target]).push(path);
        }
        Ok(Self::new(names))
    }

    /// Gathers them for an image that nobody can write to: equal files of different components are one there.
    ///
    /// # Errors
    ///
    /// Those of [`Links::of`].
    pub(crate) fn shared(machine: &'m Machine) -> Result<Self, Error> {
        let mut names = Self::of(machine)?.names;
        // The n-th of a component's equal files is one with the n-th of every other's.
        let mut counts: BTreeMap<(Digest, &Metadata, usize), usize> = BTreeMap::new();
        let mut firsts: BTreeMap<(Digest, &Metadata, usize), &TreePath> = BTreeMap::new();
        for (path, Placed { node, component }) in &machine.tree {
            let Kind::File(content) = &node.kind else { continue };
            if content.size() < SHARED_MIN {
                continue;
            }
            let (digest, meta) = (content.digest(), &node.meta);
            let nth = counts.entry((digest, meta, *component)).or_default();
            let first = *firsts.entry((digest, meta, *nth)).or_insert(path);
            *nth += 1;
            if first != path {
                let more = names.remove(path).unwrap_or_else(|| vec![path]);
                names.entry(first).or_insert_with(|| vec![first]).extend(more);
            }
        }
        Ok(Self::new(names))
    }

    fn new(mut names: BTreeMap<&'m TreePath, Vec<&'m TreePath>>) -> Self {
        names.values_mut().for_each(|names| names.sort_unstable());
        let holders = names.iter().flat_map(|(holder, names)| names.iter().map(|name| (*name, *holder))).collect();
        Self { names, holders }
    }

    /// The path that holds the content of a file of that name.
    pub(crate) fn holder(&self, name: &'m TreePath) -> &'m TreePath {
        self.holders.get(name).copied().unwrap_or(name)
    }

    /// All names of the file whose content is at `target`, in order, itself included; none if it has no other name.
    pub(crate) fn names(&self, target: &TreePath) -> Option<&[&'m TreePath]> {
        self.names.get(target).map(Vec::as_slice)
    }
}

/// The path that holds a file's content, and the content; none for what is no file.
pub(crate) fn content<'m>(
    machine: &'m Machine,
    path: &'m TreePath,
    placed: &'m Placed,
) -> Option<(&'m TreePath, &'m Content)> {
    match &placed.node.kind {
        Kind::File(content) => Some((path, content)),
        Kind::HardLink(target) => match &machine.tree.get(target)?.node.kind {
            Kind::File(content) => Some((target, content)),
            _ => None,
        },
        _ => None,
    }
}

/// Refuses a tree that lacks a parent of one of its nodes.
pub(crate) fn check_parents(machine: &Machine) -> Result<(), Error> {
    for (path, placed) in &machine.tree {
        if let Some(parent) = path.parent().filter(|p| !p.is_root()) {
            match machine.tree.get(&parent).map(|p| &p.node.kind) {
                Some(Kind::Directory) => {}
                Some(_) => return Err(broken(machine, path, placed, "its parent is not a directory")),
                None => return Err(broken(machine, path, placed, "its parent is missing")),
            }
        }
    }
    Ok(())
}

fn broken(machine: &Machine, path: &TreePath, placed: &Placed, what: &'static str) -> Error {
    Error::Tree { path: path.to_string(), component: component_name(machine, placed.component), what }
}
