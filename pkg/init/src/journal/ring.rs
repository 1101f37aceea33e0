//! A ring of lines in one piece of memory: new ones push the oldest out.
//!
//! A line is a header and its text, laid end to end and round the end of the memory. Places in it are counted from the
//! beginning of time, so a reader whose place has been overwritten knows it, and by the ordinals knows how much it missed.

/// Bytes before the text: its length, the stream, sequence number, and two times.
const HEADER: usize = 2 + 1 + 3 * 8;

/// A line, beside its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Number of the stream (`bootwright_bundle::control::Stream`).
    pub stream: u8,
    /// Its place among the lines of all rings.
    pub sequence: u64,
    /// Microseconds since 1970.
    pub time: u64,
    /// Microseconds since the kernel started.
    pub uptime: u64,
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    offset: u64,
    ordinal: u64,
}

/// The ring.
#[derive(Debug)]
pub struct Ring {
    memory: Box<[u8]>,
    oldest: Place,
    newest: Place,
}

impl Ring {
    /// A ring of so many bytes. What has not been written yet takes no memory.
    pub fn new(bytes: usize) -> Self {
        Self { memory: vec![0; bytes].into(), oldest: Place::default(), newest: Place::default() }
    }

    /// Takes a line; what has no room is cut.
    pub fn push(&mut self, mark: Mark, text: &[u8]) {
        let room = self.memory.len().saturating_sub(HEADER).min(usize::from(u16::MAX));
        let text = text.get(..room).unwrap_or(text);
        let size = (HEADER + text.len()) as u64;
        if size > self.memory.len() as u64 {
            return;
        }
        while self.newest.offset + size - self.oldest.offset > self.memory.len() as u64 {
            self.oldest = self.after(self.oldest);
        }
        let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
        let mut at = self.newest.offset;
        for piece in [
            &length.to_ne_bytes()[..],
            &[mark.stream],
            &mark.sequence.to_ne_bytes(),
            &mark.time.to_ne_bytes(),
            &mark.uptime.to_ne_bytes(),
            text,
        ] {
            self.write(at, piece);
            at += piece.len() as u64;
        }
        self.newest = Place { offset: at, ordinal: self.newest.ordinal + 1 };
    }

    /// The place of the oldest line.
    pub fn oldest(&self) -> Place {
        self.oldest
    }

    /// Brings a reader that was overtaken to the oldest line; how many lines it has missed.
    pub fn catch_up(&self, place: &mut Place) -> u64 {
        let missed = self.oldest.ordinal.saturating_sub(place.ordinal);
        if missed > 0 {
            *place = self.oldest;
        }
        missed
    }

    /// The line at a place that has not been overtaken; none behind the newest.
    pub fn mark(&self, place: Place) -> Option<Mark> {
        (place.ordinal < self.newest.ordinal).then(|| Mark {
            stream: self.read::<1>(place.offset + 2).first().copied().unwrap_or(0),
            sequence: u64::from_ne_bytes(self.read(place.offset + 3)),
            time: u64::from_ne_bytes(self.read(place.offset + 11)),
            uptime: u64::from_ne_bytes(self.read(place.offset + 19)),
        })
    }

    /// The text of the line at a place, in two pieces, and the place behind it.
    pub fn text(&self, place: Place) -> ([&[u8]; 2], Place) {
        let next = self.after(place);
        let length = usize::try_from(next.offset - place.offset).unwrap_or(0).saturating_sub(HEADER);
        let begin = self.position(place.offset + HEADER as u64);
        let first = length.min(self.memory.len() - begin);
        let front = self.memory.get(begin..begin + first).unwrap_or_default();
        ([front, self.memory.get(..length - first).unwrap_or_default()], next)
    }

    /// The place of the line that so many others follow, or the oldest.
    pub fn last(&self, count: u64) -> Place {
        let mut place = self.oldest;
        while self.newest.ordinal - place.ordinal > count {
            place = self.after(place);
        }
        place
    }

    fn after(&self, place: Place) -> Place {
        let length = u16::from_ne_bytes(self.read(place.offset));
        Place { offset: place.offset + HEADER as u64 + u64::from(length), ordinal: place.ordinal + 1 }
    }

    fn position(&self, offset: u64) -> usize {
        usize::try_from(offset % (self.memory.len() as u64).max(1)).unwrap_or(0)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let begin = self.position(offset);
        let (first, second) = bytes.split_at(bytes.len().min(self.memory.len() - begin));
        for (at, piece) in [(begin, first), (0, second)] {
            if let Some(place) = self.memory.get_mut(at..at + piece.len()) {
                place.copy_from_slice(piece);
            }
        }
    }

    fn read<const N: usize>(&self, offset: u64) -> [u8; N] {
        std::array::from_fn(|i| self.memory.get(self.position(offset + i as u64)).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(sequence: u64) -> Mark {
        Mark { stream: 2, sequence, time: 1_700_000_000_000_000 + sequence, uptime: sequence * 3 }
    }

    fn lines(ring: &Ring, mut place: Place) -> Vec<(Mark, String)> {
        let mut lines = Vec::new();
        ring.catch_up(&mut place);
        while let Some(mark) = ring.mark(place) {
            let ([front, back], next) = ring.text(place);
            lines.push((mark, String::from_utf8([front, back].concat()).unwrap()));
            place = next;
        }
        lines
    }

    #[test]
    fn lines_come_back_in_order_round_every_edge() {
        // Sizes that meet the end of the memory at every byte of header and text.
        for size in 150..220 {
            let mut ring = Ring::new(size);
            for i in 0..50 {
                ring.push(mark(i), "x".repeat(usize::try_from(i % 17).unwrap()).as_bytes());
                let kept = lines(&ring, Place::default());
                assert!(kept.len() >= 3.min(usize::try_from(i).unwrap() + 1), "{size}: {kept:?}");
                for (at, (mark, text)) in kept.iter().enumerate() {
                    let expected = i + 1 - kept.len() as u64 + at as u64;
                    assert_eq!(*mark, super::tests::mark(expected), "{size}");
                    assert_eq!(text.len() as u64, expected % 17);
                }
            }
        }
    }

    #[test]
    fn a_reader_that_was_overtaken_knows_how_much_it_missed() {
        let mut ring = Ring::new(200);
        let mut place = ring.oldest();
        for i in 0..100 {
            ring.push(mark(i), b"0123456789");
        }
        // 200 bytes are five lines of 37.
        assert_eq!(ring.catch_up(&mut place), 95);
        assert_eq!(ring.catch_up(&mut place), 0);
        assert_eq!(lines(&ring, place).len(), 5);
        assert_eq!(lines(&ring, ring.last(2)).iter().map(|(m, _)| m.sequence).collect::<Vec<_>>(), [98, 99]);
        assert_eq!(ring.last(1000), ring.oldest());
        assert!(ring.mark(ring.newest).is_none());
    }

    #[test]
    fn a_line_longer_than_the_ring_is_cut_and_none_is_too_long_for_the_memory() {
        let mut ring = Ring::new(64);
        ring.push(mark(0), &[b'y'; 1000]);
        assert_eq!(lines(&ring, Place::default())[0].1.len(), 64 - HEADER);
        let mut none = Ring::new(3);
        none.push(mark(0), b"");
        assert!(lines(&none, Place::default()).is_empty());
    }
}
