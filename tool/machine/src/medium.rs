//! What a file is, by its first bytes: a kernel, a UKI, a disk, an ISO, a root image. Names decide nothing.
//!
//! Every reading is bounded. Of a disk in a container format only `qemu-img` knows where its first sectors are.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::DiskFormat;

/// Bytes that are looked at.
const HEAD: usize = 4096;
/// A sector.
const SECTOR: usize = 512;
/// Where boot code ends and the disk's signature begins in a master boot record.
const BOOT_CODE: usize = 440;
/// Sector of an ISO's primary volume descriptor; the next one points to El Torito's catalog.
const DESCRIPTORS: u64 = 16 * ISO_SECTOR as u64;
/// A sector of an ISO.
const ISO_SECTOR: usize = 2048;
/// More than any kernel's command line.
const CMDLINE_MOST: u64 = 64 << 10;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// A bzImage, an ELF kernel, or an arm64 `Image`.
    Kernel,
    /// A kernel, its initrd and its command line in one EFI program.
    Uki,
    /// A disk that firmware boots.
    Disk {
        /// Its format.
        format: DiskFormat,
        /// Whether its first sector holds code for a BIOS.
        bios: bool,
    },
    /// An ISO that firmware boots.
    Iso {
        /// Whether its boot catalog has an entry for a BIOS.
        bios: bool,
    },
    /// A root filesystem: squashfs, EROFS, or an ISO that nothing boots.
    Root,
    /// An archive with a disk in it: OVA, or Google's tar.gz.
    Archive,
}

impl Medium {
    /// Looks at a file; none if it is nothing that boots.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let mut head = Vec::with_capacity(HEAD);
        file.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
        let at = |offset: usize, bytes: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(bytes));
        if at(0x202, b"HdrS") || at(0, b"\x7fELF") || at(56, b"ARM\x64") {
            return Ok(Some(Self::Kernel));
        }
        if at(0, b"MZ") && sections(&head).any(|section| section.starts_with(b".linux\0\0")) {
            return Ok(Some(Self::Uki));
        }
        if at(0, b"hsqs") || at(1024, &[0xe2, 0xe1, 0xf5, 0xe0]) {
            return Ok(Some(Self::Root));
        }
        // Before disks: an ISO that boots from USB sticks has a disk's first sector.
        if let Some(iso) = iso(&mut file)? {
            return Ok(Some(iso));
        }
        if at(0, &[0x1f, 0x8b]) || at(257, b"ustar") {
            return Ok(Some(Self::Archive));
        }
        let (format, first) = match DiskFormat::of(&head) {
            // A fixed VHD is a raw disk with a footer.
            DiskFormat::Raw if ends_with_footer(&mut file)? => (DiskFormat::Vpc, head),
            DiskFormat::Raw => (DiskFormat::Raw, head),
            format => (format, first_sector(path, format)?),
        };
        let boots = first.get(510..SECTOR) == Some(&[0x55, 0xaa]);
        let bios = first.get(..BOOT_CODE).is_some_and(|code| code.iter().any(|byte| *byte != 0));
        Ok(boots.then_some(Self::Disk { format, bios }))
    }
}

/// A UKI's command line; empty if it has none.
pub(crate) fn uki_cmdline(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut head = Vec::with_capacity(HEAD);
    file.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    let Some(section) = sections(&head).find(|section| section.starts_with(b".cmdline")) else {
        return Ok(String::new());
    };
    let word =
        |at: usize| u64::from(u32::from_le_bytes([section[at], section[at + 1], section[at + 2], section[at + 3]]));
    // The file has the section in whole units of alignment; its size in memory is that of the text.
    let (len, at) = (word(8).min(word(16)), word(20));
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(len.min(CMDLINE_MOST)).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).trim_end_matches(['\0', '\n']).to_owned())
}

/// The headers of a PE's sections, from its first bytes.
fn sections(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let word = |offset: usize| head.get(offset..offset + 2).map(|w| usize::from(u16::from_le_bytes([w[0], w[1]])));
    let pe = head.get(0x3c..0x40).map_or(0, |w| u32::from_le_bytes([w[0], w[1], w[2], w[3]]) as usize);
    let is_pe = head.get(pe..).is_some_and(|rest| rest.starts_with(b"PE\0\0"));
    let count = if is_pe { word(pe + 6).unwrap_or(0) } else { 0 };
    let table = pe + 24 + word(pe + 20).unwrap_or(0);
    (0..count).filter_map(move |n| head.get(table + 40 * n..table + 40 * n + 40))
}

/// What boots an ISO; none for what is no ISO.
fn iso(file: &mut File) -> io::Result<Option<Medium>> {
    let Some(volume) = sector(file, DESCRIPTORS, ISO_SECTOR)? else { return Ok(None) };
    if volume.get(1..6) != Some(b"CD001") {
        return Ok(None);
    }
    let Some(boot) = sector(file, DESCRIPTORS + ISO_SECTOR as u64, ISO_SECTOR)? else { return Ok(Some(Medium::Root)) };
    if !boot.get(7..).is_some_and(|rest| rest.starts_with(b"EL TORITO SPECIFICATION")) {
        return Ok(Some(Medium::Root));
    }
    let catalog = u64::from(u32::from_le_bytes([boot[0x47], boot[0x48], boot[0x49], boot[0x4a]]));
    // The validation entry comes first and names the platform of the default entry: 0 is a PC's BIOS.
    let catalog = sector(file, catalog * ISO_SECTOR as u64, 64)?;
    Ok(Some(Medium::Iso { bios: catalog.is_some_and(|entries| entries[..2] == [1, 0] && entries[32] == 0x88) }))
}

fn sector(file: &mut File, at: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; len];
    file.seek(SeekFrom::Start(at))?;
    match file.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a VHD's footer is the last sector.
fn ends_with_footer(file: &mut File) -> io::Result<bool> {
    let len = file.seek(SeekFrom::End(0))?;
    let Some(at) = len.checked_sub(SECTOR as u64) else { return Ok(false) };
    Ok(sector(file, at, SECTOR)?.is_some_and(|footer| footer.starts_with(b"conectix")))
}

/// The first sector of a disk in a container format.
fn first_sector(path: &Path, format: DiskFormat) -> io::Result<Vec<u8>> {
    let out = tempfile::NamedTempFile::new()?;
    let argument = |key: &str, path: &Path| {
        let mut word = std::ffi::OsString::from(key);
        word.push(path);
        word
    };
    let output = Command::new("qemu-img")
        .args(["dd", "-f", &format.to_string(), "-O", "raw", "bs=512", "count=1"])
        .args([argument("if=", path), argument("of=", out.path())])
        .output()
        .map_err(|e| {
            io::Error::new(e.kind(), format!("`qemu-img` cannot be started (apt-get install qemu-utils): {e}"))
        })?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(out.path())?.take(SECTOR as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Takes the disk out of an OVA or of Google's tar.gz, into a directory.
pub(crate) fn unpack(archive: &Path, into: &Path) -> io::Result<PathBuf> {
    let mut file = File::open(archive)?;
    let mut magic = [0; 2];
    file.read_exact(&mut magic)?;
    file.seek(SeekFrom::Start(0))?;
    // GNU tar knows both, and Google's sparse members.
    let list = Command::new("tar").arg("-tf").arg(archive).output()?;
    let names = String::from_utf8_lossy(&list.stdout).into_owned();
    let disk = names.lines().find(|name| {
        *name == "disk.raw" || Path::new(name).extension().is_some_and(|e| e == "vmdk") && !name.contains('/')
    });
    let Some(disk) = disk else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it holds neither `disk.raw` nor a VMDK"));
    };
    let output = Command::new("tar").arg("-xSf").arg(archive).arg("-C").arg(into).arg("--").arg(disk).output()?;
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(into.join(disk))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium(bytes: &[u8]) -> Option<Medium> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        Medium::of(file.path()).unwrap()
    }

    fn with(len: usize, parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![0; len];
        for (at, part) in parts {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn files_are_known_by_their_bytes() {
        let signature: (usize, &[u8]) = (510, &[0x55, 0xaa]);
        let raw = |bios| Some(Medium::Disk { format: DiskFormat::Raw, bios });
        let volume: (usize, &[u8]) = (0x8001, b"CD001");
        let torito: (usize, &[u8]) = (0x8807, b"EL TORITO SPECIFICATION");
        for (bytes, want) in [
            (with(4096, &[(0x202, b"HdrS"), signature]), Some(Medium::Kernel)),
            (with(4096, &[(0, b"\x7fELF")]), Some(Medium::Kernel)),
            (with(512, &[signature]), raw(false)),
            (with(4096, &[(0, b"\xfa"), signature]), raw(true)),
            (
                with(4096, &[(0, b"\xfa"), signature, (3584, b"conectix")]),
                Some(Medium::Disk { format: DiskFormat::Vpc, bios: true }),
            ),
            (with(4096, &[(0, b"hsqs")]), Some(Medium::Root)),
            (with(4096, &[(1024, &[0xe2, 0xe1, 0xf5, 0xe0])]), Some(Medium::Root)),
            (with(40_960, &[volume]), Some(Medium::Root)),
            (
                with(
                    40_960,
                    &[signature, volume, torito, (0x8847, &[19]), (19 * 2048, &[1, 0]), (19 * 2048 + 32, &[0x88])],
                ),
                Some(Medium::Iso { bios: true }),
            ),
            (
                with(40_960, &[volume, torito, (0x8847, &[19]), (19 * 2048, &[1, 0xef]), (19 * 2048 + 32, &[0x88])]),
                Some(Medium::Iso { bios: false }),
            ),
            (
                with(
                    4096,
                    &[
                        (0, b"MZ"),
                        (0x3c, &[0x80]),
                        (0x80, b"PE\0\0"),
                        (0x86, &[2]),
                        (0x94, &[0xf0]),
                        (0x80 + 24 + 0xf0 + 40, b".linux"),
                    ],
                ),
                Some(Medium::Uki),
            ),
            (with(4096, &[(0, b"MZ"), (0x3c, &[0xff, 0xff, 0xff, 0xff])]), None),
            (with(512, &[(257, b"ustar")]), Some(Medium::Archive)),
            (vec![0x1f, 0x8b, 8], Some(Medium::Archive)),
            (Vec::new(), None),
            (b"kernel:\n".to_vec(), None),
        ] {
            assert_eq!(medium(&bytes), want, "{:?}", &bytes[..bytes.len().min(16)]);
        }
    }

    #[test]
    fn a_ukis_command_line_is_read() {
        let program = |size: &[u8]| {
            with(
                4096,
                &[
                    (0, b"MZ"),
                    (0x3c, &[0x80]),
                    (0x80, b"PE\0\0"),
                    (0x86, &[1]),
                    (0x98, b".cmdline"),
                    (0x98 + 8, size),
                    (0x98 + 16, &[0, 2]),
                    (0x98 + 20, &[0, 8]),
                    (2048, b"quiet bootwright.memory=96 \xff"),
                ],
            )
        };
        for (size, want) in [
            (&[28][..], "quiet bootwright.memory=96 \u{fffd}"),
            (&[26], "quiet bootwright.memory=96"),
            (&[255, 255, 255, 255], "quiet bootwright.memory=96 \u{fffd}"),
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), program(size)).unwrap();
            assert_eq!(uki_cmdline(file.path()).unwrap(), want, "{size:?}");
        }
    }

    /// qemu-img's own disks, of which nothing boots until a sector says so.
    #[test]
    fn disks_in_containers_are_looked_into() {
        let directory = tempfile::tempdir().unwrap();
        let raw = directory.path().join("raw");
        std::fs::write(&raw, with(1 << 20, &[(0, b"\xfa"), (510, &[0x55, 0xaa])])).unwrap();
        for format in [DiskFormat::Qcow2, DiskFormat::Vpc, DiskFormat::Vhdx, DiskFormat::Vmdk] {
            let disk = directory.path().join(format.to_string());
            let made = Command::new("qemu-img")
                .args(["convert", "-f", "raw", "-O", &format.to_string()])
                .args([&raw, &disk])
                .status()
                .expect("qemu-img is needed here (apt-get install qemu-utils)");
            assert!(made.success());
            assert_eq!(Medium::of(&disk).unwrap(), Some(Medium::Disk { format, bios: true }), "{format}");
        }
    }
}
