//! A file tree as one archive, for whoever unpacks it as it comes: sizes are known before a byte of content is read.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bootwright_oci::{Content, Kind, ReadContent, Task, Tree, TreePath};

use super::format::{Header, TRAILER, entry_size};
use super::writer::Writer;
use crate::content::Counted;
use crate::initrd::header;

/// Bytes of a page of memory, of which a tmpfs gives a file whole ones.
const PAGE: u64 = 4096;
/// Bytes of memory that an inode and a name take in Linux, about.
const INODE: u64 = 1024;

/// An archive, laid out.
#[derive(Debug)]
pub struct TreeArchive<'t>(Vec<Planned<'t>>);

#[derive(Debug)]
struct Planned<'t> {
    path: &'t TreePath,
    header: Header,
    data: Data<'t>,
}

#[derive(Debug)]
enum Data<'t> {
    None,
    Target(&'t [u8]),
    File(&'t Content),
}

impl<'t> TreeArchive<'t> {
    /// Lays out a tree. Extended attributes are left out: the format has none.
    ///
    /// # Errors
    ///
    /// A file of 4 GiB or more, which the format cannot hold.
    pub fn new(tree: &'t Tree) -> io::Result<Self> {
        // Names of each file that has several.
        let mut names: BTreeMap<&TreePath, u32> = BTreeMap::new();
        for (_, node) in tree.iter() {
            if let Kind::HardLink(target) = &node.kind {
                *names.entry(target).or_insert(1) += 1;
            }
        }
        let mut numbers: BTreeMap<&TreePath, u32> = BTreeMap::new();
        let mut entries = Vec::new();
        for (number, (path, node)) in (1u32..).zip(tree.iter().filter(|(path, _)| !path.is_root())) {
            let (target, mut data) = match &node.kind {
                Kind::File(content) => (path, Data::File(content)),
                Kind::HardLink(target) => (target, tree.get(target).map_or(Data::None, data)),
                Kind::Symlink(to) => (path, Data::Target(to)),
                _ => (path, Data::None),
            };
            let mut header = header(node);
            header.ino = number;
            if let Some(count) = names.get(target) {
                // The first name brings the data.
                header.ino = *numbers.entry(target).or_insert(number);
                header.nlink = *count;
                if header.ino != number {
                    data = Data::None;
                }
            }
            let size = match data {
                Data::None => 0,
                Data::Target(to) => to.len() as u64,
                Data::File(content) => content.size(),
            };
            header.file_size = u32::try_from(size).map_err(|_| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    format!("`{path}` has {size} bytes, 4 GiB - 1 byte at most"),
                )
            })?;
            entries.push(Planned { path, header, data });
        }
        Ok(Self(entries))
    }

    /// Bytes of the archive.
    #[must_use]
    pub fn size(&self) -> u64 {
        let entry = |e: &Planned<'_>| entry_size(e.path.as_bytes().len(), e.header.file_size.into());
        self.0.iter().map(entry).sum::<u64>() + entry_size(TRAILER.len(), 0)
    }

    /// Bytes of memory that the files take, unpacked into a tmpfs.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.0.iter().map(|e| u64::from(e.header.file_size).next_multiple_of(PAGE) + INODE).sum()
    }

    /// Writes it.
    ///
    /// # Errors
    ///
    /// Content that cannot be read, with its path; and those of the sink.
    pub fn write(&self, read: &dyn ReadContent, out: &mut dyn Write, progress: &mut dyn Task) -> io::Result<()> {
        let mut archive = Writer::new(Counted { out, progress });
        for Planned { path, header, data } in &self.0 {
            archive.entry(header, path.as_bytes())?;
            match data {
                Data::None => {}
                Data::Target(to) => archive.write_all(to)?,
                Data::File(content) => {
                    let mut content = read
                        .open(content)
                        .map_err(|error| io::Error::new(error.kind(), format!("reading `{path}`: {error}")))?;
                    io::copy(&mut content, &mut archive)?;
                }
            }
        }
        archive.finish()?.0.flush()
    }
}

fn data(node: &bootwright_oci::Node) -> Data<'_> {
    match &node.kind {
        Kind::File(content) => Data::File(content),
        _ => Data::None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;
    use bootwright_oci::{Metadata, Node, Silent};
    use std::io::Read;

    struct Inline;

    impl ReadContent for Inline {
        fn open(&self, content: &Content) -> io::Result<Box<dyn Read + Send + '_>> {
            match content {
                Content::Inline(bytes) => Ok(Box::new(io::Cursor::new(bytes.to_vec()))),
                _ => Err(io::ErrorKind::NotFound.into()),
            }
        }
    }

    fn tree(nodes: &[(&str, Kind)]) -> Tree {
        let mut tree = Tree::default();
        for (path, kind) in nodes {
            let node = Node { meta: Metadata { mode: 0o755, ..Metadata::default() }, kind: kind.clone() };
            tree.nodes_mut().insert(TreePath::new(path).unwrap(), node);
        }
        tree
    }

    #[test]
    fn what_is_written_has_the_size_that_was_told_and_each_file_once() {
        let target = TreePath::new("b").unwrap();
        let tree = tree(&[
            ("", Kind::Directory),
            ("a", Kind::HardLink(target.clone())),
            ("b", Kind::File(Content::inline(*b"hello"))),
            ("c", Kind::HardLink(target)),
            ("d", Kind::Symlink(b"a".to_vec())),
            ("e", Kind::File(Content::inline(*b""))),
        ]);
        let archive = TreeArchive::new(&tree).unwrap();
        let mut bytes = Vec::new();
        archive.write(&Inline, &mut bytes, &mut Silent).unwrap();
        assert_eq!(bytes.len() as u64, archive.size());
        assert_eq!(archive.memory(), 5 * INODE + 2 * PAGE);
        let mut reader = Reader::new(&bytes[..]);
        let mut read = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            let mut data = String::new();
            reader.read_to_string(&mut data).unwrap();
            read.push((String::from_utf8(entry.name).unwrap(), entry.header.ino, entry.header.nlink, data));
        }
        let read: Vec<_> = read.iter().map(|(name, ino, nlink, data)| (&name[..], *ino, *nlink, &data[..])).collect();
        assert_eq!(read, [("a", 1, 3, "hello"), ("b", 1, 3, ""), ("c", 1, 3, ""), ("d", 4, 1, "a"), ("e", 5, 1, "")]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let here = Content::Host { path: "/x".into(), size: 1, digest: Content::inline(*b"").digest() };
        let tree = tree(&[("etc", Kind::Directory), ("etc/x", Kind::File(here))]);
        let error = TreeArchive::new(&tree).unwrap().write(&Inline, &mut Vec::new(), &mut Silent).unwrap_err();
        assert!(error.to_string().starts_with("reading `etc/x`: "), "{error}");
    }
}
