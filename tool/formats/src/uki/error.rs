//! Why there is no unified kernel image, and what to do about it.

use std::io;

use crate::pe::{PeError, PeMachine};

/// A unified kernel image cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum UkiError {
    /// A platform for which there is no stub.
    #[error("unified kernel images are made for linux/amd64 and linux/arm64, and the machine is {0}")]
    Platform(String),
    /// A stub that is none.
    #[error("the EFI stub cannot be used")]
    Stub(#[source] PeError),
    /// A stub of another platform.
    #[error("the EFI stub is for {got}, and the machine is {want}")]
    StubMachine {
        /// The stub's.
        got: PeMachine,
        /// The machine's.
        want: PeMachine,
    },
    /// A stub that has what we would add.
    #[error("the EFI stub has a section `{0}` already")]
    Occupied(&'static str),
    /// A stub whose headers are full.
    #[error("the EFI stub's headers have room for {room} more sections, and {needed} are needed")]
    NoRoom {
        /// How many fit.
        room: usize,
        /// How many there are.
        needed: usize,
    },
    /// A kernel that firmware cannot start.
    #[error("the kernel is no EFI program")]
    Kernel(#[source] PeError),
    /// A kernel of another platform.
    #[error("the kernel is for {got}, and the machine is {want}")]
    KernelMachine {
        /// The kernel's.
        got: PeMachine,
        /// The machine's.
        want: PeMachine,
    },
    /// A command line that the kernel would cut.
    #[error("the kernel's command line has {len} bytes, and the kernel takes {limit}")]
    CommandLine {
        /// Its bytes.
        len: usize,
        /// The kernel's limit.
        limit: u64,
    },
    /// A command line that the stub would cut.
    #[error("the kernel's command line has a zero byte at {0}")]
    ZeroByte(usize),
    /// More than the headers' 32 bits can say.
    #[error("kernel and initrd have {0} bytes together, and a unified kernel image has at most 4 GiB")]
    TooLarge(u64),
    /// The kernel cannot be read.
    #[error("cannot read the kernel")]
    Read(#[source] io::Error),
}

impl UkiError {
    /// What would help, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Stub(_) | Self::StubMachine { .. } | Self::Occupied(_) | Self::NoRoom { .. } => {
                "the stub is systemd's `linuxx64.efi.stub` or `linuxaa64.efi.stub` (Debian: systemd-boot-efi), as it comes"
            }
            Self::Kernel(_) => {
                "a UKI needs a bzImage or an arm64 `Image` with CONFIG_EFI_STUB, not a vmlinux; build without `--decompress-kernel`"
            }
            Self::CommandLine { .. } => "shorten `kernel.cmdline`",
            Self::TooLarge(_) => "build a disk format, whose root is a partition and not in the initrd",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
