//! The names of the output formats, the files that each makes, and what each is made of.
//!
//! All twenty of LinuxKit's names are known, with LinuxKit's file names, so that a command line written for it is either
//! honoured or refused by name.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::Error;

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names tell; `docs/formats.md` tells what each is")]
pub enum Format {
    Aws,
    Azure,
    Docker,
    DockerArchive,
    DynamicVhd,
    Firecracker,
    Gcp,
    Iso,
    IsoBios,
    IsoEfi,
    IsoEfiInitrd,
    KernelErofs,
    KernelInitrd,
    KernelIso,
    KernelSquashfs,
    Kvm,
    Netboot,
    Oci,
    Openstack,
    Ova,
    Qcow2,
    Qcow2Bios,
    Qcow2Efi,
    Raw,
    RawBios,
    RawEfi,
    Rpi3,
    Tar,
    TarKernelInitrd,
    Uki,
    Vhd,
    Vhdx,
    Vmdk,
}

/// What a format is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    /// The whole tree, in one stream.
    Tree(Stream),
    /// A kernel, and an initrd with the root in it.
    Kernel,
    /// A kernel, and the root beside it, which the kernel mounts.
    Beside(Beside),
    /// A kernel and its initrd in one EFI program.
    Uki,
    /// A disk that firmware boots.
    Disk(Firmware, Container),
    /// An ISO that firmware boots.
    Iso(Firmware),
    /// Nothing, until there is a kernel for the board.
    Nothing,
}

/// What a stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// A tar.
    Tar,
    /// A build context of Docker's.
    DockerContext,
    /// An image as `docker save` writes it.
    DockerArchive,
    /// An image as an OCI layout.
    Oci,
}

/// A root filesystem beside a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Squashfs,
    Erofs,
    Iso,
    /// Squashfs, with Firecracker's configuration.
    Firecracker,
}

/// Which firmware boots it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Firmware {
    Bios,
    Efi,
    Both,
}

impl Firmware {
    /// Whether a BIOS boots it.
    pub(crate) fn bios(self) -> bool {
        self != Self::Efi
    }

    /// Whether UEFI boots it.
    pub(crate) fn efi(self) -> bool {
        self != Self::Bios
    }
}

/// What a disk is wrapped in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Container {
    Raw,
    Qcow2,
    Vhd,
    DynamicVhd,
    Vhdx,
    Vmdk,
    Ova,
    Azure,
    Gcp,
}

/// Format, name, what follows the build's name in each file's name, what it is made of.
type Row = (Format, &'static str, &'static [&'static str], Made);

/// LinuxKit's formats and ours, by name.
const TABLE: [Row; 33] = {
    use Container as C;
    use Firmware::{Bios, Both, Efi};
    use Made::{Beside as Root, Disk, Iso, Kernel, Nothing, Tree, Uki};
    [
        (Format::Aws, "aws", &[".raw"], Disk(Both, C::Raw)),
        (Format::Azure, "azure", &["-azure.vhd"], Disk(Both, C::Azure)),
        (Format::Docker, "docker", &[".docker"], Tree(Stream::DockerContext)),
        (Format::DockerArchive, "docker-archive", &["-docker.tar"], Tree(Stream::DockerArchive)),
        (Format::DynamicVhd, "dynamic-vhd", &[".vhd"], Disk(Both, C::DynamicVhd)),
        (
            Format::Firecracker,
            "firecracker",
            &["-vmlinux", "-rootfs.img", "-firecracker.json"],
            Root(Beside::Firecracker),
        ),
        (Format::Gcp, "gcp", &[".img.tar.gz"], Disk(Both, C::Gcp)),
        (Format::Iso, "iso", &[".iso"], Iso(Both)),
        (Format::IsoBios, "iso-bios", &[".iso"], Iso(Bios)),
        (Format::IsoEfi, "iso-efi", &["-efi.iso"], Iso(Efi)),
        (Format::IsoEfiInitrd, "iso-efi-initrd", &["-efi-initrd.iso"], Iso(Efi)),
        (Format::KernelErofs, "kernel+erofs", &["-kernel", "-cmdline", "-erofs.img"], Root(Beside::Erofs)),
        (Format::KernelInitrd, "kernel+initrd", &["-kernel", "-initrd.img", "-cmdline"], Kernel),
        (Format::KernelIso, "kernel+iso", &["-kernel", "-cmdline", ".iso"], Root(Beside::Iso)),
        (Format::KernelSquashfs, "kernel+squashfs", &["-kernel", "-cmdline", "-squashfs.img"], Root(Beside::Squashfs)),
        (Format::Kvm, "kvm", &["-kvm.qcow2"], Disk(Both, C::Qcow2)),
        (Format::Netboot, "netboot", &["-netboot-kernel", "-netboot-initrd.img", "-netboot.ipxe"], Kernel),
        (Format::Oci, "oci", &["-oci.tar"], Tree(Stream::Oci)),
        (Format::Openstack, "openstack", &["-openstack.qcow2"], Disk(Both, C::Qcow2)),
        (Format::Ova, "ova", &[".ova"], Disk(Both, C::Ova)),
        (Format::Qcow2, "qcow2", &[".qcow2"], Disk(Both, C::Qcow2)),
        (Format::Qcow2Bios, "qcow2-bios", &[".qcow2"], Disk(Bios, C::Qcow2)),
        (Format::Qcow2Efi, "qcow2-efi", &["-efi.qcow2"], Disk(Efi, C::Qcow2)),
        (Format::Raw, "raw", &[".img"], Disk(Both, C::Raw)),
        (Format::RawBios, "raw-bios", &["-bios.img"], Disk(Bios, C::Raw)),
        (Format::RawEfi, "raw-efi", &["-efi.img"], Disk(Efi, C::Raw)),
        (Format::Rpi3, "rpi3", &[".tar"], Nothing),
        (Format::Tar, "tar", &[".tar"], Tree(Stream::Tar)),
        (Format::TarKernelInitrd, "tar-kernel-initrd", &["-initrd.tar"], Kernel),
        (Format::Uki, "uki", &[".efi"], Uki),
        (Format::Vhd, "vhd", &[".vhd"], Disk(Both, C::Vhd)),
        (Format::Vhdx, "vhdx", &[".vhdx"], Disk(Both, C::Vhdx)),
        (Format::Vmdk, "vmdk", &[".vmdk"], Disk(Both, C::Vmdk)),
    ]
};

/// A name that is no format's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no output format `{0}`")]
pub struct FormatError(String);

impl FormatError {
    /// The names that there are.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let built: Vec<_> = Format::built().map(Format::name).collect();
        Some(format!("the formats are {}", built.join(", ")))
    }
}

impl Format {
    /// Every format, by name.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.0)
    }

    /// The formats that this version builds.
    pub fn built() -> impl Iterator<Item = Self> {
        Self::all().filter(|f| f.is_built())
    }

    /// Whether this version builds it.
    #[must_use]
    pub fn is_built(self) -> bool {
        self.made() != Made::Nothing
    }

    /// Whether a machine boots it, and not only what holds the machine's files.
    #[must_use]
    pub fn is_bootable(self) -> bool {
        !matches!(self.made(), Made::Tree(_) | Made::Nothing)
    }

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The names of the files that it makes, for a build of that name.
    #[must_use]
    pub fn files(self, name: &str) -> Vec<String> {
        self.row().2.iter().map(|suffix| format!("{name}{suffix}")).collect()
    }

    /// Whether it is one stream, which may go to standard output or to a file of any name.
    #[must_use]
    pub fn is_streamable(self) -> bool {
        matches!(self.made(), Made::Tree(_))
    }

    /// Whether it is a disk, which may have more room than what it holds.
    #[must_use]
    pub fn is_disk(self) -> bool {
        matches!(self.made(), Made::Disk(..))
    }

    /// Whether UEFI boots a program in it, which can be signed.
    #[must_use]
    pub fn is_signable(self) -> bool {
        match self.made() {
            Made::Uki => true,
            Made::Disk(firmware, _) | Made::Iso(firmware) => firmware.efi(),
            Made::Tree(_) | Made::Kernel | Made::Beside(_) | Made::Nothing => false,
        }
    }

    /// What it is made of.
    pub(crate) fn made(self) -> Made {
        self.row().3
    }

    fn row(self) -> &'static Row {
        TABLE.iter().find(|row| row.0 == self).expect("every format is in the table (tested)")
    }
}

/// A format of one build, and what its files' names begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The format.
    pub format: Format,
    /// The build's name, or one of its own where another format of the build has the same files.
    pub name: String,
}

impl Named {
    /// The names of its files.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.format.files(&self.name)
    }

    /// What to say where the name is not the build's.
    #[must_use]
    pub fn renamed(&self, build: &str) -> Option<String> {
        let files = self.files().iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(", ");
        let format = self.format;
        (self.name != build)
            .then(|| format!("another format of this build has the file names of `{format}`, so it writes {files}"))
    }
}

/// Refuses formats that are not built. A format named twice counts once; one whose files an earlier one has gets a name
/// of its own.
///
/// # Errors
///
/// [`Error::NotBuilt`], [`Error::NoFormat`].
pub fn check_formats(formats: &[Format], name: &str) -> Result<Vec<Named>, Error> {
    if let Some(format) = formats.iter().find(|f| !f.is_built()) {
        return Err(Error::NotBuilt { format: *format });
    }
    let mut unique: Vec<Named> = Vec::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    for format in formats {
        if unique.iter().any(|named| named.format == *format) {
            continue;
        }
        let mut named = Named { format: *format, name: name.to_owned() };
        if named.files().iter().any(|file| taken.contains(file)) {
            named.name = format!("{name}-{}", format.name().replace('+', "-"));
        }
        taken.extend(named.files());
        unique.push(named);
    }
    if unique.is_empty() { Err(Error::NoFormat) } else { Ok(unique) }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        TABLE.iter().find(|row| row.1 == text).map(|row| row.0).ok_or_else(|| FormatError(text.to_owned()))
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_one_row_and_its_name_is_read_back() {
        for (at, format) in Format::all().enumerate() {
            assert_eq!(format.name().parse(), Ok(format));
            assert_eq!(Format::all().position(|f| f == format), Some(at));
        }
        assert_eq!(Format::all().filter(|f| !f.is_built()).collect::<Vec<_>>(), [Format::Rpi3]);
        let error = "kernel+initr".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "there is no output format `kernel+initr`");
        assert!(error.hint().unwrap().starts_with("the formats are aws, azure, docker, "));
    }

    #[test]
    fn files_are_named_as_linuxkit_names_them() {
        let cases = [
            (Format::KernelInitrd, &["w-kernel", "w-initrd.img", "w-cmdline"][..]),
            (Format::Tar, &["w.tar"]),
            (Format::Docker, &["w.docker"]),
            (Format::TarKernelInitrd, &["w-initrd.tar"]),
        ];
        for (format, files) in cases {
            assert_eq!(format.files("w"), files);
        }
    }

    #[test]
    fn of_formats_with_the_same_files_the_later_gets_names_of_its_own() {
        let names = |formats: &[Format]| {
            let named = check_formats(formats, "w").unwrap();
            named.iter().flat_map(Named::files).collect::<Vec<_>>().join(" ")
        };
        for (formats, want) in [
            (&[Format::Tar, Format::Docker, Format::Tar][..], "w.tar w.docker"),
            (&[Format::Vhd, Format::DynamicVhd], "w.vhd w-dynamic-vhd.vhd"),
            (&[Format::IsoBios, Format::Iso], "w.iso w-iso.iso"),
            (
                &[Format::KernelInitrd, Format::KernelSquashfs],
                "w-kernel w-initrd.img w-cmdline w-kernel-squashfs-kernel w-kernel-squashfs-cmdline \
                 w-kernel-squashfs-squashfs.img",
            ),
        ] {
            assert_eq!(names(formats), want);
        }
        let all: Vec<Format> = Format::built().collect();
        let files: Vec<String> = check_formats(&all, "w").unwrap().iter().flat_map(Named::files).collect();
        assert_eq!(files.iter().collect::<BTreeSet<_>>().len(), files.len(), "{files:?}");

        let named = check_formats(&[Format::Vhd, Format::DynamicVhd], "w").unwrap();
        assert_eq!(named[0].renamed("w"), None);
        let said = "another format of this build has the file names of `dynamic-vhd`, so it writes `w-dynamic-vhd.vhd`";
        assert_eq!(named[1].renamed("w").unwrap(), said);
    }

    #[test]
    fn what_uefi_boots_can_be_signed() {
        for (format, signable) in [
            (Format::Uki, true),
            (Format::Raw, true),
            (Format::IsoEfi, true),
            (Format::RawBios, false),
            (Format::KernelInitrd, false),
            (Format::Tar, false),
        ] {
            assert_eq!(format.is_signable(), signable, "{format}");
        }
    }

    #[test]
    fn what_is_not_built_is_refused() {
        let refused = |formats: &[Format]| check_formats(formats, "w").unwrap_err().to_string();
        assert_eq!(refused(&[Format::Tar, Format::Rpi3]), "format `rpi3` is not built yet");
        assert_eq!(refused(&[]), "no output format was asked for");
    }
}
