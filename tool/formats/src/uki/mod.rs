//! Unified kernel images: kernel, initrd and command line as sections of one EFI program, whose code is a stub.
//!
//! UAPI Group specification "Unified Kernel Image (UKI)", <https://uapi-group.org/specifications/specs/unified_kernel_image/>;
//! the stub is systemd's (`systemd-stub(7)`), of 252 or later. Nothing is copied: the image is the stub's bytes with a longer
//! section table, and runs of the files that hold the rest.
//!
//! Every section of ours ends at a multiple of 4096 in the file, so that kernel and initrd begin at a sector of any disk or CD
//! and a BIOS loader reads the same bytes; and no byte lies between sections, because programs that check signatures disagree
//! on those.

mod error;
mod os_release;
mod plan;

pub use error::UkiError;
pub use os_release::os_release;
pub use plan::{Span, Uki, UkiContent};
