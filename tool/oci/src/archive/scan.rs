//! A tar's table of contents: POSIX ustar with GNU and PAX long names, headers only, content left where it is.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{ArchiveError, ArchiveLimits, Files, Opened};

const BLOCK: u64 = 512;
/// Long names and PAX records beyond this are refused before they are read.
const EXTENDED_MAX: u64 = 1 << 20;
const NAME_MAX: usize = 4096;

/// A scanned tar.
#[derive(Debug)]
pub(crate) struct Scanned {
    path: PathBuf,
    file: File,
    entries: BTreeMap<String, Entry>,
}

pub(crate) type Archive = Scanned;

#[derive(Debug)]
enum Entry {
    File { offset: u64, size: u64 },
    Link(String),
    Other,
}

#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Scanned {
    pub(crate) fn new(file: File, path: &Path, limits: &ArchiveLimits) -> Result<Self, ArchiveError> {
        let mut scanned = Self { path: path.to_owned(), file, entries: BTreeMap::new() };
        scanned.scan(limits)?;
        Ok(scanned)
    }

    fn scan(&mut self, limits: &ArchiveLimits) -> Result<(), ArchiveError> {
        let length = self.file.metadata().map_err(ArchiveError::io(&self.path))?.len();
        let mut at = 0;
        let mut extended = Extended::default();
        let mut headers = 0;
        while at + BLOCK <= length {
            let block = self.bytes(at, BLOCK)?;
            if block.iter().all(|b| *b == 0) {
                return Ok(());
            }
            headers += 1;
            if headers > limits.entries {
                return Err(self.refused(format!("it has more than {} entries", limits.entries)));
            }
            let header = tar::Header::from_byte_slice(&block);
            let sum: u32 =
                block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
            if header.cksum().ok() != Some(sum) {
                let what =
                    if at == 0 { "it is not a tar".to_owned() } else { format!("the header at byte {at} is damaged") };
                return Err(self.refused(what));
            }
            let kind = header.entry_type();
            let plain_size = header.entry_size().map_err(|e| self.refused(format!("at byte {at}: {e}")))?;
            let meta = kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            let size = if meta { plain_size } else { extended.size.unwrap_or(plain_size) };
            let content = at + BLOCK;
            let end = content.checked_add(size).filter(|end| *end <= length);
            let Some(end) = end else {
                let name = show(&extended.name.unwrap_or_else(|| header.path_bytes().into_owned()));
                return Err(self.refused(format!("`{name}` claims {size} bytes, which are not there")));
            };
            if meta {
                if size > EXTENDED_MAX {
                    return Err(self.refused(format!("a long name at byte {at} has {size} bytes")));
                }
                let bytes = self.bytes(content, size)?;
                self.extend(&mut extended, kind, &bytes)?;
            } else {
                let found = std::mem::take(&mut extended);
                self.enter(header, found, content, size)?;
            }
            at = end.div_ceil(BLOCK) * BLOCK;
        }
        // No end marker: an archive cut between two entries reads like a whole one, so say it.
        Err(self.refused(if length < BLOCK { "it is not a tar".to_owned() } else { "it is cut short".to_owned() }))
    }

    fn extend(&self, extended: &mut Extended, kind: tar::EntryType, bytes: &[u8]) -> Result<(), ArchiveError> {
        let text = || bytes.strip_suffix(&[0]).unwrap_or(bytes).to_vec();
        if kind.is_gnu_longname() {
            extended.name = Some(text());
        } else if kind.is_gnu_longlink() {
            extended.link = Some(text());
        } else if kind.is_pax_local_extensions() {
            for record in tar::PaxExtensions::new(bytes) {
                let record = record.map_err(|e| self.refused(format!("a PAX record is damaged: {e}")))?;
                match record.key_bytes() {
                    b"path" => extended.name = Some(record.value_bytes().to_vec()),
                    b"linkpath" => extended.link = Some(record.value_bytes().to_vec()),
                    b"size" => {
                        let size = record.value().ok().and_then(|v| v.parse().ok());
                        extended.size = Some(size.ok_or_else(|| self.refused("a PAX size is no number"))?);
                    }
                    key if key.starts_with(b"GNU.sparse") => return Err(self.refused("it holds sparse files")),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn enter(&mut self, header: &tar::Header, found: Extended, offset: u64, size: u64) -> Result<(), ArchiveError> {
        let raw = found.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let name = self.name(&raw)?;
        let kind = header.entry_type();
        let entry = if kind.is_file() || kind.is_contiguous() {
            Entry::File { offset, size }
        } else if kind.is_symlink() || kind.is_hard_link() {
            let target = found.link.or_else(|| header.link_name_bytes().map(|t| t.into_owned())).unwrap_or_default();
            let target = String::from_utf8(target).map_err(|_| self.refused(format!("`{name}` links to no text")))?;
            Entry::Link(if kind.is_symlink() { beside(&name, &target) } else { target })
        } else if kind.is_gnu_sparse() {
            return Err(self.refused(format!("`{name}` is a sparse file")));
        } else {
            Entry::Other
        };
        let is_file = matches!(entry, Entry::File { .. });
        match self.entries.insert(name.clone(), entry) {
            Some(Entry::File { .. } | Entry::Link(_)) => Err(self.refused(format!("it holds `{name}` twice"))),
            Some(Entry::Other) if is_file => Err(self.refused(format!("it holds `{name}` twice"))),
            _ => Ok(()),
        }
    }

    /// A name without `./` in front and `/` behind; refused if it climbs or is absolute.
    fn name(&self, raw: &[u8]) -> Result<String, ArchiveError> {
        let refuse = |why| Err(self.refused(format!("the name `{}` {why}", show(raw))));
        let Ok(text) = std::str::from_utf8(raw) else { return refuse("is no text") };
        if text.len() > NAME_MAX {
            return refuse("is too long");
        }
        if text.starts_with('/') {
            return refuse("is absolute");
        }
        let parts: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if parts.contains(&"..") {
            return refuse("leads out of the archive");
        }
        if text.contains('\0') {
            return refuse("holds a NUL byte");
        }
        Ok(parts.join("/"))
    }

    fn bytes(&self, at: u64, length: u64) -> Result<Vec<u8>, ArchiveError> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut bytes, at).map_err(ArchiveError::io(&self.path))?;
        Ok(bytes)
    }

    fn refused(&self, rule: impl Into<String>) -> ArchiveError {
        ArchiveError::refused(&self.path, rule)
    }
}

/// The target of a symbolic link, seen from the archive's root.
fn beside(name: &str, target: &str) -> String {
    match name.rfind('/') {
        Some(at) if !target.starts_with('/') => format!("{}/{target}", &name[..at]),
        _ => target.to_owned(),
    }
}

/// Folds `..` without ever leaving the root.
fn fold(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn show(bytes: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(bytes).chars().take(200).collect();
    text.escape_default().to_string()
}

impl Files for Scanned {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self, name: &str) -> Result<Option<Opened<'_>>, ArchiveError> {
        let (offset, size) = match self.entries.get(name) {
            None => return Ok(None),
            Some(Entry::File { offset, size }) => (*offset, *size),
            // Docker before 25 wrote a layer that occurs twice as a link to its first occurrence: one step, inside.
            Some(Entry::Link(target)) => {
                let inside = if target.starts_with('/') { None } else { fold(target) };
                match inside.as_deref().and_then(|target| self.entries.get(target)) {
                    Some(Entry::File { offset, size }) => (*offset, *size),
                    _ => {
                        return Err(
                            self.refused(format!("`{name}` is a link to `{}`, no file of it", show(target.as_bytes())))
                        );
                    }
                }
            }
            Some(Entry::Other) => return Err(self.refused(format!("`{name}` is not a file"))),
        };
        Ok(Some((Box::new(Section { file: &self.file, at: offset, left: size }), size)))
    }
}

/// A part of a file, read without moving its position: several may be open at once.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..want], self.at)?;
        if read == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
