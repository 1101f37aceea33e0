//! Volumes: `/containers/volumes/NAME/{lower,tmp,merged}` (parity table, 2.11).
//!
//! A writable volume has `tmp/`, and `merged/` becomes an overlay of `lower/` and a tmpfs there, whose size `bootwright.json`
//! may say. A read-only one is an overlay without a place to write to: unlike a bind mount that says so, nobody can make
//! it writable, whatever capabilities they have.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;

use bootwright_bundle::{CONTAINERS, SUPERVISION_JSON, VolumeLimits};

use crate::mounts::{self, Options};

/// An empty directory: an overlay of one layer must have a place to write to, so a read-only one has this as its second.
const EMPTY: &str = "/run/bootwright/empty";

/// Prepares all volumes.
pub fn prepare() -> Vec<String> {
    let Ok(volumes) = fs::read_dir(Path::new(CONTAINERS).join("volumes")) else { return Vec::new() };
    let mut volumes: Vec<_> = volumes.flatten().map(|e| e.path()).filter(|p| p.is_dir()).collect();
    volumes.sort();
    volumes.iter().filter_map(|v| one(v).err().map(|error| format!("preparing {}: {error}", v.display()))).collect()
}

fn one(volume: &Path) -> io::Result<()> {
    let (lower, tmp, merged) = (volume.join("lower"), volume.join("tmp"), volume.join("merged"));
    fs::create_dir_all(&merged)?;
    let layers = if tmp.is_dir() {
        let size = size(volume)?.map(|bytes| format!("size={bytes}")).unwrap_or_default();
        mounts::mount("tmpfs", &tmp, "tmpfs", &Options::parse(&["nosuid", "nodev", "mode=0755", &size]))?;
        let (upper, work) = (tmp.join("upper"), tmp.join("work"));
        fs::create_dir(&upper)?;
        fs::create_dir(&work)?;
        // The root of the volume looks as the image made it.
        let original = fs::metadata(&lower)?;
        fs::set_permissions(&upper, original.permissions())?;
        chown(&upper, Some(original.uid()), Some(original.gid()))?;
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display())
    } else {
        fs::create_dir_all(EMPTY)?;
        format!("lowerdir={}:{EMPTY}", lower.display())
    };
    mounts::mount("overlay", &merged, "overlay", &Options::parse(&[layers]))
}

/// The most that it may hold, if that is said. A volume without the bound that was asked for is not prepared.
fn size(volume: &Path) -> io::Result<Option<u64>> {
    let limits: VolumeLimits = match fs::read(volume.join(SUPERVISION_JSON)) {
        Ok(bytes) => serde_json::from_slice(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => VolumeLimits::default(),
        Err(error) => return Err(error),
    };
    Ok(limits.size)
}
