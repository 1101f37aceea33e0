//! Entries as a layer: an OCI image-spec tar, zstd-compressed, the same bytes for the same entries everywhere.
//!
//! Sorted paths, times and owners from the entries alone, equal inodes as hard links to the first of their names. The
//! tar of a kernel's modules (`kernel.tar`) is written by the same function, uncompressed.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use bootwright_oci::{Digest, Hasher};
use tar::{EntryType, Header};

use crate::assembly::{Body, Entries};

/// Part of every tag: another level is other bytes.
pub(crate) const COMPRESSION: i32 = 9;

/// A layer, compressed, in an unnamed file.
#[derive(Debug)]
pub(crate) struct LayerFile {
    pub(crate) file: File,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    /// Digest of the tar before compression.
    pub(crate) diff_id: Digest,
}

/// Writes a layer into an unnamed file in a directory.
pub(crate) fn write(entries: &Entries, directory: &Path) -> io::Result<LayerFile> {
    let blob = Hasher::new(BufWriter::new(tempfile::tempfile_in(directory)?));
    let plain = Hasher::new(zstd::Encoder::new(blob, COMPRESSION)?);
    let (encoder, diff_id, _) = write_tar(entries, plain)?.finish();
    let (out, digest, size) = encoder.finish()?.finish();
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(LayerFile { file, digest, size, diff_id })
}

/// Writes entries as a tar.
pub(crate) fn write_tar<W: Write>(entries: &Entries, out: W) -> io::Result<W> {
    let mut tar = tar::Builder::new(out);
    let mut inodes: HashMap<(usize, u64), &[u8]> = HashMap::new();
    for (path, entry) in entries {
        let name = Path::new(OsStr::from_bytes(path.as_bytes()));
        let mut header = Header::new_gnu();
        header.set_mode(entry.mode & 0o7777);
        header.set_uid(entry.uid);
        header.set_gid(entry.gid);
        header.set_mtime(u64::try_from(entry.mtime).unwrap_or(0));
        header.set_size(0);
        let mut device = |kind, major, minor| {
            header.set_entry_type(kind);
            header.set_device_major(major)?;
            header.set_device_minor(minor)
        };
        match &entry.body {
            Body::File(bytes) => {
                let first = bytes.inode().and_then(|inode| {
                    let first = *inodes.entry(inode).or_insert(path.as_bytes());
                    (first != path.as_bytes()).then_some(first)
                });
                if let Some(first) = first {
                    header.set_entry_type(EntryType::Link);
                    append_link(&mut tar, header, name, first)?;
                } else {
                    header.set_entry_type(EntryType::Regular);
                    header.set_size(bytes.len());
                    tar.append_data(&mut header, name, bytes.open())?;
                }
                continue;
            }
            Body::Symlink(target) => {
                header.set_entry_type(EntryType::Symlink);
                append_link(&mut tar, header, name, target)?;
                continue;
            }
            Body::Directory => header.set_entry_type(EntryType::Directory),
            Body::Fifo => header.set_entry_type(EntryType::Fifo),
            Body::CharDevice { major, minor } => device(EntryType::Char, *major, *minor)?,
            Body::BlockDevice { major, minor } => device(EntryType::Block, *major, *minor)?,
        }
        tar.append_data(&mut header, name, io::empty())?;
    }
    tar.into_inner()
}

fn append_link<W: Write>(tar: &mut tar::Builder<W>, mut header: Header, name: &Path, target: &[u8]) -> io::Result<()> {
    // The literal form: a target is text, and `./x` or a trailing slash must stay.
    if header.set_link_name_literal(OsStr::from_bytes(target).as_bytes()).is_ok() {
        tar.append_data(&mut header, name, io::empty())
    } else {
        tar.append_link(&mut header, name, OsStr::from_bytes(target))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;

    use bootwright_oci::TreePath;

    use super::*;
    use crate::assembly::{Bytes, Entry};

    #[test]
    fn equal_inodes_are_hard_links_to_the_first_name_in_order() {
        let mut spool = tempfile::tempfile().unwrap();
        spool.write_all(b"0123456789").unwrap();
        let file = Arc::new(spool);
        let shared = Bytes::Range { file: file.clone(), offset: 2, len: 3 };
        let other = Bytes::Range { file, offset: 5, len: 3 };
        let long = format!("deep/{}", "n".repeat(150));
        let entries: Entries = [
            ("b", Entry::file(shared.clone(), 0o4755, 7)),
            ("a", Entry::file(shared, 0o4755, 7)),
            ("c", Entry::file(other, 0o644, 0)),
            ("d", Entry::symlink("./c/", 0)),
            ("e", Entry::symlink("t".repeat(200), 0)),
            ("deep", Entry::directory(0o755, 0)),
            (&long, Entry::file(Bytes::Memory(Arc::from(&b""[..])), 0o600, 0)),
        ]
        .into_iter()
        .map(|(p, e)| (TreePath::new(p).unwrap(), e))
        .collect();
        let bytes = write_tar(&entries, Vec::new()).unwrap();
        let mut seen = Vec::new();
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let link = entry.link_name_bytes().map(|l| String::from_utf8(l.into_owned()).unwrap()).unwrap_or_default();
            entry.read_to_string(&mut text).unwrap();
            seen.push((path, entry.header().mode().unwrap(), link, text));
        }
        let row = |p: &str, m, l: &str, t: &str| (p.to_owned(), m, l.to_owned(), t.to_owned());
        assert_eq!(
            seen,
            [
                row("a", 0o4755, "", "234"),
                row("b", 0o4755, "a", ""),
                row("c", 0o644, "", "567"),
                row("d", 0o777, "./c/", ""),
                row("deep", 0o755, "", ""),
                row(&long, 0o600, "", ""),
                row("e", 0o777, &"t".repeat(200), ""),
            ]
        );
    }
}
