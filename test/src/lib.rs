//! Boot stories: build a machine from a spec, boot it, read its console, judge its end.
//!
//! A story ([`Story`]) is a spec in a temporary directory; [`Story::build`] calls the real `bootwright`, and
//! [`Built::boot`] runs the result in QEMU as a [`Running`] machine, whose whole console is printed when the test fails.
//! All stories of a run share one store below the target directory, so packages are made once; at most two machines run
//! at a time, whatever number of tests and test processes there is. What the machine says and takes is in [`words`].

mod checks;
mod compile;
mod ctl;
mod disk;
mod firmware;
mod floor;
mod host;
mod image;
mod initrd;
mod machine;
mod net;
mod place;
mod root_image;
mod serial;
mod story;
mod verb;
pub mod words;

pub use checks::Checks;
pub use compile::compile;
pub use ctl::{Ctl, CtlRun};
pub use disk::{ESP, ROOT, flip, partition, partition_range};
pub use firmware::{Firmware, FirmwareRun};
pub use floor::{Files, Root, comes_up, images};
pub use host::run;
pub use image::{ImageBuilder, NET_BIND_SERVICE, noise};
pub use initrd::CpioEntry;
pub use machine::{Boot, Running};
pub use net::{free_port, http_get};
pub use place::{BUSYBOX, repository, store, tool, unpacked_store};
pub use root_image::{Parts, RootImage};
pub use serial::Serial;
pub use story::{Built, Entry, Story, file, names};
pub use verb::{VerbRun, interrupted_test_verb, test_verb};

pub use bootwright_machine::{Board, Bus, Outcome};
