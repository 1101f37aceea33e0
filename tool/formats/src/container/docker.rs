//! What `docker save` writes and `docker load` reads (`docker-archive` of skopeo and podman).
//!
//! The layer is a plain tar, which all readers of this format take. Its digest is found by writing it to nowhere first: that
//! costs reading the content twice, and no space.

use std::io::{self, Write};

use bootwright_oci::{Digest, Hasher, ReadContent, Reference, Silent, Task};
use bootwright_rootfs::Machine;
use serde_json::json;

use super::config::config;
use crate::error::Fault;
use crate::tar;

/// Writes a machine as an image of this name.
///
/// # Errors
///
/// Those of the sink and the content.
pub fn docker_archive(
    machine: &Machine,
    name: &Reference,
    read: &dyn ReadContent,
    out: &mut dyn Write,
    progress: &mut dyn Task,
) -> Result<(), Fault> {
    let mut layer = Hasher::new(io::sink());
    tar::write_layer(machine, read, &mut layer, &mut Silent)?;
    let (_, diff_id, size) = layer.finish();

    let config = config(machine, &diff_id)?;
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let layer_name = format!("{}.tar", diff_id.hex());
    let saved = json!([{ "Config": config_name, "RepoTags": [name.to_string()], "Layers": [layer_name] }]);

    let mut tar = tar::Writer::new(out);
    super::file(&mut tar, "manifest.json", &super::json(&saved)?)?;
    super::file(&mut tar, &config_name, &config)?;
    super::start(&mut tar, &layer_name, size)?;
    tar::write_layer(machine, read, &mut tar, progress)?;
    tar.finish()?.flush()?;
    Ok(())
}
