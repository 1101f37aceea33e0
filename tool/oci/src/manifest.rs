//! Indexes, manifests and configurations: OCI image-spec 1.1 and Docker's schema 2, parsed from bounded bytes.
//!
//! What comes in is hostile: sizes are bounded before bytes are read, a document must be what its descriptor says
//! (media type, digest, size), and one that could be read as two things is refused (CVE-2021-41190). Fields that we do
//! not use are not read, and blobs are always passed on as the bytes that they were, so nothing is lost.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::{Digest, Layer, Platform};

/// Manifests, indexes and configurations larger than this are refused.
pub const DOCUMENT_MAX: u64 = 4 << 20;
/// Images with more layers than this are refused (Docker's own limit is 127).
pub const LAYERS_MAX: usize = 512;
/// Indexes nest at most this deep.
pub const INDEX_DEPTH_MAX: usize = 4;
/// A blob larger than this (1 TiB) is a lie.
pub const BLOB_MAX: u64 = 1 << 40;

/// OCI index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// OCI manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// OCI configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// OCI layer, a plain tar.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// OCI layer, a tar in gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// OCI layer, a tar in zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// Docker's index.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// The annotation that names an entry of `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// containerd's, also written by Docker: the full name where [`REF_NAME`] holds only a tag.
pub const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// What is wrong with a document.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Too large to be read.
    #[error("`{digest}` is {size} bytes long; a manifest, index or configuration has at most {DOCUMENT_MAX}")]
    TooLarge {
        /// The document.
        digest: Digest,
        /// What its descriptor says.
        size: u64,
    },
    /// Not JSON, or not of the shape.
    #[error("`{digest}` is not {what}")]
    Json {
        /// The document.
        digest: Digest,
        /// What it ought to be.
        what: &'static str,
        /// Where and why.
        #[source]
        source: serde_json::Error,
    },
    /// It breaks a rule.
    #[error("`{digest}`: {rule}")]
    Rule {
        /// The document.
        digest: Digest,
        /// The rule.
        rule: String,
    },
    /// Docker's retired format.
    #[error("`{digest}` is a schema 1 manifest, a format that Docker retired in 2019: its author must push it again")]
    SchemaOne {
        /// The document.
        digest: Digest,
    },
    /// The image does not come for this platform.
    #[error("there is no image for {wanted}; it offers {}", list(.offered))]
    Platform {
        /// What was asked for.
        wanted: Platform,
        /// What there is.
        offered: Vec<Platform>,
    },
}

fn list(platforms: &[Platform]) -> String {
    match platforms {
        [] => "no platform at all".to_owned(),
        some => some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

impl ManifestError {
    pub(crate) fn rule(digest: Digest, rule: impl Into<String>) -> Self {
        Self::Rule { digest, rule: rule.into() }
    }
}

/// A blob as another document names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What it is.
    pub media_type: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// What it runs on, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescriptorPlatform>,
    /// Names and notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "null_is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A platform as descriptors spell it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescriptorPlatform {
    /// Go's GOARCH.
    pub architecture: String,
    /// Go's GOOS.
    pub os: String,
    /// Such as `v8`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Descriptor {
    /// A descriptor without platform and annotations.
    #[must_use]
    pub fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.to_owned(), digest, size, platform: None, annotations: BTreeMap::new() }
    }

    /// Its platform, unless it has none or is marked `unknown/unknown` (attestations are).
    #[must_use]
    pub fn platform(&self) -> Option<Platform> {
        let given = self.platform.as_ref()?;
        let known = |s: &str| !s.is_empty() && s != "unknown";
        (known(&given.os) && known(&given.architecture)).then(|| Platform {
            os: given.os.clone(),
            architecture: given.architecture.clone(),
            variant: given.variant.clone().filter(|v| !v.is_empty()),
        })
    }

    /// Whether it names an index.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_INDEX | DOCKER_INDEX)
    }

    /// Whether it names a manifest.
    #[must_use]
    pub fn is_manifest(&self) -> bool {
        matches!(self.media_type.as_str(), OCI_MANIFEST | DOCKER_MANIFEST)
    }

    /// Whether it names something that is no image for any machine: an attestation of `docker buildx`.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.annotations.contains_key("vnd.docker.reference.type")
            || (self.platform.is_some() && self.platform().is_none())
    }
}

impl From<&Platform> for DescriptorPlatform {
    fn from(platform: &Platform) -> Self {
        Self { architecture: platform.architecture.clone(), os: platform.os.clone(), variant: platform.variant.clone() }
    }
}

fn null_is_empty<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// An image index (or a manifest list).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// Always 2.
    pub schema_version: u32,
    /// [`OCI_INDEX`] or [`DOCKER_INDEX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its entries.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub manifests: Vec<Descriptor>,
}

/// A manifest of one image.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`OCI_MANIFEST`] or [`DOCKER_MANIFEST`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers, lowest first.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub layers: Vec<Descriptor>,
}

/// An index or a manifest.
#[derive(Clone, Debug)]
pub enum Document {
    /// Several images.
    Index(Index),
    /// One image.
    Manifest(Manifest),
}

impl Document {
    /// Parses what a descriptor or a registry's `Content-Type` calls `media_type`; empty where nothing is said.
    ///
    /// # Errors
    ///
    /// Not JSON, schema 1, ambiguous, contradicting `media_type`, or out of bounds.
    pub fn parse(bytes: &[u8], media_type: &str) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            schema_version: Option<u32>,
            media_type: Option<String>,
            manifests: Option<serde::de::IgnoredAny>,
            config: Option<serde::de::IgnoredAny>,
            layers: Option<serde::de::IgnoredAny>,
            fs_layers: Option<serde::de::IgnoredAny>,
        }
        let digest = Digest::of(bytes);
        if bytes.len() as u64 > DOCUMENT_MAX {
            return Err(ManifestError::TooLarge { digest, size: bytes.len() as u64 });
        }
        let json = |what| move |source| ManifestError::Json { digest, what, source };
        let rule = |rule: &str| Err(ManifestError::rule(digest, rule));
        let probe: Probe = serde_json::from_slice(bytes).map_err(json("a manifest"))?;
        if probe.schema_version == Some(1)
            || probe.fs_layers.is_some()
            || media_type.contains("docker.distribution.manifest.v1+")
        {
            return Err(ManifestError::SchemaOne { digest });
        }
        if probe.schema_version != Some(2) {
            return rule("`schemaVersion` is not 2");
        }
        let is_image = probe.config.is_some() || probe.layers.is_some();
        if probe.manifests.is_some() && is_image {
            return rule(
                "it has both `manifests` and `layers` or `config`, so it could be read as an index or as an image",
            );
        }
        let generic = matches!(media_type, "" | "application/json" | "application/octet-stream" | "text/plain");
        let named = probe.media_type.as_deref().or((!generic).then_some(media_type));
        if let Some(inner) = &probe.media_type
            && !generic
            && inner != media_type
        {
            return rule(&format!("it is called `{media_type}` outside and `{inner}` inside"));
        }
        let index = match named {
            Some(OCI_INDEX | DOCKER_INDEX) => true,
            Some(OCI_MANIFEST | DOCKER_MANIFEST) => false,
            Some(other) => return rule(&format!("`{other}` is neither an image nor an index")),
            None => probe.manifests.is_some(),
        };
        if index != probe.manifests.is_some() {
            return rule("its media type and its content contradict each other");
        }
        if index {
            let index: Index = serde_json::from_slice(bytes).map_err(json("an image index"))?;
            index.manifests.iter().try_for_each(|d| check_size(digest, d))?;
            Ok(Self::Index(index))
        } else {
            let manifest: Manifest = serde_json::from_slice(bytes).map_err(json("an image manifest"))?;
            check_manifest(digest, &manifest)?;
            Ok(Self::Manifest(manifest))
        }
    }

    /// Its media type, by what it says or else by what it is.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match self {
            Self::Index(index) => index.media_type.as_deref().unwrap_or(OCI_INDEX),
            Self::Manifest(manifest) => manifest.media_type.as_deref().unwrap_or(OCI_MANIFEST),
        }
    }
}

fn check_size(document: Digest, descriptor: &Descriptor) -> Result<(), ManifestError> {
    if descriptor.size > BLOB_MAX {
        let rule = format!("`{}` would be {} bytes long", descriptor.digest, descriptor.size);
        return Err(ManifestError::rule(document, rule));
    }
    Ok(())
}

fn check_manifest(digest: Digest, manifest: &Manifest) -> Result<(), ManifestError> {
    if !matches!(manifest.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG) {
        let rule = format!("its configuration is `{}`, so it is not a container image", manifest.config.media_type);
        return Err(ManifestError::rule(digest, rule));
    }
    if manifest.config.size > DOCUMENT_MAX {
        return Err(ManifestError::TooLarge { digest: manifest.config.digest, size: manifest.config.size });
    }
    if manifest.layers.len() > LAYERS_MAX {
        let rule = format!("it has {} layers; at most {LAYERS_MAX} are read", manifest.layers.len());
        return Err(ManifestError::rule(digest, rule));
    }
    for layer in &manifest.layers {
        check_size(digest, layer)?;
        let known = layer.media_type.starts_with("application/vnd.oci.image.layer.v1.tar")
            || layer.media_type.starts_with("application/vnd.oci.image.layer.nondistributable.v1.tar")
            || layer.media_type.starts_with("application/vnd.docker.image.rootfs.diff.tar");
        if !known || layer.media_type.ends_with("+encrypted") {
            let rule = format!("the layer `{}` is a `{}`, which cannot be read", layer.digest, layer.media_type);
            return Err(ManifestError::rule(digest, rule));
        }
    }
    Ok(())
}

impl Index {
    /// The entries that may hold an image for a platform, best first: an exact variant, an entry of the platform, then
    /// nested indexes and entries that do not say what they are for.
    #[must_use]
    pub fn candidates(&self, wanted: &Platform) -> Vec<&Descriptor> {
        let mut ranked: Vec<(u8, &Descriptor)> = self
            .manifests
            .iter()
            .filter(|d| (d.is_index() || d.is_manifest()) && !d.is_attestation())
            .filter_map(|d| match d.platform() {
                Some(platform) if !wanted.accepts(&platform) => None,
                Some(platform) if platform == *wanted => Some((0, d)),
                Some(platform) if platform.variant.is_none() => Some((1, d)),
                Some(_) => Some((2, d)),
                None => Some((3, d)),
            })
            .collect();
        ranked.sort_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, d)| d).collect()
    }

    /// The platforms that its entries name, in order, each once.
    #[must_use]
    pub fn offers(&self) -> Vec<Platform> {
        let mut offers = Vec::new();
        for platform in self.manifests.iter().filter(|d| !d.is_attestation()).filter_map(Descriptor::platform) {
            if !offers.contains(&platform) {
                offers.push(platform);
            }
        }
        offers
    }
}

impl Manifest {
    /// Its layers as [`crate::Image`] holds them.
    #[must_use]
    pub fn image_layers(&self) -> Vec<Layer> {
        let layer = |d: &Descriptor| Layer { digest: d.digest, size: d.size, media_type: d.media_type.clone() };
        self.layers.iter().map(layer).collect()
    }
}

/// Parses an image's configuration and checks it against its manifest's layers.
///
/// # Errors
///
/// Not a configuration, or one whose `diff_ids` do not match the layers.
pub fn parse_config(bytes: &[u8], layers: usize) -> Result<ImageConfiguration, ManifestError> {
    let digest = Digest::of(bytes);
    if bytes.len() as u64 > DOCUMENT_MAX {
        return Err(ManifestError::TooLarge { digest, size: bytes.len() as u64 });
    }
    let json = |source| ManifestError::Json { digest, what: "an image configuration", source };
    let mut value: serde_json::Value = serde_json::from_slice(bytes).map_err(json)?;
    // Images without layers are written with no `diff_ids` at all, or null.
    if let Some(rootfs) = value.get_mut("rootfs").and_then(|r| r.as_object_mut())
        && rootfs.get("diff_ids").is_none_or(serde_json::Value::is_null)
    {
        rootfs.insert("diff_ids".to_owned(), serde_json::Value::Array(Vec::new()));
    }
    let config: ImageConfiguration = serde_json::from_value(value).map_err(json)?;
    let diff_ids = config.rootfs().diff_ids();
    if diff_ids.len() != layers {
        let rule = format!("it names {} unpacked layers, its manifest {layers}", diff_ids.len());
        return Err(ManifestError::rule(digest, rule));
    }
    for diff_id in diff_ids {
        diff_id.parse::<Digest>().map_err(|e| ManifestError::rule(digest, e.to_string()))?;
    }
    Ok(config)
}

/// The platform that a configuration says its image is for.
#[must_use]
pub fn config_platform(config: &ImageConfiguration) -> Platform {
    Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: config.variant().clone().filter(|v| !v.is_empty()),
    }
}

/// JSON with the keys of every object in order: what we write does not depend on the order of a hash map.
///
/// # Errors
///
/// Whatever serializing says.
pub fn canonical_json<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    fn sorted(value: serde_json::Value) -> serde_json::Value {
        match value {
            serde_json::Value::Object(map) => {
                let ordered: BTreeMap<String, _> = map.into_iter().map(|(k, v)| (k, sorted(v))).collect();
                serde_json::Value::Object(ordered.into_iter().collect())
            }
            serde_json::Value::Array(items) => items.into_iter().map(sorted).collect(),
            other => other,
        }
    }
    serde_json::to_vec(&sorted(serde_json::to_value(value)?))
}

#[cfg(test)]
mod tests;
