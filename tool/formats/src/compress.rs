//! The compressions that the kernel's initramfs unpacker knows and that we write: gzip, zstd and LZ4's legacy frame.
//!
//! Bytes must depend on the input, the compression and the level only. zstd gives other bytes with worker threads than
//! without, but the same for any number of them: so there is always at least one. LZ4's legacy frame is what
//! `lz4 -l` writes (`lib/decompress_unlz4.c` reads it): a magic number, then blocks of 8 MiB, each behind its compressed
//! length. It has no end mark, so whatever follows it must begin with four zero bytes.

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use flate2::write::GzEncoder;
use serde::Serialize;
use zstd::stream::raw::CParameter;

/// First bytes of a gzip member.
pub(crate) const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
/// First bytes of a zstd frame.
pub(crate) const ZSTD_MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// First bytes of an LZ4 legacy frame (0x184C2102, little-endian).
pub(crate) const LZ4_MAGIC: &[u8] = &[0x02, 0x21, 0x4c, 0x18];
/// Uncompressed bytes in a block of an LZ4 legacy frame; the kernel expects no other.
const LZ4_BLOCK: usize = 8 << 20;
/// Bytes that a compressor is given at a time; part of the bytes' definition.
const PIECE: usize = 128 << 10;
/// Input of one zstd worker at a time, which bounds memory; part of the bytes' definition.
const ZSTD_JOB: u32 = 4 << 20;

/// How the segments of an initrd are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Every kernel can unpack it.
    Gzip,
    /// Smallest, and quick to unpack; kernels since 5.9 can.
    #[default]
    Zstd,
    /// Quickest to unpack, largest.
    Lz4,
}

/// A name or level of compression that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompressionError {
    /// No such compression.
    #[error("there is no compression `{0}`; there are gzip, zstd and lz4")]
    Name(String),
    /// No such level.
    #[error("{compression} has no level {level}; its levels are {} to {}", .compression.levels().0, .compression.levels().1)]
    Level {
        /// The compression.
        compression: Compression,
        /// The level.
        level: i32,
    },
}

impl Compression {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Zstd, Self::Lz4];

    /// The level used when none is asked for.
    ///
    /// zstd 9 takes a tenth of the time of 15 for 3 % more bytes, and unpacks as fast (`docs/formats.md`).
    #[must_use]
    pub fn default_level(self) -> i32 {
        match self {
            Self::Gzip => 6,
            Self::Zstd => 9,
            Self::Lz4 => 1,
        }
    }

    /// Lowest and highest level. zstd ends at 19: above, its window would be memory that the booting machine must have.
    #[must_use]
    pub fn levels(self) -> (i32, i32) {
        match self {
            Self::Gzip => (1, 9),
            Self::Zstd => (1, 19),
            Self::Lz4 => (1, 1),
        }
    }

    /// The level to use: the one asked for, if there is such a one, or the default.
    ///
    /// # Errors
    ///
    /// [`CompressionError::Level`].
    pub fn level(self, asked: Option<i32>) -> Result<i32, CompressionError> {
        let (low, high) = self.levels();
        match asked {
            None => Ok(self.default_level()),
            Some(level) if (low..=high).contains(&level) => Ok(level),
            Some(level) => Err(CompressionError::Level { compression: self, level }),
        }
    }

    /// Version of the library that decides the bytes; part of the cache's keys.
    pub(crate) fn library(self) -> u32 {
        match self {
            Self::Zstd => zstd::zstd_safe::version_number(),
            // Pinned by the golden digests: where those change, the writer's version is raised.
            Self::Gzip | Self::Lz4 => 0,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        })
    }
}

impl FromStr for Compression {
    type Err = CompressionError;

    fn from_str(text: &str) -> Result<Self, CompressionError> {
        Self::ALL.into_iter().find(|c| c.to_string() == text).ok_or_else(|| CompressionError::Name(text.to_owned()))
    }
}

/// Compresses what is written to it.
///
/// The libraries see pieces of one size, whatever the sizes of the writes (and so of somebody's reads) are: zlib's bytes
/// depend on them.
pub(crate) struct Encoder<W: Write> {
    library: Library<W>,
    piece: Vec<u8>,
}

enum Library<W: Write> {
    Gzip(GzEncoder<W>),
    Zstd(zstd::Encoder<'static, W>),
    Lz4(Lz4Legacy<W>),
}

impl<W: Write> Encoder<W> {
    /// Starts a stream of exactly `size` bytes; `workers` helps zstd's speed and never changes its bytes.
    pub(crate) fn new(out: W, compression: Compression, level: i32, size: u64, workers: u32) -> io::Result<Self> {
        let library = match compression {
            Compression::Gzip => {
                let level = flate2::Compression::new(level.unsigned_abs());
                Library::Gzip(flate2::GzBuilder::new().mtime(0).operating_system(255).write(out, level))
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(out, level)?;
                encoder.multithread(workers.max(1))?;
                encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
                encoder.include_checksum(true)?;
                // A window no larger than the content: the booting kernel allocates it.
                encoder.set_pledged_src_size(Some(size))?;
                Library::Zstd(encoder)
            }
            Compression::Lz4 => Library::Lz4(Lz4Legacy::new(out)?),
        };
        Ok(Self { library, piece: Vec::with_capacity(PIECE) })
    }

    /// Ends the stream and gives back the sink.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.end_piece()?;
        match self.library {
            Library::Gzip(encoder) => encoder.finish(),
            Library::Zstd(encoder) => encoder.finish(),
            Library::Lz4(encoder) => encoder.finish(),
        }
    }

    fn end_piece(&mut self) -> io::Result<()> {
        match &mut self.library {
            Library::Gzip(encoder) => encoder.write_all(&self.piece)?,
            Library::Zstd(encoder) => encoder.write_all(&self.piece)?,
            Library::Lz4(encoder) => encoder.write_all(&self.piece)?,
        }
        self.piece.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..n]);
        if self.piece.len() == PIECE {
            self.end_piece()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        // A flush in the middle would change the bytes.
        Ok(())
    }
}

/// Writes LZ4's legacy frame.
struct Lz4Legacy<W> {
    out: W,
    block: Vec<u8>,
    packed: Vec<u8>,
}

impl<W: Write> Lz4Legacy<W> {
    fn new(mut out: W) -> io::Result<Self> {
        out.write_all(LZ4_MAGIC)?;
        Ok(Self { out, block: Vec::new(), packed: Vec::new() })
    }

    fn finish(mut self) -> io::Result<W> {
        self.end_block()?;
        Ok(self.out)
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        self.packed.resize(lz4_flex::block::get_maximum_output_size(self.block.len()), 0);
        let len = lz4_flex::block::compress_into(&self.block, &mut self.packed).map_err(io::Error::other)?;
        let size = u32::try_from(len).map_err(io::Error::other)?;
        self.out.write_all(&size.to_le_bytes())?;
        self.out.write_all(&self.packed[..len])?;
        self.block.clear();
        Ok(())
    }
}

impl<W: Write> Write for Lz4Legacy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(LZ4_BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == LZ4_BLOCK {
            self.end_block()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads an LZ4 legacy frame whose magic number is still there, up to the end of the input or four zero bytes.
pub(crate) struct Lz4LegacyReader<R> {
    input: R,
    block: Vec<u8>,
    at: usize,
    state: Lz4State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Lz4State {
    Magic,
    Blocks,
    Ended,
}

impl<R: Read> Lz4LegacyReader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, block: Vec::new(), at: 0, state: Lz4State::Magic }
    }

    /// Four bytes, or none at the end of the input.
    fn word(&mut self) -> io::Result<Option<[u8; 4]>> {
        let mut word = [0; 4];
        let mut have = 0;
        while have < 4 {
            match self.input.read(&mut word[have..])? {
                0 if have == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => have += n,
            }
        }
        Ok(Some(word))
    }

    fn next_block(&mut self) -> io::Result<()> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("lz4: {what}"));
        if self.state == Lz4State::Magic {
            if self.word()?.as_ref().map(|w| &w[..]) != Some(LZ4_MAGIC) {
                return Err(invalid("no magic number"));
            }
            self.state = Lz4State::Blocks;
        }
        let Some(size) = self.word()?.map(u32::from_le_bytes).filter(|size| *size != 0) else {
            self.state = Lz4State::Ended;
            return Ok(());
        };
        let size = size as usize;
        if size > lz4_flex::block::get_maximum_output_size(LZ4_BLOCK) {
            return Err(invalid("a block is longer than a block can be"));
        }
        let mut packed = Vec::new();
        Read::by_ref(&mut self.input).take(size as u64).read_to_end(&mut packed)?;
        if packed.len() != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.block.resize(LZ4_BLOCK, 0);
        let len = lz4_flex::block::decompress_into(&packed, &mut self.block).map_err(|e| invalid(&e.to_string()))?;
        self.block.truncate(len);
        self.at = 0;
        Ok(())
    }
}

impl<R: Read> Read for Lz4LegacyReader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() && self.state != Lz4State::Ended {
            self.next_block()?;
        }
        let n = bytes.len().min(self.block.len() - self.at);
        bytes[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compressible and not, longer than one LZ4 block.
    fn sample(len: usize) -> Vec<u8> {
        let mut state = 1u32;
        let noise = move |i: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i.is_multiple_of(3) { (state >> 24) as u8 } else { (i / 1000) as u8 }
        };
        (0..len).map(noise).collect()
    }

    fn pack(bytes: &[u8], compression: Compression, level: i32, workers: u32, piece: usize) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), compression, level, bytes.len() as u64, workers).unwrap();
        for piece in bytes.chunks(piece) {
            encoder.write_all(piece).unwrap();
            encoder.flush().unwrap();
        }
        encoder.finish().unwrap()
    }

    #[test]
    fn bytes_depend_neither_on_workers_nor_on_the_size_of_writes() {
        // Of every kind: one piece, one zstd job, several of them, several LZ4 blocks.
        for len in [1000, 700_000, 9 << 20] {
            let bytes = sample(len);
            for compression in Compression::ALL {
                let level = compression.levels().0;
                let one = pack(&bytes, compression, level, 1, 1 << 20);
                for (workers, piece) in [(0, len), (2, 77_777), (4, 3 << 20)] {
                    let other = pack(&bytes, compression, level, workers, piece);
                    assert!(one == other, "{len} {compression} {workers} {piece}");
                }
            }
        }
    }

    #[test]
    fn lz4_legacy_round_trips_and_refuses_damage() {
        for len in [0, 1, 100, LZ4_BLOCK, LZ4_BLOCK + 1] {
            let bytes = sample(len);
            let packed = pack(&bytes, Compression::Lz4, 1, 1, 1 << 20);
            for tail in [&b""[..], &[0; 4], &[0, 0, 0, 0, 1, 2, 3]] {
                let mut got = Vec::new();
                let input = [&packed[..], tail].concat();
                let mut input = &input[..];
                Lz4LegacyReader::new(&mut input).read_to_end(&mut got).unwrap();
                assert!(got == bytes);
                assert_eq!(input.len(), tail.len().saturating_sub(4));
            }
        }
        for bad in
            [&b"\x02\x21\x4c\x18\xff\xff\xff\xff"[..], b"\x02\x21\x4c\x18\x04\0\0\0a", b"x", b"\x02\x21\x4c\x18\x01"]
        {
            assert!(Lz4LegacyReader::new(bad).read_to_end(&mut Vec::new()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_and_levels_are_checked() {
        for compression in Compression::ALL {
            assert_eq!(compression.to_string().parse(), Ok(compression));
            assert_eq!(compression.level(None), Ok(compression.default_level()));
            assert!(compression.level(Some(compression.levels().1 + 1)).is_err());
        }
        assert_eq!(
            "xz".parse::<Compression>().unwrap_err().to_string(),
            "there is no compression `xz`; there are gzip, zstd and lz4"
        );
    }
}
