//! ustar headers, with a PAX extended header before each entry that needs one.
//!
//! Specification: POSIX.1-2017, `pax`, "pax Interchange Format". Whatever a ustar field cannot hold goes into a record: long or
//! non-ASCII names, sizes from 8 GiB, large owners, times before 1970. Names that are not UTF-8 are announced by
//! `hdrcharset=BINARY`. Extended attributes are star's `SCHILY.xattr.NAME`, with GNU tar's escapes of `=` and `%`.

use std::collections::BTreeMap;
use std::io::{self, Write};

/// Size of a header, and what data is padded to.
pub(super) const BLOCK: usize = 512;
/// Bytes of the name and link name fields.
const NAME: usize = 100;

/// One entry's header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: EntryKind<'a>,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: i64,
    /// Extended attributes by full name.
    pub(crate) xattrs: Option<&'a BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Records of our own.
    pub(crate) records: &'a [(&'static str, &'a str)],
}

/// What an entry is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum EntryKind<'a> {
    #[default]
    Directory,
    /// Size of the data.
    File(u64),
    HardLink(&'a [u8]),
    Symlink(&'a [u8]),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

/// A tar on its way into a sink. After [`Writer::entry`] of a file exactly its size is written through [`Write`].
#[derive(Debug)]
pub(crate) struct Writer<W> {
    out: W,
    missing: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    pub(crate) fn new(out: W) -> Self {
        Self { out, missing: 0, padding: 0 }
    }

    /// Starts an entry.
    pub(crate) fn entry(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        self.pad()?;
        let mut records: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for (key, value) in entry.records {
            records.insert(key.as_bytes().to_vec(), value.as_bytes().to_vec());
        }
        for (name, value) in entry.xattrs.into_iter().flatten() {
            records.insert([b"SCHILY.xattr.", &escape(name)[..]].concat(), value.clone());
        }
        let header = header(entry, &mut records);
        if !records.is_empty() {
            let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
            let base = entry.name.rsplit(|b| *b == b'/').find(|part| !part.is_empty()).unwrap_or(b"root");
            let base: Vec<u8> = base.iter().map(|b| if b.is_ascii_graphic() { *b } else { b'_' }).take(80).collect();
            let name = [b"PaxHeaders.0/", &base[..]].concat();
            let kind = EntryKind::File(body.len() as u64);
            let mut pax =
                self::header(&Entry { name: &name, kind, mode: 0o644, ..Entry::default() }, &mut BTreeMap::new());
            pax[156] = b'x';
            self.out.write_all(&seal(pax))?;
            self.out.write_all(&body)?;
            self.out.write_all(&[0; BLOCK][..padding(body.len() as u64)])?;
        }
        self.out.write_all(&seal(header))?;
        if let EntryKind::File(size) = entry.kind {
            self.missing = size;
            self.padding = padding(size);
        }
        Ok(())
    }

    /// Ends the archive with its two blocks of zeros.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.missing > 0 {
            let message = format!("{} bytes of an entry's data are missing", self.missing);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let padding = std::mem::take(&mut self.padding);
        self.out.write_all(&[0; BLOCK][..padding])
    }
}

impl<W: Write> Write for Writer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.missing {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an entry's data is longer than its header says"));
        }
        let n = self.out.write(bytes)?;
        self.missing -= n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn padding(size: u64) -> usize {
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// A header without its checksum; what it cannot hold is added to the records.
fn header(entry: &Entry<'_>, records: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let (flag, link, size, device) = match entry.kind {
        EntryKind::File(size) => (b'0', &b""[..], size, None),
        EntryKind::HardLink(target) => (b'1', target, 0, None),
        EntryKind::Symlink(target) => (b'2', target, 0, None),
        EntryKind::Char(major, minor) => (b'3', &b""[..], 0, Some((major, minor))),
        EntryKind::Block(major, minor) => (b'4', &b""[..], 0, Some((major, minor))),
        EntryKind::Directory => (b'5', &b""[..], 0, None),
        EntryKind::Fifo => (b'6', &b""[..], 0, None),
    };
    text(&mut header[..NAME], entry.name, "path", records);
    number(&mut header[100..108], i128::from(entry.mode), "mode", records);
    number(&mut header[108..116], entry.uid.into(), "uid", records);
    number(&mut header[116..124], entry.gid.into(), "gid", records);
    number(&mut header[124..136], size.into(), "size", records);
    number(&mut header[136..148], entry.mtime.into(), "mtime", records);
    header[156] = flag;
    text(&mut header[157..157 + NAME], link, "linkpath", records);
    header[257..265].copy_from_slice(b"ustar\x0000");
    if let Some((major, minor)) = device {
        number(&mut header[329..337], major.into(), "SCHILY.devmajor", records);
        number(&mut header[337..345], minor.into(), "SCHILY.devminor", records);
    }
    header
}

/// Puts a name into its field, and into a record if it is too long or not plain ASCII.
fn text(field: &mut [u8], value: &[u8], key: &str, records: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let len = value.len().min(field.len());
    field[..len].copy_from_slice(&value[..len]);
    if value.len() > field.len() || !value.is_ascii() {
        records.insert(key.into(), value.to_vec());
        if std::str::from_utf8(value).is_err() {
            records.insert(b"hdrcharset".to_vec(), b"BINARY".to_vec());
        }
    }
}

/// Puts a number into its octal field, or, if it does not fit, zero there and the number into a record.
fn number(field: &mut [u8], value: i128, key: &str, records: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    let digits = field.len() - 1;
    let fits = (0..1 << (3 * digits)).contains(&value);
    if !fits {
        records.insert(key.into(), value.to_string().into_bytes());
    }
    let octal = format!("{:0digits$o}", if fits { value } else { 0 });
    field[..digits].copy_from_slice(octal.as_bytes());
}

/// Fills in the checksum, which counts its own field as blanks.
pub(super) fn seal(mut header: [u8; BLOCK]) -> [u8; BLOCK] {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// GNU tar's escapes in the names of extended attributes, of which only `=` would break a record.
fn escape(name: &[u8]) -> Vec<u8> {
    let escaped = name.iter().map(|b| match b {
        b'=' => &b"%3D"[..],
        b'%' => b"%25",
        b => std::slice::from_ref(b),
    });
    escaped.collect::<Vec<_>>().concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_records_length_counts_its_own_digits() {
        for (value_len, want) in [(0, 5), (2, 7), (3, 8), (4, 9), (5, 11), (93, 99), (94, 101), (992, 1000 - 1)] {
            let record = record(b"k", &vec![b'v'; value_len]);
            let digits = record.split(|b| *b == b' ').next().unwrap();
            assert_eq!(std::str::from_utf8(digits).unwrap().parse(), Ok(record.len()));
            assert!(want <= record.len() + 1, "{value_len}");
        }
    }

    #[test]
    fn what_fields_cannot_hold_goes_into_records() {
        let keys = |entry: &Entry<'_>| {
            let mut records = BTreeMap::new();
            header(entry, &mut records);
            records.into_iter().map(|(k, v)| format!("{}={}", k.escape_ascii(), v.escape_ascii())).collect::<Vec<_>>()
        };
        let long = [b'n'; 101];
        for (entry, want) in [
            (Entry { name: &long[..100], kind: EntryKind::File((8 << 30) - 1), ..Entry::default() }, vec![]),
            (Entry { name: b"x", kind: EntryKind::File(8 << 30), ..Entry::default() }, vec!["size=8589934592"]),
            (
                Entry { name: b"x", uid: 0o7_777_777, gid: 1 << 21, mtime: -1, ..Entry::default() },
                vec!["gid=2097152", "mtime=-1"],
            ),
            (
                Entry { name: b"\xff", kind: EntryKind::Symlink("\u{e4}".as_bytes()), ..Entry::default() },
                vec!["hdrcharset=BINARY", "linkpath=\\xc3\\xa4", "path=\\xff"],
            ),
            (
                Entry { name: b"x", kind: EntryKind::Char(1 << 21, 3), ..Entry::default() },
                vec!["SCHILY.devmajor=2097152"],
            ),
        ] {
            assert_eq!(keys(&entry), want);
        }
    }
}
