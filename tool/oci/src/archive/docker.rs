//! What `docker save` writes: `manifest.json` naming a configuration and layers, per image.
//!
//! Of three generations: layers as `ID/layer.tar` with links for repetitions (before Docker 25), blobs of an OCI layout
//! (since), and those of the containerd store, whose layers are compressed. All are turned into OCI manifests, the same
//! bytes for the same archive.

use std::io::Read;

use oci_spec::image::ImageConfiguration;
use serde::Deserialize;

use super::{ArchiveError, Files, Imported, is_compressed, read_up_to};
use crate::manifest::{
    Descriptor, LAYERS_MAX, Manifest, ManifestError, OCI_CONFIG, OCI_LAYER, OCI_LAYER_GZIP, OCI_LAYER_ZSTD,
    OCI_MANIFEST, canonical_json, config_platform, parse_config,
};
use crate::resolve::Resolved;
use crate::{Digest, Image, Platform, Reference, Store};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

impl Saved {
    fn names(&self) -> Vec<Reference> {
        self.repo_tags.iter().flatten().filter_map(|tag| tag.parse().ok()).collect()
    }
}

fn saved(files: &dyn Files) -> Result<Vec<Saved>, ArchiveError> {
    let entry = "manifest.json".to_owned();
    let path = || files.path().to_owned();
    let bytes = files.small(&entry)?.ok_or_else(|| ArchiveError::Missing { path: path(), entry: entry.clone() })?;
    serde_json::from_slice(&bytes).map_err(|source| ArchiveError::Json { path: path(), entry, source })
}

/// Takes one image of a platform.
pub(super) fn image(
    store: &Store,
    files: &dyn Files,
    name: &str,
    reference: Option<&Reference>,
    whatever_its_name: bool,
    platform: &Platform,
) -> Result<Image, ArchiveError> {
    let saved = saved(files)?;
    let listed = || {
        let names: Vec<String> = saved.iter().flat_map(Saved::names).map(|n| n.to_string()).collect();
        if names.is_empty() { "nothing that has a name".to_owned() } else { names.join(", ") }
    };
    let chosen: Vec<&Saved> = match reference {
        Some(reference) => {
            let named = |s: &&Saved| s.names().contains(reference);
            let chosen: Vec<_> = saved.iter().filter(named).collect();
            let single = saved.len() == 1 && (whatever_its_name || reference.digest().is_some());
            if chosen.is_empty() && !single {
                return Err(ArchiveError::choice(files.path(), format!("has no `{reference}`; it holds {}", listed())));
            }
            if chosen.is_empty() { saved.iter().collect() } else { chosen }
        }
        None if saved.len() == 1 => saved.iter().collect(),
        None => {
            let rule = format!("holds {} images: {}", saved.len(), listed());
            return Err(ArchiveError::choice(files.path(), rule));
        }
    };
    let mut offered = Vec::new();
    for saved in chosen {
        let (bytes, config) = configuration(files, saved)?;
        let found = config_platform(&config);
        if platform.accepts(&found) {
            return Ok(take(store, files, saved, &bytes, config)?.into_image(name));
        }
        offered.push(found);
    }
    Err(ManifestError::Platform { wanted: platform.clone(), offered }.into())
}

/// Takes all images under their names.
pub(super) fn import(
    store: &Store,
    files: &dyn Files,
    name: Option<&Reference>,
) -> Result<Vec<Imported>, ArchiveError> {
    let saved = saved(files)?;
    if name.is_some() && saved.len() != 1 {
        let rule = format!("holds {} images, so one name is not enough", saved.len());
        return Err(ArchiveError::choice(files.path(), rule));
    }
    let mut imported = Vec::new();
    for saved in &saved {
        let names = name.map_or_else(|| saved.names(), |name| vec![name.clone()]);
        if names.is_empty() {
            return Err(ArchiveError::choice(files.path(), format!("gives `{}` no name", saved.config)));
        }
        let (bytes, config) = configuration(files, saved)?;
        let platforms = vec![config_platform(&config)];
        let found = take(store, files, saved, &bytes, config)?;
        for name in names {
            store.tag(&name, &found.descriptor)?;
            imported.push(Imported { name, descriptor: found.descriptor.clone(), platforms: platforms.clone() });
        }
    }
    if imported.is_empty() {
        return Err(ArchiveError::refused(files.path(), "it holds no image"));
    }
    Ok(imported)
}

fn configuration(files: &dyn Files, saved: &Saved) -> Result<(Vec<u8>, ImageConfiguration), ArchiveError> {
    let layers = saved.layers.as_ref().map_or(0, Vec::len);
    if layers > LAYERS_MAX {
        return Err(ArchiveError::refused(files.path(), format!("`{}` has {layers} layers", saved.config)));
    }
    let missing = || ArchiveError::Missing { path: files.path().to_owned(), entry: saved.config.clone() };
    let bytes = files.small(&saved.config)?.ok_or_else(missing)?;
    let config = parse_config(&bytes, layers)?;
    Ok((bytes, config))
}

fn take(
    store: &Store,
    files: &dyn Files,
    saved: &Saved,
    config_bytes: &[u8],
    config: ImageConfiguration,
) -> Result<Resolved, ArchiveError> {
    let mut layers = Vec::new();
    for (entry, diff_id) in saved.layers.iter().flatten().zip(config.rootfs().diff_ids()) {
        layers.push(layer(store, files, entry, diff_id)?);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        config: Descriptor::new(OCI_CONFIG, store.put_bytes(config_bytes)?, config_bytes.len() as u64),
        layers,
    };
    let json = |source| ArchiveError::Json { path: files.path().to_owned(), entry: "manifest.json".to_owned(), source };
    let bytes = canonical_json(&manifest).map_err(json)?;
    let descriptor = Descriptor::new(OCI_MANIFEST, store.put_bytes(&bytes)?, bytes.len() as u64);
    Ok(Resolved { descriptor, manifest, config })
}

fn layer(store: &Store, files: &dyn Files, entry: &str, diff_id: &str) -> Result<Descriptor, ArchiveError> {
    let missing = || ArchiveError::Missing { path: files.path().to_owned(), entry: entry.to_owned() };
    let (mut reader, size) = files.open(entry)?.ok_or_else(missing)?;
    let mut magic = [0; 4];
    let read = read_up_to(&mut reader, &mut magic).map_err(ArchiveError::io(files.path()))?;
    let whole = std::io::Cursor::new(magic[..read].to_vec()).chain(reader);
    if is_compressed(&magic[..read]) {
        // A name in the layout's way is a promise; unpacking holds it against the `diff_id` as well.
        let named = entry.strip_prefix("blobs/sha256/").and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        let media_type = if magic[0] == 0x1f { OCI_LAYER_GZIP } else { OCI_LAYER_ZSTD };
        let digest = match named {
            Some(digest) => store.put_expected(digest, size, whole).map(|()| digest)?,
            None => store.put_blob(whole)?.0,
        };
        return Ok(Descriptor::new(media_type, digest, size));
    }
    let digest: Digest =
        diff_id.parse().map_err(|_| ArchiveError::refused(files.path(), format!("`{diff_id}` is no digest")))?;
    store.put_expected(digest, size, whole)?;
    Ok(Descriptor::new(OCI_LAYER, digest, size))
}
