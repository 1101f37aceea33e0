//! What a blob is compressed with is told by its first bytes, not by its media type: docker archives have none, and
//! registries hold layers whose media type lies.
//!
//! gzip (RFC 1952) may have several members, zstd (RFC 8878) several frames and skippable ones; both checksums are
//! verified by the libraries. A zstd window is at most 128 MiB, as in the reference decoder, so that memory is bounded.

use std::io::{self, BufRead, BufReader, Read};

use super::error::Problem;

/// log2 of the largest zstd window, in bytes: what `zstd --ultra -22` uses.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;
const BUFFER: usize = 128 << 10;

/// The decompressed bytes of a blob.
pub(super) fn decompress<'a>(blob: impl Read + 'a) -> Result<Box<dyn Read + 'a>, Problem> {
    let mut blob = BufReader::with_capacity(BUFFER, Joined { inner: blob });
    let magic = blob.fill_buf().map_err(Problem::Read)?;
    Ok(match *magic {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(blob)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(blob).map_err(Problem::Read)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(Problem::Read)?;
            Box::new(decoder)
        }
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => return Err(Problem::Compression("bzip2")),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => return Err(Problem::Compression("xz")),
        [0x04, 0x22, 0x4d, 0x18, ..] => return Err(Problem::Compression("lz4")),
        _ => Box::new(blob),
    })
}

/// Makes reads as long as they can be, so that the magic is whole even if the first read gives one byte.
struct Joined<R> {
    inner: R,
}

impl<R: Read> Read for Joined<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        fill(&mut self.inner, buffer)
    }
}

/// Reads until the buffer is full or the input is at its end.
pub(super) fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
