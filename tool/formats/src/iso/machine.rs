//! A machine's root as a volume: `kernel+iso`, and the root of what boots from CD without an initrd.

use std::io::Write;

use bootwright_oci::{Kind, ReadContent, Silent, Task};
use bootwright_rootfs::Machine;

use super::format::{SECTION_MAX, SECTOR, SYSTEM_AREA, sectors};
use super::layout::{Layout, Request, files};
use super::volume_id;
use crate::content::{self, Counted};
use crate::error::{Fault, Misfit};
use crate::inodes::Inodes;
use crate::links::Links;
use crate::{Error, limits};

/// Longest name. The kernel has room for 254 bytes and cuts what reaches that (`get_rock_ridge_filename`).
const NAME_MAX: usize = 253;
/// Most sections of a file (`isofs_read_level3_size`).
const SECTIONS_MAX: u64 = 100;
/// Most bytes of all files: a sector's number has 32 bits, and one part in 64 is left for directories.
const FILES_MAX: u64 = (u32::MAX as u64) * SECTOR / 64 * 63;

/// A machine's root as ISO 9660 with Rock Ridge, laid out.
#[derive(Debug)]
pub struct MachineIso<'m> {
    machine: &'m Machine,
    volume_id: String,
    inodes: Inodes<'m>,
    layout: Layout,
}

impl<'m> MachineIso<'m> {
    /// Lays out a machine without [`misfits`].
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] for a tree that is none.
    pub fn plan(machine: &'m Machine, volume: &str) -> Result<Self, Error> {
        // Linux gives each name an inode of its own: there is nothing that equal files could share in memory.
        let inodes = Inodes::of(machine, &Links::of(machine)?)?;
        let layout = Layout::of(&inodes, &Request::default());
        Ok(Self { machine, volume_id: volume_id(volume), inodes, layout })
    }

    /// Bytes of the volume.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layout.size()
    }

    /// Writes the volume; progress counts its bytes.
    ///
    /// # Errors
    ///
    /// Those of the sink and of the content.
    pub fn write(&self, read: &dyn ReadContent, out: &mut dyn Write, progress: &mut dyn Task) -> Result<(), Fault> {
        let mut out = Counted { out, progress };
        out.write_all(&[0; SYSTEM_AREA as usize])?;
        out.write_all(&self.layout.descriptors(&self.inodes, &self.volume_id, None, None))?;
        for directory in self.layout.directories(&self.inodes) {
            out.write_all(&directory.records)?;
            out.write_all(&directory.continuation)?;
        }
        for (inode, size) in files(&self.inodes) {
            if let Some((content, owner)) = self.inodes.get(inode).content(self.machine) {
                content::copy(content, owner, read, &mut out, &mut Silent)?;
                let padding = sectors(size) * SECTOR - size;
                out.write_all(&[0; SECTOR as usize][..padding as usize])?;
            }
        }
        Ok(())
    }
}

/// Every node that such a volume cannot hold.
#[must_use]
pub fn misfits(machine: &Machine) -> Vec<Misfit> {
    let mut total: u64 = 0;
    limits::misfits(machine, |path, placed| {
        let Kind::File(content) = &placed.node.kind else { return limits::exceeded(path, placed, NAME_MAX) };
        let size = content.size();
        if size > SECTIONS_MAX * SECTION_MAX {
            return Some(format!("{size} bytes, 100 times 4 GiB - 2 KiB at most"));
        }
        total += sectors(size) * SECTOR;
        if total > FILES_MAX {
            return Some(format!("{total} bytes together with the files before it, {FILES_MAX} at most"));
        }
        limits::exceeded(path, placed, NAME_MAX)
    })
}

/// The nodes whose extended attributes get lost, for people: Rock Ridge has none.
#[must_use]
pub fn lost_xattrs(machine: &Machine) -> Vec<String> {
    limits::lost_xattrs(machine, |_| false)
}
