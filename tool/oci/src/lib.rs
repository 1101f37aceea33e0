//! OCI images: references, registries, the content store, archives, and layers flattened into a [`Tree`].
//!
//! Specifications: OCI image-spec 1.1 (layout, manifests, layers), OCI distribution-spec 1.1, and Docker's rules for
//! references, credentials and `docker save` archives.

pub mod archive;
mod derived;
mod digest;
pub mod engine;
pub mod fetch;
mod image;
pub mod layer;
pub mod manifest;
mod platform;
mod reference;
pub mod registry;
mod report;
mod resolve;
mod store;
pub mod tree;

pub use derived::Derived;
pub use digest::{Digest, DigestError, Hasher};
pub use fetch::{FetchError, FetchOptions, Fetcher, Place};
pub use image::{Image, Layer, LoadedImage};
pub use platform::{Platform, PlatformError};
pub use reference::{ImageSource, Reference, ReferenceError};
pub use report::{Reporter, Silent, Task};
pub use store::{Collected, Incoming, Named, Store, StoreError, Verified};
pub use tree::{Content, Extent, Kind, Metadata, Node, ReadContent, Tree, TreePath, UnpackTar};
