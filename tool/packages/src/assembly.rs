//! The files of a package while it is put together: one layer per recipe, each entry put where it lands through the
//! symbolic links that are already there.
//!
//! Debian 12 still ships files under `/bin`, `/sbin` and `/lib` and expects these to be links into `/usr`; a package of
//! ours may name either path. What a running system does when it unpacks is done here in memory, so that a layer never
//! holds a file below something that another layer says is a link.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bootwright_oci::TreePath;

/// Links followed for one path before it is called a loop, as Linux does.
const MAX_LINKS: usize = 40;

/// An entry that cannot stand where it was put.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AssemblyError {
    /// A parent is something else than a directory.
    #[error("`/{path}` cannot be made: `/{parent}` is not a directory")]
    NotADirectory {
        /// What was to be put.
        path: TreePath,
        /// What is in its way.
        parent: TreePath,
    },
    /// Symbolic links that lead nowhere.
    #[error("`/{0}` lies behind a loop of symbolic links")]
    Loop(TreePath),
    /// A directory that would vanish under something else.
    #[error("`/{0}` is a directory already and cannot become something else")]
    IsADirectory(TreePath),
}

/// A file's bytes: in memory, or a range of an open file.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    /// What we made.
    Memory(Arc<[u8]>),
    /// What was unpacked. Equal ranges of one file are one inode (hard links).
    Range { file: Arc<File>, offset: u64, len: u64 },
}

impl Bytes {
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Range { len, .. } => *len,
        }
    }

    /// What tells one inode from another; none where every name is its own file.
    pub(crate) fn inode(&self) -> Option<(usize, u64)> {
        match self {
            Self::Range { file, offset, len } if *len > 0 => Some((Arc::as_ptr(file) as usize, *offset)),
            _ => None,
        }
    }

    pub(crate) fn open(&self) -> Box<dyn Read + '_> {
        match self {
            Self::Memory(bytes) => Box::new(&bytes[..]),
            Self::Range { file, offset, len } => Box::new(RangeReader { file, at: *offset, end: offset + len }),
        }
    }

    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(usize::try_from(self.len()).unwrap_or(0));
        self.open().read_to_end(&mut out)?;
        Ok(out)
    }
}

struct RangeReader<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for RangeReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let want = out.len().min(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let n = self.file.read_at(&mut out[..want], self.at)?;
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "an unpacked file is shorter than it was"));
        }
        self.at += n as u64;
        Ok(n)
    }
}

/// What an entry is.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Directory,
    File(Bytes),
    Symlink(Vec<u8>),
    Fifo,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
}

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    pub(crate) mtime: i64,
    pub(crate) body: Body,
}

impl Entry {
    /// A directory of root's.
    pub(crate) fn directory(mode: u32, mtime: i64) -> Self {
        Self { mode, uid: 0, gid: 0, mtime, body: Body::Directory }
    }

    /// A file of root's.
    pub(crate) fn file(bytes: Bytes, mode: u32, mtime: i64) -> Self {
        Self { mode, uid: 0, gid: 0, mtime, body: Body::File(bytes) }
    }

    /// A symbolic link of root's.
    pub(crate) fn symlink(target: impl Into<Vec<u8>>, mtime: i64) -> Self {
        Self { mode: 0o777, uid: 0, gid: 0, mtime, body: Body::Symlink(target.into()) }
    }
}

/// Entries by path, in the order in which a tar holds them.
pub(crate) type Entries = BTreeMap<TreePath, Entry>;

/// A package being put together.
#[derive(Debug)]
pub(crate) struct Assembly {
    epoch: i64,
    merged: Entries,
    layers: Vec<Entries>,
}

impl Assembly {
    /// Starts with nothing; directories that nobody described get `epoch` as their time.
    pub(crate) fn new(epoch: i64) -> Self {
        Self { epoch, merged: Entries::new(), layers: Vec::new() }
    }

    /// Begins the next layer.
    pub(crate) fn begin_layer(&mut self) {
        self.layers.push(Entries::new());
    }

    /// What is at a path that holds no link, over all layers.
    pub(crate) fn get(&self, path: &TreePath) -> Option<&Entry> {
        self.merged.get(path)
    }

    /// Where a path lands: its parents' links followed, its last component left as it is.
    pub(crate) fn land(&self, path: &TreePath) -> Result<TreePath, AssemblyError> {
        let mut waiting: Vec<Vec<u8>> = components(path.as_bytes()).rev().collect();
        let mut landed: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(component) = waiting.pop() {
            if component == b".." {
                landed.pop();
                continue;
            }
            landed.push(component);
            if waiting.is_empty() {
                break;
            }
            let here = joined(&landed);
            match self.merged.get(&here).map(|e| &e.body) {
                None | Some(Body::Directory) => {}
                Some(Body::Symlink(target)) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(AssemblyError::Loop(path.clone()));
                    }
                    landed.pop();
                    if target.starts_with(b"/") {
                        landed.clear();
                    }
                    waiting.extend(components(target).rev());
                }
                Some(_) => return Err(AssemblyError::NotADirectory { path: path.clone(), parent: here }),
            }
        }
        Ok(joined(&landed))
    }

    /// Puts an entry into the layer begun last. A directory over a directory replaces its metadata; a directory over a
    /// link to one is that directory.
    pub(crate) fn insert(&mut self, path: &TreePath, entry: Entry) -> Result<TreePath, AssemblyError> {
        let landed = self.land(path)?;
        if landed.is_root() {
            return Ok(landed);
        }
        match (self.merged.get(&landed).map(|e| &e.body), &entry.body) {
            (Some(Body::Symlink(_)), Body::Directory) => return Ok(landed),
            (Some(Body::Directory), body) if !matches!(body, Body::Directory) => {
                return Err(AssemblyError::IsADirectory(landed));
            }
            _ => {}
        }
        let mut parents = Vec::new();
        let mut at = landed.parent();
        while let Some(parent) = at.filter(|p| !p.is_root()) {
            at = parent.parent();
            parents.push(parent);
        }
        for parent in parents.into_iter().rev() {
            let directory = self.merged.get(&parent).cloned().unwrap_or_else(|| Entry::directory(0o755, self.epoch));
            self.put(parent, directory);
        }
        self.put(landed.clone(), entry);
        Ok(landed)
    }

    fn put(&mut self, path: TreePath, entry: Entry) {
        if let Some(layer) = self.layers.last_mut() {
            layer.insert(path.clone(), entry.clone());
        }
        self.merged.insert(path, entry);
    }

    /// Takes an entry of the layer begun last out again, if nothing lies in it.
    pub(crate) fn remove_link(&mut self, path: &TreePath) {
        if let Some(layer) = self.layers.last_mut() {
            layer.remove(path);
        }
        self.merged.remove(path);
    }

    /// Everything, over all layers.
    pub(crate) fn merged(&self) -> &Entries {
        &self.merged
    }

    /// The layers that hold anything, lowest first.
    pub(crate) fn into_layers(self) -> Vec<Entries> {
        self.layers.into_iter().filter(|l| !l.is_empty()).collect()
    }
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = Vec<u8>> + '_ {
    path.split(|b| *b == b'/').filter(|c| !c.is_empty() && c != b".").map(<[u8]>::to_vec)
}

fn joined(components: &[Vec<u8>]) -> TreePath {
    TreePath::new(components.join(&b'/')).expect("components hold neither `..` nor NUL")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    fn file() -> Entry {
        Entry::file(Bytes::Memory(Arc::from(&b"x"[..])), 0o644, 0)
    }

    #[test]
    fn entries_land_where_a_running_system_would_put_them() {
        let mut tree = Assembly::new(0);
        tree.begin_layer();
        tree.insert(&path("bin"), Entry::symlink("usr/bin", 0)).unwrap();
        tree.insert(&path("lib"), Entry::symlink("/usr/lib", 0)).unwrap();
        tree.insert(&path("opt/up"), Entry::symlink("../usr", 0)).unwrap();
        tree.insert(&path("loop"), Entry::symlink("loop", 0)).unwrap();
        for (given, want) in [
            ("bin/sh", "usr/bin/sh"),
            ("bin", "bin"),
            ("lib/x/y.so", "usr/lib/x/y.so"),
            ("opt/up/bin/a", "usr/bin/a"),
            ("srv/www/i", "srv/www/i"),
        ] {
            assert_eq!(tree.land(&path(given)), Ok(path(want)), "{given}");
        }
        assert_eq!(tree.land(&path("loop/x")), Err(AssemblyError::Loop(path("loop/x"))));
        tree.insert(&path("bin/sh"), file()).unwrap();
        let error = tree.insert(&path("usr/bin/sh/x"), file()).unwrap_err();
        assert_eq!(error, AssemblyError::NotADirectory { path: path("usr/bin/sh/x"), parent: path("usr/bin/sh") });
        assert_eq!(tree.insert(&path("usr/bin"), file()), Err(AssemblyError::IsADirectory(path("usr/bin"))));
    }

    #[test]
    fn a_directory_over_a_link_to_one_leaves_the_link() {
        let mut tree = Assembly::new(0);
        tree.begin_layer();
        tree.insert(&path("lib"), Entry::symlink("usr/lib", 0)).unwrap();
        tree.insert(&path("lib"), Entry::directory(0o755, 7)).unwrap();
        assert!(matches!(tree.get(&path("lib")).unwrap().body, Body::Symlink(_)));
    }

    #[test]
    fn every_layer_brings_the_parents_of_what_it_holds() {
        let mut tree = Assembly::new(5);
        tree.begin_layer();
        tree.insert(&path("a"), Entry::directory(0o700, 9)).unwrap();
        tree.begin_layer();
        tree.insert(&path("a/b/c"), file()).unwrap();
        let layers = tree.into_layers();
        let seen: Vec<(String, u32, i64)> = layers[1].iter().map(|(p, e)| (p.to_string(), e.mode, e.mtime)).collect();
        assert_eq!(seen, [("a".to_owned(), 0o700, 9), ("a/b".to_owned(), 0o755, 5), ("a/b/c".to_owned(), 0o644, 0)]);
    }
}
