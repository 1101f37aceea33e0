//! Images that we assemble ourselves: configuration and manifest written from layers that are in the store.
//!
//! The bytes depend on nothing but what is given: keys in order, no time, no host.

use oci_spec::image::{Arch, ImageConfiguration, Os};

use super::{Store, StoreError};
use crate::manifest::{
    Descriptor, DescriptorPlatform, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, canonical_json,
};
use crate::{Digest, Image, Layer, Platform, Reference};

impl Store {
    /// Writes configuration and manifest of an image; the layers are in the store already ([`Store::put_blob`]), and
    /// `config` names their unpacked digests. The platform goes into the configuration. No name is given: that is
    /// [`Store::write_index`]'s, or [`Store::tag`]'s with [`Store::describe`].
    ///
    /// # Errors
    ///
    /// A layer is missing, `diff_ids` do not match the layers, or the store cannot be written.
    pub fn write_image(
        &self,
        name: &str,
        platform: &Platform,
        mut config: ImageConfiguration,
        layers: Vec<Layer>,
    ) -> Result<Image, StoreError> {
        let error = |rule: String| StoreError::Image { name: name.to_owned(), rule };
        config.set_os(Os::from(platform.os.as_str()));
        config.set_architecture(Arch::from(platform.architecture.as_str()));
        config.set_variant(platform.variant.clone());
        let named = config.rootfs().diff_ids();
        if named.len() != layers.len() {
            return Err(error(format!("it has {} layers, but {} unpacked digests", layers.len(), named.len())));
        }
        if let Some(bad) = named.iter().find(|d| d.parse::<Digest>().is_err()) {
            return Err(error(format!("`{bad}` is not a digest")));
        }
        for layer in &layers {
            if !self.has(layer.digest, layer.size)? {
                return Err(StoreError::Missing { digest: layer.digest });
            }
        }
        let json = |what: &str| {
            let what = what.to_owned();
            move |e: serde_json::Error| error(format!("its {what} is no JSON: {e}"))
        };
        let config_bytes = canonical_json(&config).map_err(json("configuration"))?;
        let config_digest = self.put_bytes(&config_bytes)?;
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            config: Descriptor::new(OCI_CONFIG, config_digest, config_bytes.len() as u64),
            layers: layers.iter().map(|l| Descriptor::new(&l.media_type, l.digest, l.size)).collect(),
        };
        let bytes = canonical_json(&manifest).map_err(json("manifest"))?;
        let digest = self.put_bytes(&bytes)?;
        Ok(Image { name: name.to_owned(), digest, platform: platform.clone(), config, layers })
    }

    /// Writes an index of images that are in the store and gives it a name. Entries are ordered by platform.
    ///
    /// # Errors
    ///
    /// Two images for one platform, a name that is no reference, or the store cannot be written.
    pub fn write_index(&self, name: &str, images: &[Image]) -> Result<Descriptor, StoreError> {
        let error = |rule: String| StoreError::Image { name: name.to_owned(), rule };
        let reference: Reference = name.parse().map_err(|e: crate::ReferenceError| error(e.to_string()))?;
        let mut images: Vec<&Image> = images.iter().collect();
        images.sort_by(|a, b| a.platform.cmp(&b.platform));
        if let Some(pair) = images.windows(2).find(|pair| pair[0].platform == pair[1].platform) {
            return Err(error(format!("it has two images for {}", pair[0].platform)));
        }
        let mut manifests = Vec::with_capacity(images.len());
        for image in images {
            let mut entry = self.describe(image)?;
            entry.platform = Some(DescriptorPlatform::from(&image.platform));
            manifests.push(entry);
        }
        let index = Index { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests };
        let bytes = canonical_json(&index).map_err(|e| error(e.to_string()))?;
        let descriptor = Descriptor::new(OCI_INDEX, self.put_bytes(&bytes)?, bytes.len() as u64);
        self.tag(&reference, &descriptor)?;
        Ok(descriptor)
    }

    /// The descriptor of an image's manifest.
    ///
    /// # Errors
    ///
    /// The manifest is not here.
    pub fn describe(&self, image: &Image) -> Result<Descriptor, StoreError> {
        self.find_digest(image.digest)?.ok_or(StoreError::Missing { digest: image.digest })
    }
}
