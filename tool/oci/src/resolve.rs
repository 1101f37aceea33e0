//! From a descriptor to the one image that a platform wants, wherever the documents come from.
//!
//! The store, layouts, archives and registries differ only in how a document is read; which entry of an index is taken,
//! and that the configuration itself is of the wanted platform, is decided here for all of them.

use oci_spec::image::ImageConfiguration;

use crate::manifest::{Descriptor, Document, INDEX_DEPTH_MAX, Manifest, ManifestError, config_platform, parse_config};
use crate::{Image, Platform};

/// An index may make us read this many documents while we look for a platform.
const DOCUMENTS_MAX: usize = 64;

/// The image found.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) descriptor: Descriptor,
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfiguration,
}

impl Resolved {
    pub(crate) fn into_image(self, name: &str) -> Image {
        Image {
            name: name.to_owned(),
            digest: self.descriptor.digest,
            platform: config_platform(&self.config),
            layers: self.manifest.image_layers(),
            config: self.config,
        }
    }
}

struct Search<'a, E> {
    wanted: &'a Platform,
    read: &'a mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, E>,
    offered: Vec<Platform>,
    left: usize,
}

/// Finds the image of a platform below `root`; `read` returns a document's bytes, digest and size already checked.
pub(crate) fn resolve<E: From<ManifestError>>(
    root: &Descriptor,
    wanted: &Platform,
    read: &mut dyn FnMut(&Descriptor) -> Result<Vec<u8>, E>,
) -> Result<Resolved, E> {
    let mut search = Search { wanted, read, offered: Vec::new(), left: DOCUMENTS_MAX };
    match search.visit(root, INDEX_DEPTH_MAX)? {
        Some(found) => Ok(found),
        None => Err(ManifestError::Platform { wanted: wanted.clone(), offered: search.offered }.into()),
    }
}

impl<E: From<ManifestError>> Search<'_, E> {
    fn visit(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Option<Resolved>, E> {
        match Document::parse(&self.document(descriptor)?, &descriptor.media_type)? {
            Document::Manifest(manifest) => self.image(descriptor, manifest),
            Document::Index(index) => {
                for platform in index.offers() {
                    self.offer(platform);
                }
                if depth == 0 {
                    let rule = format!("indexes lie more than {INDEX_DEPTH_MAX} deep in each other");
                    return Err(ManifestError::rule(descriptor.digest, rule).into());
                }
                for candidate in index.candidates(self.wanted) {
                    if let Some(found) = self.visit(candidate, depth - 1)? {
                        return Ok(Some(found));
                    }
                }
                Ok(None)
            }
        }
    }

    fn image(&mut self, descriptor: &Descriptor, manifest: Manifest) -> Result<Option<Resolved>, E> {
        let config = parse_config(&self.document(&manifest.config)?, manifest.layers.len())?;
        let platform = config_platform(&config);
        if self.wanted.accepts(&platform) {
            return Ok(Some(Resolved { descriptor: descriptor.clone(), manifest, config }));
        }
        if let Some(claimed) = descriptor.platform() {
            let rule = format!("its index says that it is for {claimed}, its configuration {platform}");
            return Err(ManifestError::rule(descriptor.digest, rule).into());
        }
        self.offer(platform);
        Ok(None)
    }

    fn document(&mut self, descriptor: &Descriptor) -> Result<Vec<u8>, E> {
        if self.left == 0 {
            let rule = format!("more than {DOCUMENTS_MAX} documents had to be read in search of {}", self.wanted);
            return Err(ManifestError::rule(descriptor.digest, rule).into());
        }
        self.left -= 1;
        (self.read)(descriptor)
    }

    fn offer(&mut self, platform: Platform) {
        if !self.offered.contains(&platform) {
            self.offered.push(platform);
        }
    }
}
