//! Writing images out: as an OCI layout in a tar, as `docker load` reads it, or as the tar of its files.
//!
//! The bytes depend on the image alone: entries in a fixed order, owner, mode and time fixed (those of the files
//! themselves in the last format).

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{ArchiveError, is_compressed, read_up_to};
use crate::manifest::{
    CONTAINERD_NAME, Descriptor, DescriptorPlatform, Document, Index, OCI_INDEX, REF_NAME, canonical_json,
};
use crate::tree::{Kind, ReadContent};
use crate::{Digest, Hasher, Image, Platform, Reference, Reporter, Store, StoreError, Tree};

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// An OCI layout.
    Oci,
    /// What `docker load` reads.
    Docker,
    /// The files.
    Filesystem,
}

impl std::str::FromStr for ExportFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "oci" => Ok(Self::Oci),
            "docker" => Ok(Self::Docker),
            "filesystem" => Ok(Self::Filesystem),
            other => Err(format!("`{other}` is no export format; they are oci, docker, filesystem")),
        }
    }
}

/// What to export and how.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    /// What is written.
    pub format: ExportFormat,
    /// Which image of an index; none, with [`ExportFormat::Oci`] only, for all that the store holds in full.
    pub platform: Option<Platform>,
    /// The name in the archive, instead of the image's own.
    pub name: Option<Reference>,
}

/// Exports an image to a file, which is there whole or not at all.
///
/// # Errors
///
/// The store lacks it, or the file cannot be written.
pub fn export_file(
    store: &Store,
    name: &Reference,
    options: &ExportOptions,
    path: &Path,
    reporter: &dyn Reporter,
) -> Result<(), ArchiveError> {
    let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(".bootwright-").tempfile_in(directory);
    let mut temporary = temporary.map_err(ArchiveError::io(path))?;
    let mut buffered = io::BufWriter::with_capacity(1 << 20, &mut temporary);
    export(store, name, options, &mut buffered, reporter)?;
    buffered.flush().map_err(ArchiveError::io(path))?;
    drop(buffered);
    // The temporary file is private; what a user asks for has the permissions that this directory's files get.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666 & !rustix_umask());
    temporary.as_file().set_permissions(mode).map_err(ArchiveError::io(path))?;
    temporary.persist(path).map_err(|e| ArchiveError::Io { path: path.to_owned(), source: e.error })?;
    Ok(())
}

/// The umask, which the kernel only tells to who changes it, or in `/proc`.
fn rustix_umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|umask| u32::from_str_radix(umask.trim(), 8).ok()).unwrap_or(0o022)
}

/// Exports an image to a writer.
///
/// # Errors
///
/// The store lacks it, or the writer's.
pub fn export(
    store: &Store,
    name: &Reference,
    options: &ExportOptions,
    out: &mut dyn Write,
    reporter: &dyn Reporter,
) -> Result<(), ArchiveError> {
    let none = || StoreError::Name { name: name.to_string(), near: Vec::new() };
    let root = store.find(name)?.ok_or_else(none)?;
    let called = options.name.as_ref().unwrap_or(name);
    let image = |platform: Option<&Platform>| {
        let host = Platform::host();
        store.image(&name.to_string(), &root, platform.unwrap_or(&host))
    };
    let mut tar = Tar { builder: tar::Builder::new(out), path: PathBuf::from("the archive") };
    match options.format {
        ExportFormat::Oci => match &options.platform {
            None => {
                let mut blobs = vec![root.digest];
                let platforms = store.complete_platforms(&root)?;
                for platform in &platforms {
                    blobs.extend(of_image(store, &store.image("", &root, platform)?)?);
                }
                if platforms.is_empty() {
                    return Err(StoreError::Missing { digest: root.digest }.into());
                }
                tar.layout(store, root, blobs, called)?;
            }
            Some(platform) => {
                let image = image(Some(platform))?;
                let mut entry = store.describe(&image)?;
                entry.platform = Some(DescriptorPlatform::from(&image.platform));
                let blobs = of_image(store, &image)?;
                tar.layout(store, entry, blobs, called)?;
            }
        },
        ExportFormat::Docker => tar.docker(store, &image(options.platform.as_ref())?, called)?,
        ExportFormat::Filesystem => {
            let tree = store.flatten(&image(options.platform.as_ref())?, reporter)?;
            tar.filesystem(store, &tree)?;
        }
    }
    tar.builder.finish().map_err(ArchiveError::io(&tar.path))
}

/// All blobs of an image: manifest, configuration, layers.
fn of_image(store: &Store, image: &Image) -> Result<Vec<Digest>, ArchiveError> {
    let descriptor = store.describe(image)?;
    let mut blobs = vec![descriptor.digest];
    if let Document::Manifest(manifest) = Document::parse(&store.read_document(&descriptor)?, &descriptor.media_type)? {
        blobs.push(manifest.config.digest);
        blobs.extend(manifest.layers.iter().map(|l| l.digest));
    }
    Ok(blobs)
}

struct Tar<'a> {
    builder: tar::Builder<&'a mut dyn Write>,
    path: PathBuf,
}

impl Tar<'_> {
    fn file(&mut self, name: &str, size: u64, reader: impl Read) -> Result<(), ArchiveError> {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(size);
        self.builder.append_data(&mut header, name, reader).map_err(ArchiveError::io(&self.path))
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.file(name, bytes.len() as u64, bytes)
    }

    fn json<T: serde::Serialize>(&mut self, name: &str, value: &T) -> Result<(), ArchiveError> {
        let json = |source| ArchiveError::Json { path: self.path.clone(), entry: name.to_owned(), source };
        let bytes = canonical_json(value).map_err(json)?;
        self.bytes(name, &bytes)
    }

    fn layout(
        &mut self,
        store: &Store,
        mut root: Descriptor,
        mut blobs: Vec<Digest>,
        name: &Reference,
    ) -> Result<(), ArchiveError> {
        root.annotations.insert(REF_NAME.to_owned(), name.to_string());
        root.annotations.insert(CONTAINERD_NAME.to_owned(), name.to_string());
        blobs.sort_unstable();
        blobs.dedup();
        self.json("oci-layout", &serde_json::json!({ "imageLayoutVersion": "1.0.0" }))?;
        let index = Index { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests: vec![root] };
        self.json("index.json", &index)?;
        for digest in blobs {
            let size = store.blob_size(digest)?.ok_or(StoreError::Missing { digest })?;
            self.file(&format!("blobs/sha256/{}", digest.hex()), size, store.open_blob(digest)?)?;
        }
        Ok(())
    }

    fn docker(&mut self, store: &Store, image: &Image, name: &Reference) -> Result<(), ArchiveError> {
        let descriptor = store.describe(image)?;
        let Document::Manifest(manifest) = Document::parse(&store.read_document(&descriptor)?, &descriptor.media_type)?
        else {
            return Err(ArchiveError::refused(&self.path, "the image is an index"));
        };
        let config = store.read_document(&manifest.config)?;
        let config_name = format!("{}.json", manifest.config.digest.hex());
        self.bytes(&config_name, &config)?;
        let mut layers = Vec::new();
        for (layer, diff_id) in image.layers.iter().zip(image.config.rootfs().diff_ids()) {
            let entry = format!("{}.tar", diff_id.trim_start_matches("sha256:"));
            if !layers.contains(&entry) {
                self.unpacked(store, image, layer.digest, diff_id, &entry)?;
            }
            layers.push(entry);
        }
        let tags: Vec<String> = name.digest().is_none().then(|| name.to_string()).into_iter().collect();
        let saved = serde_json::json!([{ "Config": config_name, "RepoTags": tags, "Layers": layers }]);
        self.json("manifest.json", &saved)
    }

    /// A layer as plain tar, which is what all readers of this format take, checked against its `diff_id`.
    fn unpacked(
        &mut self,
        store: &Store,
        image: &Image,
        layer: Digest,
        diff_id: &str,
        entry: &str,
    ) -> Result<(), ArchiveError> {
        let mut blob = store.open_blob(layer)?;
        let path = store.blob_path(layer);
        let mut magic = [0; 4];
        let read = read_up_to(&mut blob, &mut magic).map_err(ArchiveError::io(&path))?;
        io::Seek::rewind(&mut blob).map_err(ArchiveError::io(&path))?;
        let mut reader: Box<dyn Read> = match &magic[..read] {
            magic if !is_compressed(magic) => Box::new(blob),
            [0x1f, ..] => Box::new(flate2::read::MultiGzDecoder::new(blob)),
            _ => Box::new(zstd::Decoder::new(blob).map_err(ArchiveError::io(&path))?),
        };
        let limit = crate::layer::Limits::default().unpacked;
        let mut hasher = Hasher::new(store.temporary()?);
        io::copy(&mut reader.by_ref().take(limit + 1), &mut hasher).map_err(ArchiveError::io(&path))?;
        let (mut spooled, actual, size) = hasher.finish();
        if actual.to_string() != diff_id {
            let (image, expected) = (image.name.clone(), diff_id.to_owned());
            return Err(StoreError::DiffId { image, layer, expected, actual }.into());
        }
        io::Seek::rewind(&mut spooled).map_err(ArchiveError::io(&path))?;
        self.file(entry, size, spooled)
    }

    fn filesystem(&mut self, store: &Store, tree: &Tree) -> Result<(), ArchiveError> {
        use std::os::unix::ffi::OsStrExt;
        let is_link = |kind: &Kind| matches!(kind, Kind::HardLink(_));
        // A hard link stands behind its target, wherever its name sorts.
        let files = tree.iter().filter(|(_, node)| !is_link(&node.kind));
        let links = tree.iter().filter(|(_, node)| is_link(&node.kind));
        for (path, node) in files.chain(links).filter(|(path, _)| !path.is_root()) {
            let io = ArchiveError::io(&self.path);
            let mut header = tar::Header::new_gnu();
            header.set_mode(node.meta.mode);
            header.set_uid(u64::from(node.meta.uid));
            header.set_gid(u64::from(node.meta.gid));
            header.set_mtime(u64::try_from(node.meta.mtime).unwrap_or(0));
            header.set_size(0);
            if !node.meta.xattrs.is_empty() && !is_link(&node.kind) {
                let keys: Vec<(String, &[u8])> = node
                    .meta
                    .xattrs
                    .iter()
                    .map(|(name, value)| (format!("SCHILY.xattr.{}", String::from_utf8_lossy(name)), value.as_slice()))
                    .collect();
                let records = keys.iter().map(|(name, value)| (name.as_str(), *value));
                self.builder.append_pax_extensions(records).map_err(ArchiveError::io(&self.path))?;
            }
            let name = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
            let builder = &mut self.builder;
            let device = |header: &mut tar::Header, kind, major, minor| {
                header.set_entry_type(kind);
                header.set_device_major(major).and_then(|()| header.set_device_minor(minor))
            };
            let written = match &node.kind {
                Kind::Directory => {
                    header.set_entry_type(tar::EntryType::Directory);
                    builder.append_data(&mut header, name, io::empty())
                }
                Kind::File(content) => {
                    header.set_entry_type(tar::EntryType::Regular);
                    header.set_size(content.size());
                    ReadContent::open(store, content).and_then(|r| builder.append_data(&mut header, name, r))
                }
                Kind::HardLink(target) => {
                    header.set_entry_type(tar::EntryType::Link);
                    let target = Path::new(std::ffi::OsStr::from_bytes(target.as_bytes()));
                    builder.append_link(&mut header, name, target)
                }
                Kind::Symlink(target) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    builder.append_link(&mut header, name, Path::new(std::ffi::OsStr::from_bytes(target)))
                }
                Kind::CharDevice { major, minor } => device(&mut header, tar::EntryType::Char, *major, *minor)
                    .and_then(|()| builder.append_data(&mut header, name, io::empty())),
                Kind::BlockDevice { major, minor } => device(&mut header, tar::EntryType::Block, *major, *minor)
                    .and_then(|()| builder.append_data(&mut header, name, io::empty())),
                Kind::Fifo => {
                    header.set_entry_type(tar::EntryType::Fifo);
                    builder.append_data(&mut header, name, io::empty())
                }
            };
            written.map_err(io)?;
        }
        Ok(())
    }
}
