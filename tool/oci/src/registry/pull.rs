//! Pulling: the root document, the documents of the wanted platform, then its layers, several at a time.
//!
//! Only what the platform needs is downloaded; the index is kept whole. A blob that breaks off goes on where it stopped
//! (`Range`), into the same hash.

use std::io::{self, Read, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use ureq::http::Method;

use super::http::{Call, Failure, Payload, header, read_bounded, shown, status_error};
use super::mirror::endpoints;
use super::session::{Purpose, Session};
use super::{Registry, RegistryError};
use crate::manifest::{DOCKER_INDEX, DOCKER_MANIFEST, DOCUMENT_MAX, Descriptor, Document, OCI_INDEX, OCI_MANIFEST};
use crate::resolve::resolve;
use crate::{Digest, Image, Incoming, Layer, Platform, Reference, Reporter, Store, StoreError};

/// How many blobs of one image are fetched at a time.
const CONCURRENT_BLOBS: usize = 3;
/// Bytes that an attempt must bring so that it does not count as failed.
const PROGRESS: u64 = 64 << 10;

impl Registry {
    /// Fetches an image of one platform into the store: from the mirrors, then the registry, whoever has it first.
    /// Nothing is named; the caller does that with the descriptor, which is the root's (an index or a manifest).
    ///
    /// # Errors
    ///
    /// Every place and what it said.
    pub fn pull(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
        reporter: &dyn Reporter,
    ) -> Result<(Descriptor, Image), RegistryError> {
        self.anywhere(reference, reporter, |session| {
            let root = root(session, store, reference)?;
            let image = image(session, store, reference, &root, platform, reporter)?;
            Ok((root, image))
        })
    }

    /// Fetches the images of all platforms that an index offers.
    ///
    /// # Errors
    ///
    /// As [`Registry::pull`].
    pub fn pull_all(
        &self,
        store: &Store,
        reference: &Reference,
        reporter: &dyn Reporter,
    ) -> Result<(Descriptor, Vec<Image>), RegistryError> {
        self.anywhere(reference, reporter, |session| {
            let descriptor = root(session, store, reference)?;
            let platforms = match Document::parse(&store.read_document(&descriptor)?, &descriptor.media_type)? {
                Document::Index(index) => index.offers(),
                Document::Manifest(manifest) => {
                    document(session, store, reference, &manifest.config)?;
                    store.claimed_platforms(&descriptor)?
                }
            };
            let fetch = |platform| image(session, store, reference, &descriptor, platform, reporter);
            let images = platforms.iter().map(fetch).collect::<Result<_, _>>()?;
            Ok((descriptor, images))
        })
    }

    /// What a reference stands for in the registry itself, without fetching anything; none if it is not there.
    ///
    /// # Errors
    ///
    /// The registry cannot be asked.
    pub fn digest(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        let session = self.session(&super::origin(reference.domain()))?;
        head(&session, reference, &tag_or_digest(reference), false)
    }

    fn anywhere<T>(
        &self,
        reference: &Reference,
        reporter: &dyn Reporter,
        fetch: impl Fn(&Session) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let mut tried = Vec::new();
        for endpoint in endpoints(reference.domain(), &self.options.mirrors) {
            match self.session(&endpoint).and_then(|session| fetch(&session)) {
                Ok(done) => {
                    if !tried.is_empty() {
                        reporter.note(&format!("`{reference}` came from {endpoint}"));
                    }
                    return Ok(done);
                }
                // Our own disk is not better elsewhere.
                Err(RegistryError::Store(error)) if matches!(*error, StoreError::Io { .. }) => {
                    return Err(RegistryError::Store(error));
                }
                Err(error) => tried.push((endpoint.to_string(), error)),
            }
        }
        match tried.pop() {
            Some((_, error)) if tried.is_empty() => Err(error),
            last => {
                tried.extend(last);
                Err(RegistryError::Everywhere { reference: reference.to_string(), tried })
            }
        }
    }
}

pub(super) fn accept() -> (&'static str, String) {
    ("Accept", [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST].join(", "))
}

fn tag_or_digest(reference: &Reference) -> String {
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.unwrap_or("latest").to_owned(),
    }
}

/// Asks for the digest of a tag or whether a digest is there.
pub(super) fn head(
    session: &Session,
    reference: &Reference,
    tag: &str,
    push: bool,
) -> Result<Option<Digest>, RegistryError> {
    let url = session.url(&format!("{}/manifests/{tag}", reference.path()));
    let purpose = Purpose { repository: reference.path(), push };
    session.http.with_retries(|_| {
        let response = session.request(purpose, &Method::HEAD, &url, &[accept()], Payload::None)?;
        match response.status().as_u16() {
            200 => {
                let digest = header(&response, "docker-content-digest").and_then(|d| d.parse().ok());
                let rule = || "does not say the digest of what it has".to_owned();
                digest.map(Some).ok_or_else(|| RegistryError::Answer { url: shown(&url), rule: rule() }.into())
            }
            404 => Ok(None),
            status => Err(RegistryError::Status { url: shown(&url), status, detail: String::new() }.into()),
        }
    })
}

/// Fetches the document that a reference names.
fn root(session: &Session, store: &Store, reference: &Reference) -> Result<Descriptor, RegistryError> {
    if let Some(digest) = reference.digest()
        && let Some(found) = store.find_digest(digest)?
    {
        return Ok(found);
    }
    let purpose = Purpose { repository: reference.path(), push: false };
    let (bytes, descriptor) = manifest(session, purpose, reference, &tag_or_digest(reference))?;
    store.put_bytes(&bytes)?;
    Ok(descriptor)
}

/// Fetches an index or a manifest by tag or digest, whole and checked.
pub(super) fn manifest(
    session: &Session,
    purpose: Purpose,
    reference: &Reference,
    tag: &str,
) -> Result<(Vec<u8>, Descriptor), RegistryError> {
    let url = session.url(&format!("{}/manifests/{tag}", reference.path()));
    session.http.with_retries(|_| {
        let headers = [accept()];
        let response = session.request(purpose, &Method::GET, &url, &headers, Payload::None)?;
        match response.status().as_u16() {
            200 => {}
            404 => {
                let (endpoint, reference) = (session.name().to_owned(), reference.to_string());
                return Err(RegistryError::NotFound { endpoint, reference }.into());
            }
            _ => {
                let call =
                    Call { method: Method::GET, url: &url, headers: &[], authorization: None, payload: Payload::None };
                return Err(status_error(&call, response).into());
            }
        }
        let media_type = header(&response, "content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim().to_owned();
        let said = header(&response, "docker-content-digest").map(str::to_owned);
        let bytes = read_bounded(&url, response, DOCUMENT_MAX)?;
        let sent = Digest::of(&bytes);
        let wanted = if tag.contains(':') { Some(tag.to_owned()) } else { said };
        if let Some(said) = wanted.filter(|said| *said != sent.to_string()) {
            return Err(RegistryError::Lie { url: shown(&url), said, sent }.into());
        }
        let document = Document::parse(&bytes, &media_type)?;
        let descriptor = Descriptor::new(document.media_type(), sent, bytes.len() as u64);
        Ok((bytes, descriptor))
    })
}

/// Fetches what a platform needs below a root.
fn image(
    session: &Session,
    store: &Store,
    reference: &Reference,
    root: &Descriptor,
    platform: &Platform,
    reporter: &dyn Reporter,
) -> Result<Image, RegistryError> {
    let found =
        resolve::<RegistryError>(root, platform, &mut |descriptor| document(session, store, reference, descriptor))?;
    let image = found.into_image(&reference.to_string());
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..CONCURRENT_BLOBS.min(image.layers.len()) {
            scope.spawn(|| {
                while let Some(layer) = image.layers.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = self::layer(session, store, reference, layer, reporter) {
                        // The others need not begin what nobody will use.
                        next.store(image.layers.len(), Ordering::Relaxed);
                        failed.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(error);
                    }
                }
            });
        }
    });
    match failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
        Some(error) => Err(error),
        None => Ok(image),
    }
}

/// An index, manifest or configuration below the root: from the store, or fetched into it.
fn document(
    session: &Session,
    store: &Store,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, RegistryError> {
    let (digest, size) = (descriptor.digest, descriptor.size);
    if size > DOCUMENT_MAX {
        return Err(crate::manifest::ManifestError::TooLarge { digest, size }.into());
    }
    store.once(digest, size, || {
        if descriptor.is_index() || descriptor.is_manifest() {
            let purpose = Purpose { repository: reference.path(), push: false };
            let (bytes, _) = manifest(session, purpose, reference, &digest.to_string())?;
            store.put_expected(digest, size, &bytes[..])?;
            return Ok(());
        }
        blob(session, store, reference, digest, size, &mut |_| {})
    })?;
    Ok(store.read_document(descriptor)?)
}

fn layer(
    session: &Session,
    store: &Store,
    reference: &Reference,
    layer: &Layer,
    reporter: &dyn Reporter,
) -> Result<(), RegistryError> {
    store.once(layer.digest, layer.size, || {
        let what = format!("{} {}", reference.repository(), &layer.digest.hex()[..12]);
        let mut task = reporter.start(&what, Some(layer.size));
        blob(session, store, reference, layer.digest, layer.size, &mut |bytes| task.advance(bytes))
    })
}

/// Fetches a blob into the store, going on after a broken connection.
fn blob(
    session: &Session,
    store: &Store,
    reference: &Reference,
    digest: Digest,
    size: u64,
    advance: &mut dyn FnMut(u64),
) -> Result<(), RegistryError> {
    let url = session.url(&format!("{}/blobs/{digest}", reference.path()));
    let mut incoming = store.incoming(Some((digest, size)))?;
    session.http.with_retries(|progress| {
        let before = incoming.size();
        let result = attempt(session, reference, &url, &mut incoming, size, advance);
        *progress = incoming.size() - before >= PROGRESS;
        result
    })?;
    let wrong = |source| RegistryError::Blob { endpoint: session.name().to_owned(), source: Box::new(source) };
    incoming.commit().map(drop).map_err(|error| match error {
        StoreError::Io { .. } => error.into(),
        other => wrong(other),
    })
}

fn attempt(
    session: &Session,
    reference: &Reference,
    url: &str,
    incoming: &mut Incoming,
    size: u64,
    advance: &mut dyn FnMut(u64),
) -> Result<(), Failure> {
    let start = incoming.size();
    if start == size && size > 0 {
        return Ok(());
    }
    let mut headers = Vec::new();
    if start > 0 {
        headers.push(("Range", format!("bytes={start}-")));
    }
    let purpose = Purpose { repository: reference.path(), push: false };
    let response = session.request(purpose, &Method::GET, url, &headers, Payload::None)?;
    let answer = |rule: &str| RegistryError::Answer { url: shown(url), rule: rule.to_owned() };
    let skip = match response.status().as_u16() {
        // A server that knows no ranges begins again; what we have is read past.
        200 => start,
        206 if start > 0 => {
            let from = header(&response, "content-range").and_then(|v| v.strip_prefix("bytes "));
            let from = from.and_then(|v| v.split('-').next()).and_then(|v| v.trim().parse::<u64>().ok());
            if from != Some(start) {
                return Err(answer("sends another range than it was asked for").into());
            }
            0
        }
        404 => return Err(answer("has not the blob that its own manifest names").into()),
        _ => {
            let call = Call { method: Method::GET, url, headers: &[], authorization: None, payload: Payload::None };
            return Err(status_error(&call, response).into());
        }
    };
    let broken = |source| Failure::passing(RegistryError::Broken { url: shown(url), source });
    let mut body = response.into_body().into_reader();
    let skipped = io::copy(&mut body.by_ref().take(skip), &mut io::sink()).map_err(broken)?;
    if skipped < skip {
        return Err(broken(io::ErrorKind::UnexpectedEof.into()));
    }
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        incoming.write_all(&buffer[..read]).map_err(|error| match error.downcast::<StoreError>() {
            Ok(source) => {
                Failure::Final(RegistryError::Blob { endpoint: session.name().to_owned(), source: Box::new(source) })
            }
            Err(error) => Failure::Final(StoreError::Io { path: "tmp".into(), source: error }.into()),
        })?;
        advance(read as u64);
    }
    if incoming.size() < size {
        // Either the connection was closed early or the size is a lie; trying again tells.
        let source = StoreError::Size { digest: incoming.wanted(), expected: size, actual: incoming.size() };
        return Err(Failure::passing(RegistryError::Blob {
            endpoint: session.name().to_owned(),
            source: Box::new(source),
        }));
    }
    Ok(())
}
