//! What a format must know before its first byte: where the image is not zero, and a digest to make identifiers of.

use std::io::{self, Write};
use std::ops::Range;

use bootwright_oci::{Digest, Hasher};

use super::KIB;
use super::out::is_zero;
use crate::RawImage;

/// Bytes that are looked at as one: the cluster of qcow2 and the grain of VMDK, a divisor of all other blocks.
pub(super) const UNIT: u64 = 64 * KIB;

/// One pass over an image.
#[derive(Debug)]
pub(super) struct Survey {
    /// Runs of units that are not zero, by number.
    units: Vec<Range<u64>>,
    /// Of the size and of all units that are not zero, with their numbers.
    digest: Digest,
}

impl Survey {
    pub(super) fn of(image: &RawImage) -> io::Result<Self> {
        let mut units = Vec::new();
        let mut hasher = Hasher::new(io::sink());
        hasher.write_all(&image.size().to_le_bytes())?;
        let mut buffer = vec![0; UNIT as usize];
        for unit in image.runs(UNIT).into_iter().flat_map(|(at, len)| at / UNIT..(at + len) / UNIT) {
            let at = unit * UNIT;
            let bytes = &mut buffer[..UNIT.min(image.size() - at) as usize];
            image.read_at(at, bytes)?;
            if !is_zero(bytes) {
                push(&mut units, unit..unit + 1);
                hasher.write_all(&unit.to_le_bytes())?;
                hasher.write_all(bytes)?;
            }
        }
        Ok(Self { units, digest: hasher.finish().1 })
    }

    /// The runs of units that are not zero.
    pub(super) fn runs(&self) -> &[Range<u64>] {
        &self.units
    }

    /// The units that are not zero.
    pub(super) fn units(&self) -> impl Iterator<Item = u64> + '_ {
        self.units.iter().cloned().flatten()
    }

    /// How many units are not zero.
    pub(super) fn count(&self) -> u64 {
        self.units.iter().map(|run| run.end - run.start).sum()
    }

    /// The runs of blocks of so many bytes, a multiple of a unit, that hold a unit which is not zero; by number.
    pub(super) fn blocks(&self, block: u64) -> Vec<Range<u64>> {
        let per = block / UNIT;
        let mut blocks = Vec::new();
        for run in &self.units {
            push(&mut blocks, run.start / per..run.end.div_ceil(per));
        }
        blocks
    }

    /// 32 bits that stand for the image in one role.
    pub(super) fn word(&self, role: &str) -> u32 {
        let [a, b, c, d, ..] = *self.derive(role).bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// A UUID that stands for the image in one role: version 8 (RFC 9562), whose bits are ours to choose.
    pub(super) fn uuid(&self, role: &str) -> [u8; 16] {
        let digest = self.derive(role);
        let mut uuid: [u8; 16] = std::array::from_fn(|i| digest.bytes()[i]);
        uuid[6] = 0x80 | (uuid[6] & 0x0f);
        uuid[8] = 0x80 | (uuid[8] & 0x3f);
        uuid
    }

    fn derive(&self, role: &str) -> Digest {
        Digest::of(&[&self.digest.bytes()[..], role.as_bytes()].concat())
    }
}

/// Appends a run, which does not begin before the last one does.
fn push(runs: &mut Vec<Range<u64>>, run: Range<u64>) {
    match runs.last_mut() {
        Some(last) if last.end >= run.start => last.end = last.end.max(run.end),
        _ => runs.push(run),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_that_lie_in_a_piece_do_not_count() {
        let mut image = RawImage::new(10 * UNIT + 7);
        let mut bytes = vec![0; 5 * UNIT as usize];
        (bytes[0], bytes[3 * UNIT as usize]) = (1, 1);
        image.put(UNIT, bytes);
        image.put(10 * UNIT + 6, [9]);
        let survey = Survey::of(&image).unwrap();
        assert_eq!(survey.units().collect::<Vec<_>>(), [1, 4, 10]);
        assert_eq!(survey.count(), 3);
        assert_eq!(survey.blocks(2 * UNIT), [0..1, 2..3, 5..6]);
        assert_eq!(survey.blocks(8 * UNIT), [Range { start: 0, end: 2 }]);
    }

    #[test]
    fn identifiers_depend_on_content_size_and_role_and_not_on_pieces() {
        let image = |size, parts: &[&[u8]]| {
            let mut image = RawImage::new(size);
            let mut at = 3;
            for part in parts {
                image.put(at, *part);
                at += part.len() as u64;
            }
            Survey::of(&image).unwrap()
        };
        let one = image(1000, &[b"abc\0"]);
        assert_eq!(one.uuid("a"), image(1000, &[b"a", b"bc"]).uuid("a"));
        for other in [one.uuid("b"), image(1001, &[b"abc"]).uuid("a"), image(1000, &[b"abd"]).uuid("a")] {
            assert_ne!(one.uuid("a"), other);
        }
        let uuid = one.uuid("a");
        assert_eq!((uuid[6] >> 4, uuid[8] >> 6), (8, 2));
    }
}
