//! `--disk [file=]PATH[,size=N[M|G]][,format=F]`: disks of the machine, as LinuxKit spells them (parity table 9).
//!
//! They are virtio disks (`/dev/vda`, …) unless `bus=` says otherwise. A format that is not given is read from the file's first bytes, never guessed
//! by QEMU, which would let a guest turn its raw disk into one that names host files. A new disk is a sparse raw file
//! unless its format or its extension says otherwise, so that making one needs no further tool.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use crate::{Error, ParseError};

/// A disk as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Its file; none: `diskN.img` in the state directory.
    pub path: Option<PathBuf>,
    /// MiB, for a disk that does not exist yet.
    pub size_mib: Option<u64>,
    /// Its format, if said.
    pub format: Option<DiskFormat>,
    /// What it is attached to.
    pub bus: Bus,
}

/// What a disk is attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bus {
    /// A virtio block device.
    #[default]
    Virtio,
    /// The board's own controller: IDE on `pc`, AHCI on `q35`.
    Ide,
    /// A virtio SCSI controller.
    Scsi,
    /// An NVMe controller.
    Nvme,
    /// A USB stick.
    Usb,
}

impl Bus {
    const ALL: [(Self, &'static str); 5] =
        [(Self::Virtio, "virtio"), (Self::Ide, "ide"), (Self::Scsi, "scsi"), (Self::Nvme, "nvme"), (Self::Usb, "usb")];
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.into_iter().find(|(bus, _)| bus == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for Bus {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(bus, _)| bus);
        found.ok_or_else(|| ParseError::new(text, "bus", "it is none of `virtio`, `ide`, `scsi`, `nvme`, `usb`"))
    }
}

/// Formats that QEMU reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// Sector after sector.
    Raw,
    /// QEMU's own.
    Qcow2,
    /// Hyper-V's older one.
    Vpc,
    /// Hyper-V's newer one.
    Vhdx,
    /// VMware's.
    Vmdk,
}

impl DiskFormat {
    const ALL: [Self; 5] = [Self::Raw, Self::Qcow2, Self::Vpc, Self::Vhdx, Self::Vmdk];

    /// The format that the first bytes of a file show.
    pub(crate) fn of(head: &[u8]) -> Self {
        match head {
            [b'Q', b'F', b'I', 0xfb, ..] => Self::Qcow2,
            [b'K', b'D', b'M', b'V', ..] => Self::Vmdk,
            _ if head.starts_with(b"conectix") => Self::Vpc,
            _ if head.starts_with(b"vhdxfile") => Self::Vhdx,
            _ => Self::Raw,
        }
    }
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vpc => "vpc",
            Self::Vhdx => "vhdx",
            Self::Vmdk => "vmdk",
        })
    }
}

impl FromStr for Disk {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = |problem: String| ParseError::new(text, "disk", problem);
        let mut disk = Self::default();
        for (index, part) in text.split(',').enumerate() {
            match part.split_once('=') {
                Some(("file", path)) if !path.is_empty() => disk.path = Some(path.into()),
                Some(("size", size)) => {
                    let (digits, unit) = match size.as_bytes().last() {
                        Some(b'M') => (&size[..size.len() - 1], 1),
                        Some(b'G') => (&size[..size.len() - 1], 1024),
                        _ => (size, 1024),
                    };
                    let mib = digits.parse::<u64>().ok().filter(|n| *n > 0).and_then(|n| n.checked_mul(unit));
                    disk.size_mib = Some(mib.ok_or_else(|| {
                        wrong(format!("`{size}` is no size (a number with `M` or `G`; a bare number is in GB)"))
                    })?);
                }
                Some(("format", format)) => {
                    let known = DiskFormat::ALL.into_iter().find(|f| f.to_string() == format);
                    disk.format = Some(known.ok_or_else(|| {
                        wrong(format!("the format `{format}` is not one of `raw`, `qcow2`, `vpc`, `vhdx`, `vmdk`"))
                    })?);
                }
                Some(("bus", bus)) => disk.bus = bus.parse().map_err(|e: ParseError| wrong(e.to_string()))?,
                None if index == 0 && !part.is_empty() => disk.path = Some(part.into()),
                _ => return Err(wrong(format!("`{part}` is none of `file=PATH`, `size=N[M|G]`, `format=F`, `bus=B`"))),
            }
        }
        if disk.path.is_none() && disk.size_mib.is_none() {
            return Err(wrong("it has neither a path nor a size".into()));
        }
        Ok(disk)
    }
}

/// A disk that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedDisk {
    /// Its file.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// What it is attached to.
    pub bus: Bus,
}

impl Disk {
    /// Makes the disk where it does not exist; `index` and `state` name one that has no path.
    pub(crate) fn prepare(&self, index: usize, state: &Path) -> Result<PreparedDisk, Error> {
        let path = self.path.clone().unwrap_or_else(|| state.join(format!("disk{index}.img")));
        match File::open(&path) {
            Ok(file) => {
                let mut head = Vec::with_capacity(8);
                file.take(8).read_to_end(&mut head).map_err(Error::file("read", &path))?;
                Ok(PreparedDisk { format: self.format.unwrap_or_else(|| DiskFormat::of(&head)), path, bus: self.bus })
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let Some(mib) = self.size_mib else { return Err(Error::NoDisk { path }) };
                let by_name = match path.extension().and_then(|e| e.to_str()) {
                    Some("qcow2") => DiskFormat::Qcow2,
                    Some("vhd") => DiskFormat::Vpc,
                    Some("vhdx") => DiskFormat::Vhdx,
                    Some("vmdk") => DiskFormat::Vmdk,
                    _ => DiskFormat::Raw,
                };
                let format = self.format.unwrap_or(by_name);
                create(&path, format, mib)?;
                Ok(PreparedDisk { path, format, bus: self.bus })
            }
            Err(e) => Err(Error::file("open", path)(e)),
        }
    }
}

fn create(path: &Path, format: DiskFormat, mib: u64) -> Result<(), Error> {
    if format == DiskFormat::Raw {
        let bytes = mib.saturating_mul(1 << 20);
        return File::create_new(path).and_then(|f| f.set_len(bytes)).map_err(Error::file("make", path));
    }
    let output = Command::new("qemu-img")
        .args(["create", "-q", "-f", &format.to_string()])
        .arg(path)
        .arg(format!("{mib}M"))
        .output()
        .map_err(|e| Error::QemuImg { path: path.into(), stderr: e.to_string() })?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::QemuImg { path: path.into(), stderr: String::from_utf8_lossy(&output.stderr).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(path: Option<&str>, size_mib: Option<u64>, format: Option<DiskFormat>) -> Disk {
        Disk { path: path.map(Into::into), size_mib, format, bus: Bus::Virtio }
    }

    #[test]
    fn disks_are_read_as_linuxkit_spells_them() {
        for (text, expected) in [
            ("a.img", disk(Some("a.img"), None, None)),
            ("file=a.img,size=512M", disk(Some("a.img"), Some(512), None)),
            ("a.img,size=2G,format=qcow2", disk(Some("a.img"), Some(2048), Some(DiskFormat::Qcow2))),
            ("size=1", disk(None, Some(1024), None)),
            ("a,bus=nvme", Disk { bus: Bus::Nvme, ..disk(Some("a"), None, None) }),
            ("format=raw,size=1M,file=b", disk(Some("b"), Some(1), Some(DiskFormat::Raw))),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn wrong_disks_are_refused_with_a_sentence() {
        for (text, part) in [
            ("", "`` is none of"),
            ("format=raw", "neither a path nor a size"),
            ("a,size=0", "`0` is no size"),
            ("a,size=4T", "`4T` is no size"),
            ("a,size=18446744073709551615G", "is no size"),
            ("a,format=qed", "`qed` is not one of"),
            ("a,bus=floppy", "it is none of `virtio`"),
            ("a,b", "`b` is none of"),
            ("a,speed=1", "`speed=1` is none of"),
        ] {
            let problem = text.parse::<Disk>().unwrap_err().problem;
            assert!(problem.contains(part), "{text}: {problem}");
        }
    }

    #[test]
    fn a_new_disk_is_sparse_and_an_old_one_is_kept_and_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let new = "size=3M".parse::<Disk>().unwrap().prepare(1, dir.path()).unwrap();
        let path = dir.path().join("disk1.img");
        assert_eq!(new, PreparedDisk { path, format: DiskFormat::Raw, bus: Bus::Virtio });
        assert_eq!(new.path.metadata().unwrap().len(), 3 << 20);

        for (head, format) in [
            (b"QFI\xfb\0\0\0\x03".as_slice(), DiskFormat::Qcow2),
            (b"KDMV\x01", DiskFormat::Vmdk),
            (b"conectix", DiskFormat::Vpc),
            (b"vhdxfile", DiskFormat::Vhdx),
            (b"\xeb\x3c", DiskFormat::Raw),
        ] {
            std::fs::write(&new.path, head).unwrap();
            let old = "size=9M".parse::<Disk>().unwrap().prepare(1, dir.path()).unwrap();
            assert_eq!(old.format, format);
            assert_eq!(std::fs::read(&old.path).unwrap(), head);
        }
    }

    #[test]
    fn a_disk_without_a_size_must_exist() {
        let error = disk(Some("/nonexistent/disk"), None, None).prepare(0, Path::new("/")).unwrap_err();
        assert_eq!(error.to_string(), "the disk `/nonexistent/disk` does not exist");
        assert!(error.hint().unwrap().contains("--disk /nonexistent/disk,size=1G"));
    }
}
