//! The whole of assembly, in LinuxKit's order: kernel, init, volumes, onboot, onshutdown, services, files. Later things lie
//! over earlier ones. Every problem is reported; a machine comes out only if none is an error.

use std::borrow::Cow;

use bootwright_bundle::{Corruption, EARLY_LABEL, INIT_LABEL};
use bootwright_oci::{Content, Kind, LoadedImage, Node, Tree, TreePath};
use bootwright_spec::{Diagnostics, Spec};

use crate::accounts::Accounts;
use crate::inputs::{Inputs, read_all};
use crate::machine::{Machine, Root};
use crate::merge::{Merge, file};
use crate::problems::{Describe, Problems};
use crate::process::Common;
use crate::{containers, early, effective, files, kernel, loader, settings, stubs, volumes};

/// Version of our init's contract that an init image must name to be told more than LinuxKit's.
const INIT_VERSION: &str = "1";

/// Where apk keeps what is installed.
const APK: &str = "lib/apk/db/installed";

/// Assembles a machine.
///
/// # Errors
///
/// All that is wrong, if anything is; what is merely doubtful comes back beside the machine.
pub fn assemble(spec: &Spec, inputs: &Inputs<'_>) -> Result<(Machine, Diagnostics), Diagnostics> {
    let mut problems = Problems::default();
    let mut merge = Merge::default();
    let loaded = match &spec.kernel {
        Some(kernel) => kernel::add(&mut merge, kernel, spec.watchdog.as_ref(), inputs, &mut problems),
        None => kernel::Loaded::default(),
    };
    let init = init(&mut merge, spec, inputs, &mut problems);
    volumes::add(&mut merge, spec, inputs, &mut problems);
    let all = effective::containers(spec, inputs, &mut problems);
    let ids = containers::ids(spec);
    let common = Common {
        volumes: &spec.volumes,
        ids: &ids,
        architecture: &inputs.platform.architecture,
        kernel: loaded.version,
    };
    containers::add(&mut merge, &all, &common, inputs.store, &mut problems);
    settings::add(&mut merge, spec, init.native, &mut problems);
    let accounts = Accounts::of(&snapshot(&merge), inputs.store);
    files::add(&mut merge, spec, inputs, &ids, &accounts, &mut problems);

    let mut boot = loaded.boot;
    boot.loader = loader::load(spec, inputs, &mut problems);
    boot.files = merge.split_off(&kernel::boot_directory());
    let machine = Machine {
        platform: inputs.platform.clone(),
        components: merge.components,
        tree: merge.tree,
        boot,
        native_init: init.native,
        early: init.early,
        root: root(spec),
        kernel_floor_mib: loaded.floor_mib.unwrap_or(kernel::FLOOR_MIB),
    };
    let found = problems.finish();
    if found.has_errors() { Err(found) } else { Ok((machine, found)) }
}

/// What the spec says of the root.
fn root(spec: &Spec) -> Root {
    let restart = spec.root.restart_on_corruption.as_ref().is_some_and(|restart| restart.value);
    Root {
        kind: spec.root.kind.as_ref().map(|kind| kind.value),
        verity: spec.root.verity.as_ref().is_some_and(|verity| verity.value),
        corruption: if restart { Corruption::Restart } else { Corruption::Eio },
    }
}

/// What the init images say of themselves.
#[derive(Default)]
struct Init {
    /// Whether one of them is ours.
    native: bool,
    /// The program that mounts a root image.
    early: Option<Content>,
}

/// Lays the init images over the root.
fn init(merge: &mut Merge, spec: &Spec, inputs: &Inputs<'_>, problems: &mut Problems) -> Init {
    let mut out = Init::default();
    let mut last = None;
    let mut installed: Vec<Vec<u8>> = Vec::new();
    for (index, reference) in spec.init.iter().enumerate() {
        let Some(LoadedImage { image, tree }) = inputs.images.get(&reference.value) else {
            problems.error(Some(reference.span), format!("image `{}` was not loaded", reference.value));
            continue;
        };
        out.native |= image.label(INIT_LABEL) == Some(INIT_VERSION);
        let mut tree = Cow::Borrowed(tree);
        if let Some(name) = image.label(EARLY_LABEL) {
            let (program, rest) = early::take(&tree, name);
            (out.early, tree) = (program, Cow::Owned(rest));
            if out.early.is_none() {
                let message =
                    format!("label `{EARLY_LABEL}` of `{}` names `{name}`, which it does not have", image.name);
                problems.error(Some(reference.span), message);
            }
        }
        let component = merge.component(&format!("init[{index}]"), &image.name, Some(&image.name));
        merge.overlay(component, &tree);
        last = Some((component, reference.span));
        if let Some(Kind::File(content)) = TreePath::new(APK).ok().and_then(|p| tree.get(&p)).map(|n| &n.kind) {
            match read_all(inputs.store, content, 64 << 20) {
                Ok(bytes) => installed.push(bytes),
                Err(error) => {
                    problems.error(Some(reference.span), format!("`{APK}` of `{}`: {error}", image.name));
                }
            }
        }
    }
    let Some((component, at)) = last else { return out };
    if let (true, Ok(path)) = (installed.len() > 1, TreePath::new(APK)) {
        // One list of what all images installed, as LinuxKit leaves it for scanners.
        let component = merge.component("init", "LINUXKIT.apkinit", Some("installed packages"));
        let mut node = file(0o644, installed.concat());
        node.meta.mtime = 0;
        let path = merge.locate(&path);
        merge.put(component, &path, node);
    }
    for (path, node) in stubs::needed(true) {
        stub(merge, component, &path, node, at, problems);
    }
    out
}

fn stub(
    merge: &mut Merge,
    component: usize,
    path: &TreePath,
    node: Node,
    at: bootwright_spec::Span,
    problems: &mut Problems,
) {
    let path = merge.locate(path);
    let existing = merge.kind(&path);
    let resolver = matches!(node.kind, Kind::Symlink(_)) && path.file_name() == b"resolv.conf";
    if resolver && !stubs::missing(existing) {
        if matches!(existing, Some(Kind::Symlink(_))) {
            return;
        }
        problems
            .note(Some(at), format!("the init images' /{path} gives way to a link to {}", stubs::RESOLV_CONF))
            .hint("a `files:` entry for it is kept");
        merge.put(component, &path, node);
    } else if stubs::missing(existing) {
        merge.put(component, &path, node);
    }
}

/// The tree as it is, without who put what there.
fn snapshot(merge: &Merge) -> Tree {
    let mut tree = Tree::default();
    let etc = TreePath::new("etc").unwrap_or_default();
    let wanted = |path: &TreePath, kind: &Kind| path.is_within(&etc) || matches!(kind, Kind::Symlink(_));
    for (path, placed) in &merge.tree {
        if wanted(path, &placed.node.kind) {
            tree.nodes_mut().insert(path.clone(), placed.node.clone());
        }
    }
    tree
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
