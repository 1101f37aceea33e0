//! The names of the output formats, the files that each makes, and which of them can be built.
//!
//! All twenty of LinuxKit's names are known, with LinuxKit's file names, so that a command line written for it is either
//! honoured or refused by name.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::Error;

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names are LinuxKit's; `docs/formats.md` tells what each is")]
pub enum Format {
    Aws,
    Docker,
    DynamicVhd,
    Gcp,
    IsoBios,
    IsoEfi,
    IsoEfiInitrd,
    KernelErofs,
    KernelInitrd,
    KernelIso,
    KernelSquashfs,
    Qcow2Bios,
    Qcow2Efi,
    RawBios,
    RawEfi,
    Rpi3,
    Tar,
    TarKernelInitrd,
    Vhd,
    Vmdk,
}

/// Format, name, and what follows the build's name in each file's name.
const TABLE: [(Format, &str, &[&str]); 20] = [
    (Format::Aws, "aws", &[".raw"]),
    (Format::Docker, "docker", &[".docker"]),
    (Format::DynamicVhd, "dynamic-vhd", &[".vhd"]),
    (Format::Gcp, "gcp", &[".img.tar.gz"]),
    (Format::IsoBios, "iso-bios", &[".iso"]),
    (Format::IsoEfi, "iso-efi", &["-efi.iso"]),
    (Format::IsoEfiInitrd, "iso-efi-initrd", &["-efi-initrd.iso"]),
    (Format::KernelErofs, "kernel+erofs", &["-kernel", "-cmdline", "-erofs.img"]),
    (Format::KernelInitrd, "kernel+initrd", &["-kernel", "-initrd.img", "-cmdline"]),
    (Format::KernelIso, "kernel+iso", &["-kernel", "-cmdline", ".iso"]),
    (Format::KernelSquashfs, "kernel+squashfs", &["-kernel", "-cmdline", "-squashfs.img"]),
    (Format::Qcow2Bios, "qcow2-bios", &[".qcow2"]),
    (Format::Qcow2Efi, "qcow2-efi", &["-efi.qcow2"]),
    (Format::RawBios, "raw-bios", &["-bios.img"]),
    (Format::RawEfi, "raw-efi", &["-efi.img"]),
    (Format::Rpi3, "rpi3", &[".tar"]),
    (Format::Tar, "tar", &[".tar"]),
    (Format::TarKernelInitrd, "tar-kernel-initrd", &["-initrd.tar"]),
    (Format::Vhd, "vhd", &[".vhd"]),
    (Format::Vmdk, "vmdk", &[".vmdk"]),
];

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
    /// Every format of LinuxKit's, by name.
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
        matches!(self, Self::Docker | Self::KernelInitrd | Self::Tar | Self::TarKernelInitrd)
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
        matches!(self, Self::Tar | Self::Docker)
    }

    /// Whether the machine's tree travels in it as an initrd, with newc's limits.
    #[must_use]
    pub fn has_initrd(self) -> bool {
        matches!(self, Self::KernelInitrd | Self::TarKernelInitrd)
    }

    fn row(self) -> &'static (Self, &'static str, &'static [&'static str]) {
        TABLE.iter().find(|row| row.0 == self).expect("every format is in the table (tested)")
    }
}

/// Refuses formats that are not built yet, and two that would write one file. A format named twice counts once.
///
/// # Errors
///
/// [`Error::NotBuilt`], [`Error::Clash`].
pub fn check_formats(formats: &[Format], name: &str) -> Result<Vec<Format>, Error> {
    let mut unique: Vec<Format> = Vec::new();
    let mut files: BTreeMap<String, Format> = BTreeMap::new();
    for format in formats {
        if unique.contains(format) {
            continue;
        }
        for file in format.files(name) {
            if let Some(first) = files.insert(file.clone(), *format) {
                return Err(Error::Clash { file, first, second: *format });
            }
        }
        unique.push(*format);
    }
    match unique.iter().find(|f| !f.is_built()) {
        Some(format) => Err(Error::NotBuilt { format: *format }),
        None => Ok(unique),
    }
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
        let built: Vec<_> = Format::built().map(Format::name).collect();
        assert_eq!(built, ["docker", "kernel+initrd", "tar", "tar-kernel-initrd"]);
        let error = "kernel+initr".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "there is no output format `kernel+initr`");
        assert_eq!(error.hint().unwrap(), "the formats are docker, kernel+initrd, tar, tar-kernel-initrd");
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
    fn clashes_and_formats_that_are_not_built_are_refused_before_the_build() {
        let check = |formats: &[Format]| check_formats(formats, "w").map_err(|e| e.to_string());
        assert_eq!(check(&[Format::Tar, Format::Docker, Format::Tar]), Ok(vec![Format::Tar, Format::Docker]));
        for (formats, want) in [
            ([Format::Vhd, Format::DynamicVhd], "formats `vhd` and `dynamic-vhd` would both write `w.vhd`"),
            ([Format::KernelIso, Format::IsoBios], "formats `kernel+iso` and `iso-bios` would both write `w.iso`"),
            ([Format::Tar, Format::Rpi3], "formats `tar` and `rpi3` would both write `w.tar`"),
            ([Format::Tar, Format::Aws], "format `aws` is not built yet"),
            // Both write a `w-kernel`; the kernel's name is not the only thing they share.
            (
                [Format::KernelInitrd, Format::KernelSquashfs],
                "formats `kernel+initrd` and `kernel+squashfs` would both write `w-kernel`",
            ),
        ] {
            assert_eq!(check(&formats), Err(want.to_owned()));
        }
    }
}
