//! DER (ITU-T X.690): values written into vectors, and a reader that walks over values without looking into most of them.

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The tag of a constructed value in a context, `[number]`.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// A value of a tag, of parts that lie end to end.
pub(super) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = vec![tag];
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let bytes = len.to_be_bytes();
        let bytes = &bytes[len.leading_zeros() as usize / 8..];
        out.push(0x80 | bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A `SET OF`, whose members DER sorts.
pub(super) fn set_of(tag: u8, mut members: Vec<Vec<u8>>) -> Vec<u8> {
    members.sort_unstable();
    value(tag, &[&members.concat()])
}

/// A value that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    pub(super) tag: u8,
    /// What it holds.
    pub(super) content: &'a [u8],
    /// All of it, with tag and length.
    pub(super) whole: &'a [u8],
}

/// Values that lie end to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next value; none at the end, and where there is no value of one tag byte and a definite length.
    pub(super) fn value(&mut self) -> Option<Value<'a>> {
        let (tag, rest) = self.0.split_first()?;
        let (first, mut rest) = rest.split_first()?;
        let mut len = usize::from(*first);
        if len >= 0x80 {
            let (bytes, after) = rest.split_at_checked(len & 0x7f)?;
            // Four gigabytes are enough; no bytes would be the indefinite form of BER.
            if bytes.is_empty() || bytes.len() > 4 || tag & 0x1f == 0x1f {
                return None;
            }
            len = bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte));
            rest = after;
        }
        let (content, after) = rest.split_at_checked(len)?;
        let whole = &self.0[..self.0.len() - after.len()];
        self.0 = after;
        Some(Value { tag: *tag, content, whole })
    }

    /// The next value, if it has this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<Value<'a>> {
        self.value().filter(|value| value.tag == tag)
    }

    /// The values within the next value, if it has this tag.
    pub(super) fn within(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.expect(tag).map(|value| Reader(value.content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for len in [0, 1, 127, 128, 255, 256, 65535, 65536, 1 << 20] {
            let content = vec![7; len];
            let bytes = [value(OCTET_STRING, &[&content]), value(NULL, &[])].concat();
            let mut reader = Reader(&bytes);
            let read = reader.expect(OCTET_STRING).unwrap();
            assert!(read.content == content && read.whole.len() == bytes.len() - 2, "{len}");
            assert_eq!(reader.expect(NULL).unwrap().whole, [5, 0]);
            assert!(reader.value().is_none());
        }
        assert_eq!(set_of(SET, vec![vec![2, 1, 9], vec![2, 1, 1]]), [0x31, 6, 2, 1, 1, 2, 1, 9]);
    }

    #[test]
    fn what_is_no_der_is_not_read() {
        for bad in [
            &[][..],
            &[2],
            &[2, 1],
            &[2, 0x80, 0, 0],
            &[2, 0x81],
            &[2, 0x85, 0, 0, 0, 0, 1, 1],
            &[0x30, 0x84, 255, 255, 255, 255],
        ] {
            assert!(Reader(bad).value().is_none(), "{bad:?}");
        }
    }
}
