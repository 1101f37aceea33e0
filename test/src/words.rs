//! What init says on the consoles and what it takes on the kernel's command line: the one place to adapt when either
//! changes. Lines of containers are `NAME: LINE`.

use std::time::Duration;

/// How the line begins that says that the services run; milliseconds and names follow.
pub const READY: &str = "bootwright: ready in ";
/// How each of init's own lines begins.
pub const INIT: &str = "bootwright: ";
/// How the line begins that says which init has begun.
pub const GREETING: &str = "bootwright: init ";
/// What the BIOS loader says first.
pub const LOADING: &str = "bootwright: loading";
/// How init's last line begins.
pub const END: &str = "bootwright: end: ";
/// How a last line of a failed container begins in init's report on it.
pub const LAST_LINE: &str = "bootwright:   | ";
/// What the banner of a failed onboot container says, after its name in backticks.
pub const BANNER: &str = "failed, as is said above; the machine does not go on";
/// Where the manifest lies in the root.
pub const MANIFEST: &str = "usr/lib/bootwright/manifest.json";
/// Kernel argument: overrides every onboot's `onfail`.
pub const ONFAIL: &str = "bootwright.onfail=";
/// Kernel argument: seconds between the banner and the power off.
pub const ONFAIL_DELAY: &str = "bootwright.onfail.delay=";
/// Kernel argument for tests: the container whose creating child aborts.
pub const ABORT: &str = "bootwright.test.abort=";
/// Kernel argument: the root image to look for.
pub const ROOT: &str = "bootwright.root=";
/// Kernel argument: seconds to wait for it.
pub const ROOT_WAIT: &str = "bootwright.root.wait=";
/// Kernel argument: the root hash of dm-verity.
pub const VERITY: &str = "bootwright.verity=";
/// Kernel argument: what a block does that dm-verity refuses.
pub const CORRUPTION: &str = "bootwright.verity.corruption=";
/// Kernel argument: MiB of memory that the machine needs.
pub const MEMORY: &str = "bootwright.memory=";
/// What the sentence about too little memory has in it.
pub const MEMORY_UNIT: &str = " MiB";

/// How long a boot may take under TCG on a machine that does other things as well.
pub const BOOT: Duration = Duration::from_secs(180);
/// How long a machine gets that may have too little memory to come up, which otherwise takes it three seconds.
pub const THRASHING: Duration = Duration::from_secs(20);
/// How long a running machine may take to say something.
pub const SOON: Duration = Duration::from_secs(60);
/// How long a shutdown may take, grace periods included.
pub const SHUTDOWN: Duration = Duration::from_secs(90);

/// The line that says who asked for an end of the machine.
pub fn asked(ending: &str, by: &str) -> String {
    format!("{INIT}{ending} asked for by {by}")
}

/// The line that says how a container ended begins like this.
pub fn ended(kind: &str, name: &str) -> String {
    format!("{INIT}{kind} `{name}` ended: ")
}
