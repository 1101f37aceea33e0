//! Writes entries one after the other; the caller decides their order and inode numbers.

use std::io::{self, Write};

use super::format::{HEADER_LEN, Header, TRAILER, padding};

/// A newc archive on its way into a sink.
///
/// After [`Writer::entry`] exactly [`Header::file_size`] bytes are written through [`Write`], then comes the next entry
/// or [`Writer::finish`].
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    written: u64,
    missing: u64,
}

impl<W: Write> Writer<W> {
    /// Starts an archive; the sink's position counts as a multiple of four.
    pub fn new(out: W) -> Self {
        Self { out, written: 0, missing: 0 }
    }

    /// Starts an entry.
    ///
    /// # Errors
    ///
    /// Those of the sink; [`io::ErrorKind::InvalidInput`] if the last entry lacks data or the name holds a NUL.
    pub fn entry(&mut self, header: &Header, name: &[u8]) -> io::Result<()> {
        self.pad()?;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        if name.contains(&0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name holds a NUL byte"));
        }
        self.out.write_all(&header.to_bytes(name_size))?;
        self.out.write_all(name)?;
        let head = (HEADER_LEN + name.len() + 1) as u64;
        self.out.write_all(&[0; 4][..1 + padding(head)])?;
        self.written += head + padding(head) as u64;
        self.missing = u64::from(header.file_size);
        Ok(())
    }

    /// Ends the archive; gives back the sink and the archive's size.
    ///
    /// # Errors
    ///
    /// Those of the sink; [`io::ErrorKind::InvalidInput`] if the last entry lacks data.
    pub fn finish(mut self) -> io::Result<(W, u64)> {
        self.entry(&Header { nlink: 1, ..Header::default() }, TRAILER)?;
        Ok((self.out, self.written))
    }

    /// Ends where the last entry's data begins, for data that comes another way; gives back the sink. What follows the data
    /// is [`padding`] and another writer's trailer.
    ///
    /// # Errors
    ///
    /// Those of the sink.
    pub(crate) fn interrupt(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            let message = format!("{} bytes of an entry's data are missing", self.missing);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let padding = padding(self.written);
        self.written += padding as u64;
        self.out.write_all(&[0; 4][..padding])
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.missing {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an entry's data is longer than its header says"));
        }
        let n = self.out.write(bytes)?;
        self.written += n as u64;
        self.missing -= n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
