//! The kernel as it is written, and `--decompress-kernel`.
//!
//! A compressed kernel is one of: a compressed file as it is (`Image.gz`); a bzImage, whose boot header says since protocol 2.08
//! where its payload lies (`Documentation/arch/x86/boot.rst`, `payload_offset`); an EFI zboot image
//! (`drivers/firmware/efi/libstub/zboot-header.S`). The payload is any compression that kernels are built with, but for
//! bzip2 and LZO. Behind a bzImage's payload, except gzip's, stand four bytes with the unpacked size, which is checked.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

use bootwright_oci::{Content, Derived, Digest, ReadContent, Reporter, Task};
use flate2::bufread::GzDecoder;
use lzma_rust2::{LzmaReader, XzReader};

use crate::Error;
use crate::compress::{GZIP_MAGIC, LZ4_MAGIC, Lz4LegacyReader, ZSTD_MAGIC};
use crate::content::{self, Owner};
use crate::error::Fault;

/// Kind of the decompressed kernels among the derived files.
const KERNEL_KIND: &str = "kernel";
/// Raised whenever the same kernel decompresses to something else.
const VERSION: u32 = 1;
/// Largest kernel that comes out of decompression; the largest that exist have about 100 MiB.
const MOST: u64 = 512 << 20;
/// Memory for an LZMA dictionary in KiB; kernels use 32 MiB.
const LZMA_MEMORY: u32 = 128 << 10;
/// Bytes in which all headers lie.
const HEAD: usize = 1024;
const XZ_MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];
/// Properties 3/0/2 and the low bytes of a dictionary size, as every `.lzma` in practice starts.
const LZMA_MAGIC: &[u8] = &[0x5d, 0, 0];
const BZIP2_MAGIC: &[u8] = b"BZh";
const LZO_MAGIC: &[u8] = &[0x89, b'L', b'Z', b'O'];
const ELF_MAGIC: &[u8] = b"\x7fELF";
/// At byte 56 of an uncompressed arm64 `Image`, and RISC-V's in the same place.
const IMAGE_MAGICS: [&[u8]; 2] = [b"ARM\x64", b"RSC\x05"];

/// A kernel that cannot be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No form of kernel that we know.
    #[error("it is neither a bzImage, nor compressed, nor a kernel that is not compressed")]
    Unknown,
    /// A bzImage from before Linux 2.6.26.
    #[error("it is a bzImage of boot protocol {}.{:02}; the payload's place is known since 2.08", .0 >> 8, .0 & 0xff)]
    Protocol(u16),
    /// A payload of another compression.
    #[error("its payload is compressed with {0}, which bootwright cannot decompress")]
    Compression(&'static str),
    /// The payload lies outside of the file, or ends early.
    #[error("its header says that the payload is {len} bytes from byte {offset}, which the file does not have")]
    Payload {
        /// First byte.
        offset: u64,
        /// Length.
        len: u64,
    },
    /// Broken payload.
    #[error("its {0} payload is broken")]
    Broken(&'static str, #[source] io::Error),
    /// More than any kernel has.
    #[error("it decompresses to more than {} MiB", MOST >> 20)]
    TooLarge,
    /// The size behind the payload is not what came out.
    #[error("it decompresses to {got} bytes, and says itself that it should be {want}")]
    Size {
        /// What came out.
        got: u64,
        /// What the kernel says.
        want: u64,
    },
}

impl KernelError {
    pub(crate) fn hint(&self) -> Option<String> {
        Some("build without `--decompress-kernel`: every boot loader and QEMU take the kernel as it is".to_owned())
    }
}

/// Where the kernel's bytes come from.
#[derive(Debug)]
pub(crate) enum Kernel {
    /// As the image has it.
    AsIs(Content),
    /// Decompressed.
    Plain(File, u64),
}

impl Kernel {
    /// Decompresses a kernel, once: the cache keeps the result.
    pub(crate) fn decompressed(
        content: &Content,
        read: &dyn ReadContent,
        derived: &Derived,
        reporter: &dyn Reporter,
    ) -> Result<Self, Error> {
        let owner = Owner::Boot("boot/kernel");
        if Form::of(&content::head(content, owner, read, HEAD as u64)?).map_err(Error::Kernel)? == Form::Plain {
            reporter.note("the kernel is not compressed; it is written as it is");
            return Ok(Self::AsIs(content.clone()));
        }
        let key = Digest::of(format!("kernel {VERSION} {}", content.digest()).as_bytes());
        let make = |out: &mut File| -> Result<(), Fault> {
            let mut progress = reporter.start("decompressing the kernel", Some(content.size()));
            let input = read.open(content).map_err(|source| Error::Read {
                path: "boot/kernel".to_owned(),
                component: "kernel".to_owned(),
                source,
            })?;
            decompress(BufReader::new(Progress { input, progress: &mut *progress }), out)
        };
        let cache = |source| Error::Cache {
            what: "the decompressed kernel".to_owned(),
            path: derived.path(KERNEL_KIND, &key),
            source,
        };
        let file = derived.get_or_make(KERNEL_KIND, &key, make).map_err(|fault| match fault {
            Fault::Sink(source) => cache(source),
            Fault::Other(error) => error,
        })?;
        let size = file.metadata().map_err(cache)?.len();
        Ok(Self::Plain(file, size))
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::AsIs(content) => content.size(),
            Self::Plain(_, size) => *size,
        }
    }

    /// Writes all of it.
    pub(crate) fn copy_to(
        &self,
        read: &dyn ReadContent,
        out: &mut dyn Write,
        progress: &mut dyn Task,
    ) -> Result<(), Fault> {
        match self {
            Self::AsIs(content) => content::copy(content, Owner::Boot("boot/kernel"), read, out, progress),
            Self::Plain(file, size) => {
                let mut file = file;
                file.seek(SeekFrom::Start(0))?;
                io::copy(&mut file.take(*size), out)?;
                Ok(())
            }
        }
    }
}

/// What a kernel's first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Not compressed.
    Plain,
    /// Compressed from the first byte to the last.
    File(Packing),
    /// A payload within; whether its size stands in four bytes at its end.
    Payload { offset: u64, len: u64, sized: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Zstd,
    Lz4,
    Xz,
    Lzma,
}

impl Form {
    fn of(head: &[u8]) -> Result<Self, KernelError> {
        let u16_at = |at: usize| head.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
        let u32_at = |at: usize| head.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        if head.get(0x202..0x206) == Some(b"HdrS") && u16_at(0x1fe) == Some(0xaa55) {
            let protocol = u16_at(0x206).unwrap_or(0);
            let (Some(offset), Some(len)) = (u32_at(0x248), u32_at(0x24c)) else { return Err(KernelError::Unknown) };
            if protocol < 0x208 {
                return Err(KernelError::Protocol(protocol));
            }
            // Zero means four, for boot loaders older than the field.
            let sectors = if head[0x1f1] == 0 { 4 } else { u64::from(head[0x1f1]) };
            let offset = (sectors + 1) * 512 + u64::from(offset);
            return Ok(Self::Payload { offset, len: len.into(), sized: true });
        }
        if head.starts_with(b"MZ") && head.get(4..8) == Some(b"zimg") {
            let (Some(offset), Some(len)) = (u32_at(8), u32_at(12)) else { return Err(KernelError::Unknown) };
            return Ok(Self::Payload { offset: offset.into(), len: len.into(), sized: false });
        }
        let image = head.get(56..60).is_some_and(|magic| IMAGE_MAGICS.contains(&magic));
        if image || head.starts_with(ELF_MAGIC) {
            return Ok(Self::Plain);
        }
        match Packing::of(head)? {
            Packing::None => Err(KernelError::Unknown),
            packing => Ok(Self::File(packing)),
        }
    }
}

impl Packing {
    fn of(start: &[u8]) -> Result<Self, KernelError> {
        let known = [
            (GZIP_MAGIC, Self::Gzip),
            (ZSTD_MAGIC, Self::Zstd),
            (LZ4_MAGIC, Self::Lz4),
            (XZ_MAGIC, Self::Xz),
            (LZMA_MAGIC, Self::Lzma),
            (ELF_MAGIC, Self::None),
        ];
        match known.iter().find(|(magic, _)| start.starts_with(magic)) {
            Some((_, packing)) => Ok(*packing),
            None if start.starts_with(BZIP2_MAGIC) => Err(KernelError::Compression("bzip2")),
            None if start.starts_with(LZO_MAGIC) => Err(KernelError::Compression("LZO")),
            None => Err(KernelError::Unknown),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
            Self::Xz => "xz",
            Self::Lzma => "lzma",
        }
    }
}

/// Writes a compressed kernel's plain bytes.
fn decompress(mut input: BufReader<impl Read>, out: &mut dyn Write) -> Result<(), Fault> {
    let kernel = |error| Fault::Other(Error::Kernel(error));
    let mut head = Vec::new();
    input.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(|e| kernel(KernelError::Broken("kernel", e)))?;
    let form = Form::of(&head).map_err(kernel)?;
    let all = io::Cursor::new(head).chain(input);
    let (offset, len, mut sized) = match form {
        Form::Plain => (0, u64::MAX, false),
        Form::File(_) => (0, u64::MAX, false),
        Form::Payload { offset, len, sized } => (offset, len, sized),
    };
    let outside = || kernel(KernelError::Payload { offset, len });
    let mut all = BufReader::new(all);
    if io::copy(&mut all.by_ref().take(offset), &mut io::sink())
        .map_err(|e| kernel(KernelError::Broken("kernel", e)))?
        < offset
    {
        return Err(outside());
    }
    let mut start = Vec::new();
    let start_len = len.min(8);
    all.by_ref().take(start_len).read_to_end(&mut start).map_err(|e| kernel(KernelError::Broken("kernel", e)))?;
    let packing = Packing::of(&start).map_err(kernel)?;
    // gzip's own trailer is its size; a plain payload has none.
    sized &= !matches!(packing, Packing::Gzip | Packing::None);
    if len < start_len + if sized { 4 } else { 0 } {
        return Err(outside());
    }
    let packed_len = len - start_len - if sized { 4 } else { 0 };
    let mut rest = all.take(packed_len);
    let payload = BufReader::new(io::Cursor::new(start).chain(&mut rest));
    let broken = |error| kernel(KernelError::Broken(packing.name(), error));
    let mut plain: Box<dyn Read + '_> = match packing {
        Packing::None => Box::new(payload),
        Packing::Gzip => Box::new(GzDecoder::new(payload)),
        Packing::Zstd => Box::new(zstd::Decoder::with_buffer(payload).map_err(broken)?.single_frame()),
        Packing::Lz4 => Box::new(Lz4LegacyReader::new(payload)),
        Packing::Xz => Box::new(XzReader::new(payload, false)),
        Packing::Lzma => Box::new(LzmaReader::new_mem_limit(payload, LZMA_MEMORY, None).map_err(broken)?),
    };
    let mut buffer = vec![0; 128 << 10];
    let mut got = 0;
    loop {
        let n = match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        got += n as u64;
        if got > MOST {
            return Err(kernel(KernelError::TooLarge));
        }
        out.write_all(&buffer[..n])?;
    }
    drop(plain);
    // A decoder stops at its end mark; a plain or LZ4 payload only at its last byte, which must be there.
    if matches!(packing, Packing::None | Packing::Lz4) && is_bounded(len) && rest.limit() > 0 {
        return Err(outside());
    }
    if sized {
        io::copy(&mut rest, &mut io::sink()).map_err(broken)?;
        let mut size = [0; 4];
        rest.into_inner().read_exact(&mut size).map_err(|_| outside())?;
        let want = u64::from(u32::from_le_bytes(size));
        if want != got {
            return Err(kernel(KernelError::Size { got, want }));
        }
    }
    Ok(())
}

/// Whether a length is a payload's, not "all there is".
fn is_bounded(len: u64) -> bool {
    len != u64::MAX
}

/// Reports what is read.
struct Progress<'a, R> {
    input: R,
    progress: &'a mut dyn Task,
}

impl<R: Read> Read for Progress<'_, R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(bytes)?;
        self.progress.advance(n as u64);
        Ok(n)
    }
}
