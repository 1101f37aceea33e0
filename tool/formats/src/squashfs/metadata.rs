//! Metadata blocks: runs of at most 8 KiB, each compressed by itself behind a header of 16 bits.

use std::io;

use super::compress::{Encoder, Settings};
use super::format::{METADATA_LEN, METADATA_STORED, Position};

/// Writes a run of metadata blocks.
pub(super) struct MetadataBlocks {
    encoder: Encoder,
    block: Vec<u8>,
    out: Vec<u8>,
}

impl MetadataBlocks {
    pub(super) fn new(settings: Settings) -> io::Result<Self> {
        Ok(Self { encoder: settings.encoder()?, block: Vec::with_capacity(METADATA_LEN), out: Vec::new() })
    }

    /// Where the next byte will lie.
    pub(super) fn position(&self) -> Position {
        Position { block: self.out.len() as u64, offset: self.block.len() as u16 }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(METADATA_LEN - self.block.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if self.block.len() == METADATA_LEN {
                self.end_block()?;
            }
        }
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let (flag, bytes) = match self.encoder.encode(&self.block)? {
            Some(packed) => (0, packed),
            None => (METADATA_STORED, &self.block[..]),
        };
        self.out.extend((bytes.len() as u16 | flag).to_le_bytes());
        self.out.extend(bytes);
        self.block.clear();
        Ok(())
    }

    /// Ends the last block and gives all of them.
    pub(super) fn finish(mut self) -> io::Result<Vec<u8>> {
        self.end_block()?;
        Ok(self.out)
    }
}

/// Appends a table that is read through a list of its blocks; gives the offset of that list (or of what stands before it, the
/// `head`), which is how the table is known. `base` is the offset of `out` in the image.
pub(super) fn indexed(
    out: &mut Vec<u8>,
    base: u64,
    entries: &[u8],
    head: &[u8],
    settings: Settings,
) -> io::Result<u64> {
    let start = base + out.len() as u64;
    let mut table = MetadataBlocks::new(settings)?;
    let mut list = Vec::new();
    // Entries are 4, 8 or 16 bytes: none lies across two blocks.
    for entries in entries.chunks(METADATA_LEN) {
        list.extend((start + table.position().block).to_le_bytes());
        table.write(entries)?;
    }
    out.extend(table.finish()?);
    let at = base + out.len() as u64;
    out.extend(head);
    out.extend(list);
    Ok(at)
}
