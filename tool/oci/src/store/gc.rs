//! Collecting what no name reaches, and verifying what is there.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::{Store, StoreError, flock};
use crate::manifest::{Descriptor, Document, INDEX_DEPTH_MAX, ManifestError, config_platform, parse_config};
use crate::{Digest, Hasher, Platform, Reporter};

/// Kinds of derived files whose key is the digest of a layer's blob: kept as long as the layer is.
const LAYER_KINDS: [&str; 2] = ["layer", "layer-index"];

/// What a collection freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Blobs.
    pub blobs: usize,
    /// Derived and temporary files.
    pub derived: usize,
    /// Bytes of both.
    pub bytes: u64,
}

/// What a verification saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Blobs whose bytes are what their name says.
    pub blobs: usize,
    /// Names with at least one complete image.
    pub names: usize,
    /// A sentence for everything that is wrong.
    pub problems: Vec<String>,
}

impl Store {
    /// Removes every blob that no name reaches, and every derived file but the unpacked layers of what stays (whatever
    /// else is derived is made again by the next build that wants it).
    ///
    /// Waits until nobody else has the store open, and lets nobody open it meanwhile. Killed half-way it has removed
    /// less, never too much.
    ///
    /// # Errors
    ///
    /// A named index or manifest is unreadable (what it reaches cannot be known), or the file system.
    pub fn gc(&mut self, reporter: &dyn Reporter) -> Result<Collected, StoreError> {
        use rustix::fs::FlockOperation::{LockExclusive, LockShared, NonBlockingLockExclusive};
        let path = self.root.join(".lock");
        match flock(&self.lock, NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                reporter.note("waiting for other programs that use the image store");
                flock(&self.lock, LockExclusive).map_err(StoreError::io(&path))?;
            }
            Err(source) => return Err(StoreError::Io { path, source }),
        }
        let collected = self.collect();
        flock(&self.lock, LockShared).map_err(StoreError::io(&path))?;
        collected
    }

    fn collect(&self) -> Result<Collected, StoreError> {
        let mut keep = BTreeSet::new();
        for named in self.index()?.manifests {
            self.reach(&named, INDEX_DEPTH_MAX, &mut keep)?;
        }
        let keep: BTreeSet<String> = keep.iter().map(Digest::hex).collect();
        let mut freed = Collected::default();
        for name in entries(&self.root.join("blobs/sha256"))? {
            if !keep.contains(&name) {
                freed.bytes += remove(&self.root.join("blobs/sha256").join(&name))?;
                freed.blobs += 1;
            }
        }
        for kind in entries(&self.root.join("derived"))? {
            let directory = self.root.join("derived").join(&kind);
            for name in entries(&directory)? {
                if !(LAYER_KINDS.contains(&kind.as_str()) && keep.contains(&name)) {
                    freed.bytes += remove(&directory.join(&name))?;
                    freed.derived += 1;
                }
            }
        }
        for name in entries(&self.root.join("tmp"))? {
            freed.bytes += remove(&self.root.join("tmp").join(&name))?;
            freed.derived += 1;
        }
        Ok(freed)
    }

    /// Adds what a descriptor reaches; children that were never fetched (other platforms) are not there to be kept.
    fn reach(&self, root: &Descriptor, depth: usize, keep: &mut BTreeSet<Digest>) -> Result<(), StoreError> {
        if self.blob_size(root.digest)?.is_none() || !keep.insert(root.digest) {
            return Ok(());
        }
        if !root.is_index() && !root.is_manifest() && !root.media_type.is_empty() {
            return Ok(());
        }
        match Document::parse(&self.read_document(root)?, &root.media_type)? {
            Document::Manifest(manifest) => {
                keep.insert(manifest.config.digest);
                keep.extend(manifest.layers.iter().map(|layer| layer.digest));
            }
            Document::Index(_) if depth == 0 => {
                let rule = format!("indexes lie more than {INDEX_DEPTH_MAX} deep in each other");
                return Err(ManifestError::rule(root.digest, rule).into());
            }
            Document::Index(index) => {
                index.manifests.iter().try_for_each(|child| self.reach(child, depth - 1, keep))?;
            }
        }
        Ok(())
    }

    /// The platforms that a descriptor's documents speak of, as far as they are here.
    pub(crate) fn claimed_platforms(&self, root: &Descriptor) -> Result<Vec<Platform>, StoreError> {
        let manifest = match Document::parse(&self.read_document(root)?, &root.media_type)? {
            Document::Manifest(manifest) => manifest,
            Document::Index(index) => {
                let mut platforms = index.offers();
                let silent = |d: &&Descriptor| d.platform.is_none() && !d.is_attestation();
                for child in index.manifests.iter().filter(silent) {
                    if child.is_manifest() && self.has(child.digest, child.size)? {
                        platforms.extend(self.claimed_platforms(child)?);
                    }
                }
                return Ok(platforms);
            }
        };
        let config = parse_config(&self.read_document(&manifest.config)?, manifest.layers.len())?;
        Ok(vec![config_platform(&config)])
    }

    /// Hashes every blob and follows every name.
    ///
    /// # Errors
    ///
    /// The file system; what is wrong with the content is in the answer.
    pub fn verify(&self, reporter: &dyn Reporter) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        let directory = self.root.join("blobs/sha256");
        for name in entries(&directory)? {
            let path = directory.join(&name);
            let Ok(expected) = format!("sha256:{name}").parse::<Digest>() else {
                verified.problems.push(format!("`{}` is not named by a digest", path.display()));
                continue;
            };
            let mut task = reporter.start(&format!("verifying {expected}"), self.blob_size(expected)?);
            let mut hasher = Hasher::new(io::sink());
            let size = io::copy(&mut self.open_blob(expected)?, &mut hasher).map_err(StoreError::io(&path))?;
            task.advance(size);
            let (_, actual, _) = hasher.finish();
            if actual == expected {
                verified.blobs += 1;
            } else {
                verified.problems.push(StoreError::Digest { expected, actual }.to_string());
            }
        }
        for named in self.list()? {
            match self.complete_platforms(&named.descriptor) {
                Ok(platforms) if !platforms.is_empty() => verified.names += 1,
                Ok(_) => verified.problems.push(format!("`{}` is complete for no platform", named.name)),
                Err(error) => verified.problems.push(format!("`{}`: {error}", named.name)),
            }
        }
        Ok(verified)
    }
}

fn entries(directory: &Path) -> Result<Vec<String>, StoreError> {
    let io = |source| StoreError::Io { path: directory.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        names.push(entry.map_err(io)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn remove(path: &Path) -> Result<u64, StoreError> {
    let metadata = fs::symlink_metadata(path).map_err(StoreError::io(path))?;
    let removed = if metadata.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(StoreError::io(path))?;
    Ok(metadata.len())
}
