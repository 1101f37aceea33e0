//! Mirrors, and the URLs under which a registry is asked.
//!
//! `--mirror [REG=]URL` as LinuxKit takes it: without `REG=` (or with `*=`) for every registry; `docker.io` also under its
//! other names. A registry is asked at its own mirrors, then at those for all, then itself. The URL may have a path,
//! which stands before `/v2/`, or instead of it where it begins with `/v2`, as proxy projects want it.

use std::fmt;
use std::str::FromStr;

/// The host that serves what `docker.io` names.
pub(crate) const HUB: &str = "registry-1.docker.io";

/// One mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    registry: Option<String>,
    endpoint: Endpoint,
}

/// A text that is not a mirror.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a mirror of the form [REGISTRY=]URL: {rule}")]
pub struct MirrorError {
    text: String,
    rule: String,
}

/// Where a registry's API is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// `http` or `https`; none for a registry on loopback that has not been asked yet.
    pub(crate) scheme: Option<&'static str>,
    /// Host and port.
    pub(crate) authority: String,
    /// Path up to and without the last slash: `/v2` or what a mirror says.
    pub(crate) path: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.scheme, self.path.as_str()) {
            (None | Some("https"), "/v2") => f.write_str(&self.authority),
            (scheme, path) => write!(f, "{}://{}{path}", scheme.unwrap_or("https"), self.authority),
        }
    }
}

impl FromStr for Mirror {
    type Err = MirrorError;

    fn from_str(text: &str) -> Result<Self, MirrorError> {
        let error = |rule: &str| {
            // What stands before an `@` may be a password.
            let text = text.split_once('@').map_or(text.to_owned(), |(_, tail)| format!("…@{tail}"));
            MirrorError { text, rule: rule.to_owned() }
        };
        let (registry, url) = match text.split_once("://") {
            None => return Err(error("the URL starts with http:// or https://")),
            Some((head, _)) => match head.split_once('=') {
                Some((registry, _)) => (Some(registry), &text[registry.len() + 1..]),
                None => (None, text),
            },
        };
        let registry = match registry {
            None | Some("*") => None,
            Some("") => return Err(error("nothing stands before the `=`")),
            Some(name) => Some(canonical(name).to_owned()),
        };
        let (scheme, rest) = match url.split_once("://") {
            Some(("http", rest)) => ("http", rest),
            Some(("https", rest)) => ("https", rest),
            _ => return Err(error("the URL starts with http:// or https://")),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(error("credentials belong into Docker's config.json, not into the URL"));
        }
        if authority.is_empty() || path.contains(['?', '#']) || !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(error("the URL is a host, perhaps a port, perhaps a path"));
        }
        let path = path.trim_end_matches('/');
        let path = if path == "/v2" || path.starts_with("/v2/") { path.to_owned() } else { format!("{path}/v2") };
        Ok(Self { registry, endpoint: Endpoint { scheme: Some(scheme), authority: authority.to_owned(), path } })
    }
}

fn canonical(domain: &str) -> &str {
    match domain {
        "index.docker.io" | HUB => "docker.io",
        other => other,
    }
}

/// Where to ask for a domain's images, in order.
#[must_use]
pub fn endpoints(domain: &str, mirrors: &[Mirror]) -> Vec<Endpoint> {
    let domain = canonical(domain);
    let own = mirrors.iter().filter(|m| m.registry.as_deref() == Some(domain));
    let all = mirrors.iter().filter(|m| m.registry.is_none());
    let mut endpoints: Vec<Endpoint> = own.chain(all).map(|m| m.endpoint.clone()).collect();
    endpoints.push(origin(domain));
    endpoints
}

/// The registry itself.
#[must_use]
pub fn origin(domain: &str) -> Endpoint {
    let authority = if canonical(domain) == "docker.io" { HUB } else { domain };
    let scheme = if is_loopback(authority) { None } else { Some("https") };
    Endpoint { scheme, authority: authority.to_owned(), path: "/v2".to_owned() }
}

/// Whether a host (with or without a port) is this machine.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_mirrors_come_first_then_those_for_all_then_the_registry() {
        let mirrors =
            ["https://all.example", "index.docker.io=http://hub.example:5000/cache/", "*=https://any.example/v2/proxy"]
                .map(|m| m.parse::<Mirror>().unwrap());
        let urls = |domain| endpoints(domain, &mirrors).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            urls("docker.io"),
            ["http://hub.example:5000/cache/v2", "all.example", "https://any.example/v2/proxy", "registry-1.docker.io"]
        );
        assert_eq!(urls("quay.io"), ["all.example", "https://any.example/v2/proxy", "quay.io"]);
    }

    #[test]
    fn bad_mirrors_are_refused_and_their_passwords_not_repeated() {
        for (text, want) in [
            ("example.com", "starts with http"),
            ("docker.io=ftp://x", "starts with http"),
            ("=https://x", "before the `=`"),
            ("https://", "is a host"),
            ("https://x/?a", "is a host"),
            ("https://user:secret@x", "credentials"),
        ] {
            let error = text.parse::<Mirror>().unwrap_err().to_string();
            assert!(error.contains(want) && !error.contains("secret"), "{text}: {error}");
        }
    }

    #[test]
    fn only_this_machine_is_asked_without_tls() {
        for (domain, scheme) in [
            ("localhost:5000", None),
            ("127.0.0.1:80", None),
            ("127.9.9.9", None),
            ("[::1]:5000", None),
            ("localhost.example.com", Some("https")),
            ("10.0.0.1:5000", Some("https")),
            ("docker.io", Some("https")),
        ] {
            assert_eq!(origin(domain).scheme, scheme, "{domain}");
        }
    }
}
