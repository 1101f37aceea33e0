//! One HTTP request: timeouts, proxies from the environment, certificates, and trying again.
//!
//! Passing failures (a dropped connection, 408, 429, 5xx) are tried again after a pause that doubles, or that the server
//! names in `Retry-After`. Redirects are left to the caller, who knows which headers may go where.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::Duration;

use ureq::http::{Method, Request, Response};
use ureq::tls::{PemItem, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::credentials::Secret;
use super::mirror::is_loopback;
use super::{RegistryError, RegistryOptions};

const PAUSE_MAX: Duration = Duration::from_secs(10);
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
const DETAIL_MAX: usize = 200;

/// Where systems keep their certificate authorities: Debian, Fedora, Alpine and others.
const SYSTEM_CAS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

#[derive(Debug)]
pub(crate) struct Http {
    direct: Agent,
    proxied: Agent,
    retries: u32,
    pause: Duration,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(crate) enum Payload<'a> {
    None,
    Bytes(&'a [u8]),
    File(&'a File),
}

pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(&'static str, String)],
    pub(crate) authorization: Option<Secret>,
    pub(crate) payload: Payload<'a>,
}

/// Why an attempt failed, and whether another may succeed.
pub(crate) enum Failure {
    Passing { error: RegistryError, after: Option<Duration> },
    Final(RegistryError),
}

impl<E: Into<RegistryError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Final(error.into())
    }
}

impl Failure {
    pub(crate) fn passing(error: RegistryError) -> Self {
        Self::Passing { error, after: None }
    }
}

impl Http {
    pub(crate) fn new(options: &RegistryOptions) -> Result<Self, RegistryError> {
        let tls = TlsConfig::builder().root_certs(roots(&options.ca_files)?).build();
        let builder = || {
            Agent::config_builder()
                .tls_config(tls.clone())
                .http_status_as_error(false)
                .max_redirects(0)
                .user_agent(concat!("bootwright/", env!("CARGO_PKG_VERSION")))
                .timeout_resolve(Some(options.timeout))
                .timeout_connect(Some(options.timeout.min(Duration::from_secs(30))))
                .timeout_recv_response(Some(options.timeout))
                .timeout_per_read(Some(options.timeout))
                .timeout_per_write(Some(options.timeout))
        };
        Ok(Self {
            direct: builder().proxy(None).build().into(),
            proxied: builder().build().into(),
            retries: options.retries,
            pause: options.pause,
        })
    }

    /// Runs an attempt until it succeeds, fails for good, or was tried often enough. An attempt that got further than
    /// the one before says so by `progress` and is not counted.
    pub(crate) fn with_retries<T>(
        &self,
        attempt: impl FnMut(&mut bool) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        self.with_at_most(self.retries, attempt)
    }

    /// As [`Http::with_retries`], but not more than `retries` times.
    pub(crate) fn with_at_most<T>(
        &self,
        retries: u32,
        mut attempt: impl FnMut(&mut bool) -> Result<T, Failure>,
    ) -> Result<T, RegistryError> {
        let mut failed = 0;
        loop {
            let mut progress = false;
            match attempt(&mut progress) {
                Ok(done) => return Ok(done),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing { error, .. }) if !progress && failed >= retries => return Err(error),
                Err(Failure::Passing { after, .. }) => {
                    let pause = self.pause.saturating_mul(1 << failed.min(10)).min(PAUSE_MAX);
                    failed = if progress { 0 } else { failed + 1 };
                    std::thread::sleep(after.map_or(pause, |after| after.min(RETRY_AFTER_MAX)));
                }
            }
        }
    }

    /// Sends one request once. Answers that ask to come back later are failures; all others are answers.
    pub(crate) fn send(&self, call: &Call) -> Result<Response<Body>, Failure> {
        let authority = origin_of(call.url).map_or("", |(_, authority)| authority);
        let agent = if is_loopback(authority) { &self.direct } else { &self.proxied };
        let mut request = Request::builder().method(call.method.clone()).uri(call.url);
        for (name, value) in call.headers {
            request = request.header(*name, value);
        }
        if let Some(authorization) = &call.authorization {
            request = request.header("Authorization", authorization.expose());
        }
        let sent = match call.payload {
            Payload::None => request.body(()).map_err(ureq::Error::from).and_then(|r| agent.run(r)),
            Payload::Bytes(bytes) => request.body(bytes).map_err(ureq::Error::from).and_then(|r| agent.run(r)),
            Payload::File(mut file) => {
                file.rewind().map_err(|e| transport(call.url, e.into()))?;
                request.body(file).map_err(ureq::Error::from).and_then(|r| agent.run(r))
            }
        };
        let response = sent.map_err(|error| match error {
            error if is_distrust(&error) => Failure::Final(transport(call.url, error)),
            ureq::Error::Io(_)
            | ureq::Error::Timeout(_)
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_)
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::BodyStalled => Failure::passing(transport(call.url, error)),
            other => Failure::Final(transport(call.url, other)),
        })?;
        match response.status().as_u16() {
            408 | 429 | 500..=599 => {
                let after =
                    header(&response, "retry-after").and_then(|v| v.trim().parse().ok()).map(Duration::from_secs);
                let error = status_error(call, response);
                Err(Failure::Passing { error, after })
            }
            _ => Ok(response),
        }
    }
}

/// Whether a certificate was not believed. (rustls says so through an I/O error, and its types are not ours.)
pub(crate) fn is_distrust(error: &ureq::Error) -> bool {
    format!("{error:?}").contains("InvalidCertificate")
}

/// Whether TLS was answered by something that is no TLS, as a registry that speaks plain HTTP does.
pub(crate) fn is_plaintext(error: &ureq::Error) -> bool {
    error.to_string().contains("InvalidContentType")
}

/// Whether there is no address for the name. (The standard library has no kind for that.)
pub(crate) fn is_unresolved(error: &ureq::Error) -> bool {
    matches!(error, ureq::Error::HostNotFound) || error.to_string().contains("failed to lookup address")
}

pub(crate) fn transport(url: &str, source: ureq::Error) -> RegistryError {
    RegistryError::Transport { url: shown(url), source: Box::new(source) }
}

/// An URL without its query, which may hold a signature.
pub(crate) fn shown(url: &str) -> String {
    url.split(['?', '#']).next().unwrap_or_default().to_owned()
}

pub(crate) fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name)?.to_str().ok()
}

/// The error for an answer that was not hoped for.
pub(crate) fn status_error(call: &Call, response: Response<Body>) -> RegistryError {
    let status = response.status().as_u16();
    RegistryError::Status { url: shown(call.url), status, detail: detail(response, call.authorization.as_ref()) }
}

/// What a registry says about its refusal: one printable line, nothing that we sent as a secret.
pub(crate) fn detail(response: Response<Body>, authorization: Option<&Secret>) -> String {
    let mut bytes = Vec::new();
    // A body that breaks off says less, but the status still stands.
    let _ = response.into_body().into_reader().take(64 << 10).read_to_end(&mut bytes);
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(&bytes) else { return String::new() };
    let error = &value["errors"][0];
    let text = [&error["message"], &error["code"], &value["details"], &value["message"]]
        .iter()
        .find_map(|v| v.as_str().filter(|s| !s.is_empty()))
        .unwrap_or_default();
    let secret = authorization.and_then(|a| a.expose().split_once(' ')).map(|(_, secret)| secret);
    if secret.is_some_and(|secret| text.contains(secret)) {
        return String::new();
    }
    text.chars().map(|c| if c.is_control() || c == '`' { ' ' } else { c }).take(DETAIL_MAX).collect()
}

/// Reads a small body whole.
pub(crate) fn read_bounded(url: &str, response: Response<Body>, limit: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = response.into_body().into_reader().take(limit + 1).read_to_end(&mut bytes);
    read.map_err(|source| Failure::passing(RegistryError::Broken { url: shown(url), source }))?;
    if bytes.len() as u64 > limit {
        let rule = format!("sends more than the {limit} bytes that are read");
        return Err(RegistryError::Answer { url: shown(url), rule }.into());
    }
    Ok(bytes)
}

/// Scheme and authority of an URL.
pub(crate) fn origin_of(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    Some((scheme, &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())]))
}

/// Resolves a `Location` against the URL that gave it.
pub(crate) fn join(base: &str, location: &str) -> Option<String> {
    let (scheme, authority) = origin_of(base)?;
    if location.starts_with("http://") || location.starts_with("https://") {
        return Some(location.to_owned());
    }
    if let Some(rest) = location.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if location.starts_with('/') {
        return Some(format!("{scheme}://{authority}{location}"));
    }
    let path = shown(base);
    let directory = &path[..path.rfind('/')?];
    Some(format!("{directory}/{location}"))
}

/// The system's certificate authorities and the given ones; Mozilla's where the system has none.
fn roots(files: &[std::path::PathBuf]) -> Result<RootCerts, RegistryError> {
    let mut certificates = Vec::new();
    let environment = std::env::var_os("SSL_CERT_FILE");
    let system = environment.iter().map(Path::new).chain(SYSTEM_CAS.iter().map(Path::new)).find(|p| p.exists());
    if let Some(system) = system {
        certificates.extend(pem(system).unwrap_or_default());
    }
    if certificates.is_empty() && files.is_empty() {
        return Ok(RootCerts::WebPki);
    }
    for file in files {
        let found = pem(file).map_err(|e| RegistryError::Authority { path: file.clone(), source: Some(e) })?;
        if found.is_empty() {
            return Err(RegistryError::Authority { path: file.clone(), source: None });
        }
        certificates.extend(found);
    }
    Ok(RootCerts::from(certificates))
}

fn pem(path: &Path) -> io::Result<Vec<ureq::tls::Certificate<'static>>> {
    let bytes = fs::read(path)?;
    let items = ureq::tls::parse_pem(&bytes).filter_map(Result::ok);
    Ok(items.filter_map(|item| if let PemItem::Certificate(c) = item { Some(c) } else { None }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_and_queries_are_not_shown() {
        let base = "https://r.example:5000/v2/a/blobs/uploads/?x=1";
        for (location, want) in [
            ("https://cdn.example/x?sig=1", "https://cdn.example/x?sig=1"),
            ("//cdn.example/x", "https://cdn.example/x"),
            ("/v2/y", "https://r.example:5000/v2/y"),
            ("uuid?state=1", "https://r.example:5000/v2/a/blobs/uploads/uuid?state=1"),
        ] {
            assert_eq!(join(base, location).unwrap(), want);
        }
        assert_eq!(shown("https://x/y?token=secret#z"), "https://x/y");
        assert_eq!(origin_of("http://[::1]:80?x"), Some(("http", "[::1]:80")));
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = roots(&[file.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains(&file.path().display().to_string()), "{error}");
        assert!(roots(&["/nonexistent/ca.pem".into()]).is_err());
    }
}
