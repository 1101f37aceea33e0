//! Reads archives entry by entry in bounded memory, whatever the bytes say.

use std::io::{self, Read};

use super::format::{BadHeader, HEADER_LEN, Header, PATH_MAX, TRAILER, padding};

/// An archive on its way out of a source.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    position: u64,
    /// Data of the current entry that nobody has read yet.
    left: u64,
    ended: bool,
}

/// One entry: its header and name; the data is read from the [`Reader`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The numbers.
    pub header: Header,
    /// The name without its NUL.
    pub name: Vec<u8>,
}

/// Bytes that are not an archive.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// An entry does not start with `070701`.
    #[error("no cpio header at byte {0}")]
    Magic(u64),
    /// A number of a header is not eight hex digits.
    #[error("the cpio header at byte {0} holds something else than hex digits")]
    Digits(u64),
    /// A name is empty, too long, or not ended by its only NUL.
    #[error("the name of the cpio entry at byte {0} is empty, over 4095 bytes, or not ended by its only NUL")]
    Name(u64),
    /// The archive stops before its `TRAILER!!!`.
    #[error("the cpio archive ends at byte {0}, before its trailer")]
    Truncated(u64),
    /// The source fails.
    #[error("cannot read the cpio archive")]
    Io(#[from] io::Error),
}

impl<R: Read> Reader<R> {
    /// Starts at the first header.
    pub fn new(input: R) -> Self {
        Self { input, position: 0, left: 0, ended: false }
    }

    /// Skips what is left of the current entry's data and reads the next header; none after the trailer.
    ///
    /// # Errors
    ///
    /// See [`ReadError`].
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        if self.ended {
            return Ok(None);
        }
        let mut scrap = [0; 4096];
        while self.left > 0 {
            let most = scrap.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.fill(&mut scrap[..most])?;
            self.left -= most as u64;
        }
        self.fill(&mut scrap[..padding(self.position)])?;
        let start = self.position;
        let mut bytes = [0; HEADER_LEN];
        self.fill(&mut bytes)?;
        let (header, name_size) = Header::parse(&bytes).map_err(|e| match e {
            BadHeader::Magic => ReadError::Magic(start),
            BadHeader::Digits => ReadError::Digits(start),
        })?;
        if !(2..=PATH_MAX as u32).contains(&name_size) {
            return Err(ReadError::Name(start));
        }
        let mut name = vec![0; name_size as usize];
        self.fill(&mut name)?;
        if name.pop() != Some(0) || name.contains(&0) {
            return Err(ReadError::Name(start));
        }
        self.fill(&mut scrap[..padding(self.position)])?;
        if name == TRAILER {
            self.ended = true;
            return Ok(None);
        }
        self.left = u64::from(header.file_size);
        Ok(Some(Entry { header, name }))
    }

    /// Bytes read so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The source, which stands behind the trailer once [`Reader::next_entry`] has given none.
    pub fn into_inner(self) -> R {
        self.input
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReadError> {
        self.input.read_exact(bytes).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Truncated(self.position),
            _ => ReadError::Io(e),
        })?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// The current entry's data.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let most = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.input.read(&mut bytes[..most])?;
        self.position += n as u64;
        self.left -= n as u64;
        if n == 0 && most > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive ends in the middle of an entry"));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::{Writer, entry_size};
    use super::*;

    fn archive(entries: &[(&[u8], &[u8])]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        for (name, data) in entries {
            let header = Header { file_size: data.len() as u32, mode: 0o100_644, nlink: 1, ..Header::default() };
            writer.entry(&header, name).unwrap();
            writer.write_all(data).unwrap();
        }
        let (bytes, size) = writer.finish().unwrap();
        let want: u64 = entries.iter().map(|(n, d)| entry_size(n.len(), d.len() as u64)).sum();
        assert_eq!(bytes.len() as u64, size);
        assert_eq!(size, want + entry_size(TRAILER.len(), 0));
        bytes
    }

    #[test]
    fn what_is_written_is_read_back_and_skipped_data_does_not_matter() {
        let entries: [(&[u8], &[u8]); 5] =
            [(b"a", b""), (b"ab", b"1"), (b"abc", b"12"), (b"abcd\xff", b"123"), (b"abcde", b"1234")];
        let bytes = archive(&entries);
        for read_data in [true, false] {
            let mut reader = Reader::new(&bytes[..]);
            for (name, data) in entries {
                let entry = reader.next_entry().unwrap().unwrap();
                assert_eq!((&entry.name[..], entry.header.file_size as usize), (name, data.len()));
                if read_data {
                    let mut got = vec![0; data.len()];
                    reader.read_exact(&mut got).unwrap();
                    assert_eq!(got, data);
                }
            }
            assert!(reader.next_entry().unwrap().is_none());
            assert!(reader.next_entry().unwrap().is_none());
            assert_eq!(reader.position(), bytes.len() as u64);
        }
    }

    #[test]
    fn hostile_bytes_are_refused_and_never_panic() {
        let good = archive(&[(b"name", b"data")]);
        for cut in 0..good.len() {
            let mut reader = Reader::new(&good[..cut]);
            while let Ok(entry) = reader.next_entry() {
                assert!(entry.is_some(), "a cut archive has no end");
            }
        }
        // Every byte of the first header and name, replaced by something silly.
        for at in 0..good.len() {
            for byte in [0, b'f', b'G', 0xff] {
                let mut bad = good.clone();
                bad[at] = byte;
                let mut reader = Reader::new(&bad[..]);
                while let Ok(Some(_)) = reader.next_entry() {}
            }
        }
        let mut huge = good.clone();
        huge[94..102].copy_from_slice(b"ffffffff");
        assert!(matches!(Reader::new(&huge[..]).next_entry(), Err(ReadError::Name(0))));
        let mut huge = good;
        huge[54..62].copy_from_slice(b"ffffffff");
        let mut reader = Reader::new(&huge[..]);
        assert!(reader.next_entry().unwrap().is_some());
        assert!(reader.next_entry().is_err());
    }

    #[test]
    fn the_writer_refuses_data_that_its_header_does_not_announce() {
        let mut writer = Writer::new(Vec::new());
        writer.entry(&Header { file_size: 2, ..Header::default() }, b"x").unwrap();
        assert!(writer.write_all(b"123").is_err());
        let mut writer = Writer::new(Vec::new());
        writer.entry(&Header { file_size: 2, ..Header::default() }, b"x").unwrap();
        assert!(writer.finish().is_err());
    }
}
