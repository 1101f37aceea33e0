//! `kernel.modules`: which of a kernel's modules go into the machine (names, globs, presets), with all that they need.
//!
//! What needs what is read from the files that depmod left: `modules.dep` for symbols, `modules.softdep` for what a module
//! asks for by name or alias. The boot set is always in. Where anything is left out, depmod's files, text and binary, are
//! written anew for what is kept, and `modules.left-out` says what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bootwright_bundle::{LEFT_OUT, glob_match, is_glob};
use bootwright_oci::{Kind, ReadContent, Tree, TreePath};
use bootwright_spec::Spanned;

use crate::inputs::read_all;
use crate::merge::file;
use crate::modules_index::{Index, module_name};
use crate::problems::{Describe, Problems};

/// What reaches a root, a disk, a network and a console in a virtual machine, and hears the power button.
const BOOT: [&str; 10] = [
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "loop",
    "squashfs",
    "overlay",
    "dm_verity",
    "button",
    "evdev",
];

/// The rest of what QEMU's and other virtio machines have. SCSI, which is 0.8 MB, is with the clouds that use it.
const VIRTIO: [&str; 6] = ["virtio_mmio", "virtio_rng", "virtio_balloon", "qemu_fw_cfg", "pvpanic_mmio", "pvpanic_pci"];

/// Disks, networks and configuration drives of the large clouds and of VMware.
const CLOUD: [&str; 38] = [
    "virtio_scsi",
    "sd_mod",
    "ena",
    "gve",
    "mana",
    "nvme",
    "nvme_core",
    "hv_vmbus",
    "hv_utils",
    "hv_netvsc",
    "hv_storvsc",
    "hv_balloon",
    "hv_sock",
    "hyperv_keyboard",
    "pci_hyperv",
    "xen_blkfront",
    "xen_netfront",
    "xen_pcifront",
    "xen_scsifront",
    "vmxnet3",
    "vmw_pvscsi",
    "vmw_balloon",
    "ixgbevf",
    "iavf",
    "e1000",
    "e1000e",
    "ahci",
    "ata_piix",
    "sr_mod",
    "isofs",
    "vfat",
    "nls_ascii",
    "nls_iso8859_1",
    "virtiofs",
    "9pnet_virtio",
    "9p",
    "vmw_vsock_virtio_transport",
    "ptp_kvm",
];

const PRESETS: [&str; 3] = ["virtio", "cloud", "all"];

/// Larger than any file of depmod's.
const LIMIT: u64 = 64 << 20;

/// What came of choosing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// There are modules, of a kernel of this version.
    Some {
        /// As the directory is called.
        version: String,
    },
    /// The tree has none.
    NoModules,
}

/// Cuts the modules in a tree down to those wanted. Unknown names are errors.
pub(crate) fn choose(
    tree: &mut Tree,
    wanted: &[Spanned<String>],
    store: &(impl ReadContent + ?Sized),
    problems: &mut Problems,
) -> Chosen {
    let directories = directories(tree);
    let Some(last) = directories.last() else { return Chosen::NoModules };
    let version = String::from_utf8_lossy(last.file_name()).into_owned();
    if wanted.iter().any(|w| w.value == "all") {
        return Chosen::Some { version };
    }
    for directory in &directories {
        let texts = match texts(tree, directory, store) {
            Ok(texts) => texts,
            Err((path, error)) => {
                problems.error(None, format!("reading `{path}` of the kernel's tar: {error}"));
                continue;
            }
        };
        let Some(index) = index(&texts) else {
            let at = wanted.first().map(|w| w.span);
            problems
                .error(at, format!("`{directory}` has no `modules.dep`, so that modules cannot be chosen from it"))
                .hint("run `depmod -b` where the kernel's tar is made, or keep them all: `modules: [all]`");
            continue;
        };
        let kept = index.closure(select(&index, wanted, problems));
        if kept.len() < index.modules.len() {
            cut(tree, directory, &index, &kept, &texts);
        }
    }
    Chosen::Some { version }
}

/// depmod's text files of a directory of modules, by name.
pub(crate) fn texts(
    tree: &Tree,
    directory: &TreePath,
    store: &(impl ReadContent + ?Sized),
) -> Result<BTreeMap<String, String>, (TreePath, io::Error)> {
    let mut texts = BTreeMap::new();
    for (path, node) in tree.iter() {
        let Kind::File(content) = &node.kind else { continue };
        let name = String::from_utf8_lossy(path.file_name()).into_owned();
        if path.parent().as_ref() != Some(directory) || !name.starts_with("modules.") || name.ends_with(".bin") {
            continue;
        }
        let bytes = read_all(store, content, LIMIT).map_err(|error| (path.clone(), error))?;
        texts.insert(name, String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(texts)
}

/// What depmod knows; none without a `modules.dep`.
pub(crate) fn index(texts: &BTreeMap<String, String>) -> Option<Index> {
    let text = |name: &str| texts.get(name).map(String::as_str).unwrap_or_default();
    Some(Index::parse(
        texts.get("modules.dep")?,
        text("modules.softdep"),
        text("modules.alias"),
        text("modules.builtin"),
        text("modules.builtin.modinfo"),
    ))
}

/// Every `lib/modules/VERSION` of a tree.
pub(crate) fn directories(tree: &Tree) -> Vec<TreePath> {
    let homes = ["lib/modules", "usr/lib/modules"].map(|p| TreePath::new(p).unwrap_or_default());
    let mut all: Vec<TreePath> = tree
        .iter()
        .filter(|(path, node)| {
            matches!(node.kind, Kind::Directory) && path.parent().is_some_and(|parent| homes.contains(&parent))
        })
        .map(|(path, _)| path.clone())
        .collect();
    let holds = |directory: &TreePath| {
        tree.iter().any(|(p, _)| {
            p.is_within(directory) && (module_name(p.file_name()).is_some() || p.file_name() == b"modules.dep")
        })
    };
    all.retain(holds);
    all
}

/// The modules that are asked for by name, the boot set among them.
fn select(index: &Index, wanted: &[Spanned<String>], problems: &mut Problems) -> BTreeSet<String> {
    let mut chosen = BTreeSet::new();
    let mut preset = |names: &[&str]| {
        chosen.extend(names.iter().filter(|n| index.modules.contains_key(**n)).map(|n| (*n).to_owned()));
    };
    preset(&BOOT);
    for word in wanted {
        match word.as_str() {
            "virtio" => preset(&VIRTIO),
            "cloud" => {
                preset(&VIRTIO);
                preset(&CLOUD);
            }
            _ => {}
        }
    }
    for word in wanted.iter().filter(|w| !PRESETS.contains(&w.as_str())) {
        let found = index.matching(word);
        if found.is_empty() && !index.is_builtin(word) {
            let error = problems.error(Some(word.span), format!("this kernel has no module `{}`", word.value));
            let name = word.replace('-', "_");
            let names = index.modules.keys().chain(&index.builtin).map(String::as_str);
            match bootwright_spec::nearest(&name, names.chain(PRESETS)) {
                Some(near) if !is_glob(word) => error.hint(format!("did you mean `{near}`?")),
                _ => error.hint("names and globs of its modules are allowed, and `virtio`, `cloud` and `all`"),
            };
        }
        chosen.extend(found);
    }
    chosen
}

/// Takes out what is not kept and rewrites what speaks of it.
pub(crate) fn cut(
    tree: &mut Tree,
    directory: &TreePath,
    index: &Index,
    kept: &BTreeSet<String>,
    texts: &BTreeMap<String, String>,
) {
    let mut doomed = Vec::new();
    for (path, node) in tree.iter().filter(|(p, _)| p.is_within(directory)) {
        if matches!(node.kind, Kind::Directory) {
            continue;
        }
        let name = String::from_utf8_lossy(path.file_name());
        // Links to the sources lead nowhere; a binary index that is not made anew below would lie.
        let lies = name.ends_with(".bin") && !name.starts_with("modules.builtin");
        let rewritten = ["modules.dep.bin", "modules.alias.bin", "modules.symbols.bin"].contains(&&*name);
        let top = path.parent().as_ref() == Some(directory);
        if top && (lies && !rewritten || name == "build" || name == "source")
            || module_name(path.file_name()).is_some_and(|module| !kept.contains(&module))
        {
            doomed.push(path.clone());
        }
    }
    for path in &doomed {
        tree.nodes_mut().remove(path);
    }
    // Links whose file is gone: modules are no links in any kernel that there is, so they go as well.
    let lost: Vec<TreePath> = tree
        .iter()
        .filter(|(_, n)| matches!(&n.kind, Kind::HardLink(target) if tree.get(target).is_none()))
        .map(|(p, _)| p.clone())
        .collect();
    for path in lost {
        tree.nodes_mut().remove(&path);
    }
    let used: BTreeSet<TreePath> = tree
        .iter()
        .filter(|(_, node)| !matches!(node.kind, Kind::Directory))
        .flat_map(|(path, _)| std::iter::successors(path.parent(), TreePath::parent))
        .collect();
    tree.nodes_mut().retain(|path, node| {
        !matches!(node.kind, Kind::Directory) || path == directory || !path.is_within(directory) || used.contains(path)
    });
    for (name, text) in texts {
        let Some(text) = index.rewrite(name, text, kept) else { continue };
        let mut replace = |name: String, bytes: Vec<u8>| {
            let place = directory.join(&TreePath::new(name).unwrap_or_default());
            if let Some(node) = tree.nodes_mut().get_mut(&place) {
                node.kind = file(0o644, bytes).kind;
            }
        };
        if let Some(bytes) = index.binary(name, &text) {
            replace(format!("{name}.bin"), bytes);
        }
        replace(name.clone(), text.into_bytes());
    }
    let list = index.left_out(kept).to_string();
    if let Ok(name) = TreePath::new(LEFT_OUT) {
        tree.nodes_mut().insert(directory.join(&name), file(0o644, list.into_bytes()));
    }
}

/// Whether a word of the spec means a module.
pub(crate) fn means(word: &str, name: &str, path: &str) -> bool {
    if word.contains('/') {
        let stem = path.split(".ko").next().unwrap_or(path);
        let stem = stem.strip_prefix("kernel/").unwrap_or(stem);
        return glob_match(word.strip_prefix("kernel/").unwrap_or(word), stem);
    }
    let word = word.replace('-', "_");
    // A class such as `[0-9]` keeps its dash.
    if word.contains('[') {
        glob_match(&word.replace("_", "-"), &name.replace('_', "-"))
    } else {
        glob_match(&word, name)
    }
}

#[cfg(test)]
#[path = "modules_tests.rs"]
mod tests;
