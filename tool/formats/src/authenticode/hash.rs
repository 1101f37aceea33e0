//! The two sums over a PE image: the hash that is signed, and the checksum of its header.

use std::io::{self, Write as _};

use bootwright_oci::{Digest, Hasher, Task};

use crate::RawImage;
use crate::pe::Pe;

/// Bytes that are read at a time; even, for the checksum.
const BUFFER: usize = 256 << 10;

/// Hash and checksum of an image whose certificate table is still to come.
///
/// The hash leaves out the checksum and the certificate table's place ("Calculating the PE Image Hash" in the format's
/// specification). The order of the file is that of the specification because the sections are known to leave no gap.
pub(super) fn sums(image: &RawImage, pe: &Pe, progress: &mut dyn Task) -> io::Result<(Digest, Checksum)> {
    let mut hasher = Hasher::new(io::sink());
    let mut checksum = Checksum::default();
    let mut buffer = vec![0; BUFFER];
    let left_out = [pe.checksum_at()..pe.checksum_at() + 4, pe.certificates_at()..pe.certificates_at() + 8];
    let mut at = 0;
    while at < image.size() {
        let len = usize::try_from(image.size() - at).unwrap_or(BUFFER).min(BUFFER);
        let bytes = &mut buffer[..len];
        image.read_at(at, bytes)?;
        if at == 0 {
            // All headers lie in the first buffer.
            let mut from = 0;
            for range in &left_out {
                hasher.write_all(&bytes[from..range.start])?;
                from = range.end;
            }
            hasher.write_all(&bytes[from..])?;
            bytes[left_out[0].clone()].fill(0);
        } else {
            hasher.write_all(bytes)?;
        }
        checksum.add(bytes);
        progress.advance(len as u64);
        at += len as u64;
    }
    Ok((hasher.finish().1, checksum))
}

/// The checksum of `ImageHlp`'s `CheckSumMappedFile`: 16-bit words with the carry added, and the file's length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Checksum(u64);

impl Checksum {
    /// Adds bytes that begin at an even offset; only the last may be an odd number.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let words = bytes.chunks(2).map(|pair| u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 8);
        self.0 += words.sum::<u64>();
    }

    /// The checksum of a file of that length.
    pub(super) fn finish(self, len: u64) -> u32 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        (sum + len) as u32
    }
}
