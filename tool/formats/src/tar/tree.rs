//! A machine as tar entries.

use std::collections::BTreeMap;
use std::io::Write;

use bootwright_oci::{Kind, Metadata, Node, ReadContent, Task, TreePath};
use bootwright_rootfs::{Boot, Component, Machine, Placed};

use super::pax::{Entry, EntryKind, Writer};
use crate::content::{self, Owner};
use crate::error::Fault;
use crate::kernel::Kernel;
use crate::links::{self, Links};
use crate::{Error, GENERATED_MTIME};

/// A generated file of a format that is not part of the machine, such as a Dockerfile.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extra {
    pub(crate) name: &'static str,
    pub(crate) content: &'static str,
}

/// Refuses a tree that cannot be written, before anything is.
pub(crate) fn check(machine: &Machine, extras: &[Extra]) -> Result<(), Error> {
    let boot = boot_machine(machine);
    for machine in [machine, &boot] {
        links::check_parents(machine)?;
        Links::of(machine)?;
    }
    let generated = machine.boot.kernel.as_ref().map_or(&[][..], |_| &BOOT_FILES);
    for name in extras.iter().map(|extra| &extra.name).chain(generated) {
        let path = TreePath::new(name).expect("a constant without `..`");
        if let Some(placed) = machine.tree.get(&path).or_else(|| boot.tree.get(&path)) {
            let component = content::component_name(machine, placed.component);
            return Err(Error::Tree { path: (*name).to_owned(), component, what: "this path is the format's own" });
        }
    }
    Ok(())
}

/// What is generated below `boot/`.
const BOOT_FILES: [&str; 3] = ["boot/cmdline", "boot/kernel", "boot/ucode.cpio"];

/// The directory `boot` with the files that the kernel image has there besides the kernel, as a machine of its own.
fn boot_machine(machine: &Machine) -> Machine {
    let component = machine.components.iter().position(|c| c.location == "kernel").unwrap_or_default();
    let boot = TreePath::new("boot").expect("a constant without `..`");
    let mut tree = BTreeMap::new();
    if machine.boot.kernel.is_some() || !machine.boot.files.is_empty() {
        let meta = Metadata { mode: 0o755, mtime: GENERATED_MTIME.into(), ..Metadata::default() };
        let node = Node { meta, kind: Kind::Directory };
        let directory = machine.tree.get(&boot).cloned().unwrap_or(Placed { node, component });
        tree.insert(boot.clone(), directory);
    }
    for (path, node) in &machine.boot.files {
        let mut node = node.clone();
        if let Kind::HardLink(target) = &mut node.kind {
            *target = boot.join(target);
        }
        tree.insert(boot.join(path), Placed { node, component });
    }
    Machine {
        platform: machine.platform.clone(),
        components: machine.components.clone(),
        tree,
        boot: Boot::default(),
        native_init: machine.native_init,
        early: None,
        root: machine.root,
        kernel_floor_mib: machine.kernel_floor_mib,
    }
}

/// Writes a machine.
pub(crate) fn write(
    machine: &Machine,
    kernel: Option<&Kernel>,
    extras: &[Extra],
    read: &dyn ReadContent,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> Result<(), Fault> {
    let mut tar = Writer::new(out);
    let generated = |name: &'static str, size| Entry {
        name: name.as_bytes(),
        kind: EntryKind::File(size),
        mode: 0o644,
        mtime: GENERATED_MTIME.into(),
        ..Entry::default()
    };
    for Extra { name, content } in extras {
        tar.entry(&generated(name, content.len() as u64))?;
        tar.write_all(content.as_bytes())?;
    }
    let boot = boot_machine(machine);
    let boot_nodes = Nodes { machine: &boot, links: Links::of(&boot)?, records: true, read };
    let mut boot_paths = boot.tree.iter();
    if let Some((path, placed)) = boot_paths.next() {
        boot_nodes.write(path, placed, &mut tar, progress)?;
    }
    if let Some(kernel) = kernel {
        let records = records(machine.components.iter().find(|c| c.location == "kernel"));
        let [cmdline_name, kernel_name, ucode_name] = BOOT_FILES;
        let cmdline = machine.boot.cmdline.as_bytes();
        tar.entry(&Entry { records: &records, ..generated(cmdline_name, cmdline.len() as u64) })?;
        tar.write_all(cmdline)?;
        tar.entry(&Entry { records: &records, ..generated(kernel_name, kernel.size()) })?;
        kernel.copy_to(read, &mut tar, progress)?;
        if let Some(ucode) = &machine.boot.ucode {
            tar.entry(&Entry { records: &records, ..generated(ucode_name, ucode.size()) })?;
            content::copy(ucode, Owner::Boot("boot/ucode.cpio"), read, &mut tar, progress)?;
        }
    }
    for (path, placed) in boot_paths {
        boot_nodes.write(path, placed, &mut tar, progress)?;
    }
    let nodes = Nodes { machine, links: Links::of(machine)?, records: true, read };
    for (path, placed) in &machine.tree {
        if !boot.tree.contains_key(path) {
            nodes.write(path, placed, &mut tar, progress)?;
        }
    }
    tar.finish()?.flush()?;
    Ok(())
}

/// Writes a machine's tree alone, as the layer of a container image: its bytes depend on the files and not on who put them
/// there.
pub(crate) fn write_layer(
    machine: &Machine,
    read: &dyn ReadContent,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> Result<(), Fault> {
    let mut tar = Writer::new(out);
    let nodes = Nodes { machine, links: Links::of(machine)?, records: false, read };
    for (path, placed) in &machine.tree {
        nodes.write(path, placed, &mut tar, progress)?;
    }
    tar.finish()?.flush()?;
    Ok(())
}

/// The nodes of a tree.
struct Nodes<'a> {
    machine: &'a Machine,
    links: Links<'a>,
    /// Whether each says who put it there.
    records: bool,
    read: &'a dyn ReadContent,
}

impl Nodes<'_> {
    /// Writes one of them.
    fn write(
        &self,
        path: &TreePath,
        placed: &Placed,
        tar: &mut Writer<&mut dyn Write>,
        progress: &mut dyn Task,
    ) -> Result<(), Fault> {
        let file = links::content(self.machine, path, placed);
        let first = file.and_then(|(target, _)| self.links.names(target)).and_then(<[_]>::first);
        let kind = match (&placed.node.kind, file, first) {
            (_, Some(_), Some(first)) if *first != path => EntryKind::HardLink(first.as_bytes()),
            (_, Some((_, content)), _) => EntryKind::File(content.size()),
            (Kind::Symlink(target), ..) => EntryKind::Symlink(target),
            (Kind::CharDevice { major, minor }, ..) => EntryKind::Char(*major, *minor),
            (Kind::BlockDevice { major, minor }, ..) => EntryKind::Block(*major, *minor),
            (Kind::Fifo, ..) => EntryKind::Fifo,
            (Kind::Directory | Kind::File(_) | Kind::HardLink(_), ..) => EntryKind::Directory,
        };
        let name = match kind {
            EntryKind::Directory if path.is_root() => b"./".to_vec(),
            EntryKind::Directory => [path.as_bytes(), b"/"].concat(),
            _ => path.as_bytes().to_vec(),
        };
        let meta = &placed.node.meta;
        let component = self.machine.components.get(placed.component).filter(|_| self.records);
        tar.entry(&Entry {
            name: &name,
            kind,
            mode: meta.mode & 0o7777,
            uid: meta.uid,
            gid: meta.gid,
            mtime: meta.mtime,
            xattrs: Some(&meta.xattrs),
            records: &records(component),
        })?;
        if let (EntryKind::File(_), Some((_, content))) = (kind, file) {
            content::copy(content, Owner::Node(self.machine, path, placed.component), self.read, tar, progress)?;
        }
        Ok(())
    }
}

/// LinuxKit's records: who put an entry there.
fn records(component: Option<&Component>) -> Vec<(&'static str, &str)> {
    component.map_or_else(Vec::new, |component| {
        vec![("LINUXKIT.source", component.source.as_str()), ("LINUXKIT.location", component.location.as_str())]
    })
}
