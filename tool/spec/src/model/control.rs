//! `control:` and `logging:` (ours).

use crate::Spanned;

/// `control:`. Each member is overridden by a later file that says it.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// `virtio-serial`; none: where there is such a port.
    pub virtio_serial: Option<Spanned<bool>>,
    /// `vsock`, a port.
    pub vsock: Option<Spanned<u32>>,
    /// `socket`.
    pub socket: Option<Spanned<bool>>,
    /// `allow`, of the words of `bootwright_bundle`'s rights.
    pub allow: Option<Vec<Spanned<String>>>,
}

/// `logging:`. Each member is overridden by a later file that says it.
#[derive(Clone, Debug, Default)]
pub struct Logging {
    /// `console`.
    pub console: Option<Spanned<bool>>,
    /// `files`: `auto`, `always` or `never`.
    pub files: Option<Spanned<String>>,
    /// `fileSize`, bytes.
    pub file_size: Option<Spanned<u64>>,
    /// `fileCount`.
    pub file_count: Option<Spanned<u64>>,
    /// `forward`.
    pub forward: Option<Vec<Forward>>,
}

/// An entry of `logging.forward`.
#[derive(Clone, Debug)]
pub struct Forward {
    /// `to`: `udp://ADDRESS:PORT` or `tcp://ADDRESS:PORT`.
    pub to: Spanned<String>,
    /// `format`: `syslog` or `json`.
    pub format: Spanned<String>,
}

impl Control {
    /// What a later file says, over this.
    pub(crate) fn under(self, later: Self) -> Self {
        Self {
            virtio_serial: later.virtio_serial.or(self.virtio_serial),
            vsock: later.vsock.or(self.vsock),
            socket: later.socket.or(self.socket),
            allow: later.allow.or(self.allow),
        }
    }
}

impl Logging {
    /// What a later file says, over this.
    pub(crate) fn under(self, later: Self) -> Self {
        Self {
            console: later.console.or(self.console),
            files: later.files.or(self.files),
            file_size: later.file_size.or(self.file_size),
            file_count: later.file_count.or(self.file_count),
            forward: later.forward.or(self.forward),
        }
    }
}
