//! Media that firmware boots: some files, a boot catalog, and room for the tables of a disk.
//!
//! The same bytes are a CD and a disk. As a CD, firmware follows the boot catalog. As a disk, a BIOS starts the boot code in the
//! first sector, and UEFI reads a partition table, one entry of which is the ESP that lies in the volume as a file. Tables and
//! boot code are the caller's: they go to the system area and to the end of the image, both untouched by ISO 9660.
//!
//! First [`Media::plan`] says where each file will lie, then [`PlannedMedia::image`] takes the files' bytes, which may hold it.

use std::collections::BTreeMap;

use bootwright_oci::{Metadata, TreePath};

use super::el_torito::{BiosEntry, Image};
use super::format::{SECTOR, SYSTEM_AREA};
use super::layout::{Layout, Request};
use super::volume_id;
use crate::inodes::{Directory, GENERATED_DIRECTORY, InodeKind, Inodes, ROOT, split};
use crate::{GENERATED_MTIME, RawImage};

/// Bytes of the sectors that BIOS, boot catalog and partition tables count.
const DISK_SECTOR: u64 = 512;

/// Owner, permissions and time of all files.
static GENERATED_FILE: Metadata =
    Metadata { mode: 0o644, uid: 0, gid: 0, mtime: GENERATED_MTIME as i64, xattrs: BTreeMap::new() };

/// What a medium shall hold.
#[derive(Clone, Debug, Default)]
pub struct Media {
    /// Name of the volume; what such a name cannot hold becomes `_`.
    pub volume_id: String,
    /// The files, each path once. Their directories come by themselves.
    pub files: Vec<MediaFile>,
    /// What a BIOS boots from CD.
    pub bios: Option<BiosEntry>,
    /// Index of the file that is an ESP, a FAT file system: what UEFI boots from CD.
    pub efi: Option<usize>,
    /// Bytes to keep free at the very end, for the backup of a GPT.
    pub tail: u64,
}

/// A file on a medium.
#[derive(Clone, Debug)]
pub struct MediaFile {
    /// Where.
    pub path: TreePath,
    /// Bytes.
    pub size: u64,
    /// What its place is a multiple of, in bytes: 2048 or a multiple of it.
    pub alignment: u64,
}

/// A medium that lacks only the bytes of its files.
#[derive(Debug)]
pub struct PlannedMedia {
    /// Descriptors and directories in their places.
    image: RawImage,
    /// Offset and size of each file.
    files: Vec<(u64, u64)>,
    tail: u64,
}

impl Media {
    /// Lays out the medium.
    ///
    /// # Panics
    ///
    /// A path twice or below a file: what is on a medium is ours, so that is a mistake.
    #[must_use]
    pub fn plan(&self) -> PlannedMedia {
        let mut inodes = Inodes::new(&GENERATED_DIRECTORY);
        let mut directories: BTreeMap<&[u8], usize> = BTreeMap::from([(&b""[..], ROOT)]);
        let mut by_file = Vec::with_capacity(self.files.len());
        for file in &self.files {
            let (parent, name) = split(file.path.as_bytes());
            let parent = directory(&mut inodes, &mut directories, parent);
            let taken =
                inodes.get(parent).directory().is_some_and(|d| d.entries.iter().any(|(other, _)| *other == name));
            assert!(!taken, "`{}` is on a medium twice", file.path);
            by_file.push(inodes.add(parent, name, &GENERATED_FILE, InodeKind::File(file.size)));
        }
        let request = Request {
            is_bootable: self.bios.is_some() || self.efi.is_some(),
            alignments: by_file.iter().copied().zip(self.files.iter().map(|file| file.alignment)).collect(),
            tail: self.tail,
        };
        let layout = Layout::of(&inodes, &request);
        let extent = |file: usize| layout.extents[by_file[file]];
        let bios =
            self.bios.map(|entry| Image { extent: extent(entry.file), sectors: entry.sectors, segment: entry.segment });
        // An ESP of 32 MiB or more is too long for the field; UEFI takes 0 as "up to the end of the medium".
        let efi = self.efi.map(|file| Image {
            extent: extent(file),
            sectors: u16::try_from(self.files[file].size.div_ceil(DISK_SECTOR)).unwrap_or(0),
            segment: 0,
        });
        let mut image = RawImage::new(layout.size());
        let descriptors = layout.descriptors(&inodes, &volume_id(&self.volume_id), bios, efi);
        let mut at = SYSTEM_AREA + descriptors.len() as u64;
        image.put(SYSTEM_AREA, descriptors);
        for directory in layout.directories(&inodes) {
            let bytes = [directory.records, directory.continuation].concat();
            let len = bytes.len() as u64;
            image.put(at, bytes);
            at += len;
        }
        let place = |(inode, file): (&usize, &MediaFile)| (u64::from(layout.extents[*inode]) * SECTOR, file.size);
        let files = by_file.iter().zip(&self.files).map(place).collect();
        PlannedMedia { image, files, tail: self.tail }
    }
}

/// The inode of a directory, made with those above it if it is not there yet.
fn directory<'a>(inodes: &mut Inodes<'a>, directories: &mut BTreeMap<&'a [u8], usize>, path: &'a [u8]) -> usize {
    if let Some(inode) = directories.get(path) {
        return *inode;
    }
    let (parent, name) = split(path);
    let parent = directory(inodes, directories, parent);
    let kind = InodeKind::Directory(Directory { parent, entries: Vec::new() });
    let inode = inodes.add(parent, name, &GENERATED_DIRECTORY, kind);
    directories.insert(path, inode);
    inode
}

impl PlannedMedia {
    /// Bytes of the medium: whole sectors of 2048.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.image.size()
    }

    /// Offset of a file in bytes, a multiple of 2048. It lies in one piece.
    #[must_use]
    pub fn offset(&self, file: usize) -> u64 {
        self.files[file].0
    }

    /// The medium, with each file's bytes, with what begins the system area ([`SYSTEM_AREA`] at most), and with what ends the
    /// image (as many bytes as were kept free, or none).
    ///
    /// # Panics
    ///
    /// Sizes that are not what was planned.
    #[must_use]
    pub fn image(self, contents: &[RawImage], system_area: Vec<u8>, tail: Vec<u8>) -> RawImage {
        assert_eq!(contents.len(), self.files.len(), "each file has its content");
        assert!(system_area.len() as u64 <= SYSTEM_AREA, "the system area is full");
        assert!(tail.is_empty() || tail.len() as u64 == self.tail, "the tail has the size that was kept free");
        let mut image = self.image;
        for ((at, size), content) in self.files.iter().zip(contents) {
            assert_eq!(content.size(), *size, "a file has the size that was planned");
            image.put_image(*at, content);
        }
        image.put(0, system_area);
        image.put(image.size() - tail.len() as u64, tail);
        image
    }
}
