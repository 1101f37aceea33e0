//! Units of an image deflated one by one, by several threads, and handed over in order.
//!
//! Each unit is a stream of its own from one call to the library, so its bytes depend on nothing but its content.

use std::io;
use std::num::NonZero;
use std::thread;

use bootwright_oci::Task;
use flate2::{Compress, Compression, FlushCompress, Status};

use super::survey::UNIT;
use crate::RawImage;

/// gzip's and QEMU's default.
const LEVEL: u32 = 6;
/// Units that a thread deflates before results are collected: 1 MiB, which bounds memory.
const BATCH: usize = 16;

/// The form of a deflated unit.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    /// zlib (RFC 1950), window 32 KiB: VMDK.
    Zlib,
    /// Raw deflate (RFC 1951), window 4 KiB, which is what QEMU inflates with: qcow2.
    Raw,
}

/// Deflates units; the image's last one is filled up with zeros.
pub(super) fn each(
    image: &RawImage,
    mut units: impl Iterator<Item = u64>,
    method: Method,
    workers: NonZero<usize>,
    progress: &mut dyn Task,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    loop {
        let batch: Vec<u64> = units.by_ref().take(BATCH * workers.get()).collect();
        if batch.is_empty() {
            return Ok(());
        }
        let share = batch.len().div_ceil(workers.get());
        let results: Vec<io::Result<Vec<Vec<u8>>>> = thread::scope(|scope| {
            let threads: Vec<_> =
                batch.chunks(share).map(|share| scope.spawn(move || deflate(image, share, method))).collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        for (units, packed) in batch.chunks(share).zip(results) {
            for (unit, packed) in units.iter().zip(packed?) {
                take(*unit, &packed)?;
                progress.advance(UNIT.min(image.size() - unit * UNIT));
            }
        }
    }
}

fn deflate(image: &RawImage, units: &[u64], method: Method) -> io::Result<Vec<Vec<u8>>> {
    let mut compress = match method {
        Method::Zlib => Compress::new(Compression::new(LEVEL), true),
        Method::Raw => Compress::new_with_window_bits(Compression::new(LEVEL), false, 12),
    };
    let mut unit = vec![0; UNIT as usize];
    let mut out = Vec::with_capacity(units.len());
    for number in units {
        let at = number * UNIT;
        let len = UNIT.min(image.size() - at) as usize;
        image.read_at(at, &mut unit[..len])?;
        unit[len..].fill(0);
        // Deflate grows what it cannot shrink by five bytes per stored block, of which there are a few.
        let mut packed = Vec::with_capacity(unit.len() + 1024);
        compress.reset();
        match compress.compress_vec(&unit, &mut packed, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => out.push(packed),
            Ok(status) => return Err(io::Error::other(format!("deflate did not end: {status:?}"))),
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(out)
}
