//! Recipe `files`: what `build.yml` itself says or names, as in a machine's spec; `source` may also be a directory.
//!
//! A file's mode is what is written, else 0600 (directories 0700); below a `source` directory it is 0755 or 0644 by the
//! executable bit, so that a checkout's umask never shows.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bootwright_oci::{Digest, TreePath};
use bootwright_spec::{FileContents, FileEntry, Owner};
use serde_json::{Value, json};

use crate::assembly::{Assembly, AssemblyError, Body, Bytes, Entry};
use crate::sources::{self, Source, SourceError};

/// An entry of `files` that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A source that cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// An entry that does not fit.
    #[error(transparent)]
    Assembly(#[from] AssemblyError),
    /// A path that leaves the image.
    #[error("`{0}` is no path in an image")]
    Path(String),
    /// A name that is in no passwd.
    #[error("`{name}`, owner of `{path}`, is not in the package's `/etc/{database}`")]
    Owner {
        /// The name.
        name: String,
        /// The entry.
        path: String,
        /// `passwd` or `group`.
        database: &'static str,
    },
    /// `metadata:` makes sense in a machine only.
    #[error("`{0}`: a package has no merged spec that `metadata` could stand for")]
    Metadata(String),
}

/// What an entry brings into the tag: its keys, and the digest of what it names.
pub(crate) fn inputs(entries: &[FileEntry]) -> Result<Value, FilesError> {
    let mut out = Vec::new();
    for entry in entries {
        let contents = match &entry.contents {
            FileContents::Directory => json!("directory"),
            FileContents::Symlink(target) => json!(["symlink", target]),
            FileContents::Text(text) => json!(["text", text]),
            FileContents::Source(path) if entry.optional && !path.value.exists() => continue,
            FileContents::Source(path) => json!(["source", source_digest(&path.value)?]),
            FileContents::Metadata(_) => return Err(FilesError::Metadata(entry.path.value.clone())),
        };
        let owner = |owner: &Option<bootwright_spec::Spanned<Owner>>| match owner.as_ref().map(|o| &o.value) {
            None => Value::Null,
            Some(Owner::Id(id)) => json!(id),
            Some(Owner::Name(name)) => json!(name),
        };
        out.push(json!([entry.path.value, contents, entry.mode, owner(&entry.uid), owner(&entry.gid)]));
    }
    Ok(Value::Array(out))
}

fn source_digest(path: &Path) -> Result<Value, SourceError> {
    let meta = fs::metadata(path).map_err(|source| SourceError { path: path.to_owned(), source })?;
    let digest: Digest = if meta.is_dir() { sources::tree_digest(path)? } else { sources::file_digest(path)? };
    Ok(json!([meta.is_dir(), digest]))
}

/// Puts entries into the layer begun last.
pub(crate) fn lay(entries: &[FileEntry], epoch: i64, tree: &mut Assembly) -> Result<(), FilesError> {
    for entry in entries {
        let text = entry.path.value.as_str();
        let path = TreePath::new(text).map_err(|_| FilesError::Path(text.to_owned()))?;
        let uid = owner(entry.uid.as_ref().map(|o| &o.value), "passwd", text, tree)?;
        let gid = owner(entry.gid.as_ref().map(|o| &o.value), "group", text, tree)?;
        let own = |made: Entry| Entry { uid, gid, ..made };
        let mode = entry.mode.unwrap_or(0o600);
        match &entry.contents {
            FileContents::Directory => {
                tree.insert(&path, own(Entry::directory(entry.mode.unwrap_or(0o700), epoch)))?;
            }
            FileContents::Symlink(target) => {
                tree.insert(&path, own(Entry::symlink(target.as_bytes(), epoch)))?;
            }
            FileContents::Text(text) => {
                let bytes = Bytes::Memory(text.as_bytes().into());
                tree.insert(&path, own(Entry::file(bytes, mode, epoch)))?;
            }
            FileContents::Source(source) if entry.optional && !source.value.exists() => {}
            FileContents::Source(source) if source.value.is_dir() => {
                tree.insert(&path, own(Entry::directory(entry.mode.unwrap_or(0o755), epoch)))?;
                for (inner, kind) in sources::walk(&source.value)? {
                    let below = TreePath::new(inner.as_os_str().as_bytes())
                        .map_err(|_| FilesError::Path(inner.display().to_string()))?;
                    let made = match kind {
                        Source::Directory => Entry::directory(0o755, epoch),
                        Source::Symlink(target) => Entry::symlink(target.as_os_str().as_bytes(), epoch),
                        Source::File { executable } => {
                            let mode = if executable { 0o755 } else { 0o644 };
                            Entry::file(contents(&source.value.join(&inner))?, mode, epoch)
                        }
                    };
                    tree.insert(&path.join(&below), own(made))?;
                }
            }
            FileContents::Source(source) => {
                tree.insert(&path, own(Entry::file(contents(&source.value)?, mode, epoch)))?;
            }
            FileContents::Metadata(_) => return Err(FilesError::Metadata(text.to_owned())),
        }
    }
    Ok(())
}

fn contents(path: &Path) -> Result<Bytes, SourceError> {
    let bytes = fs::read(path).map_err(|source| SourceError { path: PathBuf::from(path), source })?;
    Ok(Bytes::Memory(bytes.into()))
}

/// A uid or gid: root's by default, a name looked up in what the package holds so far.
fn owner(given: Option<&Owner>, database: &'static str, path: &str, tree: &Assembly) -> Result<u64, FilesError> {
    let name = match given {
        None => return Ok(0),
        Some(Owner::Id(id)) => return Ok(u64::from(*id)),
        Some(Owner::Name(name)) => name,
    };
    let file = TreePath::new(format!("etc/{database}")).expect("a plain path");
    let text = match tree.get(&file).map(|e| &e.body) {
        Some(Body::File(bytes)) => bytes.read().unwrap_or_default(),
        _ => Vec::new(),
    };
    let text = String::from_utf8_lossy(&text);
    let id = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    });
    id.ok_or_else(|| FilesError::Owner { name: name.clone(), path: path.to_owned(), database })
}
