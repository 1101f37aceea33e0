//! Volumes: `/containers/volumes/NAME` with `lower/` (the image's files as they are, nothing added), `merged/` where the
//! running machine has it, and `tmp/` unless it is read-only. Init takes the absence of `tmp/` for "nobody writes".

use bootwright_bundle as bundle;
use bootwright_oci::{Content, Kind, Node, Tree, TreePath};
use bootwright_spec::{Spec, VolumeFormat};
use serde_json::json;

use crate::config_json::to_json;
use crate::inputs::{Inputs, Layout};
use crate::merge::{Merge, directory, file, meta};
use crate::problems::{Describe, Problems};

/// Adds every volume.
pub(crate) fn add(merge: &mut Merge, spec: &Spec, inputs: &Inputs<'_>, problems: &mut Problems) {
    for (index, volume) in spec.volumes.iter().enumerate() {
        let name = &volume.name;
        if spec.volumes.iter().take(index).any(|other| other.name.value == name.value) {
            problems.error(Some(name.span), format!("two volumes are called `{}`", name.value));
            continue;
        }
        let Ok(place) = TreePath::new(format!("containers/volumes/{}", name.value)) else {
            problems.error(Some(name.span), format!("`{}` cannot be the name of a directory", name.value));
            continue;
        };
        let location = format!("volume[{index}]");
        let (source, tree) = match (&volume.image, volume.format) {
            (None, VolumeFormat::Filesystem) => ("empty".to_owned(), Tree::default()),
            (None, VolumeFormat::Oci) => {
                problems
                    .error(Some(name.span), format!("volume `{}` has `format: oci` but no image", name.value))
                    .hint("name the image whose layout it holds: `image:`");
                continue;
            }
            (Some(image), VolumeFormat::Filesystem) => match inputs.images.get(&image.value) {
                Some(loaded) => (loaded.image.name.clone(), loaded.tree.clone()),
                None => {
                    problems.error(Some(image.span), format!("image `{}` was not loaded", image.value));
                    continue;
                }
            },
            (Some(image), VolumeFormat::Oci) => match inputs.layouts.get(&image.value) {
                Some(layout) => (layout.name.clone(), layout_tree(layout)),
                None => {
                    problems.error(Some(image.span), format!("the layout of image `{}` was not loaded", image.value));
                    continue;
                }
            },
        };
        let component = merge.component(&location, &source, Some(name));
        let below = |what: &str| place.join(&TreePath::new(what).unwrap_or_default());
        merge.graft(component, &below("lower"), &tree);
        merge.put(component, &below("merged"), directory(0o755));
        if !volume.readonly {
            merge.put(component, &below("tmp"), directory(0o755));
        }
        if volume.size.is_some() {
            let limits = bundle::VolumeLimits { version: 1, size: volume.size };
            merge.put(component, &below(bundle::SUPERVISION_JSON), file(0o644, to_json(&limits)));
        }
    }
}

/// An OCI layout (image-spec 1.1, image-layout.md) of the blobs given.
fn layout_tree(layout: &Layout) -> Tree {
    let mut tree = Tree::default();
    let mut put = |path: String, node: Node| {
        tree.nodes_mut().insert(TreePath::new(path).unwrap_or_default(), node);
    };
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": layout.media_type,
            "digest": layout.digest.to_string(),
            "size": layout.size,
            "annotations": {"org.opencontainers.image.ref.name": layout.name},
        }],
    });
    put("oci-layout".into(), file(0o644, json!({"imageLayoutVersion": "1.0.0"}).to_string().into_bytes()));
    put("index.json".into(), file(0o644, index.to_string().into_bytes()));
    put("blobs".into(), directory(0o755));
    put("blobs/sha256".into(), directory(0o755));
    for (digest, content) in &layout.blobs {
        let content: Content = content.clone();
        put(format!("blobs/sha256/{}", digest.hex()), Node { meta: meta(0o644), kind: Kind::File(content) });
    }
    tree
}
