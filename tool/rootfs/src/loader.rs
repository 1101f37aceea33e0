//! The boot loader image (`boot:`): the BIOS loader's two stages and the EFI stub, by the paths that `pkg/boot` has them at.
//!
//! What an image lacks is none here; the formats say what they need. A UKI's stub is that of the machine's architecture.

use bootwright_oci::{Content, Kind, Tree};
use bootwright_spec::Spec;

use crate::inputs::Inputs;
use crate::machine::Loader;
use crate::problems::{Describe, Problems};
use crate::resolve::resolve;

/// The BIOS loader's first stage, for a disk's first sector.
const STAGE1: &str = "bios/stage1.bin";
/// The BIOS loader's second stage.
const STAGE2: &str = "bios/stage2.bin";

/// Finds the parts of the boot loader.
pub(crate) fn load(spec: &Spec, inputs: &Inputs<'_>, problems: &mut Problems) -> Loader {
    let Some(reference) = &spec.boot else { return Loader::default() };
    let Some(image) = inputs.images.get(&reference.value) else {
        problems.error(Some(reference.span), format!("image `{}` was not loaded", reference.value));
        return Loader::default();
    };
    let stub = match inputs.platform.architecture.as_str() {
        "arm64" => "linuxaa64.efi.stub",
        _ => "linuxx64.efi.stub",
    };
    let loader = Loader {
        image: Some(image.image.name.clone()),
        stage1: file(&image.tree, STAGE1),
        stage2: file(&image.tree, STAGE2),
        stub: file(&image.tree, &format!("usr/lib/systemd/boot/efi/{stub}")),
    };
    if loader.stage2.is_none() && loader.stub.is_none() {
        let message = format!("image `{}` holds no boot loader", image.image.name);
        problems.error(Some(reference.span), message).hint(format!(
            "it needs `{STAGE1}` and `{STAGE2}` for BIOS, or systemd's `{stub}` for UEFI, as `pkg/boot` has them"
        ));
    }
    loader
}

/// A file of an image, links followed.
pub(crate) fn file(tree: &Tree, name: &str) -> Option<Content> {
    let real = resolve(|p| tree.get(p).map(|n| &n.kind), name.as_bytes(), true).ok()?;
    let mut kind = &tree.get(&real)?.kind;
    if let Kind::HardLink(target) = kind {
        kind = &tree.get(target)?.kind;
    }
    match kind {
        Kind::File(content) => Some(content.clone()),
        _ => None,
    }
}
