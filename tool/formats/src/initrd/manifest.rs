//! The manifest of an initrd (`bootwright_bundle::Manifest`), in an archive of its own.
//!
//! A name that is not UTF-8 cannot stand in JSON: such nodes are in the initrd, but not in the manifest.

use std::io::{self, Write};

use bootwright_bundle::{MANIFEST_PATH, Manifest, Segment as Listing, Xattr};
use bootwright_oci::{Kind, TreePath};
use bootwright_rootfs::Machine;

use super::plan::{Segment, header};
use crate::cpio::{self, Header, kind};
use crate::{Error, GENERATED_MTIME};

/// Version of the manifest's format.
const VERSION: u32 = 1;

/// Lists what the segments hold.
pub(super) fn manifest(segments: &[Segment<'_>], memory_mib: u64) -> Manifest {
    let mut manifest = Manifest { version: VERSION, memory_mib, ..Manifest::default() };
    for segment in segments {
        let mut listing = Listing { name: segment.name.clone(), ..Listing::default() };
        for entry in segment.entries.iter().filter(|e| !e.is_parent) {
            let Ok(path) = std::str::from_utf8(entry.path.as_bytes()) else { continue };
            let path = format!("/{path}");
            // One inode has one set of attributes, however many names it has.
            let first = entry.header.nlink == 1 || !matches!(entry.node.kind, Kind::HardLink(_));
            for (name, value) in entry.node.meta.xattrs.iter().filter(|_| first) {
                manifest.xattrs.push(Xattr {
                    path: path.clone(),
                    name: String::from_utf8_lossy(name).into_owned(),
                    value: value.iter().map(|b| format!("{b:02x}")).collect(),
                });
            }
            match entry.size {
                Some(size) => listing.files.push((path, size)),
                None => listing.others.push(path),
            }
        }
        listing.count = (listing.files.len() + listing.others.len()) as u64;
        manifest.segments.push(listing);
    }
    manifest
}

/// The files whose extended attributes get lost: all that have some, or with a manifest those that it cannot name.
pub(super) fn lost_xattrs(machine: &Machine) -> Vec<String> {
    let lost = |path: &TreePath| !machine.native_init || std::str::from_utf8(path.as_bytes()).is_err();
    let all = machine.tree.iter().filter(|(path, placed)| !placed.node.meta.xattrs.is_empty() && lost(path));
    all.map(|(path, placed)| {
        let names: Vec<_> = placed.node.meta.xattrs.keys().map(|name| String::from_utf8_lossy(name)).collect();
        format!("`/{path}` ({})", names.join(", "))
    })
    .collect()
}

/// Writes the archive: the directories above the manifest, and the manifest.
pub(super) fn archive(machine: &Machine, manifest: &Manifest) -> Result<Vec<u8>, Error> {
    let broken = |path: &TreePath, what| Error::Tree { path: path.to_string(), component: "manifest".to_owned(), what };
    let path = TreePath::new(MANIFEST_PATH).expect("a constant without `..`");
    if machine.tree.contains_key(&path) {
        return Err(broken(&path, "this path is the builder's own"));
    }
    let mut directories = Vec::new();
    let mut parent = path.parent();
    while let Some(directory) = parent.filter(|p| !p.is_root()) {
        parent = directory.parent();
        directories.push(directory);
    }
    let json = serde_json::to_vec(manifest).expect("a manifest is numbers and strings");
    let generated = |mode, ino| Header { ino, mode, nlink: 1, mtime: GENERATED_MTIME, ..Header::default() };
    let write = || -> io::Result<Result<Vec<u8>, Error>> {
        let mut writer = cpio::Writer::new(Vec::new());
        let mut ino = 0;
        for directory in directories.iter().rev() {
            ino += 1;
            let mut entry = match machine.tree.get(directory) {
                Some(placed) if placed.node.kind == Kind::Directory => header(&placed.node),
                Some(_) => return Ok(Err(broken(directory, "the manifest's directory is something else"))),
                None => Header { nlink: 2, ..generated(kind::DIRECTORY | 0o755, ino) },
            };
            entry.ino = ino;
            writer.entry(&entry, directory.as_bytes())?;
        }
        let file_size = u32::try_from(json.len()).map_err(io::Error::other)?;
        writer.entry(&Header { file_size, ..generated(kind::FILE | 0o644, ino + 1) }, path.as_bytes())?;
        writer.write_all(&json)?;
        Ok(Ok(writer.finish()?.0))
    };
    write().map_err(|source| Error::Write { path: MANIFEST_PATH.to_owned(), source })?
}
