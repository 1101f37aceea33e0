//! Why a machine has no root, each as the sentence that is its last but one.

use std::io;
use std::time::Duration;

use bootwright_bundle::{ROOT_ARGUMENT, ROOT_IMAGE, RootFilesystem, RootId, VERITY_ARGUMENT};

use super::devices::Devices;
use super::image::Held;

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// Nothing says what the root is.
    #[error("no root image: the initrd has no {ROOT_IMAGE}, and the kernel's command line no `{ROOT_ARGUMENT}=`")]
    NotNamed,
    /// The name of the root is none.
    #[error("`{ROOT_ARGUMENT}={0}` on the kernel's command line: a root's name is 32 hexadecimal digits")]
    Name(String),
    /// The root hash is none, so that nothing can be verified, and so nothing is mounted.
    #[error("`{VERITY_ARGUMENT}={0}` on the kernel's command line: a root hash is 64 hexadecimal digits")]
    Hash(String),
    /// No block device has it.
    #[error("no root image {id} after {} s: {devices}", .wait.as_secs())]
    NotFound { id: RootId, wait: Duration, devices: Devices },
    /// The initrd's file is something else.
    #[error("{ROOT_IMAGE} of the initrd {0}")]
    NotAnImage(Held),
    /// The initrd's file is another root than the one that is asked for.
    #[error("{ROOT_IMAGE} of the initrd is the root image {found}; `{ROOT_ARGUMENT}={wanted}` is asked for")]
    Another { found: RootId, wanted: RootId },
    /// No loop device.
    #[error("attaching {ROOT_IMAGE} to a loop device: {error}{}", absent(.error, &ABSENT, "loop"))]
    Loop { error: io::Error },
    /// The hash tree is not as it must be.
    #[error("the root image of {place} cannot be verified: {problem}")]
    Superblock { place: String, problem: String },
    /// No device-mapper, or no verity in it.
    #[error("dm-verity for the root image of {place}: {what}: {error}{}", absent(.error, &UNKNOWN, "dm_verity"))]
    Mapping { place: String, what: &'static str, error: io::Error },
    /// dm-verity has found a block that the root hash does not vouch for.
    #[error("dm-verity refuses the root image of {place}: it is damaged or is not the one of the root hash {hash}")]
    Refused { place: String, hash: String },
    /// mount(2).
    #[error("mounting the {} of {place}: {error}{}", .filesystem.name(), absent(.error, &ABSENT, .filesystem.name()))]
    Mount { place: String, filesystem: RootFilesystem, error: io::Error },
    /// A root that is none.
    #[error("the root image of {place} has no /init")]
    NoInit { place: String },
    /// Any other step of the way.
    #[error("{what}: {error}")]
    Step { what: &'static str, error: io::Error },
}

/// What the kernel says of a device or filesystem that it does not have.
const ABSENT: [i32; 3] = [libc::ENOENT, libc::ENODEV, libc::ENXIO];
/// And what device-mapper says of a target that it does not have.
const UNKNOWN: [i32; 4] = [libc::ENOENT, libc::ENODEV, libc::ENXIO, libc::EINVAL];

/// What is likely behind an error.
fn absent(error: &io::Error, codes: &[i32], module: &str) -> String {
    match error.raw_os_error() {
        Some(code) if codes.contains(&code) => {
            format!("; is the module `{module}` in the initrd, or built into the kernel?")
        }
        _ => String::new(),
    }
}
