//! A raw disk image that is known before it is written: where its bytes come from, and that everything else is zero.
//!
//! The layout of a disk is computed once; every disk format is then a way to write it. Pieces are bytes in memory (tables,
//! loaders) or runs of open files (a root image, a UKI), so that memory does not grow with the image.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bootwright_oci::Task;

/// Bytes that are copied at a time.
const BUFFER: usize = 256 << 10;

/// A disk, an ISO or a partition: some pieces, and zeros between them.
#[derive(Clone, Debug, Default)]
pub struct RawImage {
    size: u64,
    /// Sorted, without overlap, none empty.
    pieces: Vec<Piece>,
}

/// A run of bytes that are not known to be zero.
#[derive(Clone, Debug)]
struct Piece {
    /// Offset in the image.
    at: u64,
    /// Length in bytes.
    len: u64,
    data: Data,
}

#[derive(Clone, Debug)]
enum Data {
    Bytes(Arc<[u8]>),
    File(Arc<File>, u64),
}

impl RawImage {
    /// An image of so many bytes, all zero.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { size, pieces: Vec::new() }
    }

    /// A run of a file, and nothing else.
    #[must_use]
    pub fn of_file(file: &Arc<File>, offset: u64, len: u64) -> Self {
        let mut image = Self::new(len);
        image.put_file(0, file, offset, len);
        image
    }

    /// Bytes, and nothing else.
    #[must_use]
    pub fn of_bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let mut image = Self::new(bytes.len() as u64);
        image.put(0, bytes);
        image
    }

    /// Bytes of the image.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Puts bytes somewhere, where nothing is yet.
    ///
    /// # Panics
    ///
    /// Something is there, or the image ends before; so do the other two.
    pub fn put(&mut self, at: u64, bytes: impl Into<Arc<[u8]>>) {
        let bytes = bytes.into();
        self.insert(Piece { at, len: bytes.len() as u64, data: Data::Bytes(bytes) });
    }

    /// Puts a run of a file somewhere, where nothing is yet.
    pub fn put_file(&mut self, at: u64, file: &Arc<File>, offset: u64, len: u64) {
        self.insert(Piece { at, len, data: Data::File(Arc::clone(file), offset) });
    }

    /// Puts all of another image somewhere, where nothing is yet.
    pub fn put_image(&mut self, at: u64, image: &Self) {
        for piece in &image.pieces {
            self.insert(Piece { at: at + piece.at, ..piece.clone() });
        }
    }

    /// A part of the image as an image of its own.
    ///
    /// # Panics
    ///
    /// The image ends before.
    #[must_use]
    pub fn part(&self, at: u64, len: u64) -> Self {
        assert!(at + len <= self.size, "an image of {} bytes has no {len} at {at}", self.size);
        let mut part = Self::new(len);
        let first = self.pieces.partition_point(|p| p.end() <= at);
        for piece in self.pieces[first..].iter().take_while(|p| p.at < at + len) {
            let (from, to) = (piece.at.max(at), piece.end().min(at + len));
            part.insert(piece.cut(from - piece.at, to - from, from - at));
        }
        part
    }

    fn insert(&mut self, piece: Piece) {
        if piece.len == 0 {
            return;
        }
        let index = self.pieces.partition_point(|p| p.at < piece.at);
        let before = index.checked_sub(1).map_or(0, |i| self.pieces[i].end());
        let after = self.pieces.get(index).map_or(self.size, |p| p.at);
        // Layouts are computed, never read: an overlap is a mistake of ours, and would be a broken image.
        assert!(before <= piece.at && piece.end() <= after, "pieces of an image overlap at {}", piece.at);
        self.pieces.insert(index, piece);
    }

    /// Reads bytes of the image.
    ///
    /// # Errors
    ///
    /// A file fails or is shorter than it was, or the image ends before.
    pub fn read_at(&self, at: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = at + buffer.len() as u64;
        if end > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer.fill(0);
        let first = self.pieces.partition_point(|p| p.end() <= at);
        for piece in self.pieces[first..].iter().take_while(|p| p.at < end) {
            let (from, to) = (piece.at.max(at), piece.end().min(end));
            piece.read(from - piece.at, &mut buffer[(from - at) as usize..(to - at) as usize])?;
        }
        Ok(())
    }

    /// The runs of granules of so many bytes that hold anything, as offset and length; the last may reach over the end.
    #[must_use]
    pub fn runs(&self, granule: u64) -> Vec<(u64, u64)> {
        let mut runs: Vec<(u64, u64)> = Vec::new();
        for piece in &self.pieces {
            let (start, end) = (piece.at / granule * granule, piece.end().next_multiple_of(granule));
            match runs.last_mut() {
                Some((at, len)) if *at + *len >= start => *len = end - *at,
                _ => runs.push((start, end - start)),
            }
        }
        runs
    }

    /// Writes all of it; a file as sink keeps long runs of zeros as holes.
    ///
    /// # Errors
    ///
    /// Those of the sink and of the image's files.
    pub fn write_to(&self, out: &mut dyn Write, progress: &mut dyn Task) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        let mut at = 0;
        while at < self.size {
            let len = usize::try_from(self.size - at).unwrap_or(BUFFER).min(BUFFER);
            self.read_at(at, &mut buffer[..len])?;
            out.write_all(&buffer[..len])?;
            progress.advance(len as u64);
            at += len as u64;
        }
        Ok(())
    }
}

impl Piece {
    fn end(&self) -> u64 {
        self.at + self.len
    }

    /// A run of the piece, to lie somewhere else.
    fn cut(&self, offset: u64, len: u64, at: u64) -> Self {
        let data = match &self.data {
            Data::File(file, start) => Data::File(Arc::clone(file), start + offset),
            Data::Bytes(bytes) if len == self.len => Data::Bytes(Arc::clone(bytes)),
            Data::Bytes(bytes) => Data::Bytes(bytes[offset as usize..(offset + len) as usize].into()),
        };
        Self { at, len, data }
    }

    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        match &self.data {
            Data::Bytes(bytes) => {
                let offset = usize::try_from(offset).map_err(io::Error::other)?;
                buffer.copy_from_slice(&bytes[offset..offset + buffer.len()]);
                Ok(())
            }
            Data::File(file, start) => file.read_exact_at(buffer, start + offset),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> RawImage {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        let mut image = RawImage::new(1000);
        image.put_file(500, &Arc::new(file), 2, 5);
        image.put(0, *b"head");
        let mut inner = RawImage::new(8);
        inner.put(6, *b"xy");
        image.put_image(900, &inner);
        image
    }

    #[test]
    fn what_was_put_is_read_and_the_rest_is_zero() {
        let image = image();
        let mut want = vec![0; 1000];
        want[..4].copy_from_slice(b"head");
        want[500..505].copy_from_slice(b"23456");
        want[906..908].copy_from_slice(b"xy");
        let mut all = Vec::new();
        image.write_to(&mut all, &mut *bootwright_oci::Reporter::start(&bootwright_oci::Silent, "", None)).unwrap();
        assert_eq!(all, want);
        for (from, to) in [(2, 503), (503, 504), (505, 1000), (907, 908), (1000, 1000)] {
            let mut part = vec![1; to - from];
            image.read_at(from as u64, &mut part).unwrap();
            assert_eq!(part, want[from..to]);
        }
        assert!(image.read_at(999, &mut [0; 2]).is_err());
    }

    #[test]
    fn a_part_reads_as_it_did_in_the_whole() {
        let image = image();
        let mut whole = vec![0; 1000];
        image.read_at(0, &mut whole).unwrap();
        for (from, to) in [(0, 1000), (1, 3), (2, 502), (501, 504), (10, 400), (504, 907), (1000, 1000)] {
            let part = image.part(from, to - from);
            let mut bytes = vec![1; (to - from) as usize];
            part.read_at(0, &mut bytes).unwrap();
            assert_eq!((part.size(), &bytes[..]), (to - from, &whole[from as usize..to as usize]), "{from} to {to}");
        }
    }

    #[test]
    fn runs_are_whole_granules_and_neighbours_are_one() {
        assert_eq!(image().runs(512), [(0, 1024)]);
        assert_eq!(image().runs(64), [(0, 64), (448, 64), (896, 64)]);
    }

    #[test]
    #[should_panic(expected = "overlap at 502")]
    fn overlaps_are_mistakes() {
        image().put(502, *b"z");
    }
}
