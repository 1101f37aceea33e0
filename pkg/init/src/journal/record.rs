//! A line on its way from PID 1 to one of its children: one datagram, small and quick to write.

use bootwright_bundle::control::{LogLine, Stream};

use super::ring::Mark;

/// A line, or word that some are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// What it is.
    pub mark: Mark,
    /// Where it comes from.
    pub source: &'a str,
    /// Its text, in two pieces.
    pub text: [&'a [u8]; 2],
    /// How many lines are missing before it; with any, there is no text.
    pub lost: u64,
}

impl<'a> Record<'a> {
    /// Writes it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        out.push(self.mark.stream);
        for number in [self.mark.time, self.mark.uptime, self.lost] {
            out.extend_from_slice(&number.to_ne_bytes());
        }
        let name = self.source.as_bytes();
        let name = name.get(..usize::from(u8::MAX)).unwrap_or(name);
        out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(name);
        self.text.iter().for_each(|piece| out.extend_from_slice(piece));
    }

    /// Reads it.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (stream, bytes) = bytes.split_first()?;
        let (time, bytes) = bytes.split_first_chunk()?;
        let (uptime, bytes) = bytes.split_first_chunk()?;
        let (lost, bytes) = bytes.split_first_chunk()?;
        let (length, bytes) = bytes.split_first()?;
        let (source, text) = bytes.split_at_checked(usize::from(*length))?;
        let mark =
            Mark { stream: *stream, sequence: 0, time: u64::from_ne_bytes(*time), uptime: u64::from_ne_bytes(*uptime) };
        let source = std::str::from_utf8(source).ok()?;
        Some(Self { mark, source, text: [text, &[]], lost: u64::from_ne_bytes(*lost) })
    }

    /// As the control channel shows it.
    pub fn line(&self) -> LogLine {
        LogLine {
            source: self.source.to_owned(),
            stream: Stream::of(self.mark.stream).unwrap_or(Stream::Stdout).name().to_owned(),
            time: self.mark.time,
            uptime: self.mark.uptime,
            text: String::from_utf8_lossy(&self.text.concat()).into_owned(),
            lost: (self.lost > 0).then_some(self.lost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back() {
        let mark = Mark { stream: 2, sequence: 0, time: 5, uptime: 7 };
        for record in [
            Record { mark, source: "web", text: [b"ab", b"c\xff"], lost: 0 },
            Record { mark, source: "init", text: [b"", b""], lost: 12 },
        ] {
            let mut bytes = vec![1, 2, 3];
            record.encode(&mut bytes);
            let back = Record::decode(&bytes).unwrap();
            assert_eq!(back.text.concat(), record.text.concat());
            assert_eq!((back.mark, back.source, back.lost), (record.mark, record.source, record.lost));
        }
        assert_eq!(Record::decode(b"short"), None);
    }
}
