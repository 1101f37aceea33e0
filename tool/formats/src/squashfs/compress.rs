//! The compressions of squashfs that we write, a block at a time.
//!
//! Every block is compressed by itself, so its bytes depend on the block, the compression and the level only. The kernel
//! allocates no more than a block for the window: zstd's frames are of one segment, xz's dictionary is as large as a block,
//! and its check must be CRC32 or none.

use std::fmt;
use std::io::{self, Write as _};
use std::str::FromStr;

use flate2::{Compress, FlushCompress, Status};
use lzma_rust2::{CheckType, XzOptions, XzWriter};
use zstd::bulk::Compressor;

use super::format::METADATA_LEN;

/// Version of LZ4's block format in the options, the only one there is.
const LZ4_VERSION: u32 = 1;
/// Logarithm of deflate's window.
const GZIP_WINDOW: u16 = 15;

/// How the blocks of a squashfs are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SquashfsCompression {
    /// Small, and quick to read; kernels since 4.14 with `CONFIG_SQUASHFS_ZSTD` can.
    #[default]
    Zstd,
    /// Every kernel with squashfs can read it (`CONFIG_SQUASHFS_ZLIB`).
    Gzip,
    /// Smallest, and slow to read; `CONFIG_SQUASHFS_XZ`.
    Xz,
    /// Largest, and quickest to read; `CONFIG_SQUASHFS_LZ4`.
    Lz4,
}

/// Something asked of a squashfs that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SquashfsOptionsError {
    /// No such compression.
    #[error("squashfs has no compression `{0}`; there are zstd, gzip, xz and lz4")]
    Name(String),
    /// No such level.
    #[error("{compression} has no level {level}; its levels in a squashfs are {} to {}", .compression.levels().0, .compression.levels().1)]
    Level {
        /// The compression.
        compression: SquashfsCompression,
        /// The level.
        level: i32,
    },
    /// No such block size.
    #[error("a squashfs has no blocks of {0} bytes; their size is a power of two from 4096 to 1048576")]
    BlockSize(u32),
}

impl SquashfsCompression {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Zstd, Self::Gzip, Self::Xz, Self::Lz4];

    /// The level used when none is asked for; zstd's and gzip's are those of `mksquashfs` (`docs/formats.md`).
    #[must_use]
    pub fn default_level(self) -> i32 {
        match self {
            Self::Zstd => 15,
            Self::Gzip => 9,
            Self::Xz => 6,
            Self::Lz4 => 1,
        }
    }

    /// Lowest and highest level.
    #[must_use]
    pub fn levels(self) -> (i32, i32) {
        match self {
            Self::Zstd => (1, 22),
            Self::Gzip => (1, 9),
            Self::Xz => (0, 9),
            Self::Lz4 => (1, 1),
        }
    }

    /// The level to use: the one asked for, if there is such a one, or the default.
    ///
    /// # Errors
    ///
    /// [`SquashfsOptionsError::Level`].
    pub fn level(self, asked: Option<i32>) -> Result<i32, SquashfsOptionsError> {
        let (low, high) = self.levels();
        match asked {
            None => Ok(self.default_level()),
            Some(level) if (low..=high).contains(&level) => Ok(level),
            Some(level) => Err(SquashfsOptionsError::Level { compression: self, level }),
        }
    }

    /// Number in the superblock.
    pub(super) fn number(self) -> u16 {
        match self {
            Self::Gzip => 1,
            Self::Xz => 4,
            Self::Lz4 => 5,
            Self::Zstd => 6,
        }
    }

    /// Version of the library that decides the bytes; part of the cache's keys.
    pub(super) fn library(self) -> u32 {
        match self {
            Self::Zstd => zstd::zstd_safe::version_number(),
            // Pinned by the golden digests: where those change, the writer's version is raised.
            Self::Gzip | Self::Xz | Self::Lz4 => 0,
        }
    }

    /// The options that are told to readers, as `mksquashfs` does it: LZ4 always, for the kernel insists; the others where they
    /// are not the default.
    pub(super) fn options(self, level: i32) -> Option<Vec<u8>> {
        let level_bytes = level.to_le_bytes();
        match self {
            Self::Lz4 => Some([LZ4_VERSION.to_le_bytes(), 0u32.to_le_bytes()].concat()),
            Self::Gzip if level != self.default_level() => {
                // Behind the window a set of strategies, of which there is none.
                Some([&level_bytes[..], &GZIP_WINDOW.to_le_bytes(), &0u16.to_le_bytes()].concat())
            }
            Self::Zstd if level != self.default_level() => Some(level_bytes.to_vec()),
            Self::Gzip | Self::Zstd | Self::Xz => None,
        }
    }
}

impl fmt::Display for SquashfsCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
        })
    }
}

impl FromStr for SquashfsCompression {
    type Err = SquashfsOptionsError;

    fn from_str(text: &str) -> Result<Self, SquashfsOptionsError> {
        Self::ALL.into_iter().find(|c| c.to_string() == text).ok_or_else(|| SquashfsOptionsError::Name(text.to_owned()))
    }
}

/// All that decides how a block is packed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) compression: SquashfsCompression,
    pub(super) level: i32,
    pub(super) block_size: u32,
}

impl Settings {
    pub(super) fn encoder(self) -> io::Result<Encoder> {
        Encoder::new(self)
    }
}

/// Compresses blocks one after the other; each thread has its own.
pub(super) struct Encoder {
    library: Library,
    /// The last block, packed.
    out: Vec<u8>,
}

enum Library {
    Zstd(Compressor<'static>),
    Gzip(Compress),
    Xz(Box<XzOptions>),
    Lz4,
}

impl Encoder {
    fn new(Settings { compression, level, block_size }: Settings) -> io::Result<Self> {
        let library = match compression {
            SquashfsCompression::Zstd => Library::Zstd(Compressor::new(level)?),
            SquashfsCompression::Gzip => {
                Library::Gzip(Compress::new(flate2::Compression::new(level.unsigned_abs()), true))
            }
            SquashfsCompression::Xz => {
                let mut options = XzOptions::with_preset(level.unsigned_abs());
                options.set_check_sum_type(CheckType::Crc32);
                // What the kernel allocates when no options say otherwise; what lies behind is never referred to.
                options.lzma_options.dict_size = block_size.max(METADATA_LEN as u32);
                Library::Xz(Box::new(options))
            }
            SquashfsCompression::Lz4 => Library::Lz4,
        };
        Ok(Self { library, out: Vec::new() })
    }

    /// The block, packed; none if that would not be smaller.
    pub(super) fn encode(&mut self, block: &[u8]) -> io::Result<Option<&[u8]>> {
        self.out.clear();
        match &mut self.library {
            Library::Zstd(zstd) => {
                self.out.reserve(zstd::zstd_safe::compress_bound(block.len()));
                zstd.compress_to_buffer(block, &mut self.out)?;
            }
            Library::Gzip(zlib) => {
                zlib.reset();
                self.out.reserve(block.len());
                // No room is no gain either.
                if zlib.compress_vec(block, &mut self.out, FlushCompress::Finish).map_err(io::Error::other)?
                    != Status::StreamEnd
                {
                    return Ok(None);
                }
            }
            Library::Xz(options) => {
                let mut xz = XzWriter::new(&mut self.out, (**options).clone())?;
                xz.write_all(block)?;
                xz.finish()?;
            }
            Library::Lz4 => {
                self.out.resize(lz4_flex::block::get_maximum_output_size(block.len()), 0);
                let len = lz4_flex::block::compress_into(block, &mut self.out).map_err(io::Error::other)?;
                self.out.truncate(len);
            }
        }
        Ok((self.out.len() < block.len()).then_some(&self.out))
    }
}
