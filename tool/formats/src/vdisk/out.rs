//! A sink that knows where it is.

use std::io::{self, Write};

use bootwright_oci::Task;

use super::KIB;
use crate::RawImage;

/// Bytes that are copied or padded at a time. A file sink makes a hole of that many zeros.
const PIECE: usize = 64 * KIB as usize;
static ZEROS: [u8; PIECE] = [0; PIECE];

/// Whether all bytes are zero; at `memcmp`'s speed.
pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(PIECE).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// Counts what goes into a sink.
pub(super) struct Out<'a> {
    out: &'a mut dyn Write,
    at: u64,
    buffer: Vec<u8>,
}

impl<'a> Out<'a> {
    pub(super) fn new(out: &'a mut dyn Write) -> Self {
        Self { out, at: 0, buffer: Vec::new() }
    }

    /// Bytes so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn zeros(&mut self, mut len: u64) -> io::Result<()> {
        while len > 0 {
            let piece = &ZEROS[..usize::try_from(len).unwrap_or(PIECE).min(PIECE)];
            self.write_all(piece)?;
            len -= piece.len() as u64;
        }
        Ok(())
    }

    /// Zeros up to the next multiple of so many bytes.
    pub(super) fn pad(&mut self, unit: u64) -> io::Result<()> {
        self.zeros(self.at.next_multiple_of(unit) - self.at)
    }

    /// Copies bytes of an image, and zeros for what lies behind its end.
    pub(super) fn copy(
        &mut self,
        image: &RawImage,
        mut from: u64,
        len: u64,
        progress: &mut dyn Task,
    ) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(PIECE, 0);
        let end = (from + len).min(image.size().max(from));
        let behind = from + len - end;
        while from < end {
            let bytes = &mut buffer[..usize::try_from(end - from).unwrap_or(PIECE).min(PIECE)];
            image.read_at(from, bytes)?;
            self.write_all(bytes)?;
            from += bytes.len() as u64;
            progress.advance(bytes.len() as u64);
        }
        self.buffer = buffer;
        self.zeros(behind)
    }
}

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
