//! What a container prints, cut into lines and remembered a little.
//!
//! Bytes of any size and speed come in; lines of bounded length come out, and the last of them stay for the moment when
//! the container fails. Nothing here grows with what a container prints.

use std::collections::VecDeque;

use bootwright_bundle::control::Stream;

/// Bytes of a line; the rest of a longer one follows as the next line.
const LINE: usize = 1024;
/// Lines that are remembered.
const KEPT: usize = 20;

/// The end of a container's output.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// What has no end yet, of standard output and of standard error.
    partial: [Vec<u8>; 2],
    last: VecDeque<Vec<u8>>,
}

/// Where a container prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

impl Printed {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Out, Self::Err];

    /// As readers of logs know it.
    pub fn stream(self) -> Stream {
        match self {
            Self::Out => Stream::Stdout,
            Self::Err => Stream::Stderr,
        }
    }

    /// What belongs to it, of two.
    pub fn of<T>(self, [out, err]: &mut [T; 2]) -> &mut T {
        match self {
            Self::Out => out,
            Self::Err => err,
        }
    }
}

impl Output {
    /// Takes bytes and gives each line that they complete to `each`.
    pub fn take(&mut self, printed: Printed, mut bytes: &[u8], mut each: impl FnMut(&[u8])) {
        while !bytes.is_empty() {
            let partial = printed.of(&mut self.partial);
            let room = LINE.saturating_sub(partial.len()).max(1);
            let newline = bytes.iter().take(room).position(|b| *b == b'\n');
            let (piece, rest) = bytes.split_at(newline.unwrap_or(room.min(bytes.len())));
            partial.extend_from_slice(piece);
            let full = partial.len() >= LINE;
            bytes = rest;
            if newline.is_some() {
                bytes = bytes.get(1..).unwrap_or_default();
                self.complete(printed, &mut each);
            } else if full {
                // A newline that follows at once ends this very line.
                if bytes.first() == Some(&b'\n') {
                    bytes = bytes.get(1..).unwrap_or_default();
                }
                self.complete(printed, &mut each);
            }
        }
    }

    /// Ends the output: an unfinished line is a line.
    pub fn finish(&mut self, mut each: impl FnMut(Printed, &[u8])) {
        for printed in Printed::BOTH {
            if !printed.of(&mut self.partial).is_empty() {
                self.complete(printed, &mut |line: &[u8]| each(printed, line));
            }
        }
        self.partial = Default::default();
    }

    /// The last lines, oldest first.
    pub fn last(&self, count: usize) -> impl Iterator<Item = &[u8]> {
        self.last.iter().skip(self.last.len().saturating_sub(count)).map(Vec::as_slice)
    }

    fn complete(&mut self, printed: Printed, each: &mut impl FnMut(&[u8])) {
        let partial = printed.of(&mut self.partial);
        while partial.last() == Some(&b'\r') {
            partial.pop();
        }
        each(partial);
        let mut line = if self.last.len() >= KEPT { self.last.pop_front().unwrap_or_default() } else { Vec::new() };
        line.clear();
        line.extend_from_slice(partial);
        self.last.push_back(line);
        partial.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut output = Output::default();
        let mut lines = Vec::new();
        for chunk in chunks {
            output.take(Printed::Out, chunk, |l| lines.push(String::from_utf8_lossy(l).into_owned()));
        }
        output.finish(|_, l| lines.push(String::from_utf8_lossy(l).into_owned()));
        lines
    }

    #[test]
    fn chunks_become_lines() {
        let none: [&str; 0] = [];
        assert_eq!(lines(&[]), none);
        assert_eq!(lines(&[b"a\nb", b"c\r\n\nd"]), ["a", "bc", "", "d"]);
    }

    #[test]
    fn long_lines_are_cut_and_nothing_is_lost() {
        let long = vec![b'x'; 2 * LINE + 5];
        let cut = lines(&[&long, b"\n", b"y\n"]);
        assert_eq!(cut.iter().map(String::len).collect::<Vec<_>>(), [LINE, LINE, 5, 1]);
        // A line of exactly the limit is one line, not one and an empty one.
        assert_eq!(lines(&[&long[..LINE], b"", b"z"]).len(), 2);
        let mut exact = vec![b'x'; LINE];
        exact.push(b'\n');
        assert_eq!(lines(&[&exact]).len(), 1);
    }

    #[test]
    fn streams_do_not_break_each_others_lines() {
        let mut output = Output::default();
        let mut lines = Vec::new();
        for (printed, text) in [(Printed::Out, "o"), (Printed::Err, "er"), (Printed::Out, "ut\n"), (Printed::Err, "r")]
        {
            output.take(printed, text.as_bytes(), |l| lines.push((printed, l.to_vec())));
        }
        output.finish(|printed, l| lines.push((printed, l.to_vec())));
        assert_eq!(lines, [(Printed::Out, b"out".to_vec()), (Printed::Err, b"err".to_vec())]);
        assert!(output.last(5).eq([b"out", b"err"]));
    }

    #[test]
    fn only_the_last_lines_stay() {
        let mut output = Output::default();
        for i in 0..100 {
            output.take(Printed::Out, format!("{i}\n").as_bytes(), |_| {});
        }
        let last: Vec<_> = output.last(3).map(|l| String::from_utf8_lossy(l).into_owned()).collect();
        assert_eq!(last, ["97", "98", "99"]);
        assert_eq!(output.last(1000).count(), KEPT);
    }
}
