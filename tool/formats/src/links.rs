//! Which names of the machine's tree are one file.

use std::collections::BTreeMap;

use bootwright_oci::{Content, Kind, TreePath};
use bootwright_rootfs::{Machine, Placed};

use crate::Error;
use crate::content::component_name;

/// The files of a tree that have several names.
#[derive(Debug, Default)]
pub(crate) struct Links<'m> {
    /// All names, in order, by the path that holds the content.
    names: BTreeMap<&'m TreePath, Vec<&'m TreePath>>,
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
        names.values_mut().for_each(|names| names.sort_unstable());
        Ok(Self { names })
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
