//! Recipe `debian`: Debian packages unpacked over each other, without maintainer scripts.
//!
//! A `.deb` is read as the tar that `dpkg-deb --fsys-tarfile` makes of it; owners, modes and times are as packaged. Debian
//! 12 is usr-merged while its packages still ship `/bin`, `/sbin` and `/lib`: the links come first and everything lands
//! through them, as on an installed system. `include` and `exclude` see both the path as shipped and the path it lands at.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootwright_oci::TreePath;
use bootwright_spec::DebianRecipe;
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use tar::EntryType;

use crate::assembly::{Assembly, AssemblyError, Body, Bytes, Entry};
use crate::command::{CommandError, command, run_into};

/// Directories that Debian moved below `/usr`.
const MERGED: [&str; 6] = ["bin", "lib", "lib32", "lib64", "libx32", "sbin"];

/// A Debian package that cannot become part of an image.
#[derive(Debug, thiserror::Error)]
pub enum DebianError {
    /// `dpkg-deb` is missing or refuses the file.
    #[error("cannot unpack `{deb}`")]
    Unpack {
        /// The file.
        deb: PathBuf,
        /// Why.
        #[source]
        source: CommandError,
    },
    /// Its tar cannot be read.
    #[error("cannot read the files of `{deb}`")]
    Read {
        /// The file.
        deb: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry that we do not put anywhere.
    #[error("`{deb}` holds `{path}`, {why}")]
    Entry {
        /// The file.
        deb: PathBuf,
        /// The entry.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two packages do not fit over each other.
    #[error("`{deb}` does not fit over the packages before it")]
    Assembly {
        /// The file.
        deb: PathBuf,
        /// Why.
        #[source]
        source: AssemblyError,
    },
    /// A glob that is none.
    #[error("`{glob}` is not a glob")]
    Glob {
        /// As written.
        glob: String,
        /// Why.
        #[source]
        source: globset::Error,
    },
    /// `include` that names nothing that is there.
    #[error("no file of the packages matches `{0}`")]
    Unmatched(String),
}

impl DebianError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unpack { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// Debian's name for one of Go's architectures.
pub(crate) fn architecture(go: &str) -> &str {
    match go {
        "386" => "i386",
        "arm" => "armhf",
        "ppc64le" => "ppc64el",
        other => other,
    }
}

/// The packages that a recipe names for an architecture: `{arch}` in a name stands for Debian's name of it.
pub(crate) fn package_names(recipe: &DebianRecipe, debian_architecture: &str) -> Vec<String> {
    recipe.packages.iter().map(|p| p.value.replace("{arch}", debian_architecture)).collect()
}

/// What of a package's files is taken.
struct Filter<'a> {
    include: GlobSet,
    exclude: GlobSet,
    globs: &'a [String],
}

impl<'a> Filter<'a> {
    fn new(recipe: &'a DebianRecipe) -> Result<Self, DebianError> {
        let set = |globs: &[String]| {
            let mut set = GlobSetBuilder::new();
            for glob in globs {
                let error = |source| DebianError::Glob { glob: glob.clone(), source };
                let text = glob.trim_start_matches('/');
                set.add(GlobBuilder::new(text).literal_separator(true).build().map_err(error)?);
            }
            let all = || globs.join(" ");
            set.build().map_err(|source| DebianError::Glob { glob: all(), source })
        };
        Ok(Self { include: set(&recipe.include)?, exclude: set(&recipe.exclude)?, globs: &recipe.include })
    }

    /// Whether a file is taken; `used` learns which of the `include` globs it matched.
    fn takes(&self, shipped: &TreePath, landed: &TreePath, used: &mut [bool]) -> bool {
        let paths = [shipped, landed].map(|p| p.to_string());
        if paths.iter().any(|p| self.exclude.is_match(p)) {
            return false;
        }
        let mut included = self.globs.is_empty();
        for glob in paths.iter().flat_map(|p| self.include.matches(p)) {
            included = true;
            used[glob] = true;
        }
        included
    }
}

/// Unpacks packages, in order, into the layer begun last.
pub(crate) fn unpack(
    debs: &[PathBuf],
    recipe: &DebianRecipe,
    epoch: i64,
    scratch: &Path,
    tree: &mut Assembly,
) -> Result<(), DebianError> {
    let filter = Filter::new(recipe)?;
    let mut used = vec![false; recipe.include.len()];
    let path = |text: &str| TreePath::new(text).expect("a plain name");
    let links: Vec<(TreePath, TreePath)> =
        MERGED.iter().map(|name| (path(name), path(&format!("usr/{name}")))).collect();
    for (link, target) in &links {
        let assembly = |source| DebianError::Assembly { deb: PathBuf::new(), source };
        if tree.get(link).is_none() {
            tree.insert(link, Entry::symlink(target.as_bytes(), epoch)).map_err(assembly)?;
        }
    }
    // What packages say about directories counts where something is put into them, and comes before it.
    let mut directories: BTreeMap<TreePath, Entry> = BTreeMap::new();
    for deb in debs {
        let entries = read(deb, scratch)?;
        let assembly = |source| DebianError::Assembly { deb: deb.clone(), source };
        for (shipped, entry) in entries {
            let landed = tree.land(&shipped).map_err(assembly)?;
            let whole = matches!(entry.body, Body::Directory);
            if whole {
                directories.entry(landed.clone()).or_insert_with(|| entry.clone());
            }
            if !filter.takes(&shipped, &landed, &mut used) {
                continue;
            }
            let mut missing = Vec::new();
            let mut at = landed.parent();
            while let Some(parent) = at.filter(|p| !p.is_root() && tree.get(p).is_none()) {
                at = parent.parent();
                missing.extend(directories.get(&parent).map(|d| (parent, d.clone())));
            }
            for (parent, directory) in missing.into_iter().rev() {
                tree.insert(&parent, directory).map_err(assembly)?;
            }
            // The first package that ships a directory describes it.
            if !whole || tree.get(&landed).is_none() {
                tree.insert(&landed, entry).map_err(assembly)?;
            }
        }
    }
    for (link, target) in &links {
        if tree.get(target).is_none() && matches!(tree.get(link).map(|e| &e.body), Some(Body::Symlink(_))) {
            tree.remove_link(link);
        }
    }
    match used.iter().position(|u| !u) {
        Some(glob) => Err(DebianError::Unmatched(recipe.include[glob].clone())),
        None => Ok(()),
    }
}

/// The entries of a `.deb`, in its order; their bytes stay in an unnamed file.
fn read(deb: &Path, scratch: &Path) -> Result<Vec<(TreePath, Entry)>, DebianError> {
    let io = |source| DebianError::Read { deb: deb.to_owned(), source };
    let command_error = |source| DebianError::Unpack { deb: deb.to_owned(), source };
    let mut spool = tempfile::tempfile_in(scratch).map_err(io)?;
    let out = spool.try_clone().map_err(io)?;
    run_into(command("dpkg-deb", "dpkg").map_err(command_error)?.arg("--fsys-tarfile").arg(deb), out)
        .map_err(command_error)?;
    spool.rewind().map_err(io)?;
    let shared = Arc::new(spool.try_clone().map_err(io)?);
    let mut files: BTreeMap<TreePath, Bytes> = BTreeMap::new();
    let mut out = Vec::new();
    for entry in tar::Archive::new(&mut spool).entries_with_seek().map_err(io)? {
        let entry = entry.map_err(io)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let refuse = |why| DebianError::Entry { deb: deb.to_owned(), path: name.clone(), why };
        let path = TreePath::new(entry.path_bytes()).map_err(|_| refuse("which leaves the root"))?;
        if path.is_root() {
            continue;
        }
        let header = entry.header();
        let device = || -> io::Result<(u32, u32)> {
            Ok((header.device_major()?.unwrap_or(0), header.device_minor()?.unwrap_or(0)))
        };
        let link = || entry.link_name_bytes().map(|l| l.into_owned()).ok_or_else(|| refuse("a link to nothing"));
        let body = match header.entry_type() {
            EntryType::Directory => Body::Directory,
            EntryType::Regular | EntryType::Continuous => {
                let bytes = Bytes::Range { file: shared.clone(), offset: entry.raw_file_position(), len: entry.size() };
                files.insert(path.clone(), bytes.clone());
                Body::File(bytes)
            }
            EntryType::Link => {
                let target = TreePath::new(link()?).ok().and_then(|t| files.get(&t).cloned());
                let bytes = target.ok_or_else(|| refuse("a hard link to a file that is not there"))?;
                files.insert(path.clone(), bytes.clone());
                Body::File(bytes)
            }
            EntryType::Symlink => Body::Symlink(link()?),
            EntryType::Fifo => Body::Fifo,
            EntryType::Char => device().map(|(major, minor)| Body::CharDevice { major, minor }).map_err(io)?,
            EntryType::Block => device().map(|(major, minor)| Body::BlockDevice { major, minor }).map_err(io)?,
            _ => return Err(refuse("of a kind that packages do not hold")),
        };
        let entry = Entry {
            mode: header.mode().map_err(io)? & 0o7777,
            uid: header.uid().map_err(io)?,
            gid: header.gid().map_err(io)?,
            mtime: i64::try_from(header.mtime().map_err(io)?).unwrap_or(0),
            body,
        };
        out.push((path, entry));
    }
    Ok(out)
}

/// Opens a scratch file's bytes; for tests and the kernel recipe.
pub(crate) fn spool(scratch: &Path, from: &mut dyn io::Read) -> io::Result<Bytes> {
    let mut file: File = tempfile::tempfile_in(scratch)?;
    let len = io::copy(from, &mut file)?;
    Ok(Bytes::Range { file: Arc::new(file), offset: 0, len })
}
