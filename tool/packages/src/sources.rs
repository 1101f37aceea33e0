//! Digests of files and directories as inputs of a tag: names, contents and the executable bit, nothing else.
//!
//! Permissions other than that bit, owners and times differ from checkout to checkout (umask) and never reach an image.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bootwright_oci::{Digest, Hasher};

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the source `{}`", .path.display())]
pub struct SourceError {
    /// Which.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// What a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Directory,
    File { executable: bool },
    Symlink(PathBuf),
}

/// Everything below a directory by its path in it, sorted, parents first. `target` directories of cargo, hidden
/// entries and sockets are left out.
pub(crate) fn walk(directory: &Path) -> Result<Vec<(PathBuf, Source)>, SourceError> {
    let mut out = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(inner) = waiting.pop() {
        let here = directory.join(&inner);
        let error = |source| SourceError { path: here.clone(), source };
        for entry in fs::read_dir(&here).map_err(error)? {
            let entry = entry.map_err(error)?;
            let error = |source| SourceError { path: entry.path(), source };
            let name = entry.file_name();
            let kind = entry.file_type().map_err(error)?;
            let cache = kind.is_dir() && entry.path().join("CACHEDIR.TAG").is_file();
            if name.as_bytes().starts_with(b".") || cache {
                continue;
            }
            let path = inner.join(&name);
            if kind.is_dir() {
                waiting.push(path.clone());
                out.push((path, Source::Directory));
            } else if kind.is_symlink() {
                out.push((path, Source::Symlink(fs::read_link(entry.path()).map_err(error)?)));
            } else if kind.is_file() {
                let executable = executable(&entry.metadata().map_err(error)?);
                out.push((path, Source::File { executable }));
            }
        }
    }
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(out)
}

/// Whether the owner may execute a file.
pub(crate) fn executable(meta: &fs::Metadata) -> bool {
    meta.permissions().mode() & 0o100 != 0
}

/// The digest of a file's contents.
pub(crate) fn file_digest(path: &Path) -> Result<Digest, SourceError> {
    let error = |source| SourceError { path: path.to_owned(), source };
    let mut hasher = Hasher::new(io::sink());
    io::copy(&mut File::open(path).map_err(error)?, &mut hasher).map_err(error)?;
    Ok(hasher.finish().1)
}

/// The digest of all that [`walk`] finds.
pub(crate) fn tree_digest(directory: &Path) -> Result<Digest, SourceError> {
    let mut hasher = Hasher::new(io::sink());
    let mut field = |bytes: &[u8]| {
        // Length first, so that no two trees are one text.
        hasher.write_all(&(bytes.len() as u64).to_le_bytes()).and_then(|()| hasher.write_all(bytes)).expect("a sink");
    };
    for (path, source) in walk(directory)? {
        field(path.as_os_str().as_bytes());
        match source {
            Source::Directory => field(b"d"),
            Source::Symlink(target) => {
                field(b"l");
                field(target.as_os_str().as_bytes());
            }
            Source::File { executable } => {
                field(if executable { b"x" } else { b"f" });
                field(file_digest(&directory.join(&path))?.bytes());
            }
        }
    }
    Ok(hasher.finish().1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_contents_and_the_executable_bit_count_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let mode = |name: &str, mode| fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        fs::create_dir(root.join("d")).unwrap();
        fs::write(root.join("d/a"), "1").unwrap();
        fs::write(root.join("b"), "2").unwrap();
        mode("b", 0o644);
        let first = tree_digest(root).unwrap();
        let same = |what: &str| assert_eq!(tree_digest(root).unwrap(), first, "{what}");
        let other = |what: &str| assert_ne!(tree_digest(root).unwrap(), first, "{what}");
        mode("b", 0o664);
        same("group may write");
        File::options()
            .write(true)
            .open(root.join("b"))
            .unwrap()
            .set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        same("another time");
        fs::create_dir(root.join("target")).unwrap();
        fs::write(root.join("target/CACHEDIR.TAG"), "").unwrap();
        fs::write(root.join(".hidden"), "").unwrap();
        same("caches and hidden files");
        mode("b", 0o755);
        other("executable");
        mode("b", 0o644);
        fs::write(root.join("b"), "3").unwrap();
        other("content");
        fs::write(root.join("b"), "2").unwrap();
        fs::rename(root.join("b"), root.join("c")).unwrap();
        other("name");
    }
}
