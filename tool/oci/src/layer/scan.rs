//! From headers to entries: what the archive says, checked against the limits, names normalised, nothing applied yet.

use std::io::{self, Write};

use super::Limits;
use super::error::{Problem, show};
use super::header::{BLOCK, Header, SparseRun, flag, sparse_block};
use super::index::Entry;
use super::pax::Pax;
use super::source::{Next, Source};
use super::sparse;
use crate::{Content, Digest, Extent, Hasher, Kind, Metadata, Node, TreePath};

/// Reads all entries of an archive.
pub(super) fn scan(source: &mut Source<'_>, key: Digest, limits: &Limits) -> Result<Vec<Entry>, Problem> {
    let mut scan = Scan { source, key, limits, entries: Vec::new(), devices: 0, extents: 0, content: 0, metadata: 0 };
    scan.run()?;
    Ok(scan.entries)
}

/// What extended headers said about the entry that follows them.
#[derive(Default)]
struct Pending {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

struct Scan<'a, 's> {
    source: &'a mut Source<'s>,
    key: Digest,
    limits: &'a Limits,
    entries: Vec<Entry>,
    devices: u64,
    extents: u64,
    content: u64,
    metadata: u64,
}

impl Scan<'_, '_> {
    fn run(&mut self) -> Result<(), Problem> {
        let mut pending = Pending::default();
        let mut global = Pax::default();
        loop {
            let at = self.source.position();
            let block = match self.source.next_block()? {
                Next::Block(block) => block,
                Next::Part => return Err(Problem::NotTar { at, why: "the archive ends inside a header" }),
                // Some writers leave the two empty blocks out.
                Next::End => return Ok(()),
            };
            if block.iter().all(|b| *b == 0) {
                return match self.source.next_block()? {
                    // A lone one hides what follows it from some readers and not from others.
                    Next::Block(block) if block.iter().any(|b| *b != 0) => {
                        Err(Problem::NotTar { at, why: "a single empty block, and then more" })
                    }
                    _ => Ok(()),
                };
            }
            let header = Header::parse(*block).ok_or(Problem::NotTar { at, why: "the checksum does not fit" })?;
            match header.flag {
                flag::PAX => {
                    let records = self.extended(&header)?;
                    let entry = pending.name.clone().unwrap_or_else(|| header.name());
                    pending.pax = Some(Pax::parse(&records, &global, &show(&entry))?);
                }
                flag::PAX_GLOBAL => global = Pax::parse_global(&self.extended(&header)?, &global)?,
                flag::GNU_LONG_NAME => pending.name = Some(self.long_name(&header)?),
                flag::GNU_LONG_LINK => pending.link = Some(self.long_name(&header)?),
                _ => {
                    let pending = std::mem::take(&mut pending);
                    let pax = pending.pax.unwrap_or_else(|| global.clone());
                    let name = pending.name.or_else(|| pax.sparse.name.clone()).or_else(|| pax.path.clone());
                    let link = pending.link.or_else(|| pax.link.clone());
                    self.entry(
                        &header,
                        &name.unwrap_or_else(|| header.name()),
                        &link.unwrap_or_else(|| header.link_name()),
                        pax,
                    )?;
                }
            }
        }
    }

    /// The data of an extended header.
    fn extended(&mut self, header: &Header) -> Result<Vec<u8>, Problem> {
        let entry = show(&header.name());
        let size = header.size().ok_or_else(|| Problem::Field { entry: entry.clone(), field: "size" })?;
        limit(&entry, "the extended header's size", size, self.limits.extended)?;
        let mut data = Vec::new();
        self.source.data(size, &entry, |piece| data.extend_from_slice(piece))?;
        Ok(data)
    }

    fn long_name(&mut self, header: &Header) -> Result<Vec<u8>, Problem> {
        let mut name = self.extended(header)?;
        name.truncate(name.iter().position(|b| *b == 0).unwrap_or(name.len()));
        Ok(name)
    }

    fn entry(&mut self, header: &Header, name: &[u8], link: &[u8], pax: Pax) -> Result<(), Problem> {
        let limits = self.limits;
        let entry = show(name);
        let field = |field| Problem::Field { entry: entry.clone(), field };
        limit(&entry, "the number of entries", self.entries.len() as u64 + 1, limits.entries)?;
        // All of kaniko's images begin with the root itself as `/`, which is no less plain than `./`.
        if name.starts_with(b"/") && !limits.absolute_names && name.iter().any(|b| *b != b'/') {
            return Err(Problem::AbsoluteName { entry });
        }
        let path = TreePath::new(name).map_err(|_| Problem::Name { entry: entry.clone() })?;
        self.check_path(&path, &entry)?;

        // In v7 archives a directory is a file whose name ends with a slash.
        let flag = match header.flag {
            flag::V7_FILE if name.ends_with(b"/") => flag::DIRECTORY,
            other => other,
        };
        if path.is_root() && flag != flag::DIRECTORY {
            return Err(Problem::Root { entry });
        }
        let meta = Metadata {
            mode: header.mode().ok_or_else(|| field("mode"))?,
            uid: pax.uid.or_else(|| header.uid()).ok_or_else(|| field("uid"))?,
            gid: pax.gid.or_else(|| header.gid()).ok_or_else(|| field("gid"))?,
            mtime: pax.mtime.or_else(|| header.mtime()).ok_or_else(|| field("mtime"))?,
            xattrs: pax.xattrs,
        };
        self.check_xattrs(&meta, &entry)?;
        self.charge(&entry, path.as_bytes().len() as u64)?;

        // Links, directories, devices and pipes have no data, whatever their size field says: it is a link's length in
        // some old archives, a quota in others. Go's reader, and so container engines, see it the same way.
        let kind = match flag {
            flag::DIRECTORY => Kind::Directory,
            flag::HARD_LINK => Kind::HardLink(self.hard_link(link, &entry)?),
            flag::SYMLINK => {
                limit(&entry, "the link target's length", link.len() as u64, limits.link_target)?;
                if link.is_empty() || link.contains(&0) {
                    return Err(Problem::SymlinkTarget { entry });
                }
                self.charge(&entry, link.len() as u64)?;
                Kind::Symlink(link.to_vec())
            }
            flag::CHAR_DEVICE | flag::BLOCK_DEVICE => {
                self.devices += 1;
                limit(&entry, "the number of devices", self.devices, limits.devices)?;
                let numbers = header.device().ok_or_else(|| field("device number"))?;
                let (major, minor) = (pax.major.unwrap_or(numbers.0), pax.minor.unwrap_or(numbers.1));
                match flag {
                    flag::CHAR_DEVICE => Kind::CharDevice { major, minor },
                    _ => Kind::BlockDevice { major, minor },
                }
            }
            flag::FIFO => Kind::Fifo,
            flag::V7_FILE | flag::FILE | flag::CONTIGUOUS | flag::GNU_SPARSE => {
                let stored = pax.size.or_else(|| header.size()).ok_or_else(|| field("size"))?;
                Kind::File(self.file(header, stored, &pax.sparse, &entry)?)
            }
            flag => return Err(Problem::Type { entry, flag }),
        };
        self.entries.push(Entry { path, node: Node { meta, kind } });
        Ok(())
    }

    fn check_path(&self, path: &TreePath, entry: &str) -> Result<(), Problem> {
        let bytes = path.as_bytes();
        limit(entry, "the path's length", bytes.len() as u64, self.limits.path)?;
        limit(entry, "the path's depth", bytes.split(|b| *b == b'/').count() as u64, self.limits.depth)?;
        let longest = bytes.split(|b| *b == b'/').map(<[u8]>::len).max().unwrap_or(0);
        limit(entry, "the name's length", longest as u64, self.limits.name)
    }

    fn check_xattrs(&mut self, meta: &Metadata, entry: &str) -> Result<(), Problem> {
        limit(entry, "the number of extended attributes", meta.xattrs.len() as u64, self.limits.xattrs)?;
        for (name, value) in &meta.xattrs {
            if name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.") {
                return Err(Problem::OverlayXattr { entry: entry.to_owned(), name: show(name) });
            }
            // Linux's XATTR_NAME_MAX.
            if name.is_empty() || name.len() > 255 || name.contains(&0) {
                return Err(Problem::XattrName { entry: entry.to_owned(), name: show(name) });
            }
            limit(entry, "an extended attribute's size", value.len() as u64, self.limits.xattr_value)?;
            self.charge(entry, (name.len() + value.len()) as u64)?;
        }
        Ok(())
    }

    fn hard_link(&mut self, target: &[u8], entry: &str) -> Result<TreePath, Problem> {
        if target.starts_with(b"/") && !self.limits.absolute_names {
            return Err(Problem::AbsoluteLink { entry: entry.to_owned(), target: show(target) });
        }
        let path =
            TreePath::new(target).map_err(|_| Problem::LinkName { entry: entry.to_owned(), target: show(target) })?;
        self.check_path(&path, entry)?;
        self.charge(entry, path.as_bytes().len() as u64)?;
        Ok(path)
    }

    fn charge(&mut self, entry: &str, bytes: u64) -> Result<(), Problem> {
        self.metadata += bytes;
        limit(entry, "the size of all names and attributes", self.metadata, self.limits.metadata)
    }

    /// A file's data: hashed, and placed as extents.
    fn file(
        &mut self,
        header: &Header,
        stored: u64,
        pax: &super::pax::Sparse,
        entry: &str,
    ) -> Result<Content, Problem> {
        let refuse = |why| Problem::Sparse { entry: entry.to_owned(), why };
        let end = self.source.position().saturating_add(stored);
        limit(entry, "the archive's size", end, self.limits.unpacked)?;
        let sparse = if header.flag == flag::GNU_SPARSE {
            let (mut runs, mut more, size) =
                header.sparse().ok_or(Problem::Field { entry: entry.to_owned(), field: "sparse map" })?;
            while more {
                let block = self.source.block(entry)?;
                let (further, again) =
                    sparse_block(&block).ok_or(Problem::Field { entry: entry.to_owned(), field: "sparse map" })?;
                // A chain of blocks with nothing in them would never be counted.
                if further.is_empty() && again {
                    return Err(refuse("an empty block inside the map"));
                }
                runs.extend(further);
                more = again;
                self.check_extents(runs.len(), entry)?;
            }
            Some((runs, size, stored))
        } else if pax.in_data {
            let mut map = sparse::MapReader::new(self.limits.extents - self.extents);
            let mut left = stored;
            loop {
                left = left.checked_sub(BLOCK as u64).ok_or_else(|| refuse("longer than the data that holds it"))?;
                if map.block(&self.source.block(entry)?).map_err(refuse)? {
                    break;
                }
            }
            let size = pax.size.ok_or_else(|| refuse("without the file's real size"))?;
            Some((map.runs().map_err(refuse)?, size, left))
        } else if let Some(map) = &pax.map {
            let size = pax.size.ok_or_else(|| refuse("without the file's real size"))?;
            Some((sparse::pairs(map).map_err(refuse)?, size, stored))
        } else {
            None
        };
        let at = self.source.position();
        let (size, stored, extents) = match sparse {
            None if stored == 0 => (0, 0, Vec::new()),
            None => (stored, stored, vec![Extent { file: 0, layer: at, len: stored }]),
            Some((runs, size, stored)) => (size, stored, self.place(&runs, size, at, stored, entry)?),
        };
        self.content = self.content.saturating_add(size);
        limit(entry, "the size of all files", self.content, self.limits.content)?;
        let digest = self.hash(size, stored, &extents, entry)?;
        Ok(Content::Layer { layer: self.key, size, digest, extents: extents.into() })
    }

    fn place(
        &mut self,
        runs: &[SparseRun],
        size: u64,
        at: u64,
        stored: u64,
        entry: &str,
    ) -> Result<Vec<Extent>, Problem> {
        self.check_extents(runs.len(), entry)?;
        self.extents += runs.len() as u64;
        sparse::extents(runs, size, at, stored).map_err(|why| Problem::Sparse { entry: entry.to_owned(), why })
    }

    fn check_extents(&self, more: usize, entry: &str) -> Result<(), Problem> {
        limit(entry, "the number of runs in sparse files", self.extents + more as u64, self.limits.extents)
    }

    fn hash(&mut self, size: u64, stored: u64, extents: &[Extent], entry: &str) -> Result<Digest, Problem> {
        let mut hash = Hasher::new(io::sink());
        for extent in extents {
            let hole = extent.file - hash.size();
            zeros(&mut hash, hole);
            self.source.pass(extent.len, entry, &mut |piece| put(&mut hash, piece))?;
        }
        let hole = size - hash.size();
        zeros(&mut hash, hole);
        let padding = stored.next_multiple_of(BLOCK as u64) - stored;
        self.source.pass(padding, entry, &mut |_| {})?;
        Ok(hash.finish().1)
    }
}

fn put(hash: &mut Hasher<io::Sink>, bytes: &[u8]) {
    hash.write_all(bytes).expect("a sink takes everything");
}

fn zeros(hash: &mut Hasher<io::Sink>, mut len: u64) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while len > 0 {
        let piece = &ZEROS[..usize::try_from(len).unwrap_or(usize::MAX).min(ZEROS.len())];
        put(hash, piece);
        len -= piece.len() as u64;
    }
}

fn limit(entry: &str, what: &'static str, value: u64, allowed: u64) -> Result<(), Problem> {
    if value <= allowed { Ok(()) } else { Err(Problem::Limit { entry: entry.to_owned(), what, value, allowed }) }
}
