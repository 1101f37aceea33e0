//! Packing: each segment from the cache, or made there.
//!
//! Two segments at a time are read, so that the end of one does not leave a processor idle; their blocks are packed by as many
//! threads as there may be, and written in order. So memory holds a few blocks per thread and nothing that grows with the
//! machine. A cached segment is its blocks, end to end, then the size of each, then a footer: a machine that lost power may have
//! kept the file without its bytes. The finished segments stay open files, so that a `cache gc` of another process takes
//! nothing away.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bootwright_oci::{Derived, Digest, ReadContent, Reporter, Task};
use bootwright_rootfs::Machine;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::compress::Settings;
use super::format::BLOCK_STORED;
use super::plan::{Place, Segment};
use crate::Error;
use crate::content::{self, Owner, component_name};
use crate::error::Fault;

/// Kind of the packed segments among the derived files.
pub const SQUASHFS_SEGMENT_KIND: &str = "squashfs";
/// Last bytes of a cached segment, behind the number of its blocks and their length together.
const FOOTER_MAGIC: &[u8; 8] = b"bw-sqfs1";
/// Bytes of the footer.
const FOOTER_LEN: u64 = 24;
/// Segments that are read at a time.
const READERS: usize = 2;

/// What packing needs to know.
pub(super) struct Job<'a> {
    pub(super) machine: &'a Machine,
    pub(super) read: &'a dyn ReadContent,
    pub(super) derived: &'a Derived,
    pub(super) reporter: &'a dyn Reporter,
    pub(super) settings: Settings,
    pub(super) threads: usize,
}

/// One segment, packed.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) file: Arc<File>,
    /// Of each block, as tables say it: 0 is a hole, [`BLOCK_STORED`] a block that is not compressed.
    pub(super) sizes: Vec<u32>,
    /// Bytes of all blocks.
    pub(super) len: u64,
    pub(super) cached: bool,
}

/// Bytes that a block takes, given its size as tables say it.
pub(super) fn packed_len(size: u32) -> u64 {
    u64::from(size & !BLOCK_STORED)
}

impl Job<'_> {
    /// All segments, in order.
    pub(super) fn all(&self, segments: &[Segment<'_>]) -> Result<Vec<Made>, Error> {
        allow_open_files(segments.len());
        let keys: Vec<Digest> = segments.iter().map(|s| s.key(self.settings)).collect();
        let mut made: Vec<Option<Made>> = Vec::with_capacity(segments.len());
        for (segment, key) in segments.iter().zip(&keys) {
            made.push(self.cached(segment, key)?);
        }
        let mut missing: Vec<usize> = (0..segments.len()).filter(|i| made[*i].is_none()).collect();
        if !missing.is_empty() {
            // The largest first, so that no thread is left alone with it at the end.
            missing.sort_by_key(|i| std::cmp::Reverse(segments[*i].size()));
            for (index, result) in self.make_all(segments, &keys, &missing) {
                made[index] = Some(result?);
            }
        }
        Ok(made.into_iter().flatten().collect())
    }

    /// Makes the segments that are missing, until one fails.
    fn make_all(
        &self,
        segments: &[Segment<'_>],
        keys: &[Digest],
        missing: &[usize],
    ) -> BTreeMap<usize, Result<Made, Error>> {
        let total = missing.iter().map(|i| segments[*i].size()).sum();
        let progress = Mutex::new(self.reporter.start("packing the root", Some(total)));
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let results = Mutex::new(BTreeMap::new());
        let (pool, queue) = sync_channel(0);
        let queue = Arc::new(Mutex::new(queue));
        let read = |pool: SyncSender<Work>| {
            while let Some(index) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                if failed.load(Ordering::Relaxed) {
                    return;
                }
                let result = self.make(&segments[*index], &keys[*index], &pool, &progress);
                failed.fetch_or(result.is_err(), Ordering::Relaxed);
                lock(&results).insert(*index, result);
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.threads {
                let queue = Arc::clone(&queue);
                scope.spawn(|| pack_blocks(queue, self.settings));
            }
            // With the last of them goes the queue, so that no reader waits for the dead.
            drop(queue);
            for _ in 0..READERS.min(missing.len()) {
                let pool = pool.clone();
                scope.spawn(|| read(pool));
            }
            // The packing threads end with the last of the reading ones.
            drop(pool);
        });
        results.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// A segment from the cache, if it is there and whole.
    fn cached(&self, segment: &Segment<'_>, key: &Digest) -> Result<Option<Made>, Error> {
        let failed = |source| self.cache_error(segment, key, source);
        let Some(mut file) = self.derived.get(SQUASHFS_SEGMENT_KIND, key).map_err(failed)? else { return Ok(None) };
        match read_sizes(&mut file, segment.blocks) {
            Ok(Some((sizes, len))) => Ok(Some(Made { file: Arc::new(file), sizes, len, cached: true })),
            Ok(None) => {
                let name = component_name(self.machine, segment.component);
                self.reporter.note(&format!("a segment of {name} in the cache is damaged; packing it again"));
                fs::remove_file(self.derived.path(SQUASHFS_SEGMENT_KIND, key)).map_err(failed)?;
                Ok(None)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn make(
        &self,
        segment: &Segment<'_>,
        key: &Digest,
        pool: &SyncSender<Work>,
        progress: &Mutex<Box<dyn Task>>,
    ) -> Result<Made, Error> {
        let write = |file: &mut File| self.write(segment, file, pool, progress);
        let mut file = self.derived.get_or_make(SQUASHFS_SEGMENT_KIND, key, write).map_err(|fault| match fault {
            Fault::Sink(source) => self.cache_error(segment, key, source),
            Fault::Other(error) => error,
        })?;
        let failed = |source| self.cache_error(segment, key, source);
        let sizes = read_sizes(&mut file, segment.blocks).map_err(failed)?;
        let (sizes, len) =
            sizes.ok_or_else(|| failed(io::Error::other("what was written is not what is read back")))?;
        Ok(Made { file: Arc::new(file), sizes, len, cached: false })
    }

    /// Reads a segment's files and writes their blocks, as the plan has placed them.
    fn write(
        &self,
        segment: &Segment<'_>,
        file: &mut File,
        pool: &SyncSender<Work>,
        progress: &Mutex<Box<dyn Task>>,
    ) -> Result<(), Fault> {
        let block_size = self.settings.block_size as usize;
        let mut blocks = Blocks {
            out: BufWriter::with_capacity(256 << 10, file),
            pool,
            waiting: VecDeque::new(),
            most: 2 * self.threads + 1,
            sizes: Vec::with_capacity(segment.blocks),
            len: 0,
        };
        let mut progress = Shared(progress);
        let mut fragments = Vec::with_capacity(block_size);
        for file in &segment.files {
            let owner = Owner::Node(self.machine, file.path, segment.component);
            match file.place {
                Place::Blocks { .. } => {
                    let mut cutter = Cutter { blocks: &mut blocks, block: Vec::with_capacity(block_size), block_size };
                    content::copy(file.content, owner, self.read, &mut cutter, &mut progress)?;
                    cutter.end_block()?;
                }
                Place::Fragment { offset, .. } => {
                    if offset == 0 && !fragments.is_empty() {
                        let full = std::mem::replace(&mut fragments, Vec::with_capacity(block_size));
                        blocks.push(full)?;
                    }
                    debug_assert_eq!(fragments.len(), offset as usize, "the plan knows the place");
                    content::copy(file.content, owner, self.read, &mut fragments, &mut progress)?;
                }
            }
        }
        if !fragments.is_empty() {
            blocks.push(fragments)?;
        }
        blocks.finish()?;
        Ok(())
    }

    fn cache_error(&self, segment: &Segment<'_>, key: &Digest, source: io::Error) -> Error {
        let what = format!("the packed files of {}", component_name(self.machine, segment.component));
        Error::Cache { what, path: self.derived.path(SQUASHFS_SEGMENT_KIND, key), source }
    }
}

/// Each segment is an open file, and the customary limit of 1024 would end images at 8 GiB.
fn allow_open_files(segments: usize) {
    /// What else is open.
    const OTHERS: u64 = 256;
    let limit = getrlimit(Resource::Nofile);
    let wanted = segments as u64 + OTHERS;
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        // If that is refused, opening a segment will say what is missing.
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The progress that all readers share.
struct Shared<'a>(&'a Mutex<Box<dyn Task>>);

impl Task for Shared<'_> {
    fn advance(&mut self, bytes: u64) {
        lock(self.0).advance(bytes);
    }
}

/// A block that shall be packed, and where the result is waited for.
struct Work {
    block: Vec<u8>,
    done: SyncSender<io::Result<Block>>,
}

/// A packed block.
struct Block {
    bytes: Vec<u8>,
    is_compressed: bool,
}

/// Packs blocks until there are no more.
fn pack_blocks(queue: Arc<Mutex<Receiver<Work>>>, settings: Settings) {
    let mut encoder = settings.encoder();
    loop {
        // The lock is held while waiting: the others would wait for the same.
        let Ok(Work { block, done }) = lock(&queue).recv() else { return };
        let result = match &mut encoder {
            Ok(encoder) => encoder.encode(&block).map(|packed| packed.map(<[u8]>::to_vec)),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        };
        let result = result.map(|packed| {
            let is_compressed = packed.is_some();
            Block { bytes: packed.unwrap_or(block), is_compressed }
        });
        // Nobody waits any more if the segment has failed.
        let _ = done.send(result);
    }
}

/// A segment's blocks on their way into its file.
struct Blocks<'a> {
    out: BufWriter<&'a mut File>,
    pool: &'a SyncSender<Work>,
    /// Blocks that are being packed, in order; a hole is none.
    waiting: VecDeque<Option<Receiver<io::Result<Block>>>>,
    /// How many of them there may be, which bounds memory.
    most: usize,
    sizes: Vec<u32>,
    len: u64,
}

impl Blocks<'_> {
    fn push(&mut self, block: Vec<u8>) -> io::Result<()> {
        let (done, result) = sync_channel(1);
        self.pool.send(Work { block, done }).map_err(|_| io::Error::other("the packing threads are gone"))?;
        self.wait_for(Some(result))
    }

    fn push_hole(&mut self) -> io::Result<()> {
        self.wait_for(None)
    }

    fn wait_for(&mut self, block: Option<Receiver<io::Result<Block>>>) -> io::Result<()> {
        self.waiting.push_back(block);
        if self.waiting.len() > self.most { self.write_first() } else { Ok(()) }
    }

    fn write_first(&mut self) -> io::Result<()> {
        match self.waiting.pop_front() {
            None => {}
            Some(None) => self.sizes.push(0),
            Some(Some(result)) => {
                let block = result.recv().map_err(|_| io::Error::other("a packing thread is gone"))??;
                self.out.write_all(&block.bytes)?;
                self.len += block.bytes.len() as u64;
                self.sizes.push(block.bytes.len() as u32 | if block.is_compressed { 0 } else { BLOCK_STORED });
            }
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            self.write_first()?;
        }
        for size in &self.sizes {
            self.out.write_all(&size.to_le_bytes())?;
        }
        self.out.write_all(&(self.sizes.len() as u64).to_le_bytes())?;
        self.out.write_all(&self.len.to_le_bytes())?;
        self.out.write_all(FOOTER_MAGIC)?;
        self.out.flush()
    }
}

/// Cuts what is written to it into blocks.
struct Cutter<'a, 'b> {
    blocks: &'a mut Blocks<'b>,
    block: Vec<u8>,
    block_size: usize,
}

impl Cutter<'_, '_> {
    fn end_block(&mut self) -> io::Result<()> {
        /// What a block is compared with, a piece at a time.
        const ZEROS: [u8; 4096] = [0; 4096];
        if self.block.is_empty() {
            return Ok(());
        }
        if self.block.chunks(ZEROS.len()).all(|piece| *piece == ZEROS[..piece.len()]) {
            self.block.clear();
            return self.blocks.push_hole();
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(self.block_size));
        self.blocks.push(block)
    }
}

impl Write for Cutter<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = bytes.len().min(self.block_size - self.block.len());
        self.block.extend_from_slice(&bytes[..n]);
        if self.block.len() == self.block_size {
            self.end_block()?;
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The sizes of a packed segment's blocks and their length together, if the file is whole and has so many.
fn read_sizes(file: &mut File, blocks: usize) -> io::Result<Option<(Vec<u32>, u64)>> {
    let sizes_len = 4 * blocks as u64;
    let Some(len) = file.metadata()?.len().checked_sub(sizes_len + FOOTER_LEN) else { return Ok(None) };
    file.seek(SeekFrom::Start(len))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let (sizes, footer) = bytes.split_at(4 * blocks);
    let want = [&(blocks as u64).to_le_bytes()[..], &len.to_le_bytes(), FOOTER_MAGIC].concat();
    let sizes: Vec<u32> = sizes.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    let is_whole = *footer == want[..] && sizes.iter().copied().map(packed_len).sum::<u64>() == len;
    Ok(is_whole.then_some((sizes, len)))
}
