//! Frames: a kind, a number and at most 16 KiB, between bytes of zero.
//!
//! A frame is encoded so that it holds no zero (COBS: Cheshire and Baker, *Consistent Overhead Byte Stuffing*, 1999), and ended by
//! one. So whoever has lost his place, because the other side was exchanged in the middle of a frame or the line brought
//! garbage, has it again after the next zero, and nothing in a frame can be taken for its end.

/// Bytes of a frame's payload at most.
pub const FRAME: usize = 16 * 1024;
/// Bytes before the payload: the kind, and the number in little-endian order.
const HEADER: usize = 5;
/// Bytes of an encoded frame at most, without the zero that ends it: one more for each 254, begun ones too.
const ENCODED: usize = (HEADER + FRAME) + (HEADER + FRAME) / 254 + 1;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The greeting of a side: JSON.
    Hello,
    /// A request, which begins its number: JSON.
    Request,
    /// A part of an answer, or of a request in progress: JSON.
    Item,
    /// The number of a stream, and bytes of it; none: it has ended.
    Data,
    /// So many more bytes of items and data may be sent: four bytes, little-endian.
    Grant,
    /// The last of an answer: JSON.
    End,
    /// The answer is not wanted any more.
    Cancel,
}

impl FrameKind {
    const ALL: [Self; 7] = [Self::Hello, Self::Request, Self::Item, Self::Data, Self::Grant, Self::End, Self::Cancel];

    fn byte(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Request => 2,
            Self::Item => 3,
            Self::Data => 4,
            Self::Grant => 5,
            Self::End => 6,
            Self::Cancel => 7,
        }
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: FrameKind,
    /// The number of its request.
    pub id: u32,
    /// What it says, at most [`FRAME`] bytes.
    pub payload: Vec<u8>,
}

impl Frame {
    /// Appends the frame's bytes. What is longer than [`FRAME`] is cut.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(self.kind, self.id, &[&self.payload], out);
    }
}

/// Appends the bytes of a frame whose payload comes in parts.
pub(super) fn encode(kind: FrameKind, id: u32, parts: &[&[u8]], out: &mut Vec<u8>) {
    let payload = parts.iter().flat_map(|part| part.iter()).take(FRAME);
    let header = [kind.byte()].into_iter().chain(id.to_le_bytes());
    // Where the length of the current run stands; it is known when the run ends.
    let mut place = out.len();
    let mut run = 1;
    out.push(run);
    for byte in header.chain(payload.copied()) {
        if byte != 0 {
            out.push(byte);
            run += 1;
        }
        if byte == 0 || run == u8::MAX {
            out[place] = run;
            place = out.len();
            run = 1;
            out.push(run);
        }
    }
    out[place] = run;
    out.push(0);
}

/// Finds the frames in a stream of bytes. Takes no more memory than the longest frame, whatever comes.
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Vec<u8>,
    /// Whether what comes until the next zero is no frame.
    lost: bool,
}

impl Decoder {
    /// Takes bytes and gives each frame that they complete to `each`; what is no frame is left out.
    pub fn take(&mut self, mut bytes: &[u8], mut each: impl FnMut(Frame)) {
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == 0);
            let (piece, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.partial.len() + piece.len() > ENCODED {
                self.lost = true;
            } else if !self.lost {
                self.partial.extend_from_slice(piece);
            }
            if end.is_some() {
                if let Some(frame) = decode(&self.partial).filter(|_| !self.lost) {
                    each(frame);
                }
                self.forget();
            }
            bytes = rest.get(1..).unwrap_or_default();
        }
    }

    /// Forgets a frame that has begun.
    pub fn forget(&mut self) {
        self.partial.clear();
        self.lost = false;
    }
}

fn decode(mut encoded: &[u8]) -> Option<Frame> {
    let mut bytes = Vec::with_capacity(encoded.len());
    while let Some((run, rest)) = encoded.split_first() {
        let (piece, after) = rest.split_at_checked(usize::from(*run).checked_sub(1)?)?;
        bytes.extend_from_slice(piece);
        encoded = after;
        if *run != u8::MAX && !encoded.is_empty() {
            bytes.push(0);
        }
    }
    let (kind, rest) = bytes.split_first()?;
    let (id, payload) = rest.split_first_chunk()?;
    let kind = FrameKind::ALL.into_iter().find(|known| known.byte() == *kind)?;
    (payload.len() <= FRAME).then(|| Frame { kind, id: u32::from_le_bytes(*id), payload: payload.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(chunks: &[&[u8]]) -> Vec<Frame> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        for chunk in chunks {
            decoder.take(chunk, |frame| frames.push(frame));
        }
        assert!(decoder.partial.capacity() <= 2 * ENCODED);
        frames
    }

    fn frame(kind: FrameKind, id: u32, payload: &[u8]) -> Frame {
        Frame { kind, id, payload: payload.to_vec() }
    }

    #[test]
    fn what_garbage_and_endless_frames_hold_is_skipped() {
        let good = frame(FrameKind::Data, 7, b"\0\0x");
        let mut bytes = vec![0xff; 5 * FRAME];
        bytes.push(0);
        bytes.extend(b"GET / HTTP/1.0\r\n\r\n\0");
        // A kind that nobody knows, and a frame without a number.
        bytes.extend([2, 9, 1, 1, 1, 1, 0, 2, 2, 0]);
        good.encode(&mut bytes);
        assert_eq!(decoded(&[&bytes]), [good]);
    }

    #[test]
    fn a_zero_ends_what_a_former_writer_left_half_said() {
        let (old, new) = (frame(FrameKind::Item, 1, &[1; 600]), frame(FrameKind::Hello, 0, b"{}"));
        let mut bytes = Vec::new();
        old.encode(&mut bytes);
        bytes.truncate(300);
        bytes.push(0);
        new.encode(&mut bytes);
        assert_eq!(decoded(&[&bytes]), [new]);
    }

    #[test]
    fn the_longest_frame_is_taken_and_a_longer_one_is_cut() {
        for byte in [0, 1] {
            let longest = frame(FrameKind::Data, u32::MAX, &[byte; FRAME]);
            let mut bytes = Vec::new();
            longest.encode(&mut bytes);
            assert!(bytes.len() <= ENCODED + 1, "{}", bytes.len());
            frame(FrameKind::Data, u32::MAX, &[byte; FRAME + 9]).encode(&mut bytes);
            assert_eq!(decoded(&[&bytes]), [longest.clone(), longest]);
        }
    }

    fn frames() -> impl Strategy<Value = Frame> {
        // Many zeros, and runs about as long as a block of the encoding.
        let payload = proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..600);
        (0..FrameKind::ALL.len(), any::<u32>(), payload).prop_map(|(kind, id, payload)| Frame {
            kind: FrameKind::ALL[kind],
            id,
            payload,
        })
    }

    proptest! {
        #[test]
        fn frames_come_back_however_they_are_cut(
            sent in proptest::collection::vec(frames(), 0..5),
            cut in 1usize..300,
        ) {
            let mut bytes = Vec::new();
            for frame in &sent {
                let begin = bytes.len();
                frame.encode(&mut bytes);
                prop_assert_eq!(bytes[begin..].iter().position(|byte| *byte == 0), Some(bytes.len() - begin - 1));
            }
            let chunks: Vec<&[u8]> = bytes.chunks(cut).collect();
            prop_assert_eq!(decoded(&chunks), sent);
        }

        #[test]
        fn any_bytes_are_borne_and_what_follows_a_zero_is_heard(
            noise in proptest::collection::vec(any::<u8>(), 0..2000),
            next in frames(),
        ) {
            let mut bytes = noise;
            bytes.push(0);
            next.encode(&mut bytes);
            let found = decoded(&[&bytes]);
            prop_assert_eq!(found.last(), Some(&next));
        }
    }
}
