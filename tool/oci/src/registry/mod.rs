//! A registry client: OCI distribution-spec 1.1, synchronous, on ureq and rustls.
//!
//! Layers of it, from below: `http` sends one request (redirects, retries, timeouts), `session` adds the authorization
//! that an endpoint wants, `pull` and `push` speak the API. Every byte that comes in is hashed and counted on its way
//! into the store, so that a mirror or a cache in between needs no trust; secrets go nowhere but into headers.

mod advice;
mod challenge;
mod credentials;
mod http;
mod mirror;
mod pull;
mod push;
mod session;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use challenge::Challenge;
pub use credentials::CredentialError;
pub use mirror::{Endpoint, Mirror, MirrorError, endpoints, origin};
pub use push::{PushOptions, Pushed};
pub use text::fetch_text;

use crate::manifest::ManifestError;
use crate::{Digest, StoreError};
use http::Http;
use session::Session;

/// How registries are reached.
#[derive(Clone, Debug)]
pub struct RegistryOptions {
    /// Where to ask before the registry itself, in order.
    pub mirrors: Vec<Mirror>,
    /// PEM files of further certificate authorities.
    pub ca_files: Vec<PathBuf>,
    /// Docker's `config.json`; none for anonymous only.
    pub docker_config: Option<PathBuf>,
    /// How often a request is tried again after a passing failure.
    pub retries: u32,
    /// The first pause between two attempts; each further one is twice as long, up to 10 s.
    pub pause: Duration,
    /// How long a registry may be silent.
    pub timeout: Duration,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            ca_files: Vec::new(),
            docker_config: None,
            retries: 5,
            pause: Duration::from_millis(250),
            timeout: Duration::from_secs(60),
        }
    }
}

impl RegistryOptions {
    /// The defaults with the Docker configuration of this user: `DOCKER_CONFIG`, else `~/.docker`.
    #[must_use]
    pub fn from_env() -> Self {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".docker"));
        let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
        Self { docker_config: directory.map(|d| d.join("config.json")), ..Self::default() }
    }
}

/// What a registry cannot or does not do.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A text could not be fetched.
    #[error("`{url}` cannot be read: {reason}")]
    Text {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// The network, or TLS.
    #[error("`{url}` cannot be reached")]
    Transport {
        /// What was asked, without its query.
        url: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The connection broke while an answer was read.
    #[error("the connection to `{url}` broke in the middle of an answer")]
    Broken {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An answer that says no.
    #[error("`{url}` answers {status}{}", said(.detail))]
    Status {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// The registry's own words, cut and made printable.
        detail: String,
    },
    /// An answer that makes no sense.
    #[error("`{url}` {rule}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong.
        rule: String,
    },
    /// There is no such image.
    #[error("`{endpoint}` has no `{reference}`")]
    NotFound {
        /// Who was asked.
        endpoint: String,
        /// For what.
        reference: String,
    },
    /// It wants to know who we are.
    #[error("`{endpoint}` wants other credentials for `{repository}` ({used}){}", said(.detail))]
    Unauthorized {
        /// Who was asked.
        endpoint: String,
        /// For what.
        repository: String,
        /// What it was given.
        used: String,
        /// The registry's own words.
        detail: String,
    },
    /// The credentials that are configured cannot be had.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The certificate authorities cannot be read.
    #[error("`{}` holds no certificates that can be read", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Option<std::io::Error>,
    },
    /// The registry says one digest and sends another document.
    #[error("`{url}` says that it sends `{said}`, but sends `{sent}`")]
    Lie {
        /// What was asked.
        url: String,
        /// What it says.
        said: String,
        /// What it is.
        sent: Digest,
    },
    /// A document is wrong, or the platform is not there.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The store refuses what came.
    #[error(transparent)]
    Store(Box<StoreError>),
    /// A blob is not what the manifest says.
    #[error("`{endpoint}` sends a wrong blob")]
    Blob {
        /// Who sent it.
        endpoint: String,
        /// What is wrong with it.
        #[source]
        source: Box<StoreError>,
    },
    /// Every place was tried.
    #[error("`{reference}` cannot be had{}", places(.tried))]
    Everywhere {
        /// What was wanted.
        reference: String,
        /// Each place and what it said, in order.
        tried: Vec<(String, RegistryError)>,
    },
    /// There is nothing to be pushed.
    #[error("`{reference}` cannot be pushed: {rule}")]
    Push {
        /// The image.
        reference: String,
        /// Why.
        rule: String,
    },
}

impl From<StoreError> for RegistryError {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}

fn said(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" and says `{detail}`") }
}

fn places(tried: &[(String, RegistryError)]) -> String {
    tried.iter().map(|(place, error)| format!("\n  from {place}: {}", chain(error))).collect()
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}

impl RegistryError {
    /// What helps, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unauthorized { endpoint, .. } => {
                Some(format!("{}, or check its config.json", advice::login(endpoint)))
            }
            error if error.is_distrust() => {
                Some("if the registry has its own certificate authority, give its PEM file with --cert-file".to_owned())
            }
            Self::Everywhere { tried, .. } => tried.iter().rev().find_map(|(_, error)| error.hint()),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }

    pub(crate) fn is_distrust(&self) -> bool {
        matches!(self, Self::Transport { source, .. } if http::is_distrust(source))
    }

    /// Whether this says that the image is not there, rather than that we could not find out.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Everywhere { tried, .. } => tried.iter().all(|(_, error)| error.is_absence()),
            _ => false,
        }
    }
}

/// The client. It connects to nothing until something is asked for; threads may share it.
pub struct Registry {
    options: RegistryOptions,
    http: Mutex<Option<Arc<Http>>>,
    sessions: Mutex<BTreeMap<String, Arc<Session>>>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Registry {
    /// A client.
    #[must_use]
    pub fn new(options: RegistryOptions) -> Self {
        Self { options, http: Mutex::new(None), sessions: Mutex::new(BTreeMap::new()) }
    }

    fn session(&self, endpoint: &Endpoint) -> Result<Arc<Session>, RegistryError> {
        let key = endpoint.to_string();
        if let Some(session) = self.sessions.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(session));
        }
        let http = {
            // Reading the certificates takes a moment, so only who goes to the network does it, and once.
            let mut http = self.http.lock().unwrap_or_else(PoisonError::into_inner);
            match &*http {
                Some(http) => Arc::clone(http),
                None => Arc::clone(http.insert(Arc::new(Http::new(&self.options)?))),
            }
        };
        let session = Arc::new(Session::connect(http, endpoint, self.options.docker_config.clone())?);
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(sessions.entry(key).or_insert(session)))
    }
}
