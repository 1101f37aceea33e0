//! Writing: superblock, inodes, blocks, in this order. A pass over everything but files comes first: it gives the image its UUID.

use std::io::{self, Read, Write};
use std::ops::Range;

use bootwright_oci::{Hasher, ReadContent, Silent, Task};
use bootwright_rootfs::Machine;

use super::format::{BLOCK, ENTRY_LEN, FileType, InodeFields, Superblock, device, entry};
use super::layout::{Layout, blocks};
use super::xattrs;
use crate::Error;
use crate::content::{self, Counted};
use crate::error::Fault;
use crate::inodes::{InodeKind, Inodes, ROOT};
use crate::links::Links;

/// A machine's root as EROFS, laid out.
#[derive(Debug)]
pub struct Erofs<'m> {
    machine: &'m Machine,
    inodes: Inodes<'m>,
    layout: Layout,
}

/// What writes the part of a file that lies behind its inode.
type Tail<'a> = dyn FnMut(usize, &mut dyn Write) -> Result<(), Fault> + 'a;

impl<'m> Erofs<'m> {
    /// Lays out a machine without [`misfits`](super::misfits).
    ///
    /// # Errors
    ///
    /// [`Error::Tree`] for a tree that is none.
    pub fn plan(machine: &'m Machine) -> Result<Self, Error> {
        let inodes = Inodes::of(machine, &Links::shared(machine)?)?;
        let layout = Layout::of(&inodes, machine);
        Ok(Self { machine, inodes, layout })
    }

    /// Bytes of the image, a multiple of 4096.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layout.blocks * BLOCK
    }

    /// Writes the image; progress counts its bytes.
    ///
    /// # Errors
    ///
    /// Those of the sink and of the content.
    pub fn write(&self, read: &dyn ReadContent, out: &mut dyn Write, progress: &mut dyn Task) -> Result<(), Fault> {
        let mut out = Counted { out, progress };
        out.write_all(&self.superblock()?.encode())?;
        self.write_inodes(&mut out, &mut |inode, out| {
            let place = self.layout.inodes[inode];
            self.copy(inode, place.in_blocks()..place.size, read, out)
        })?;
        self.write_own_blocks(&mut out)?;
        for inode in &self.layout.owners {
            let len = self.layout.inodes[*inode].in_blocks();
            self.copy(*inode, 0..len, read, &mut out)?;
            pad(&mut out, len)?;
        }
        Ok(())
    }

    fn superblock(&self) -> Result<Superblock, Fault> {
        let mut hasher = Hasher::new(io::sink());
        self.write_inodes(&mut hasher, &mut |_, _| Ok(()))?;
        self.write_own_blocks(&mut hasher)?;
        for (_, inode) in self.inodes.iter() {
            if let Some((content, _)) = inode.content(self.machine) {
                write!(hasher, "{}", content.digest())?;
            }
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&hasher.finish().1.bytes()[..16]);
        // Version 8, of our own making (RFC 9562).
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        Ok(Superblock {
            root: u16::try_from(self.layout.inodes[ROOT].nid()).expect("the root is placed first, in the second block"),
            inodes: self.inodes.len() as u64,
            time: self.layout.time,
            blocks: u32::try_from(self.layout.blocks).unwrap_or(u32::MAX),
            uuid,
        })
    }

    /// Writes the inodes and what lies behind them, up to the end of their last block.
    fn write_inodes(&self, out: &mut dyn Write, tail: &mut Tail<'_>) -> Result<(), Fault> {
        let mut at = BLOCK;
        for index in &self.layout.order {
            let (inode, place) = (self.inodes.get(*index), self.layout.inodes[*index]);
            zeros(out, place.at - at)?;
            let xattrs = xattrs::encode(&inode.meta.xattrs);
            let fields = InodeFields {
                is_extended: place.is_extended,
                is_inline: place.is_inline,
                xattrs: xattrs::count(xattrs.len()),
                mode: inode.mode() as u16,
                links: inode.links,
                size: place.size,
                place: match inode.kind {
                    InodeKind::Char(major, minor) | InodeKind::Block(major, minor) => device(major, minor),
                    _ => place.block,
                },
                number: u32::try_from(index + 1).unwrap_or(u32::MAX),
                uid: inode.meta.uid,
                gid: inode.meta.gid,
                time: inode.meta.mtime,
            };
            let fields = fields.encode();
            out.write_all(&fields)?;
            out.write_all(&xattrs)?;
            at = place.at + (fields.len() + xattrs.len()) as u64 + place.tail();
            match &inode.kind {
                _ if place.tail() == 0 => {}
                InodeKind::File(_) => tail(*index, out)?,
                _ => out.write_all(&self.own_data(*index)[place.in_blocks() as usize..])?,
            }
        }
        zeros(out, self.layout.inode_blocks * BLOCK - at)?;
        Ok(())
    }

    /// Writes the blocks of directories and symbolic links.
    fn write_own_blocks(&self, out: &mut dyn Write) -> Result<(), Fault> {
        for (index, inode) in self.inodes.iter() {
            let len = self.layout.inodes[index].in_blocks();
            if len > 0 && !matches!(inode.kind, InodeKind::File(_)) {
                out.write_all(&self.own_data(index)[..len as usize])?;
                pad(out, len)?;
            }
        }
        Ok(())
    }

    /// The data of an inode that is no file.
    fn own_data(&self, index: usize) -> Vec<u8> {
        match &self.inodes.get(index).kind {
            InodeKind::Symlink(target) => target.to_vec(),
            InodeKind::Directory(directory) => {
                let directory = blocks(directory, index);
                let mut bytes: Vec<u8> = Vec::with_capacity(directory.size as usize);
                for entries in &directory.blocks {
                    bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
                    bytes.extend(self.directory_block(entries));
                }
                bytes
            }
            InodeKind::File(_) | InodeKind::Char(..) | InodeKind::Block(..) | InodeKind::Fifo => Vec::new(),
        }
    }

    /// The entries of a block, then their names.
    fn directory_block(&self, entries: &[(&[u8], usize)]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK as usize);
        let mut name_at = ENTRY_LEN * entries.len();
        for (name, inode) in entries {
            let kind = match self.inodes.get(*inode).kind {
                InodeKind::Directory(_) => FileType::Directory,
                InodeKind::File(_) => FileType::File,
                InodeKind::Symlink(_) => FileType::Symlink,
                InodeKind::Char(..) => FileType::Char,
                InodeKind::Block(..) => FileType::Block,
                InodeKind::Fifo => FileType::Fifo,
            };
            bytes.extend(entry(self.layout.inodes[*inode].nid(), name_at, kind));
            name_at += name.len();
        }
        entries.iter().for_each(|(name, _)| bytes.extend(*name));
        bytes
    }

    /// Copies a range of a file's bytes.
    fn copy(&self, inode: usize, range: Range<u64>, read: &dyn ReadContent, out: &mut dyn Write) -> Result<(), Fault> {
        let Some((content, owner)) = self.inodes.get(inode).content(self.machine) else { return Ok(()) };
        content::copy(content, owner, read, &mut Part { out, range, at: 0 }, &mut Silent)
    }
}

/// Lets a range of the bytes through.
struct Part<'a> {
    out: &'a mut dyn Write,
    range: Range<u64>,
    at: u64,
}

impl Write for Part<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let end = self.at + bytes.len() as u64;
        let (from, to) = (self.range.start.clamp(self.at, end), self.range.end.clamp(self.at, end));
        if from < to {
            self.out.write_all(&bytes[(from - self.at) as usize..(to - self.at) as usize])?;
        }
        self.at = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Zeros behind so many bytes, up to the end of their block.
fn pad(out: &mut dyn Write, len: u64) -> io::Result<()> {
    zeros(out, len.next_multiple_of(BLOCK) - len)
}

fn zeros(out: &mut dyn Write, len: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(len), out).map(drop)
}
