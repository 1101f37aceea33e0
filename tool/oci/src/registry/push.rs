//! Pushing: blobs that the registry lacks, then manifests, then the index under its tag.
//!
//! LinuxKit's `cache push`: an existing tag is left alone unless told otherwise; then the local index is merged with
//! the remote one, ours winning, so that machines of different architectures can push one after the other.

use std::collections::BTreeSet;

use ureq::http::Method;

use super::http::{Call, Failure, Payload, header, join, shown, status_error};
use super::pull::{head, manifest};
use super::session::{Purpose, Session};
use super::{Registry, RegistryError, origin};
use crate::manifest::{Descriptor, Document, Index, OCI_INDEX, canonical_json};
use crate::{Digest, Reference, Reporter, Store};

/// How to push.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// Push under this name instead of the image's own.
    pub remote_name: Option<Reference>,
    /// Also tag each image of an index as `TAG-ARCHITECTURE`.
    pub with_arch_tags: bool,
    /// Replace or extend what has the tag already.
    pub overwrite: bool,
}

/// What a push did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// The registry has it now, at this digest.
    Done(Digest),
    /// The registry had exactly this before.
    Same(Digest),
    /// The registry has something else under the tag, which was left alone.
    Kept(Digest),
}

impl Registry {
    /// Pushes what a name stands for. Mirrors are for pulling only.
    ///
    /// # Errors
    ///
    /// The store lacks it, or the registry does not take it.
    pub fn push(
        &self,
        store: &Store,
        name: &Reference,
        options: &PushOptions,
        reporter: &dyn Reporter,
    ) -> Result<Pushed, RegistryError> {
        let root =
            store.find(name)?.ok_or_else(|| crate::StoreError::Name { name: name.to_string(), near: Vec::new() })?;
        let remote = options.remote_name.as_ref().unwrap_or(name);
        let session = self.session(&origin(remote.domain()))?;
        let target = remote.tag().map(str::to_owned).unwrap_or_else(|| root.digest.to_string());
        let found = head(&session, remote, &target, true)?;
        match found {
            Some(digest) if digest == root.digest && !options.with_arch_tags => return Ok(Pushed::Same(digest)),
            Some(digest) if digest != root.digest && !options.overwrite => return Ok(Pushed::Kept(digest)),
            _ => {}
        }
        let push = Push { session: &session, store, remote, reporter };
        let bytes = store.read_document(&root)?;
        match Document::parse(&bytes, &root.media_type)? {
            Document::Manifest(_) => {
                push.image(&root)?;
                push.document(&bytes, &root, &target)?;
                Ok(Pushed::Done(root.digest))
            }
            Document::Index(index) => {
                let (bytes, root) = push.index(name, index, bytes, root, found.map(|_| target.as_str()))?;
                push.document(&bytes, &root, &target)?;
                if options.with_arch_tags {
                    push.arch_tags(&bytes, &target)?;
                }
                Ok(Pushed::Done(root.digest))
            }
        }
    }
}

struct Push<'a> {
    session: &'a Session,
    store: &'a Store,
    remote: &'a Reference,
    reporter: &'a dyn Reporter,
}

impl Push<'_> {
    fn purpose(&self) -> Purpose<'_> {
        Purpose { repository: self.remote.path(), push: true }
    }

    /// Pushes the images of an index and says what the index is to be there: as it is if all of it is here or there.
    fn index(
        &self,
        name: &Reference,
        index: Index,
        bytes: Vec<u8>,
        root: Descriptor,
        existing: Option<&str>,
    ) -> Result<(Vec<u8>, Descriptor), RegistryError> {
        let mut entries = Vec::new();
        let mut pushed = 0;
        let before = index.manifests.len();
        for entry in index.manifests {
            let digest = entry.digest.to_string();
            if self.is_complete(&entry)? {
                self.image(&entry)?;
                let bytes = self.store.read_document(&entry)?;
                self.document(&bytes, &entry, &digest)?;
                pushed += 1;
                entries.push(entry);
            } else if head(self.session, self.remote, &digest, true)?.is_some() {
                entries.push(entry);
            } else if let Some(platform) = entry.platform() {
                let line = format!("`{name}` is pushed without {platform}, which is neither here nor there");
                self.reporter.warn(&line);
            }
        }
        if pushed == 0 {
            let rule = "the image store holds none of its images in full".to_owned();
            return Err(RegistryError::Push { reference: name.to_string(), rule });
        }
        let mut changed = entries.len() != before;
        if let Some(tag) = existing {
            let (remote, descriptor) = manifest(self.session, self.purpose(), self.remote, tag)?;
            if let Document::Index(remote) = Document::parse(&remote, &descriptor.media_type)? {
                for theirs in remote.manifests {
                    let ours = |d: &Descriptor| {
                        d.digest == theirs.digest || (theirs.platform().is_some() && d.platform() == theirs.platform())
                    };
                    if !entries.iter().any(ours) {
                        entries.push(theirs);
                        changed = true;
                    }
                }
            }
        }
        if !changed {
            return Ok((bytes, root));
        }
        // An attestation without what it attests helps nobody.
        let there: BTreeSet<String> = entries.iter().map(|d| d.digest.to_string()).collect();
        entries
            .retain(|d| d.annotations.get("vnd.docker.reference.digest").is_none_or(|subject| there.contains(subject)));
        let index = Index {
            schema_version: 2,
            media_type: index.media_type.or(Some(OCI_INDEX.to_owned())),
            manifests: entries,
        };
        let json = |e: serde_json::Error| RegistryError::Push { reference: name.to_string(), rule: e.to_string() };
        let bytes = canonical_json(&index).map_err(json)?;
        let media_type = index.media_type.as_deref().unwrap_or(OCI_INDEX);
        let descriptor = Descriptor::new(media_type, Digest::of(&bytes), bytes.len() as u64);
        Ok((bytes, descriptor))
    }

    fn arch_tags(&self, index: &[u8], tag: &str) -> Result<(), RegistryError> {
        let Document::Index(index) = Document::parse(index, "")? else { return Ok(()) };
        for entry in index.manifests.iter().filter(|d| d.is_manifest()) {
            if let Some(platform) = entry.platform()
                && self.store.has(entry.digest, entry.size)?
            {
                let bytes = self.store.read_document(entry)?;
                self.document(&bytes, entry, &format!("{tag}-{}", platform.architecture))?;
            }
        }
        Ok(())
    }

    /// Whether a manifest and all that it names are in the store. (Indexes in indexes are taken from the registry only.)
    fn is_complete(&self, entry: &Descriptor) -> Result<bool, RegistryError> {
        if !entry.is_manifest() || !self.store.has(entry.digest, entry.size)? {
            return Ok(false);
        }
        let Ok(Document::Manifest(manifest)) = Document::parse(&self.store.read_document(entry)?, &entry.media_type)
        else {
            return Ok(false);
        };
        for blob in manifest.layers.iter().chain([&manifest.config]) {
            if !self.store.has(blob.digest, blob.size)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Pushes the blobs of a manifest.
    fn image(&self, entry: &Descriptor) -> Result<(), RegistryError> {
        let bytes = self.store.read_document(entry)?;
        if let Document::Manifest(manifest) = Document::parse(&bytes, &entry.media_type)? {
            for blob in manifest.layers.iter().chain([&manifest.config]) {
                self.blob(blob.digest, blob.size)?;
            }
        }
        Ok(())
    }

    fn blob(&self, digest: Digest, size: u64) -> Result<(), RegistryError> {
        let path = self.remote.path();
        let url = self.session.url(&format!("{path}/blobs/{digest}"));
        let there = self.session.http.with_retries(|_| {
            let response = self.session.request(self.purpose(), &Method::HEAD, &url, &[], Payload::None)?;
            Ok(response.status() == 200)
        })?;
        if there {
            return Ok(());
        }
        let file = self.store.open_blob(digest)?;
        let mut task =
            self.reporter.start(&format!("pushing {} {}", self.remote.repository(), &digest.hex()[..12]), Some(size));
        let start = self.session.url(&format!("{path}/blobs/uploads/"));
        self.session.http.with_retries(|_| {
            let response = self.send(&Method::POST, &start, &[], Payload::Bytes(b""), 202)?;
            let location = header(&response, "location").and_then(|location| join(&start, location));
            let location = location.ok_or_else(|| RegistryError::Answer {
                url: shown(&start),
                rule: "does not say where to upload to".to_owned(),
            })?;
            let separator = if location.contains('?') { '&' } else { '?' };
            let target = format!("{location}{separator}digest={digest}");
            let headers = [("Content-Type", "application/octet-stream".to_owned())];
            self.send(&Method::PUT, &target, &headers, Payload::File(&file), 201).map(drop)
        })?;
        task.advance(size);
        Ok(())
    }

    fn document(&self, bytes: &[u8], descriptor: &Descriptor, tag: &str) -> Result<(), RegistryError> {
        let url = self.session.url(&format!("{}/manifests/{tag}", self.remote.path()));
        let headers = [("Content-Type", descriptor.media_type.clone())];
        self.session
            .http
            .with_retries(|_| self.send(&Method::PUT, &url, &headers, Payload::Bytes(bytes), 201).map(drop))
    }

    fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&'static str, String)],
        payload: Payload,
        wanted: u16,
    ) -> Result<ureq::http::Response<ureq::Body>, Failure> {
        let response = self.session.request(self.purpose(), method, url, headers, payload)?;
        if response.status().as_u16() == wanted {
            return Ok(response);
        }
        let call = Call { method: method.clone(), url, headers: &[], authorization: None, payload: Payload::None };
        Err(status_error(&call, response).into())
    }
}
