//! An image of one platform, resolved: what the rest of the program works with.

use oci_spec::image::ImageConfiguration;

use crate::{Digest, Platform, Tree};

/// An image whose manifest and configuration are in the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Canonical reference for messages and provenance, such as `docker.io/library/redis:7`.
    pub name: String,
    /// Digest of the image's manifest (not of an index).
    pub digest: Digest,
    /// What it runs on.
    pub platform: Platform,
    /// Its configuration: environment, entrypoint, user, labels.
    pub config: ImageConfiguration,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
}

/// A layer as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the blob as stored, compressed or not.
    pub digest: Digest,
    /// Size of the blob in bytes.
    pub size: u64,
    /// Media type.
    pub media_type: String,
}

impl Image {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, name: &str) -> Option<&str> {
        self.config.config().as_ref()?.labels().as_ref()?.get(name).map(String::as_str)
    }
}

/// An image and its flattened files.
#[derive(Clone, Debug)]
pub struct LoadedImage {
    /// The image.
    pub image: Image,
    /// Its files.
    pub tree: Tree,
}
