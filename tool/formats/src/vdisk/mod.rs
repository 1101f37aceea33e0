//! Virtual disks: a [`RawImage`] in the container formats of clouds and hypervisors.
//!
//! One module per format. Each is laid out first and written second, strictly in order, so that any sink will do: what a format
//! keeps before its data (allocation tables) is known from a `Survey`, one pass over the image that finds its zeros. No
//! clock and no randomness: identifiers come from a digest of the image, times are the crate's fixed one. Limits, block
//! sizes and rounding: `docs/formats.md`.

mod deflate;
mod gcp;
mod out;
pub mod ova;
mod ovf;
mod qcow2;
mod survey;
mod vhd;
mod vhdx;
mod vmdk;

use std::io::{self, Write};
use std::num::NonZero;

use bootwright_oci::Task;

use crate::RawImage;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// Bytes of a sector: what VHD and VMDK count in, and the least of every disk.
const SECTOR: u64 = 512;

/// A way to write a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DiskKind {
    /// The bytes themselves, as `ImportSnapshot` of EC2 and `dd` want them.
    Raw,
    /// QEMU's and OpenStack's, version 3; clusters of zeros are not stored.
    Qcow2,
    /// The same with deflated clusters: smaller to upload, slower to boot.
    CompressedQcow2,
    /// Hyper-V's first generation and Azure: the bytes, and a footer.
    FixedVhd,
    /// The same, sparse.
    DynamicVhd,
    /// Hyper-V's second generation.
    Vhdx,
    /// VMware's and VirtualBox's: `streamOptimized`, deflated; also the disk of an OVA.
    Vmdk,
    /// What Compute Engine imports: `disk.raw` in a `tar.gz`.
    Gcp,
}

impl DiskKind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::Qcow2,
        Self::CompressedQcow2,
        Self::FixedVhd,
        Self::DynamicVhd,
        Self::Vhdx,
        Self::Vmdk,
        Self::Gcp,
    ];

    /// The size that a disk of at least so many bytes has in this format. A layout that puts something at the disk's end, as
    /// GPT does, is made with this size; an image of another is written with zeros up to it.
    #[must_use]
    pub fn disk_size(self, wanted: u64) -> u64 {
        let unit = match self {
            Self::Raw | Self::Qcow2 | Self::CompressedQcow2 => SECTOR,
            // Azure refuses anything but whole MiB; ESXi counts capacities in them.
            Self::FixedVhd | Self::DynamicVhd | Self::Vhdx | Self::Vmdk => MIB,
            // Compute Engine refuses anything but whole GiB.
            Self::Gcp => GIB,
        };
        wanted.max(1).next_multiple_of(unit)
    }

    /// Bytes of the largest disk that the format or its readers know.
    #[must_use]
    pub fn largest(self) -> u64 {
        match self {
            Self::Raw => i64::MAX as u64 / MIB * MIB,
            // Hyper-V's.
            Self::FixedVhd | Self::DynamicVhd => 2040 * GIB,
            // Hyper-V's, Compute Engine's, and a bound on the tables that QEMU reads.
            Self::Vhdx | Self::Gcp | Self::Qcow2 | Self::CompressedQcow2 => 64 * TIB,
            // Grain tables count sectors in 32 bits; a deflated grain that did not shrink is larger than a grain.
            Self::Vmdk => 2040 * GIB,
        }
    }

    /// Writes the image. `workers` threads compress, where the format does; the bytes do not depend on it. `progress`
    /// advances by the image's size in all.
    ///
    /// # Errors
    ///
    /// Those of the sink and of the image's files; the image is larger than [`DiskKind::largest`].
    pub fn write(
        self,
        image: &RawImage,
        workers: NonZero<usize>,
        out: &mut dyn Write,
        progress: &mut dyn Task,
    ) -> io::Result<()> {
        if image.size() > self.largest() {
            let (size, largest) = (image.size(), self.largest());
            let message = format!("a disk of {size} bytes is too large for this format, which ends at {largest}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let size = self.disk_size(image.size());
        let progress = &mut UpTo { task: progress, left: image.size() };
        match self {
            Self::Raw => {
                image.write_to(out, progress)?;
                out::Out::new(out).zeros(size - image.size())
            }
            Self::Qcow2 => qcow2::write(image, size, out, progress),
            Self::CompressedQcow2 => qcow2::write_compressed(image, size, workers, out, progress),
            Self::FixedVhd => vhd::write_fixed(image, size, out, progress),
            Self::DynamicVhd => vhd::write_dynamic(image, size, out, progress),
            Self::Vhdx => vhdx::write(image, size, out, progress),
            Self::Vmdk => vmdk::write(image, size, workers, out, progress),
            Self::Gcp => gcp::write(image, size, out, progress),
        }?;
        progress.task.advance(progress.left);
        Ok(())
    }
}

/// Passes on no more than what is left: blocks reach over the end, and zeros are not copied at all.
struct UpTo<'a> {
    task: &'a mut dyn Task,
    left: u64,
}

impl Task for UpTo<'_> {
    fn advance(&mut self, bytes: u64) {
        let bytes = bytes.min(self.left);
        self.left -= bytes;
        self.task.advance(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_as_the_targets_want_them() {
        for (kind, cases) in [
            (DiskKind::Raw, [(0, 512), (512, 512), (513, 1024), (MIB + 1, MIB + 512)]),
            (DiskKind::Qcow2, [(0, 512), (512, 512), (513, 1024), (MIB + 1, MIB + 512)]),
            (DiskKind::FixedVhd, [(0, MIB), (MIB, MIB), (MIB + 1, 2 * MIB), (5 * GIB - 1, 5 * GIB)]),
            (DiskKind::Vhdx, [(0, MIB), (MIB, MIB), (MIB + 1, 2 * MIB), (5 * GIB - 1, 5 * GIB)]),
            (DiskKind::Vmdk, [(0, MIB), (MIB, MIB), (MIB + 1, 2 * MIB), (5 * GIB - 1, 5 * GIB)]),
            (DiskKind::Gcp, [(0, GIB), (GIB, GIB), (GIB + 1, 2 * GIB), (5 * GIB - 1, 5 * GIB)]),
        ] {
            for (wanted, size) in cases {
                assert_eq!(kind.disk_size(wanted), size, "{kind:?} {wanted}");
            }
        }
        for kind in DiskKind::ALL {
            assert_eq!(kind.disk_size(kind.largest()), kind.largest(), "{kind:?}");
        }
    }

    #[test]
    fn a_disk_that_is_too_large_is_refused() {
        let image = RawImage::new(2040 * GIB + 1);
        let write = |kind: DiskKind| {
            let mut progress = bootwright_oci::Silent;
            kind.write(&image, NonZero::<usize>::MIN, &mut io::sink(), &mut progress).unwrap_err().to_string()
        };
        for kind in [DiskKind::FixedVhd, DiskKind::DynamicVhd, DiskKind::Vmdk] {
            let want = "a disk of 2190433320961 bytes is too large for this format, which ends at 2190433320960";
            assert_eq!(write(kind), want);
        }
    }
}
