//! From what a user wrote to an image in the store: which places are searched, in which order, and what to say when
//! none has it.
//!
//! A name is looked for in the container engine (`--docker`), in the store (unless `--pull`), in the registry and its
//! mirrors (unless `--offline`). A store hit makes no network request. A prefix names one place, and only that is asked.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::archive::{self, ArchiveError, ArchiveLimits};
use crate::engine::{Engine, EngineError};
use crate::manifest::{Descriptor, ManifestError};
use crate::registry::{Registry, RegistryError, RegistryOptions, chain};
use crate::{Image, ImageSource, Platform, Reference, ReferenceError, Reporter, Store, StoreError};

/// How many images are fetched at a time.
const CONCURRENT_IMAGES: usize = 3;

/// Where images may come from.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Ask the registry even for what the store has (`--pull`).
    pub pull: bool,
    /// Ask no registry (`--offline`).
    pub offline: bool,
    /// Ask the container engine first (`--docker`); without meaning together with `pull`.
    pub docker: bool,
    /// What the image is to run on.
    pub platform: Platform,
    /// Where relative paths in `oci:` and the like start.
    pub base: PathBuf,
    /// Mirrors, certificates, credentials.
    pub registry: RegistryOptions,
    /// The engine's socket; none for `DOCKER_HOST` or the usual place.
    pub engine: Option<PathBuf>,
    /// Bounds for archives.
    pub limits: ArchiveLimits,
}

impl FetchOptions {
    /// Defaults: store, then registry, with this user's Docker credentials.
    #[must_use]
    pub fn new(platform: Platform, base: impl Into<PathBuf>) -> Self {
        Self {
            pull: false,
            offline: false,
            docker: false,
            platform,
            base: base.into(),
            registry: RegistryOptions::from_env(),
            engine: None,
            limits: ArchiveLimits::default(),
        }
    }
}

/// A place that was searched in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which, such as `the image store at /x`.
    pub place: String,
    /// Why it did not help.
    pub reason: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.reason)
    }
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// What was written is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// No place has it; the places in the order in which they were searched.
    #[error("the image `{reference}` was not found{}", places(.searched))]
    NotFound {
        /// What was looked for.
        reference: String,
        /// Where.
        searched: Vec<Place>,
        /// Whether each place that was asked says that it has no such image, rather than that it could not answer.
        absent: bool,
        /// What may help.
        hint: Option<String>,
    },
    /// The store has it under this name, but not for this platform.
    #[error("the image `{reference}` in the image store does not fit")]
    Platform {
        /// What was looked for.
        reference: String,
        /// What it offers.
        #[source]
        source: Box<ManifestError>,
    },
    /// An archive or a layout.
    #[error("the image `{reference}` cannot be read")]
    Archive {
        /// As it was written.
        reference: String,
        /// Why.
        #[source]
        source: Box<ArchiveError>,
    },
    /// A container engine that was named explicitly.
    #[error("the image `{reference}` cannot be had from the container engine")]
    Engine {
        /// What was looked for.
        reference: String,
        /// Why.
        #[source]
        source: Box<EngineError>,
    },
    /// The store itself fails.
    #[error(transparent)]
    Store(Box<StoreError>),
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

fn places(searched: &[Place]) -> String {
    searched.iter().map(|place| format!("\n  {place}")).collect()
}

impl FetchError {
    /// What helps, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Reference(error) => error.hint(),
            Self::NotFound { hint, .. } => hint.clone(),
            Self::Platform { .. } => Some("`--pull` asks the registry for it again".to_owned()),
            Self::Archive { source, .. } => source.hint(),
            Self::Engine { source, .. } => source.hint(),
            Self::Store(error) => error.hint(),
        }
    }
}

/// Fetches images into a store.
#[derive(Debug)]
pub struct Fetcher<'s> {
    store: &'s Store,
    options: FetchOptions,
    registry: Registry,
}

impl<'s> Fetcher<'s> {
    /// A fetcher; it connects to nothing until it has to.
    #[must_use]
    pub fn new(store: &'s Store, options: FetchOptions) -> Self {
        let registry = Registry::new(options.registry.clone());
        Self { store, options, registry }
    }

    /// The registry client that it uses.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Fetches one image, relative paths starting at the options' base.
    ///
    /// # Errors
    ///
    /// Every place that was searched, with its reason.
    pub fn fetch(&self, reference: &str, reporter: &dyn Reporter) -> Result<Image, FetchError> {
        let source = ImageSource::parse(reference, &self.options.base)?;
        let (store, platform, limits) = (self.store, &self.options.platform, &self.options.limits);
        let archive = |source| FetchError::Archive { reference: reference.to_owned(), source: Box::new(source) };
        let named = |mut image: Image| {
            // As the user wrote it: a path of this machine is no provenance.
            image.name = reference.to_owned();
            image
        };
        match source {
            ImageSource::Named(reference) => self.named(&reference, reporter),
            ImageSource::OciDirectory { path, tag } => {
                archive::from_oci_directory(store, &path, tag.as_deref(), platform).map(named).map_err(archive)
            }
            ImageSource::OciArchive { path, tag } => {
                archive::from_oci_archive(store, &path, tag.as_deref(), platform, limits).map(named).map_err(archive)
            }
            ImageSource::DockerArchive { path, reference } => {
                archive::from_docker_archive(store, &path, reference.as_ref(), platform, limits)
                    .map(named)
                    .map_err(archive)
            }
            ImageSource::DockerDaemon(reference) => self
                .engine()
                .and_then(|engine| engine.fetch(store, &reference, platform, reporter))
                .map_err(|source| FetchError::Engine { reference: reference.to_string(), source: Box::new(source) }),
        }
    }

    /// Fetches several images, some at a time, each only once; the answers are in the order of the question.
    #[must_use]
    pub fn fetch_all(&self, references: &[String], reporter: &dyn Reporter) -> Vec<Result<Image, FetchError>> {
        let mut unique: Vec<&str> = Vec::new();
        for reference in references {
            if !unique.contains(&reference.as_str()) {
                unique.push(reference);
            }
        }
        let next = AtomicUsize::new(0);
        let found = Mutex::new(BTreeMap::new());
        let work = || {
            while let Some(reference) = unique.get(next.fetch_add(1, Ordering::Relaxed)) {
                let image = self.fetch(reference, reporter);
                found.lock().unwrap_or_else(|e| e.into_inner()).insert(*reference, image);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..CONCURRENT_IMAGES.min(unique.len()) {
                scope.spawn(work);
            }
            work();
        });
        let mut found = found.into_inner().unwrap_or_else(|e| e.into_inner());
        let mut images: Vec<Option<Result<Image, FetchError>>> = Vec::new();
        for (at, reference) in references.iter().enumerate() {
            let first = references.iter().position(|r| r == reference).unwrap_or(at);
            let image = match found.remove(reference.as_str()) {
                Some(image) => Some(image),
                None => match images.get(first) {
                    Some(Some(Ok(image))) => Some(Ok(image.clone())),
                    // The first one tells the error; the same again tells where it was first asked.
                    _ => Some(self.fetch(reference, reporter)),
                },
            };
            images.push(image);
        }
        images.into_iter().flatten().collect()
    }

    /// Fetches all platforms of an image from its registry and names it (`cache pull --all-platforms`).
    ///
    /// # Errors
    ///
    /// It is no name, or the registry does not give it or may not be asked.
    pub fn pull_all(&self, name: &str, reporter: &dyn Reporter) -> Result<(Reference, Vec<Image>), FetchError> {
        let reference = only_a_name(name)?;
        if self.options.offline {
            return Err(not_asked(&reference, Vec::new()));
        }
        let pulled = self.registry.pull_all(self.store, &reference, reporter);
        let (root, images) = pulled.map_err(|error| {
            let hint = error.pull_hint(&reference, false);
            nowhere(&reference, Vec::new(), error, hint)
        })?;
        self.name(&reference, &root)?;
        Ok((reference, images))
    }

    fn engine(&self) -> Result<Engine, EngineError> {
        match &self.options.engine {
            Some(socket) => Ok(Engine::new(socket.clone())),
            None => Engine::from_env(),
        }
    }

    fn named(&self, reference: &Reference, reporter: &dyn Reporter) -> Result<Image, FetchError> {
        let options = &self.options;
        let mut searched = Vec::new();
        // Who asks for the engine wants to know first why that failed.
        let mut hint = None;
        if options.docker && !options.pull {
            let engine = self.engine();
            match engine.and_then(|engine| engine.fetch(self.store, reference, &options.platform, reporter)) {
                Ok(image) => return Ok(Image { name: reference.to_string(), ..image }),
                Err(error) => {
                    hint = error.hint();
                    searched.push(Place { place: "the container engine".to_owned(), reason: chain(&error) });
                }
            }
        }
        let mut incomplete = None;
        if !options.pull {
            let place = format!("the image store at {}", self.store.root().display());
            match self.stored(reference)? {
                Stored::Complete(image) => return Ok(*image),
                Stored::Nothing => searched.push(Place { place, reason: "it has no such name".to_owned() }),
                Stored::Incomplete(root) => {
                    let reason = format!("it has the name, but not the image for {}", options.platform);
                    searched.push(Place { place, reason });
                    incomplete = Some(root);
                }
            }
        }
        if options.offline {
            return Err(not_asked(reference, searched));
        }
        self.pull(reference, incomplete, reporter).map_err(|error| {
            let engine = !options.docker && !options.pull;
            let hint = hint.or_else(|| error.pull_hint(reference, engine));
            nowhere(reference, searched, error, hint)
        })
    }

    fn stored(&self, reference: &Reference) -> Result<Stored, FetchError> {
        let Some(root) = self.store.find(reference)? else { return Ok(Stored::Nothing) };
        match self.store.image(&reference.to_string(), &root, &self.options.platform) {
            Ok(image) => Ok(Stored::Complete(Box::new(image))),
            // Another platform was pulled before, or something went missing: the rest can still come.
            Err(StoreError::Missing { .. } | StoreError::Digest { .. } | StoreError::Size { .. }) => {
                Ok(Stored::Incomplete(root))
            }
            // The name stands for something that does not serve here. What a registry has under the same name may be
            // something else entirely, so it is not asked behind the user's back.
            Err(StoreError::Manifest(source @ ManifestError::Platform { .. })) => {
                Err(FetchError::Platform { reference: reference.to_string(), source: Box::new(source) })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn pull(
        &self,
        reference: &Reference,
        incomplete: Option<Descriptor>,
        reporter: &dyn Reporter,
    ) -> Result<Image, RegistryError> {
        let platform = &self.options.platform;
        if let Some(root) = incomplete {
            // What the name stood for is completed rather than replaced, so that two platforms built one after the
            // other are of one version.
            let pinned = reference.at(root.digest);
            if let Ok((_, image)) = self.registry.pull(self.store, &pinned, platform, reporter) {
                return Ok(Image { name: reference.to_string(), ..image });
            }
        }
        let (root, image) = self.registry.pull(self.store, reference, platform, reporter)?;
        self.name(reference, &root)?;
        Ok(image)
    }

    /// Names what was pulled, so that `gc` keeps it; a digest's tag says nothing, so it is left out.
    fn name(&self, reference: &Reference, root: &Descriptor) -> Result<(), StoreError> {
        match reference.digest() {
            Some(digest) => self.store.tag(&reference.at(digest), root),
            None => self.store.tag(reference, root),
        }
    }
}

/// The error of a build that may not ask the registry.
fn not_asked(reference: &Reference, mut searched: Vec<Place>) -> FetchError {
    let reason = "not asked, because of --offline".to_owned();
    searched.push(Place { place: registry_of(reference), reason });
    let hint = Some(format!("fetch it once with `bootwright cache pull {reference}`, or do without `--offline`"));
    FetchError::NotFound { reference: reference.to_string(), searched, absent: true, hint }
}

/// The error when the registry and its mirrors, asked after the places that were searched, do not give it either.
fn nowhere(reference: &Reference, mut searched: Vec<Place>, error: RegistryError, hint: Option<String>) -> FetchError {
    let absent = error.is_absence();
    match error {
        RegistryError::Store(error) if matches!(*error, StoreError::Io { .. }) => return FetchError::Store(error),
        RegistryError::Everywhere { tried, .. } => {
            searched.extend(tried.into_iter().map(|(place, error)| Place { place, reason: chain(&error) }));
        }
        other => searched.push(Place { place: registry_of(reference), reason: chain(&other) }),
    }
    FetchError::NotFound { reference: reference.to_string(), searched, absent, hint }
}

fn registry_of(reference: &Reference) -> String {
    format!("the registry of {}", reference.domain())
}

enum Stored {
    Complete(Box<Image>),
    Incomplete(Descriptor),
    Nothing,
}

fn only_a_name(text: &str) -> Result<Reference, ReferenceError> {
    match ImageSource::parse(text, Path::new("."))? {
        ImageSource::Named(reference) => Ok(reference),
        _ => Err(ReferenceError { text: text.to_owned(), rule: "only a registry's images can be pulled".to_owned() }),
    }
}
