//! OCI layouts (image-spec 1.1, `image-layout.md`), in a directory or in a tar.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::{ArchiveError, Files, Imported, Opened};
use crate::manifest::{
    CONTAINERD_NAME, DOCUMENT_MAX, Descriptor, Document, Index, ManifestError, REF_NAME, config_platform,
};
use crate::resolve::{Resolved, resolve};
use crate::store::check;
use crate::{Image, Platform, Reference, Reporter, Store};

/// A layout directory.
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn new(path: &Path) -> Result<Self, ArchiveError> {
        if path.is_file() {
            return Err(ArchiveError::refused(path, "it is a file; `oci-archive:` and `docker-archive:` read those"));
        }
        Ok(Self(path.to_owned()))
    }
}

impl Files for Directory {
    fn path(&self) -> &Path {
        &self.0
    }

    fn open(&self, name: &str) -> Result<Option<Opened<'_>>, ArchiveError> {
        let path = self.0.join(name);
        // What is no file is not opened: a pipe would never answer.
        let metadata = match path.metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ArchiveError::Io { path, source }),
        };
        if !metadata.is_file() {
            return Err(ArchiveError::refused(&self.0, format!("`{name}` is not a file")));
        }
        let file = File::open(&path).map_err(ArchiveError::io(&path))?;
        Ok(Some((Box::new(file), metadata.len())))
    }
}

fn index(files: &dyn Files) -> Result<Index, ArchiveError> {
    let missing = |entry: &str| ArchiveError::Missing { path: files.path().to_owned(), entry: entry.to_owned() };
    let json = |entry: &str| {
        let (path, entry) = (files.path().to_owned(), entry.to_owned());
        move |source| ArchiveError::Json { path, entry, source }
    };
    if let Some(bytes) = files.small("oci-layout")? {
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(json("oci-layout"))?;
        if value["imageLayoutVersion"].as_str() != Some("1.0.0") {
            return Err(ArchiveError::refused(files.path(), "it is a layout of another version than 1.0.0"));
        }
    }
    let bytes = files.small("index.json")?.ok_or_else(|| missing("index.json"))?;
    match Document::parse(&bytes, "")? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(ArchiveError::refused(files.path(), "its `index.json` is no index")),
    }
}

fn names(entry: &Descriptor) -> impl Iterator<Item = &str> {
    [REF_NAME, CONTAINERD_NAME].into_iter().filter_map(|key| entry.annotations.get(key).map(String::as_str))
}

/// Whether an entry is called `tag`: literally, or by a reference that means the same.
fn is_called(entry: &Descriptor, tag: &str) -> bool {
    let meant = tag.parse::<Reference>().ok();
    names(entry).any(|name| name == tag || (meant.is_some() && name.contains(['/', ':']) && name.parse().ok() == meant))
}

/// Takes one image of a platform.
pub(super) fn image(
    store: &Store,
    files: &dyn Files,
    name: &str,
    tag: Option<&str>,
    platform: &Platform,
) -> Result<Image, ArchiveError> {
    let index = index(files)?;
    let entries: Vec<&Descriptor> =
        index.manifests.iter().filter(|d| (d.is_index() || d.is_manifest()) && !d.is_attestation()).collect();
    let listed = || {
        let mut all: Vec<&str> = entries.iter().flat_map(|d| names(d).next()).collect();
        all.sort_unstable();
        all.dedup();
        if all.is_empty() { "nothing that has a name".to_owned() } else { all.join(", ") }
    };
    let chosen: Vec<&Descriptor> = match tag {
        Some(tag) => {
            let chosen: Vec<_> = entries.iter().copied().filter(|d| is_called(d, tag)).collect();
            if chosen.is_empty() {
                return Err(ArchiveError::choice(files.path(), format!("has no `{tag}`; it holds {}", listed())));
            }
            chosen
        }
        None => {
            let first = entries.first().map(|d| names(d).next());
            if entries.iter().any(|d| Some(names(d).next()) != first) {
                return Err(ArchiveError::choice(files.path(), format!("holds several images: {}", listed())));
            }
            entries.clone()
        }
    };
    // Entries of one name are the platforms of one image.
    let mut offered = Vec::new();
    for root in chosen {
        match take(store, files, root, platform) {
            Ok(found) => return Ok(found.into_image(name)),
            Err(ArchiveError::Manifest(ManifestError::Platform { offered: more, .. })) => offered.extend(more),
            Err(error) => return Err(error),
        }
    }
    Err(ManifestError::Platform { wanted: platform.clone(), offered }.into())
}

/// Copies what a platform needs below `root` into the store.
fn take(store: &Store, files: &dyn Files, root: &Descriptor, platform: &Platform) -> Result<Resolved, ArchiveError> {
    let found = resolve(root, platform, &mut |descriptor| document(store, files, descriptor))?;
    for layer in &found.manifest.layers {
        if store.has(layer.digest, layer.size)? {
            continue;
        }
        let (reader, size) = blob(files, layer)?;
        if size != layer.size {
            return Err(lie(files, layer, size));
        }
        store.put_expected(layer.digest, layer.size, reader)?;
    }
    Ok(found)
}

fn document(store: &Store, files: &dyn Files, descriptor: &Descriptor) -> Result<Vec<u8>, ArchiveError> {
    let (digest, size) = (descriptor.digest, descriptor.size);
    if size > DOCUMENT_MAX {
        return Err(ManifestError::TooLarge { digest, size }.into());
    }
    if store.has(digest, size)? {
        return Ok(store.read_document(descriptor)?);
    }
    let (reader, actual) = blob(files, descriptor)?;
    if actual != size {
        return Err(lie(files, descriptor, actual));
    }
    let mut bytes = Vec::new();
    reader.take(size).read_to_end(&mut bytes).map_err(ArchiveError::io(files.path()))?;
    check(descriptor, &bytes)?;
    store.put_bytes(&bytes)?;
    Ok(bytes)
}

fn blob<'a>(files: &'a dyn Files, descriptor: &Descriptor) -> Result<Opened<'a>, ArchiveError> {
    let entry = format!("blobs/sha256/{}", descriptor.digest.hex());
    files.open(&entry)?.ok_or_else(|| ArchiveError::Missing { path: files.path().to_owned(), entry })
}

fn lie(files: &dyn Files, descriptor: &Descriptor, actual: u64) -> ArchiveError {
    let (digest, size) = (descriptor.digest, descriptor.size);
    ArchiveError::refused(files.path(), format!("`{digest}` is {actual} bytes long, not {size} as it says elsewhere"))
}

/// Takes all images that the layout names, each with the platforms that are there in full.
pub(super) fn import(
    store: &Store,
    files: &dyn Files,
    name: Option<&Reference>,
    reporter: &dyn Reporter,
) -> Result<Vec<Imported>, ArchiveError> {
    let index = index(files)?;
    let entries: Vec<&Descriptor> =
        index.manifests.iter().filter(|d| (d.is_index() || d.is_manifest()) && !d.is_attestation()).collect();
    if name.is_some() && entries.len() != 1 {
        let rule = format!("holds {} images, so one name is not enough", entries.len());
        return Err(ArchiveError::choice(files.path(), rule));
    }
    let mut imported = Vec::new();
    for root in entries {
        let name = match name {
            Some(name) => name.clone(),
            None => given_name(files, root)?,
        };
        let platforms = platforms(store, files, root, &name, reporter)?;
        let mut descriptor = root.clone();
        descriptor.annotations.clear();
        store.tag(&name, &descriptor)?;
        imported.push(Imported { name, descriptor, platforms });
    }
    if imported.is_empty() {
        return Err(ArchiveError::refused(files.path(), "it holds no image"));
    }
    Ok(imported)
}

/// The full name of an entry: containerd's annotation, or a reference in OCI's (which may hold a mere tag).
fn given_name(files: &dyn Files, root: &Descriptor) -> Result<Reference, ArchiveError> {
    let full = root.annotations.get(CONTAINERD_NAME);
    let full = full.or_else(|| root.annotations.get(REF_NAME).filter(|name| name.contains(['/', ':'])));
    match full {
        Some(name) => Ok(name.parse()?),
        None => Err(ArchiveError::choice(files.path(), format!("gives `{}` no name", root.digest))),
    }
}

fn platforms(
    store: &Store,
    files: &dyn Files,
    root: &Descriptor,
    name: &Reference,
    reporter: &dyn Reporter,
) -> Result<Vec<Platform>, ArchiveError> {
    let bytes = document(store, files, root)?;
    let offered = match Document::parse(&bytes, &root.media_type)? {
        Document::Index(index) => {
            let mut offered = index.offers();
            for silent in index.manifests.iter().filter(|d| d.platform.is_none() && d.is_manifest()) {
                offered.extend(of_manifest(store, files, silent)?);
            }
            offered
        }
        Document::Manifest(_) => of_manifest(store, files, root)?,
    };
    let mut complete = Vec::new();
    let mut failed = None;
    for platform in offered {
        match take(store, files, root, &platform) {
            Ok(_) => complete.push(platform),
            Err(ArchiveError::Missing { path, entry }) => {
                reporter.note(&format!("`{name}` comes without {platform}"));
                failed.get_or_insert(ArchiveError::Missing { path, entry });
            }
            Err(error) => return Err(error),
        }
    }
    match (complete.is_empty(), failed) {
        (false, _) => Ok(complete),
        (true, Some(error)) => Err(error),
        (true, None) => Err(ArchiveError::refused(files.path(), format!("`{name}` is for no platform"))),
    }
}

fn of_manifest(store: &Store, files: &dyn Files, root: &Descriptor) -> Result<Vec<Platform>, ArchiveError> {
    let bytes = document(store, files, root)?;
    let Document::Manifest(manifest) = Document::parse(&bytes, &root.media_type)? else { return Ok(Vec::new()) };
    let config = crate::manifest::parse_config(&document(store, files, &manifest.config)?, manifest.layers.len())?;
    Ok(vec![config_platform(&config)])
}
