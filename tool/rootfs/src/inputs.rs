//! What assembly needs from outside: images, layouts, the store, and the few things that only others can do.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bootwright_oci::{Content, Digest, Hasher, LoadedImage, Platform, ReadContent, UnpackTar};
use bootwright_spec::{ContainerConfig, Diagnostics, MetadataFormat};

/// Everything besides the spec itself.
pub struct Inputs<'a> {
    /// Every image that the spec names, by the reference as it is written there.
    pub images: &'a BTreeMap<String, LoadedImage>,
    /// The images of volumes with `format: oci`, by the reference as it is written.
    pub layouts: &'a BTreeMap<String, Layout>,
    /// Reads contents and tars.
    pub store: &'a dyn UnpackTar,
    /// What is built for.
    pub platform: &'a Platform,
    /// Parses a label `org.mobyproject.config`: the image's name and the label's text.
    pub labels: &'a dyn Fn(&str, &str) -> Result<ContainerConfig, Diagnostics>,
    /// Prints the merged spec, for `metadata:` files.
    pub metadata: &'a dyn Fn(MetadataFormat) -> String,
    /// Finds a file of this machine; [`host_file`] is the real one.
    pub host: &'a dyn Fn(&Path) -> io::Result<Content>,
}

impl fmt::Debug for Inputs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let images: Vec<_> = self.images.keys().collect();
        f.debug_struct("Inputs").field("images", &images).field("platform", self.platform).finish_non_exhaustive()
    }
}

/// An image as an OCI layout holds it: all blobs that its chosen platforms need.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Canonical reference, for provenance.
    pub name: String,
    /// Media type of the blob that the reference names: an index, or a manifest.
    pub media_type: String,
    /// That blob.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Every blob, the one above included.
    pub blobs: BTreeMap<Digest, Content>,
}

/// Finds and hashes a regular file of this machine.
///
/// # Errors
///
/// It is not there, not readable, or not a regular file.
pub fn host_file(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let mut hasher = Hasher::new(io::sink());
    io::copy(&mut file, &mut hasher)?;
    let (_, digest, size) = hasher.finish();
    Ok(Content::Host { path: path.to_path_buf(), size, digest })
}

/// The whole of a content, if it is no larger than `limit`.
pub(crate) fn read_all(store: &(impl ReadContent + ?Sized), content: &Content, limit: u64) -> io::Result<Vec<u8>> {
    if content.size() > limit {
        return Err(io::Error::other(format!("{} bytes where {limit} are allowed", content.size())));
    }
    let mut bytes = Vec::new();
    store.open(content)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The first bytes of a content.
pub(crate) fn read_head(store: &(impl ReadContent + ?Sized), content: &Content, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store.open(content)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}
