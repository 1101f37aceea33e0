//! OCI images: references, registries, the content store, archives, and layers flattened into a [`Tree`].
//!
//! Specifications: OCI image-spec 1.1 (layout, manifests, layers), OCI distribution-spec 1.1, and Docker's rules for
//! references, credentials and `docker save` archives.

mod derived;
mod digest;
mod image;
pub mod layer;
mod platform;
mod report;
pub mod tree;

pub use derived::Derived;
pub use digest::{Digest, DigestError, Hasher};
pub use image::{Image, Layer, LoadedImage};
pub use platform::{Platform, PlatformError};
pub use report::{Reporter, Silent, Task};
pub use tree::{Content, Extent, Kind, Metadata, Node, ReadContent, Tree, TreePath, UnpackTar};
