//! What the spec says to our init about the machine as a whole: `control.json` and `logging.json` below
//! `/usr/lib/bootwright`. A spec that says nothing has neither.

use bootwright_bundle::control::{CONTROL_JSON, Control};
use bootwright_bundle::{Forward, LOGGING_JSON, LogFiles, LogFormat, Logging};
use bootwright_oci::TreePath;
use bootwright_spec::Spec;
use serde::Serialize;

use crate::config_json::to_json;
use crate::merge::{Merge, file};
use crate::problems::Problems;

/// Adds them.
pub(crate) fn add(merge: &mut Merge, spec: &Spec, native: bool, problems: &mut Problems) {
    let (control, logging) = (control(&spec.control), logging(&spec.logging));
    for (key, missing) in [("control", control.is_none()), ("logging", logging.is_none())] {
        if !missing && !native {
            let message = format!("`{key}` does nothing: none of the `init` images is bootwright's");
            problems.warning(spec.init.first().map(|image| image.span), message);
        }
    }
    if native {
        put(merge, CONTROL_JSON, control.as_ref());
        put(merge, LOGGING_JSON, logging.as_ref());
    }
}

fn put(merge: &mut Merge, path: &str, settings: Option<&impl Serialize>) {
    let (Some(settings), Ok(path)) = (settings, TreePath::new(path)) else { return };
    let component = merge.component("files", "bootwright", Some("settings of init"));
    let path = merge.locate(&path);
    merge.directories(component, &path.parent().unwrap_or_default());
    merge.put(component, &path, file(0o644, to_json(settings)));
}

fn control(said: &bootwright_spec::Control) -> Option<Control> {
    let bootwright_spec::Control { virtio_serial, vsock, socket, allow } = said;
    let any = virtio_serial.is_some() || vsock.is_some() || socket.is_some() || allow.is_some();
    any.then(|| Control {
        virtio_serial: virtio_serial.as_ref().map(|flag| flag.value),
        vsock: vsock.as_ref().map(|port| port.value),
        socket: socket.as_ref().is_some_and(|flag| flag.value),
        allow: allow.as_ref().map(|list| list.iter().filter_map(|right| right.value.parse().ok()).collect()),
    })
}

fn logging(said: &bootwright_spec::Logging) -> Option<Logging> {
    let bootwright_spec::Logging { console, files, file_size, file_count, forward } = said;
    let any = console.is_some() || files.is_some() || file_size.is_some() || file_count.is_some() || forward.is_some();
    let usual = Logging::default();
    any.then(|| Logging {
        console: console.as_ref().map_or(usual.console, |flag| flag.value),
        files: match files.as_ref().map(|word| word.value.as_str()) {
            Some("always") => LogFiles::Always,
            Some("never") => LogFiles::Never,
            _ => LogFiles::Auto,
        },
        file_size: file_size.as_ref().map_or(usual.file_size, |size| size.value),
        file_count: file_count.as_ref().map_or(usual.file_count, |count| count.value),
        forward: forward
            .iter()
            .flatten()
            .map(|forward| Forward {
                to: forward.to.value.clone(),
                format: if forward.format.value == "json" { LogFormat::Json } else { LogFormat::Syslog },
            })
            .collect(),
    })
}
