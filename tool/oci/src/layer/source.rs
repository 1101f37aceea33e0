//! The decompressed archive as a stream: kept and hashed as it passes, cut into blocks and data.
//!
//! Decompression runs in one thread, keeping, hashing and parsing in another: each costs about as much as the other,
//! and so an archive unpacks about as fast as it decompresses. A few chunks travel between them in circles.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::Limits;
use super::decompress::{decompress, fill};
use super::error::Problem;
use super::header::{BLOCK, Block};
use crate::{Digest, Hasher};

/// Bytes handed from thread to thread at once.
const CHUNK: usize = 256 << 10;
/// Chunks under way.
const CHUNKS: usize = 4;

struct Chunk {
    bytes: Vec<u8>,
    /// Bytes of the blob that were read up to here.
    compressed: u64,
}

/// Runs `consume` on the decompressed bytes of `blob`, which are written to `file`. The blob is read to its end.
pub(super) fn stream<T: Send>(
    blob: &mut dyn Read,
    file: &mut File,
    path: PathBuf,
    limits: &Limits,
    consume: impl FnOnce(&mut Source<'_>) -> Result<T, Problem> + Send,
) -> Result<(T, Digest, u64), Problem> {
    let compressed = Arc::new(AtomicU64::new(0));
    let mut input = decompress(Counted { inner: blob, count: Arc::clone(&compressed) })?;
    let (full, chunks) = sync_channel(CHUNKS);
    let (spare, empty) = sync_channel::<Vec<u8>>(CHUNKS);
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let mut source = Source {
                chunks,
                spare,
                out: Hasher::new(file),
                path,
                limits,
                chunk: Vec::new(),
                at: 0,
                position: 0,
                received: 0,
            };
            let value = consume(&mut source)?;
            source.drain()?;
            let (_, digest, size) = source.out.finish();
            Ok((value, digest, size))
        });
        loop {
            let mut bytes = empty.try_recv().unwrap_or_default();
            bytes.resize(CHUNK, 0);
            let chunk = fill(&mut input, &mut bytes).map(|filled| {
                bytes.truncate(filled);
                Chunk { bytes, compressed: compressed.load(Ordering::Relaxed) }
            });
            let last = chunk.as_ref().map_or(true, |chunk| chunk.bytes.is_empty());
            // The worker gives up by dropping its end. To it, an empty chunk is the end.
            if full.send(chunk).is_err() || last {
                break;
            }
        }
        drop(full);
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What is known at a place where a header may begin.
pub(super) enum Next {
    /// A whole block.
    Block(Box<Block>),
    /// A part of one, and then the end.
    Part,
    /// The end.
    End,
}

/// The archive, from its start to its end.
pub(super) struct Source<'a> {
    chunks: Receiver<io::Result<Chunk>>,
    spare: SyncSender<Vec<u8>>,
    out: Hasher<&'a mut File>,
    path: PathBuf,
    limits: &'a Limits,
    chunk: Vec<u8>,
    at: usize,
    position: u64,
    received: u64,
}

impl Source<'_> {
    /// Offset in the archive.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A block where a header may be.
    pub fn next_block(&mut self) -> Result<Next, Problem> {
        let mut block = Box::new([0; BLOCK]);
        Ok(match self.read(&mut block[..], "header")? {
            BLOCK => Next::Block(block),
            0 => Next::End,
            _ => Next::Part,
        })
    }

    /// A block that belongs to an entry.
    pub fn block(&mut self, entry: &str) -> Result<Block, Problem> {
        let mut block = [0; BLOCK];
        match self.read(&mut block, entry)? {
            BLOCK => Ok(block),
            _ => Err(Problem::Truncated { entry: entry.to_owned() }),
        }
    }

    /// Data and its padding, given to `take` piece by piece.
    pub fn data(&mut self, size: u64, entry: &str, mut take: impl FnMut(&[u8])) -> Result<(), Problem> {
        self.pass(size, entry, &mut take)?;
        self.pass((BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64, entry, &mut |_| {})
    }

    /// Data alone, without padding.
    pub fn pass(&mut self, size: u64, entry: &str, take: &mut dyn FnMut(&[u8])) -> Result<(), Problem> {
        let mut left = size;
        while left > 0 {
            if !self.refill(entry)? {
                return Err(Problem::Truncated { entry: entry.to_owned() });
            }
            let rest = &self.chunk[self.at..];
            let piece = &rest[..rest.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
            take(piece);
            let len = piece.len();
            self.advance(len);
            left -= len as u64;
        }
        Ok(())
    }

    /// Whatever follows the archive's end: it counts for the digest.
    fn drain(&mut self) -> Result<(), Problem> {
        while self.refill("end of the archive")? {
            self.advance(self.chunk.len() - self.at);
        }
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8], entry: &str) -> Result<usize, Problem> {
        let mut filled = 0;
        while filled < buffer.len() && self.refill(entry)? {
            let len = (buffer.len() - filled).min(self.chunk.len() - self.at);
            buffer[filled..filled + len].copy_from_slice(&self.chunk[self.at..self.at + len]);
            filled += len;
            self.advance(len);
        }
        Ok(filled)
    }

    fn advance(&mut self, len: usize) {
        self.at += len;
        self.position += len as u64;
    }

    /// Makes sure that there is something in the chunk, or says that this is the end.
    fn refill(&mut self, entry: &str) -> Result<bool, Problem> {
        if self.at < self.chunk.len() {
            return Ok(true);
        }
        let _ = self.spare.try_send(std::mem::take(&mut self.chunk));
        self.at = 0;
        let Ok(chunk) = self.chunks.recv() else { return Ok(false) };
        let chunk = chunk.map_err(Problem::Read)?;
        if chunk.bytes.is_empty() {
            return Ok(false);
        }
        self.received += chunk.bytes.len() as u64;
        let limits = self.limits;
        let grown = limits.ratio_floor.max(chunk.compressed.saturating_mul(limits.ratio));
        for (what, allowed) in [
            ("the archive's size", limits.unpacked),
            ("the archive's size, which grows like a compression bomb's,", grown),
        ] {
            if self.received > allowed {
                return Err(Problem::Limit { entry: entry.to_owned(), what, value: self.received, allowed });
            }
        }
        self.out.write_all(&chunk.bytes).map_err(|source| Problem::Write { path: self.path.clone(), source })?;
        self.chunk = chunk.bytes;
        Ok(true)
    }
}

struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}
