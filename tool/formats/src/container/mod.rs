//! A machine's root as a container image of one layer, for `podman load`, `docker load` and registries.
//!
//! Specifications: OCI image-spec 1.1 (layout, manifest, configuration, layer), and the archives of `docker save`. Kernel and
//! `boot/` are not in it; a container has its host's. The layer is written once before: a manifest names it by the digest of its
//! bytes, which come before the manifest's.

mod config;
mod docker;
mod oci;

pub use config::entrypoint;
pub use docker::docker_archive;
pub use oci::oci_archive;

use std::io::{self, Write};

use bootwright_oci::manifest::canonical_json;
use bootwright_rootfs::Machine;
use serde::Serialize;

use crate::links::{self, Links};
use crate::tar::{self, Entry, EntryKind};
use crate::{Error, GENERATED_MTIME};

/// Refuses a machine that cannot be a layer, before anything is written.
///
/// # Errors
///
/// [`Error::Tree`].
pub fn check(machine: &Machine) -> Result<(), Error> {
    links::check_parents(machine)?;
    Links::of(machine).map(drop)
}

/// Starts a file of an archive.
fn start<W: Write>(tar: &mut tar::Writer<W>, name: &str, size: u64) -> io::Result<()> {
    tar.entry(&Entry {
        name: name.as_bytes(),
        kind: EntryKind::File(size),
        mode: 0o644,
        mtime: GENERATED_MTIME.into(),
        ..Entry::default()
    })
}

/// Writes a small file of an archive.
fn file<W: Write>(tar: &mut tar::Writer<W>, name: &str, bytes: &[u8]) -> io::Result<()> {
    start(tar, name, bytes.len() as u64)?;
    tar.write_all(bytes)
}

fn json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    canonical_json(value).map_err(io::Error::other)
}
