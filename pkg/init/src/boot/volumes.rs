//! Volumes: `/containers/volumes/NAME/{lower,tmp,merged}` (parity table, 2.11).
//!
//! A writable volume has `tmp/`, and `merged/` becomes an overlay of `lower/` and a tmpfs there; a read-only one is a
//! read-only bind mount of `lower/`.

use std::fs;
use std::path::Path;

use bootwright_bundle::CONTAINERS;

use crate::mounts::{self, Options};

/// Prepares all volumes.
pub fn prepare() -> Vec<String> {
    let Ok(volumes) = fs::read_dir(Path::new(CONTAINERS).join("volumes")) else { return Vec::new() };
    let mut volumes: Vec<_> = volumes.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    volumes.sort();
    volumes.iter().filter_map(|v| one(v).err().map(|error| format!("preparing {}: {error}", v.display()))).collect()
}

fn one(volume: &Path) -> std::io::Result<()> {
    let (lower, tmp, merged) = (volume.join("lower"), volume.join("tmp"), volume.join("merged"));
    fs::create_dir_all(&merged)?;
    if !tmp.is_dir() {
        let source = lower.to_string_lossy().into_owned();
        return mounts::mount(&source, &merged, "bind", &Options::parse(&["bind", "ro"]));
    }
    mounts::mount("tmpfs", &tmp, "tmpfs", &Options::parse(&["nosuid", "nodev", "mode=0755"]))?;
    let (upper, work) = (tmp.join("upper"), tmp.join("work"));
    fs::create_dir(&upper)?;
    fs::create_dir(&work)?;
    // The root of the volume looks as the image made it.
    let original = fs::metadata(&lower)?;
    fs::set_permissions(&upper, original.permissions())?;
    std::os::unix::fs::chown(
        &upper,
        Some(std::os::unix::fs::MetadataExt::uid(&original)),
        Some(std::os::unix::fs::MetadataExt::gid(&original)),
    )?;
    let layers = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    mounts::mount("overlay", &merged, "overlay", &Options::parse(&[layers]))
}
