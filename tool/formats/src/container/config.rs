//! The image's configuration.

use std::io;

use bootwright_oci::{Digest, TreePath};
use bootwright_rootfs::Machine;
use serde_json::{Map, json};

/// [`crate::GENERATED_MTIME`], as RFC 3339 writes it.
const CREATED: &str = "2017-04-18T16:30:00Z";

/// What a container of the machine runs: LinuxKit's `/bin/rc.init`, which is an init that does not expect to be the kernel's, or
/// else `/init`. None where there is neither: such a container does not start.
#[must_use]
pub fn entrypoint(machine: &Machine) -> Option<&'static str> {
    ["/bin/rc.init", "/init"]
        .into_iter()
        .find(|path| TreePath::new(path).is_ok_and(|path| machine.tree.contains_key(&path)))
}

/// The configuration of an image whose one layer, not compressed, has this digest.
pub(super) fn config(machine: &Machine, diff_id: &Digest) -> io::Result<Vec<u8>> {
    let mut config = Map::new();
    config.insert("architecture".to_owned(), json!(machine.platform.architecture));
    config.insert("os".to_owned(), json!(machine.platform.os));
    if let Some(variant) = &machine.platform.variant {
        config.insert("variant".to_owned(), json!(variant));
    }
    config.insert("created".to_owned(), json!(CREATED));
    config.insert("config".to_owned(), json!({ "Entrypoint": Vec::from_iter(entrypoint(machine)) }));
    config.insert("rootfs".to_owned(), json!({ "type": "layers", "diff_ids": [diff_id] }));
    config.insert("history".to_owned(), json!([{ "created": CREATED, "created_by": "bootwright" }]));
    super::json(&config)
}
