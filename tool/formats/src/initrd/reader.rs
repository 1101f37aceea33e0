//! Reads an initrd as the kernel does: archive after archive, each plain or compressed in its own way.
//!
//! Stricter than the kernel where that tells of a fault: what the kernel prints an error about and boots on is an error here.
//! Memory is bounded by the decompressors' windows; what to do with endless output is the visitor's decision.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;

use crate::Compression;
use crate::compress::{GZIP_MAGIC, LZ4_MAGIC, Lz4LegacyReader, ZSTD_MAGIC};
use crate::cpio;

/// Largest zstd window, as a power of two; the kernel's limit too.
const ZSTD_WINDOW: u32 = 27;

/// One run of archives in an initrd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its first byte in the initrd.
    pub offset: u64,
    /// Its length without padding, but for the four zero bytes that end LZ4.
    pub len: u64,
    /// How it is compressed; none for a plain archive.
    pub compression: Option<Compression>,
    /// Number of entries, without trailers.
    pub entries: u64,
}

/// Bytes that the kernel would not unpack.
#[derive(Debug, thiserror::Error)]
pub enum ReadInitrdError {
    /// Neither an archive nor a compression that we know.
    #[error("the initrd has neither a cpio archive nor a known compression at byte {0}")]
    Unknown(u64),
    /// A plain archive that the kernel does not find.
    #[error("the initrd's plain archive at byte {0} is not aligned to four bytes")]
    Unaligned(u64),
    /// Bytes behind an archive's trailer that are not one more archive.
    #[error("the initrd's member at byte {0} holds something behind its archive")]
    Junk(u64),
    /// A bad archive.
    #[error("the initrd's member at byte {offset} is broken")]
    Archive {
        /// The member's first byte.
        offset: u64,
        /// What is wrong.
        source: cpio::ReadError,
    },
    /// Reading, decompressing or the visitor failed.
    #[error("the initrd's member at byte {offset} cannot be read")]
    Io {
        /// The member's first byte.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

/// What a reader calls with every entry: the number of its member, the entry, and its data.
pub type Visit<'v> = &'v mut dyn FnMut(usize, &cpio::Entry, &mut dyn Read) -> io::Result<()>;

/// Reads all of an initrd.
///
/// # Errors
///
/// See [`ReadInitrdError`].
pub fn read_initrd(input: impl BufRead, visit: Visit<'_>) -> Result<Vec<Member>, ReadInitrdError> {
    let mut input = Counted { input, position: 0 };
    let mut members = Vec::new();
    loop {
        let offset = input.position;
        let failed = |source| ReadInitrdError::Io { offset, source };
        let start = peek(&mut input).map_err(failed)?;
        if start.is_empty() {
            return Ok(members);
        }
        if start[0] == 0 {
            input.consume(1);
            continue;
        }
        let compression = match &start[..] {
            [b'0', ..] if offset % 4 != 0 => return Err(ReadInitrdError::Unaligned(offset)),
            [b'0', ..] => None,
            s if s.starts_with(GZIP_MAGIC) => Some(Compression::Gzip),
            s if s.starts_with(ZSTD_MAGIC) => Some(Compression::Zstd),
            s if s.starts_with(LZ4_MAGIC) => Some(Compression::Lz4),
            _ => return Err(ReadInitrdError::Unknown(offset)),
        };
        let mut member = Walk { offset, index: members.len(), entries: 0, visit: &mut *visit };
        match compression {
            None => member.one(&mut input)?,
            Some(Compression::Gzip) => member.all(GzDecoder::new(&mut input))?,
            Some(Compression::Zstd) => {
                let mut decoder = zstd::Decoder::with_buffer(&mut input).map_err(failed)?.single_frame();
                decoder.window_log_max(ZSTD_WINDOW).map_err(failed)?;
                member.all(decoder)?;
            }
            Some(Compression::Lz4) => member.all(Lz4LegacyReader::new(&mut input))?,
        }
        let entries = member.entries;
        members.push(Member { offset, len: input.position - offset, compression, entries });
    }
}

/// The next bytes, up to four; fewer only at the end.
fn peek(input: &mut Counted<impl BufRead>) -> io::Result<Vec<u8>> {
    let have = input.fill_buf()?;
    // A buffer may end within a magic number; its first byte tells them apart well enough then.
    let first = have.first().copied();
    Ok(match (have.get(..4), first) {
        (Some(four), _) => four.to_vec(),
        (None, Some(first)) => [GZIP_MAGIC, ZSTD_MAGIC, LZ4_MAGIC]
            .into_iter()
            .find(|magic| magic[0] == first && magic.starts_with(have))
            .map_or_else(|| have.to_vec(), <[u8]>::to_vec),
        (None, None) => Vec::new(),
    })
}

/// The archives of one member.
struct Walk<'v> {
    offset: u64,
    index: usize,
    entries: u64,
    visit: Visit<'v>,
}

impl Walk<'_> {
    fn failed(&self, source: io::Error) -> ReadInitrdError {
        ReadInitrdError::Io { offset: self.offset, source }
    }

    /// Archives and zeros, up to the end.
    fn all(&mut self, input: impl Read) -> Result<(), ReadInitrdError> {
        let mut input = Counted { input: BufReader::new(input), position: 0 };
        loop {
            let position = input.position;
            match input.fill_buf().map_err(|e| self.failed(e))?.first() {
                None => return Ok(()),
                Some(0) => input.consume(1),
                Some(b'0') if position.is_multiple_of(4) => self.one(&mut input)?,
                Some(_) => return Err(ReadInitrdError::Junk(self.offset)),
            }
        }
    }

    /// One archive, up to its trailer.
    fn one(&mut self, input: &mut impl Read) -> Result<(), ReadInitrdError> {
        let mut archive = cpio::Reader::new(input);
        loop {
            let broken = |source| ReadInitrdError::Archive { offset: self.offset, source };
            let Some(entry) = archive.next_entry().map_err(broken)? else { return Ok(()) };
            self.entries += 1;
            (self.visit)(self.index, &entry, &mut archive).map_err(|e| self.failed(e))?;
        }
    }
}

/// Counts what was consumed.
struct Counted<R> {
    input: R,
    position: u64,
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(bytes)?;
        self.position += n as u64;
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        self.input.consume(n);
        self.position += n as u64;
    }
}
