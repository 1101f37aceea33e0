//! The contract between the builder and the init of a machine: what lies under `/containers` and `/usr/lib/bootwright`.
//!
//! Layout as LinuxKit has it, so that foreign inits and tools work: `/containers/onboot/NNN-name`,
//! `/containers/onshutdown/NNN-name`, `/containers/services/name`, `/containers/volumes/name`, each container with OCI's
//! `config.json` and LinuxKit's `runtime.json` ([`Runtime`]). What is ours alone is a third file ([`Supervision`]) and
//! the [`Manifest`] of the whole machine. The builder writes, init reads, and both use these types.

mod boot;
pub mod control;
mod ending;
mod glob;
mod landlock;
mod left_out;
mod logging;
mod manifest;
mod root;
mod runtime;
mod supervision;
mod volume;

pub use boot::{BIOS_STAGE1, BIOS_STAGE2, BOOT_LABEL, GRUB_DIRECTORY, efi_stub};
pub use ending::{ENDING_PREFIX, Ending, ONFAIL_DELAY_ARGUMENT, READY_PREFIX};
pub use glob::{glob_match, is_glob};
pub use landlock::Landlock;
pub use left_out::{LEFT_OUT, LeftOut};
pub use logging::{Forward, LOGGING_JSON, LogFiles, LogFormat, Logging};
pub use manifest::{Manifest, Segment, Xattr};
pub use root::{
    CORRUPTION_ARGUMENT, Corruption, EARLY_LABEL, MEMORY_ARGUMENT, ROOT_ARGUMENT, ROOT_BLOCK, ROOT_IMAGE,
    ROOT_WAIT_ARGUMENT, RootFilesystem, RootId, RootIdError, RootMark, VERITY_ARGUMENT,
};
pub use runtime::{BindNs, Interface, Mount, Runtime};
pub use supervision::{
    Check, Health, NOTIFY_DIRECTORY, NOTIFY_MOUNT, NOTIFY_SOCKET, OnFail, Ready, Restart, RestartPolicy, Stop,
    Supervision,
};
pub use volume::VolumeLimits;

/// Directory of all bundles and volumes.
pub const CONTAINERS: &str = "/containers";
/// File name of the OCI runtime configuration in a bundle.
pub const CONFIG_JSON: &str = "config.json";
/// File name of [`Runtime`] in a bundle.
pub const RUNTIME_JSON: &str = "runtime.json";
/// File name of [`Supervision`] in a bundle, and of [`VolumeLimits`] in a volume.
pub const SUPERVISION_JSON: &str = "bootwright.json";
/// Where the [`Manifest`] lies in the machine.
pub const MANIFEST_PATH: &str = "/usr/lib/bootwright/manifest.json";
/// Image label that says that an init image understands [`Manifest`] and [`Supervision`]; its value is a version.
pub const INIT_LABEL: &str = "org.bootwright.init";
/// Image label of a kernel image: default of the spec's `kernel.modules`.
pub const MODULES_LABEL: &str = "org.bootwright.kernel.modules";
/// Image label of a kernel image: MiB of memory that the kernel itself needs to reach init.
pub const FLOOR_LABEL: &str = "org.bootwright.kernel.memory";
/// Kernel command line key of the watchdog that init feeds: seconds, and after a comma a device if it is not the first.
pub const WATCHDOG_ARGUMENT: &str = "bootwright.watchdog";
/// Kernel command line key that overrides every onboot's `onfail`.
pub const ONFAIL_ARGUMENT: &str = "bootwright.onfail";
