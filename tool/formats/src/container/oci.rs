//! An OCI layout in a tar (`oci-archive` of skopeo and podman), its layer in gzip.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use bootwright_oci::manifest::{
    CONTAINERD_NAME, Descriptor, DescriptorPlatform, Index, Manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP,
    OCI_MANIFEST, REF_NAME,
};
use bootwright_oci::{Digest, Hasher, ReadContent, Reference, Task};
use bootwright_rootfs::Machine;
use serde_json::json;

use super::config::config;
use crate::compress::{Compression, Encoder};
use crate::error::Fault;
use crate::tar;

/// Writes a machine as an image of this name.
///
/// `spool` is an empty file to write and read, such as one of `tempfile::tempfile_in`: the layer is packed into it, so that it
/// is compressed only once.
///
/// # Errors
///
/// Those of the sink, the spool and the content.
pub fn oci_archive(
    machine: &Machine,
    name: &Reference,
    read: &dyn ReadContent,
    mut spool: File,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> Result<(), Fault> {
    let mut packed = Hasher::new(BufWriter::with_capacity(256 << 10, &mut spool));
    let gzip = Compression::Gzip;
    // What gzip writes does not depend on the size that it is told.
    let mut layer = Hasher::new(Encoder::new(&mut packed, gzip, gzip.default_level(), 0, 1)?);
    tar::write_layer(machine, read, &mut layer, progress)?;
    let (encoder, diff_id, _) = layer.finish();
    encoder.finish()?;
    let (mut buffered, digest, size) = packed.finish();
    buffered.flush()?;
    drop(buffered);
    spool.rewind()?;

    let layer = Descriptor::new(OCI_LAYER_GZIP, digest, size);
    let config = config(machine, &diff_id)?;
    let manifest = super::json(&Manifest {
        schema_version: 2,
        media_type: Some(OCI_MANIFEST.to_owned()),
        config: described(OCI_CONFIG, &config),
        layers: vec![layer.clone()],
    })?;
    let mut entry = described(OCI_MANIFEST, &manifest);
    entry.platform = Some(DescriptorPlatform::from(&machine.platform));
    entry.annotations = [REF_NAME, CONTAINERD_NAME].into_iter().map(|key| (key.to_owned(), name.to_string())).collect();
    let index = Index { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests: vec![entry] };

    let mut tar = tar::Writer::new(out);
    super::file(&mut tar, "oci-layout", &super::json(&json!({ "imageLayoutVersion": "1.0.0" }))?)?;
    super::file(&mut tar, "index.json", &super::json(&index)?)?;
    for bytes in [manifest, config] {
        super::file(&mut tar, &blob(&Digest::of(&bytes)), &bytes)?;
    }
    super::start(&mut tar, &blob(&layer.digest), layer.size)?;
    io::copy(&mut spool, &mut tar)?;
    tar.finish()?.flush()?;
    Ok(())
}

fn described(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::of(bytes), bytes.len() as u64)
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}
