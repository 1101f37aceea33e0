//! Why a machine cannot be booted by BIOS.

/// A machine that cannot be booted by BIOS, or a loader that is not ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BiosError {
    /// The component is something else.
    #[error("`{0}` of the boot loader component is not what this version of bootwright writes into")]
    Stage(&'static str),
    /// A component without a file.
    #[error("the boot loader component has no `{0}`")]
    Missing(String),
    /// No bzImage.
    #[error("the kernel is no bzImage, which is what a BIOS boots")]
    NotBzImage,
    /// A bzImage from before Linux 2.6.31.
    #[error("the kernel's boot protocol is {}.{:02}, and the BIOS loader needs 2.10 or later", .0 >> 8, .0 & 0xff)]
    Protocol(u16),
    /// A kernel with less bytes than its header says.
    #[error("the kernel has {got} bytes, and its header says {want}")]
    Truncated {
        /// What there is.
        got: u64,
        /// What the header says.
        want: u64,
    },
    /// A command line that the kernel would cut.
    #[error("the command line has {got} bytes, and this kernel takes {most}")]
    Cmdline {
        /// What there is.
        got: usize,
        /// What the kernel takes.
        most: usize,
    },
    /// A command line for which stage 2 has no room.
    #[error("the command line has {got} bytes, and the BIOS loader takes {most}")]
    LoaderCmdline {
        /// What there is.
        got: usize,
        /// What the loader takes.
        most: usize,
    },
    /// A command line that would end early.
    #[error("the command line has a NUL byte at {0}")]
    Nul(usize),
    /// A word that GRUB cannot give to a kernel.
    #[error("GRUB cannot pass on `{0}` of the command line: it has a quote or a backslash within")]
    Quoting(String),
    /// `vga=` without a mode.
    #[error("`vga={0}` on the command line is no video mode")]
    VideoMode(String),
    /// An initrd that cannot lie where the kernel looks for it.
    #[error("the initrd has {got} MiB, and this kernel takes {most} when it is booted by BIOS")]
    Initrd {
        /// MiB of the initrd.
        got: u64,
        /// MiB that the kernel takes.
        most: u64,
    },
    /// More pieces than the parameter block holds.
    #[error("the initrd has {got} pieces, and the BIOS loader takes {most}")]
    Pieces {
        /// What there is.
        got: usize,
        /// What the loader takes.
        most: usize,
    },
}

impl BiosError {
    /// What would help.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Stage(_) | Self::Missing(_) => {
                Some("build the component (`pkg/boot`, `pkg/grub`) of the same version, or boot by EFI only")
            }
            Self::NotBzImage | Self::Protocol(_) => Some("boot by EFI, or take the kernel as its build made it"),
            Self::Truncated { .. } => Some("the kernel is damaged; fetch it again"),
            Self::Cmdline { .. } | Self::LoaderCmdline { .. } => Some("shorten `kernel.cmdline`"),
            Self::Quoting(_) => Some("leave it out, or take our own loader, `pkg/boot`"),
            Self::VideoMode(_) => Some("give `normal`, `ext`, `ask` or a number"),
            Self::Initrd { .. } => Some("put the root on the disk instead of into the initrd"),
            Self::Nul(_) | Self::Pieces { .. } => None,
        }
    }
}
