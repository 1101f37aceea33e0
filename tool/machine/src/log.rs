//! What the console said, as lines, and how far a script has read it.
//!
//! Memory is bounded: the oldest lines go (the log file keeps them), and an endless line is cut.

use std::collections::VecDeque;

/// Lines that are kept.
const LINES: usize = 50_000;
/// Bytes after which a line is cut.
const LINE: usize = 16 * 1024;

/// The console's lines.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: VecDeque<String>,
    /// How many lines went before the first of `lines`.
    gone: usize,
    /// The line that has no end yet.
    partial: Vec<u8>,
    /// All bytes so far.
    pub(crate) bytes: u64,
}

/// A place in the log: everything before it has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    line: usize,
    offset: usize,
}

impl Log {
    /// Takes bytes as they come; calls `complete` for each line that they end.
    pub(crate) fn push(&mut self, bytes: &[u8], mut complete: impl FnMut(&str)) {
        self.bytes += bytes.len() as u64;
        for byte in bytes {
            match byte {
                b'\r' | 0 => {}
                b'\n' => self.end_line(&mut complete),
                _ => {
                    self.partial.push(*byte);
                    if self.partial.len() >= LINE {
                        self.end_line(&mut complete);
                    }
                }
            }
        }
    }

    fn end_line(&mut self, complete: &mut impl FnMut(&str)) {
        let line = String::from_utf8_lossy(&self.partial).into_owned();
        self.partial.clear();
        complete(&line);
        self.lines.push_back(line);
        if self.lines.len() > LINES {
            self.lines.pop_front();
            self.gone += 1;
        }
    }

    /// Whether the last line has no end yet.
    pub(crate) fn ends_open(&self) -> bool {
        !self.partial.is_empty()
    }

    /// All lines that are kept, and what follows the last line end.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.lines.iter().cloned().collect();
        if !self.partial.is_empty() {
            lines.push(String::from_utf8_lossy(&self.partial).into_owned());
        }
        lines
    }

    /// The first line from `cursor` on of which the unread part matches (`matcher` says where its match ends), and the
    /// cursor after it. A line that has no end yet counts: a prompt is one.
    pub(crate) fn find(
        &self,
        cursor: Cursor,
        mut matcher: impl FnMut(&str) -> Option<usize>,
    ) -> Option<(String, Cursor)> {
        let partial = String::from_utf8_lossy(&self.partial);
        let all = self.lines.iter().map(String::as_str).chain([&*partial]);
        let from = cursor.line.max(self.gone);
        for (line, text) in (self.gone..).zip(all).skip(from - self.gone) {
            let offset = if line == cursor.line { cursor.offset } else { 0 };
            let Some(unread) = text.get(offset..) else { continue };
            if let Some(end) = matcher(unread) {
                return Some((text.to_owned(), Cursor { line, offset: offset + end }));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after<'a>(text: &'a str) -> impl FnMut(&str) -> Option<usize> + 'a {
        move |line| line.find(text).map(|at| at + text.len())
    }

    #[test]
    fn a_script_reads_forward_and_sees_prompts() {
        let mut log = Log::default();
        let mut complete = Vec::new();
        log.push(b"one\r\ntwo two\nlog", |l| complete.push(l.to_owned()));
        assert_eq!(complete, ["one", "two two"]);
        assert_eq!(log.lines(), ["one", "two two", "log"]);

        let start = Cursor::default();
        let (line, first) = log.find(start, after("two")).unwrap();
        let (_, second) = log.find(first, after("two")).unwrap();
        assert_eq!(line, "two two");
        assert_eq!(log.find(second, after("two")), None);
        assert_eq!(log.find(second, after("one")), None);
        assert_eq!(log.find(second, after("login:")), None);
        log.push(b"in: ", |_| ());
        let (prompt, third) = log.find(second, after("login:")).unwrap();
        assert_eq!(prompt, "login: ");
        log.push(b"root\nlogin:", |_| ());
        assert!(log.find(third, after("login:")).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut log = Log::default();
        let mut longest = 0;
        log.push(&vec![b'x'; 3 * LINE], |l| longest = longest.max(l.len()));
        assert_eq!(longest, LINE);
        for n in 0..LINES + 10 {
            log.push(format!("{n}\n").as_bytes(), |_| ());
        }
        assert_eq!(log.lines().len(), LINES);
        let last = (LINES + 9).to_string();
        assert_eq!(log.find(Cursor::default(), after(&last)).unwrap().0, last);
        assert_eq!(log.find(Cursor::default(), |l| (l == "0").then_some(1)), None);
    }
}
