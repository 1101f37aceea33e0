//! `control:` and `logging:`.

use serde_json::{Value as Json, json};

use super::{Members, text};
use crate::{Control, Forward, Logging};

pub(super) fn control(control: &Control) -> Option<Json> {
    let mut map = Members::default();
    map.put("virtio-serial", control.virtio_serial.as_ref().map(|flag| flag.value.into()));
    map.put("vsock", control.vsock.as_ref().map(|port| port.value.into()));
    map.put("socket", control.socket.as_ref().map(|flag| flag.value.into()));
    map.said("allow", control.allow.as_ref(), text);
    (!map.0.is_empty()).then(|| map.json())
}

pub(super) fn logging(logging: &Logging) -> Option<Json> {
    let mut map = Members::default();
    map.put("console", logging.console.as_ref().map(|flag| flag.value.into()));
    map.put("files", logging.files.as_ref().map(text));
    map.put("fileSize", logging.file_size.as_ref().map(|size| size.value.into()));
    map.put("fileCount", logging.file_count.as_ref().map(|count| count.value.into()));
    let forward = |forward: &Forward| json!({"to": forward.to.value, "format": forward.format.value});
    map.said("forward", logging.forward.as_ref(), forward);
    (!map.0.is_empty()).then(|| map.json())
}
