//! Names: `index.json`, whose entries carry the canonical reference in `org.opencontainers.image.ref.name`.

use std::fs::{self, File};
use std::io;

use super::{Store, StoreError, flock, lock_file};
use crate::manifest::{Descriptor, Document, Index, OCI_INDEX, REF_NAME, canonical_json};
use crate::{Digest, Platform, Reference};

/// A name and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Canonical reference.
    pub name: String,
    /// An index or a manifest.
    pub descriptor: Descriptor,
}

impl Store {
    /// All names, in order.
    ///
    /// # Errors
    ///
    /// `index.json` cannot be read.
    pub fn list(&self) -> Result<Vec<Named>, StoreError> {
        let named = |mut descriptor: Descriptor| {
            let name = descriptor.annotations.remove(REF_NAME)?;
            Some(Named { name, descriptor })
        };
        let mut all: Vec<_> = self.index()?.manifests.into_iter().filter_map(named).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// What an exact name stands for.
    ///
    /// # Errors
    ///
    /// `index.json` cannot be read.
    pub fn find_name(&self, name: &str) -> Result<Option<Descriptor>, StoreError> {
        Ok(self.list()?.into_iter().find(|named| named.name == name).map(|named| named.descriptor))
    }

    /// What a reference stands for. A digest is enough, whatever name its content came under.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub fn find(&self, reference: &Reference) -> Result<Option<Descriptor>, StoreError> {
        match reference.digest() {
            None => self.find_name(&reference.to_string()),
            Some(digest) => self.find_digest(digest),
        }
    }

    pub(crate) fn find_digest(&self, digest: Digest) -> Result<Option<Descriptor>, StoreError> {
        let Some(size) = self.blob_size(digest)? else { return Ok(None) };
        let bytes = self.read_document(&Descriptor::new("", digest, size))?;
        let document = Document::parse(&bytes, "")?;
        Ok(Some(Descriptor::new(document.media_type(), digest, size)))
    }

    /// Gives a name to an index or a manifest, instead of whatever had it.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub fn tag(&self, name: &Reference, descriptor: &Descriptor) -> Result<(), StoreError> {
        self.tag_as(&name.to_string(), descriptor)
    }

    pub(crate) fn tag_as(&self, name: &str, descriptor: &Descriptor) -> Result<(), StoreError> {
        let mut entry = descriptor.clone();
        entry.annotations.insert(REF_NAME.to_owned(), name.to_owned());
        self.change(|entries| {
            if entries.contains(&entry) {
                return false;
            }
            entries.retain(|old| old.annotations.get(REF_NAME).is_none_or(|old| old != name));
            entries.push(entry);
            true
        })
    }

    /// Takes a name away. No blob is touched, so no other image can be harmed; [`Store::gc`] frees the space.
    ///
    /// # Errors
    ///
    /// There is no such name, or the store cannot be written.
    pub fn remove(&self, name: &Reference) -> Result<(), StoreError> {
        self.remove_name(&name.to_string())
    }

    /// As [`Store::remove`], for a name as [`Store::list`] gives it (`docker-daemon:…` is no reference).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn remove_name(&self, name: &str) -> Result<(), StoreError> {
        let mut near = Vec::new();
        let mut found = false;
        self.change(|entries| {
            let before = entries.len();
            entries.retain(|old| old.annotations.get(REF_NAME).is_none_or(|old| old != name));
            found = entries.len() < before;
            let repository = |name: &str| name.split('@').next().and_then(|n| n.rsplit('/').next()).map(str::to_owned);
            let wanted = repository(name).and_then(|n| n.split(':').next().map(str::to_owned)).unwrap_or_default();
            near = entries.iter().filter_map(|e| e.annotations.get(REF_NAME)).cloned().collect();
            near.retain(|n| !wanted.is_empty() && n.contains(&wanted));
            near.truncate(5);
            found
        })?;
        if found { Ok(()) } else { Err(StoreError::Name { name: name.to_owned(), near }) }
    }

    /// The platforms below a descriptor whose images are here in full.
    ///
    /// # Errors
    ///
    /// The store cannot be read. What is missing or wrong counts as absent.
    pub fn complete_platforms(&self, root: &Descriptor) -> Result<Vec<Platform>, StoreError> {
        let mut platforms = Vec::new();
        for platform in self.claimed_platforms(root)? {
            if self.image("", root, &platform).is_ok() && !platforms.contains(&platform) {
                platforms.push(platform);
            }
        }
        Ok(platforms)
    }

    /// Gives an index a change under its lock and writes it if `change` says that it did something.
    fn change(&self, change: impl FnOnce(&mut Vec<Descriptor>) -> bool) -> Result<(), StoreError> {
        let _lock = self.lock_index()?;
        let mut index = self.index()?;
        if change(&mut index.manifests) {
            index.manifests.sort_by(|a, b| a.annotations.get(REF_NAME).cmp(&b.annotations.get(REF_NAME)));
            self.write_index_file(&index)?;
        }
        Ok(())
    }

    pub(super) fn make_index(&self) -> Result<(), StoreError> {
        let _lock = self.lock_index()?;
        if self.root.join("index.json").exists() {
            return Ok(());
        }
        self.write_index_file(&self.index()?)
    }

    fn write_index_file(&self, index: &Index) -> Result<(), StoreError> {
        let path = self.root.join("index.json");
        let bytes = canonical_json(index).map_err(|source| StoreError::Index { path: path.clone(), source })?;
        self.replace(&path, &bytes)
    }

    fn lock_index(&self) -> Result<File, StoreError> {
        let path = self.root.join(".index.lock");
        let file = lock_file(&path)?;
        flock(&file, rustix::fs::FlockOperation::LockExclusive).map_err(StoreError::io(path))?;
        Ok(file)
    }

    pub(super) fn index(&self) -> Result<Index, StoreError> {
        let path = self.root.join("index.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| StoreError::Index { path, source }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Index { schema_version: 2, media_type: Some(OCI_INDEX.to_owned()), manifests: Vec::new() })
            }
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }
}
