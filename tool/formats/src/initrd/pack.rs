//! Packing: each segment from the cache, or made there, several at a time; then all in order into a sink.
//!
//! The finished segments stay open files, so memory holds no more than the compressors' buffers, and a `cache gc` of
//! another process takes nothing away. A cached file ends with a footer: a machine that lost power may have kept the file
//! without its bytes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bootwright_oci::{Derived, Digest, ReadContent, Reporter};
use bootwright_rootfs::Machine;

use super::manifest;
use super::plan::{Data, Segment, plan};
use super::stored::Stored;
use crate::compress::Encoder;
use crate::content::{self, Owner};
use crate::error::Fault;
use crate::raw::RawImage;
use crate::{Compression, Error, Options, cpio, memory};

/// Kind of the packed segments among the derived files.
pub const SEGMENT_KIND: &str = "segment";
/// Last bytes of a cached segment, behind its length and its archive's.
const FOOTER_MAGIC: &[u8; 8] = b"bw-segm1";
/// Bytes of the footer.
const FOOTER_LEN: u64 = 24;

/// An initrd, ready to be written any number of times.
#[derive(Debug)]
pub(crate) struct Packed {
    /// All of it but the microcode: the manifest, the segments where the cache has them, what is stored.
    pub(crate) image: RawImage,
    /// Per segment: component, packed bytes, whether it came from the cache.
    pub(crate) sizes: Vec<(usize, u64, bool)>,
    /// MiB of memory that the machine needs.
    pub(crate) memory_mib: u64,
    /// What the user should know.
    pub(crate) warnings: Vec<String>,
}

/// Packs a machine's tree, and behind it a file as it is: the root image, where that is the root.
pub(crate) fn pack(
    machine: &Machine,
    stored: Option<&Stored>,
    options: &Options,
    read: &dyn ReadContent,
    derived: &Derived,
    reporter: &dyn Reporter,
) -> Result<Packed, Error> {
    let job = Job {
        machine,
        read,
        derived,
        reporter,
        compression: options.compression,
        level: options.compression.level(options.level)?,
        threads: options.threads.map_or_else(|| thread::available_parallelism().map_or(1, NonZero::get), NonZero::get),
    };
    let segments = plan(machine)?;
    let made = job.all(&segments)?;
    let sizes: Vec<_> = made.iter().zip(&segments).map(|(m, s)| (s.component, m.size, m.cached)).collect();
    let ucode = machine.boot.ucode.as_ref().map_or(0, |ucode| ucode.size().next_multiple_of(4));
    let segments_size: u64 = made.iter().map(|m| m.size).sum();

    let stored_archive = stored.map(Stored::archive).transpose()?;
    let stored_size = stored_archive.as_ref().map_or(0, RawImage::size);
    let packed = ucode + segments_size + stored_size;
    let need = |packed| match stored {
        None => memory::memory_mib(machine, packed),
        Some(stored) => memory::with_root_image(machine, packed, stored.image.size()),
    };

    // The manifest names the memory, which depends on the manifest's size: its plain size is the upper bound.
    let mut manifest_bytes = Vec::new();
    let mut memory_mib = need(packed);
    if machine.native_init {
        let mut manifest = manifest::manifest(&segments, memory_mib);
        manifest.segments.extend(stored.map(Stored::listing));
        let bound = manifest::archive(machine, &manifest)?.len() as u64;
        memory_mib = need(packed + bound);
        manifest.memory_mib = memory_mib;
        let archive = manifest::archive(machine, &manifest)?;
        manifest_bytes =
            job.compress(&archive).map_err(|source| Error::Write { path: "manifest".to_owned(), source })?;
    }
    let mut warnings = Vec::new();
    let lost = manifest::lost_xattrs(machine);
    if !lost.is_empty() {
        warnings.push(xattr_warning(machine.native_init, &lost));
    }
    let mut at = manifest_bytes.len() as u64;
    let mut image = RawImage::new(at + segments_size + stored_size);
    image.put(0, manifest_bytes);
    for made in made {
        image.put_file(at, &Arc::new(made.file), 0, made.size);
        at += made.size;
    }
    if let Some(archive) = &stored_archive {
        image.put_image(at, archive);
    }
    Ok(Packed { image, sizes, memory_mib, warnings })
}

fn xattr_warning(native_init: bool, lost: &[String]) -> String {
    /// More would hide the first.
    const SHOWN: usize = 20;
    let why = if native_init { "their names are not UTF-8" } else { "an initrd has none, and this init sets none" };
    let more = lost.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("extended attributes are lost ({why}): {}{more}", lost[..lost.len().min(SHOWN)].join(", "))
}

/// One segment, packed.
#[derive(Debug)]
struct Made {
    file: File,
    size: u64,
    cached: bool,
}

/// What packing needs to know.
struct Job<'a> {
    machine: &'a Machine,
    read: &'a dyn ReadContent,
    derived: &'a Derived,
    reporter: &'a dyn Reporter,
    compression: Compression,
    level: i32,
    threads: usize,
}

impl Job<'_> {
    fn all(&self, segments: &[Segment<'_>]) -> Result<Vec<Made>, Error> {
        let keys: Vec<Digest> = segments.iter().map(|s| s.key(self.compression, self.level)).collect();
        let mut made: Vec<Option<Made>> = Vec::with_capacity(segments.len());
        for (segment, key) in segments.iter().zip(&keys) {
            made.push(self.cached(segment, key)?);
        }
        let mut missing: Vec<usize> = (0..segments.len()).filter(|i| made[*i].is_none()).collect();
        // The largest first, so that no thread is left alone with it at the end.
        missing.sort_by_key(|i| std::cmp::Reverse(segments[*i].archive_size()));
        let threads = self.threads.clamp(1, missing.len().max(1));
        let workers = u32::try_from(self.threads / threads).unwrap_or(1);
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let results = Mutex::new(Vec::new());
        let work = || {
            while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.load(Ordering::Relaxed) {
                    return;
                }
                let result = self.make(&segments[*index], &keys[*index], workers);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((*index, result));
            }
        };
        if missing.len() == 1 {
            work();
        } else if !missing.is_empty() {
            thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
        }
        let mut results = results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        results.sort_by_key(|(index, _)| *index);
        for (index, result) in results {
            made[index] = Some(result?);
        }
        Ok(made.into_iter().flatten().collect())
    }

    /// A segment from the cache, if it is there and whole.
    fn cached(&self, segment: &Segment<'_>, key: &Digest) -> Result<Option<Made>, Error> {
        let failed = |source| self.cache_error(segment, key, source);
        let Some(mut file) = self.derived.get(SEGMENT_KIND, key).map_err(failed)? else { return Ok(None) };
        match read_footer(&mut file, segment.archive_size()) {
            Ok(Some(size)) => Ok(Some(Made { file, size, cached: true })),
            Ok(None) => {
                self.reporter.note(&format!("the cache's segment of {} is damaged; packing it again", segment.name));
                fs::remove_file(self.derived.path(SEGMENT_KIND, key)).map_err(failed)?;
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn make(&self, segment: &Segment<'_>, key: &Digest, workers: u32) -> Result<Made, Error> {
        let file = self.derived.get_or_make(SEGMENT_KIND, key, |file| self.write(segment, file, workers));
        let mut file = file.map_err(|fault| match fault {
            Fault::Sink(source) => self.cache_error(segment, key, source),
            Fault::Other(error) => error,
        })?;
        let failed = |source| self.cache_error(segment, key, source);
        let size = read_footer(&mut file, segment.archive_size()).map_err(failed)?;
        let size = size.ok_or_else(|| failed(io::Error::other("what was written is not what is read back")))?;
        Ok(Made { file, size, cached: false })
    }

    fn write(&self, segment: &Segment<'_>, file: &mut File, workers: u32) -> Result<(), Fault> {
        let size = segment.archive_size();
        let total = segment.entries.iter().map(|e| u64::from(e.header.file_size)).sum();
        let mut progress = self.reporter.start(&format!("packing {}", segment.name), Some(total));
        let out = Counted { out: BufWriter::with_capacity(128 << 10, file), written: 0 };
        let encoder = Encoder::new(out, self.compression, self.level, size, workers)?;
        let mut archive = cpio::Writer::new(encoder);
        for entry in &segment.entries {
            archive.entry(&entry.header, entry.name())?;
            match entry.data {
                Data::None => {}
                Data::Target(target) => archive.write_all(target)?,
                Data::File(content) => {
                    let owner = Owner::Node(self.machine, entry.path, segment.component);
                    content::copy(content, owner, self.read, &mut archive, &mut *progress)?;
                }
            }
        }
        let (encoder, written) = archive.finish()?;
        debug_assert_eq!(written, size, "the plan knows the size");
        let mut out = encoder.finish()?;
        out.write_all(padding(self.compression, out.written))?;
        let packed = out.written;
        out.write_all(&packed.to_le_bytes())?;
        out.write_all(&size.to_le_bytes())?;
        out.write_all(FOOTER_MAGIC)?;
        out.flush()?;
        Ok(())
    }

    /// Compresses the manifest's archive, which is small.
    fn compress(&self, archive: &[u8]) -> io::Result<Vec<u8>> {
        let mut encoder = Encoder::new(Vec::new(), self.compression, self.level, archive.len() as u64, 1)?;
        encoder.write_all(archive)?;
        let mut bytes = encoder.finish()?;
        let padding = padding(self.compression, bytes.len() as u64);
        bytes.extend_from_slice(padding);
        Ok(bytes)
    }

    fn cache_error(&self, segment: &Segment<'_>, key: &Digest, source: io::Error) -> Error {
        let what = format!("the packed files of {}", segment.name);
        Error::Cache { what, path: self.derived.path(SEGMENT_KIND, key), source }
    }
}

/// Zeros up to a multiple of four, and behind LZ4, which has no end mark, at least four.
fn padding(compression: Compression, size: u64) -> &'static [u8] {
    let to_four = (4 - (size % 4) as usize) % 4;
    &[0; 8][..if compression == Compression::Lz4 { 4 + to_four } else { to_four }]
}

/// Length of the packed segment, if the file is whole and was made from an archive of that size.
fn read_footer(file: &mut File, archive_size: u64) -> io::Result<Option<u64>> {
    let len = file.metadata()?.len();
    if len < FOOTER_LEN {
        return Ok(None);
    }
    let mut footer = [0; FOOTER_LEN as usize];
    file.seek(SeekFrom::Start(len - FOOTER_LEN))?;
    file.read_exact(&mut footer)?;
    let want = [&(len - FOOTER_LEN).to_le_bytes()[..], &archive_size.to_le_bytes(), FOOTER_MAGIC].concat();
    Ok((footer[..] == want[..]).then_some(len - FOOTER_LEN))
}

/// Counts what goes through.
struct Counted<W> {
    out: W,
    written: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.written += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
