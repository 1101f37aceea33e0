//! The kernel image: its kernel, command line, microcode and what it says of itself for [`Boot`], its `kernel.tar` for the
//! root.
//!
//! Everything else in the image is left out, as LinuxKit does. A member that the spec names and the image lacks is an
//! error, microcode included; `config` and `vmlinux` are named by nobody and may be absent.

use bootwright_bundle::{FLOOR_LABEL, MODULES_LABEL, WATCHDOG_ARGUMENT};
use bootwright_oci::{Content, Kind, LoadedImage, Tree, TreePath};
use bootwright_spec::{Kernel, Span, Spanned, Watchdog};

use crate::inputs::Inputs;
use crate::kernel_config;
use crate::loader;
use crate::machine::Boot;
use crate::merge::Merge;
use crate::modules::{self, Chosen};
use crate::problems::{Describe, Problems};
use crate::seccomp;

/// What a kernel needs to reach init where its image does not say.
pub(crate) const FLOOR_MIB: u64 = 64;

/// The configuration of the kernel in its image.
const CONFIG: &str = "config";
/// The kernel as an ELF file in its image.
const VMLINUX: &str = "vmlinux";

/// The kernel's own watchdog.
const SOFTDOG: &str = "softdog";

/// What the rest of assembly wants to know of the kernel.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) boot: Boot,
    pub(crate) floor_mib: Option<u64>,
    /// Version by its modules' directory.
    pub(crate) version: Option<(u32, u32)>,
}

/// Adds the kernel.
pub(crate) fn add(
    merge: &mut Merge,
    kernel: &Kernel,
    watchdog: Option<&Spanned<Watchdog>>,
    inputs: &Inputs<'_>,
    problems: &mut Problems,
) -> Loaded {
    let mut out = Loaded::default();
    out.boot.cmdline = kernel.cmdline.as_ref().map(|c| c.value.clone()).unwrap_or_default();
    if let Some(watchdog) = watchdog {
        out.boot.cmdline.push_str(&argument(watchdog, problems));
    }
    let Some(reference) = kernel.image.as_ref().filter(|i| !i.value.is_empty()) else { return out };
    let Some(image) = inputs.images.get(&reference.value) else {
        problems.error(Some(reference.span), format!("image `{}` was not loaded", reference.value));
        return out;
    };
    let component = merge.component("kernel", &image.image.name, Some(&image.image.name));
    let member = |key: &Option<Spanned<String>>, default: &str| match key {
        Some(key) => (key.value.clone(), key.span),
        None => (default.to_owned(), reference.span),
    };

    let (name, at) = member(&kernel.binary, "kernel");
    out.boot.kernel = find(image, &name, "kernel", at, problems);
    if let Some(ucode) = kernel.ucode.as_ref().filter(|u| !u.value.is_empty()) {
        out.boot.ucode = find(image, &ucode.value, "microcode", ucode.span, problems);
    }
    out.floor_mib = image.image.label(FLOOR_LABEL).and_then(|text| {
        let floor = text.trim().parse().ok();
        if floor.is_none() {
            problems.warning(Some(reference.span), format!("label `{FLOOR_LABEL}` says `{text}`, which is no number"));
        }
        floor
    });

    let (name, at) = member(&kernel.tar, "kernel.tar");
    let mut tree = Tree::default();
    if !name.is_empty()
        && name != "none"
        && let Some(content) = find(image, &name, "tar", at, problems)
    {
        match inputs.store.unpack_tar(&content) {
            Ok(unpacked) => tree = unpacked,
            Err(error) => {
                let message = format!("`{name}` of image `{}` cannot be unpacked: {error}", image.image.name);
                problems.error(Some(at), message);
            }
        }
    }
    out.boot.vmlinux = loader::file(&image.tree, VMLINUX);
    match kernel_config::of_image(loader::file(&image.tree, CONFIG).as_ref(), &tree, inputs.store) {
        Ok(config) => out.boot.config = config,
        Err(error) => {
            let message =
                format!("what is built into the kernel of image `{}` cannot be read: {error}", image.image.name);
            problems.error(Some(reference.span), message);
        }
    }
    let mut wanted = wanted(kernel, image, reference.span);
    // It is nobody's device, so nothing but its name asks for it.
    let own = watchdog.filter(|watchdog| watchdog.device.is_none());
    wanted.extend(own.map(|watchdog| Spanned { value: SOFTDOG.to_owned(), span: watchdog.span }));
    match modules::choose(&mut tree, &wanted, inputs.store, problems) {
        Chosen::Some { version } => out.version = seccomp::version(&version),
        Chosen::NoModules => {
            if let Some(first) = kernel.modules.iter().flatten().next() {
                problems
                    .error(Some(first.span), format!("image `{}` brings no modules to choose from", image.image.name))
                    .hint("drop `modules:`, or name the tar that has `lib/modules`: `tar:`");
            }
        }
    }
    merge.overlay(component, &tree);
    out
}

/// How init is told of the watchdog: a word on the command line.
fn argument(watchdog: &Spanned<Watchdog>, problems: &mut Problems) -> String {
    let timeout = watchdog.timeout;
    if timeout.subsec_millis() != 0 || u16::try_from(timeout.as_secs()).is_err() {
        problems
            .error(Some(watchdog.span), "the timeout of a watchdog is whole seconds, at most 65535")
            .hint("write it as `timeout: 30s`");
    }
    let device = watchdog.device.as_ref().map(|device| format!(",{device}")).unwrap_or_default();
    format!(" {WATCHDOG_ARGUMENT}={}{device}", timeout.as_secs())
}

/// What of the modules is wanted: the spec's word, else the image's, else all.
fn wanted(kernel: &Kernel, image: &LoadedImage, at: Span) -> Vec<Spanned<String>> {
    if let Some(wanted) = &kernel.modules {
        return wanted.clone();
    }
    let label = image.image.label(MODULES_LABEL).unwrap_or("all");
    let words = label.split(|c: char| c == ',' || c.is_whitespace()).filter(|w| !w.is_empty());
    words.map(|word| Spanned { value: word.to_owned(), span: at }).collect()
}

/// A file of the kernel's image that must be there.
fn find(image: &LoadedImage, name: &str, what: &str, at: Span, problems: &mut Problems) -> Option<Content> {
    let tree = &image.tree;
    let found = loader::file(tree, name);
    if found.is_some() {
        return found;
    }
    let files: Vec<String> = tree
        .iter()
        .filter(|(path, node)| matches!(node.kind, Kind::File(_)) && path.parent().is_some_and(|p| p.is_root()))
        .map(|(path, _)| path.to_string())
        .collect();
    let error = problems.error(Some(at), format!("image `{}` has no file `{name}` for the {what}", image.image.name));
    if let Some(near) = bootwright_spec::nearest(name, files.iter().map(String::as_str)) {
        error.hint(format!("did you mean `{near}`?"));
    } else if files.is_empty() {
        error.hint("this is no kernel image: it has no files at its root");
    } else {
        error.hint(format!("it has {}", files.iter().map(|f| format!("`{f}`")).collect::<Vec<_>>().join(", ")));
    }
    None
}

/// Where the boot files are in the tree before they are split off.
pub(crate) fn boot_directory() -> TreePath {
    TreePath::new("boot").unwrap_or_default()
}
