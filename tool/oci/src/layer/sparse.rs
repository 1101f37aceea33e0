//! Sparse files: from a map of runs, in any of GNU tar's spellings, to extents of the unpacked layer.

use crate::Extent;

use super::header::SparseRun;
use super::pax::decimal;

/// Places the runs of a file of `size` bytes, stored one after the other from `layer` on in `stored` bytes.
pub(super) fn extents(runs: &[SparseRun], size: u64, layer: u64, stored: u64) -> Result<Vec<Extent>, &'static str> {
    let (mut extents, mut end, mut used) = (Vec::new(), 0, 0u64);
    for &(file, len) in runs {
        if file < end {
            return Err("runs overlap or are out of order");
        }
        end = file.checked_add(len).filter(|end| *end <= size).ok_or("a run lies beyond the end of the file")?;
        // GNU tar ends a map with an empty run at the end of the file.
        if len > 0 {
            extents.push(Extent { file, layer: layer + used, len });
            used = used.checked_add(len).filter(|used| *used <= stored).ok_or("more data than the archive holds")?;
        }
    }
    if used != stored { Err("less data than the archive holds") } else { Ok(extents) }
}

/// Pairs up a flat list of offsets and lengths.
pub(super) fn pairs(numbers: &[u64]) -> Result<Vec<SparseRun>, &'static str> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if rest.is_empty() {
        Ok(pairs.iter().map(|[file, len]| (*file, *len)).collect())
    } else {
        Err("an odd number of numbers")
    }
}

/// The map of format 1.0, which is the start of the data: a count, then that many offsets and lengths, each number on
/// a line, padded to whole blocks.
pub(super) struct MapReader {
    limit: u64,
    digits: Vec<u8>,
    count: Option<u64>,
    numbers: Vec<u64>,
}

impl MapReader {
    /// A reader that refuses more than `limit` runs.
    pub fn new(limit: u64) -> Self {
        Self { limit, digits: Vec::new(), count: None, numbers: Vec::new() }
    }

    /// Takes a block; says whether the map is complete.
    pub fn block(&mut self, block: &[u8]) -> Result<bool, &'static str> {
        for &byte in block {
            if self.is_complete() {
                break;
            }
            if byte != b'\n' {
                if self.digits.len() == 20 {
                    return Err("a number that is too long");
                }
                self.digits.push(byte);
                continue;
            }
            let number = decimal(&self.digits).ok_or("not a number")?;
            self.digits.clear();
            match self.count {
                Some(_) => self.numbers.push(number),
                None if number > self.limit => return Err("more runs than are allowed"),
                None => self.count = Some(number),
            }
        }
        Ok(self.is_complete())
    }

    fn is_complete(&self) -> bool {
        self.count.is_some_and(|count| self.numbers.len() as u64 == 2 * count)
    }

    /// The runs of a complete map.
    pub fn runs(&self) -> Result<Vec<SparseRun>, &'static str> {
        pairs(&self.numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_that_contradict_themselves_are_refused() {
        let cases: [(&[SparseRun], u64, u64, bool); 10] = [
            (&[(0, 5), (10, 5)], 20, 10, true),
            (&[(0, 5), (20, 0)], 20, 5, true),
            (&[], 1 << 40, 0, true),
            (&[(10, 5), (0, 5)], 20, 10, false),
            (&[(0, 6), (5, 5)], 20, 11, false),
            (&[(16, 5)], 20, 5, false),
            (&[(u64::MAX, 5)], 20, 5, false),
            (&[(0, u64::MAX), (u64::MAX, 0)], u64::MAX, 5, false),
            (&[(0, 5)], 20, 6, false),
            (&[(0, 5)], 20, 4, false),
        ];
        for (runs, size, stored, good) in cases {
            assert_eq!(extents(runs, size, 512, stored).is_ok(), good, "{runs:?}");
        }
    }

    #[test]
    fn a_map_in_the_data_may_span_blocks() {
        let text: String = (0..100).map(|n| format!("{}\n{}\n", n * 1_000_000, 512)).collect();
        let mut map = MapReader::new(100);
        let bytes = format!("100\n{text}");
        let mut blocks = bytes.as_bytes().chunks(512);
        assert!(blocks.by_ref().any(|block| map.block(block).unwrap()));
        assert!(blocks.next().is_none());
        let runs = map.runs().unwrap();
        assert_eq!((runs.len(), runs[99]), (100, (99_000_000, 512)));
        assert!(MapReader::new(99).block(bytes.as_bytes()).is_err());
        assert!(MapReader::new(9).block(b"1\nx\n").is_err());
        assert!(MapReader::new(9).block(&[b'1'; 512]).is_err());
    }
}
