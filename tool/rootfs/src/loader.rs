//! The boot loader image (`boot:`): a BIOS loader, ours or GRUB, and the EFI stub, where `tool/bundle/src/boot.rs` says.
//!
//! What an image lacks is none here; the formats say what they need. A UKI's stub is that of the machine's architecture.

use bootwright_bundle::{BIOS_STAGE1, BIOS_STAGE2, GRUB_DIRECTORY, efi_stub};
use bootwright_oci::{Content, Kind, Tree, TreePath};
use bootwright_spec::Spec;

use crate::inputs::Inputs;
use crate::machine::{BiosLoader, Loader};
use crate::problems::{Describe, Problems};
use crate::resolve::resolve;

/// Finds the parts of the boot loader.
pub(crate) fn load(spec: &Spec, inputs: &Inputs<'_>, problems: &mut Problems) -> Loader {
    let Some(reference) = &spec.boot else { return Loader::default() };
    let Some(image) = inputs.images.get(&reference.value) else {
        problems.error(Some(reference.span), format!("image `{}` was not loaded", reference.value));
        return Loader::default();
    };
    let loader = Loader {
        image: Some(image.image.name.clone()),
        bios: bios(&image.tree),
        stub: efi_stub(&inputs.platform.architecture).and_then(|path| file(&image.tree, path)),
    };
    if loader.bios.is_none() && loader.stub.is_none() {
        let message = format!("image `{}` holds no boot loader", image.image.name);
        problems.error(Some(reference.span), message).hint(format!(
            "it needs `{BIOS_STAGE1}` and `{BIOS_STAGE2}`, GRUB in `{GRUB_DIRECTORY}`, or systemd's EFI stub, as `pkg/boot` \
             and `pkg/grub` have them"
        ));
    }
    loader
}

/// The loader for BIOS; ours, if there are both.
fn bios(tree: &Tree) -> Option<BiosLoader> {
    if let (Some(stage1), Some(stage2)) = (file(tree, BIOS_STAGE1), file(tree, BIOS_STAGE2)) {
        return Some(BiosLoader::Ours { stage1, stage2 });
    }
    file(tree, &format!("{GRUB_DIRECTORY}/kernel.img"))?;
    let directory = TreePath::new(GRUB_DIRECTORY).ok()?;
    let files = tree.iter().filter(|(path, _)| path.parent().as_ref() == Some(&directory));
    let named = files.filter_map(|(path, node)| match &node.kind {
        Kind::File(content) => Some((String::from_utf8(path.file_name().to_vec()).ok()?, content.clone())),
        _ => None,
    });
    Some(BiosLoader::Grub(named.collect()))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::{Bench, text, tree};

    fn loaded(files: &[&str]) -> Result<Loader, Vec<String>> {
        let mut bench = Bench::new();
        bench.image("boot", &json!({}), tree(files));
        bench.spec.boot = Some(text("boot"));
        bench.assemble().map(|(machine, _)| machine.boot.loader)
    }

    #[test]
    fn ours_comes_before_grub_and_an_image_without_a_loader_is_refused() {
        let ours = ["bios/stage1.bin=1", "bios/stage2.bin=2", "usr/lib/grub/i386-pc/kernel.img=k"];
        assert!(matches!(loaded(&ours).unwrap().bios, Some(BiosLoader::Ours { .. })));
        let grub = loaded(&["usr/lib/grub/i386-pc/kernel.img=k", "usr/lib/grub/i386-pc/linux.mod=l"]).unwrap();
        let Some(BiosLoader::Grub(files)) = grub.bios else { panic!("GRUB is there") };
        assert_eq!(files.keys().collect::<Vec<_>>(), ["kernel.img", "linux.mod"]);
        let stub = loaded(&["usr/lib/systemd/boot/efi/linuxx64.efi.stub=s"]).unwrap();
        assert!(stub.bios.is_none() && stub.stub.is_some());
        let refused = loaded(&["bios/stage1.bin=1"]).unwrap_err();
        assert!(refused[0].contains("holds no boot loader"), "{refused:?}");
    }
}
