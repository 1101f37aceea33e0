//! What to do when no registry gives an image: one line, by the answer that tells most. Whoever was asked has said why.

use super::http::{is_plaintext, is_unresolved, origin_of};
use super::{RegistryError, mirror};
use crate::Reference;

impl RegistryError {
    /// What helps who wants to pull an image; `engine` is whether `--docker` could be given and was not.
    pub(crate) fn pull_hint(&self, reference: &Reference, engine: bool) -> Option<String> {
        let engine = if engine { "; if it was built on this machine, give `--docker`" } else { "" };
        match self.telling() {
            Self::NotFound { .. } => Some(format!("{}{engine}", spelling(reference))),
            // Docker Hub and others say so of what they do not have, too.
            Self::Unauthorized { endpoint, .. } => {
                Some(format!("check how it is spelt; if it is private, {}{engine}", login(endpoint)))
            }
            Self::Status { status: 429, .. } => {
                let login = login(&mirror::origin(reference.domain()).authority);
                Some(format!("wait, or {login}, or ask another registry with `--mirror`"))
            }
            error @ Self::Transport { url, source } if !error.is_distrust() => {
                let host = origin_of(url).map_or("", |(_, authority)| authority);
                if is_plaintext(source) {
                    let place = url.trim_start_matches("https://").trim_end_matches('/').trim_end_matches("/v2");
                    return Some(format!(
                        "if it may be asked without encryption, give `--mirror {}=http://{place}`",
                        reference.domain()
                    ));
                }
                let check = match host {
                    mirror::HUB => "this machine's network".to_owned(),
                    _ if is_unresolved(source) => format!("the spelling of `{host}` and this machine's network"),
                    _ => format!("that a registry runs at `{host}` and that no firewall or proxy is in the way"),
                };
                Some(format!(
                    "check {check}; or ask another one with `--mirror`, or bring the image in a file with `bootwright cache import`"
                ))
            }
            other => other.hint(),
        }
    }

    /// Of several places the one whose answer tells most, the registry itself before its mirrors.
    fn telling(&self) -> &Self {
        let Self::Everywhere { tried, .. } = self else { return self };
        let rank = |error: &&Self| match error {
            Self::Transport { source, .. } if is_plaintext(source) => 0,
            error if error.hint().is_some() => 0,
            Self::NotFound { .. } => 1,
            Self::Transport { .. } => 3,
            _ => 2,
        };
        tried.iter().rev().map(|(_, error)| error).min_by_key(rank).unwrap_or(self)
    }
}

/// What to run for credentials. Docker keeps those of its Hub under another name than the host's.
pub(super) fn login(endpoint: &str) -> String {
    match origin_of(endpoint).map_or(endpoint, |(_, authority)| authority) {
        mirror::HUB => "run `docker login`".to_owned(),
        host => format!("run `docker login {host}`"),
    }
}

fn spelling(reference: &Reference) -> &'static str {
    match (reference.digest(), reference.tag()) {
        (Some(_), _) => "check the spelling of its name and the digest",
        (None, Some("latest")) => "check the spelling of its name, and give its tag if it has none called `latest`",
        (None, _) => "check the spelling of its name and tag",
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn absent(endpoint: &str) -> RegistryError {
        RegistryError::NotFound { endpoint: endpoint.into(), reference: "x".into() }
    }

    fn refused(endpoint: &str) -> RegistryError {
        let (repository, used, detail) = ("x".into(), "none".into(), String::new());
        RegistryError::Unauthorized { endpoint: endpoint.into(), repository, used, detail }
    }

    fn status(status: u16) -> RegistryError {
        RegistryError::Status { url: "https://r.example/v2/x".into(), status, detail: String::new() }
    }

    fn transport(url: &str, why: &str) -> RegistryError {
        RegistryError::Transport { url: url.into(), source: Box::new(io::Error::other(why.to_owned()).into()) }
    }

    fn everywhere(errors: [RegistryError; 2]) -> RegistryError {
        let tried = errors.into_iter().map(|error| ("somewhere".to_owned(), error)).collect();
        RegistryError::Everywhere { reference: "x".into(), tried }
    }

    #[test]
    fn each_answer_has_its_advice() {
        const ELSEWHERE: &str =
            "; or ask another one with `--mirror`, or bring the image in a file with `bootwright cache import`";
        let unresolved = "failed to lookup address information: Name or service not known";
        let plaintext = "received corrupt message of type InvalidContentType";
        let pinned = format!("r.example/x@sha256:{}", "0".repeat(64));
        for (reference, error, expected) in [
            ("redis:nope", absent("x"), "check the spelling of its name and tag"),
            ("redis", absent("x"), "check the spelling of its name, and give its tag if it has none called `latest`"),
            (&pinned, absent("x"), "check the spelling of its name and the digest"),
            ("redis", refused(mirror::HUB), "check how it is spelt; if it is private, run `docker login`"),
            (
                "r.example:5000/x",
                refused("http://r.example:5000/v2"),
                "check how it is spelt; if it is private, run `docker login r.example:5000`",
            ),
            ("redis", status(429), "wait, or run `docker login`, or ask another registry with `--mirror`"),
            (
                "r.example/x",
                transport("https://r.example/v2/", unresolved),
                &format!("check the spelling of `r.example` and this machine's network{ELSEWHERE}"),
            ),
            (
                "redis",
                transport("https://registry-1.docker.io/v2/", unresolved),
                &format!("check this machine's network{ELSEWHERE}"),
            ),
            (
                "r.example/x",
                transport("https://r.example/v2/", "Connection refused"),
                &format!(
                    "check that a registry runs at `r.example` and that no firewall or proxy is in the way{ELSEWHERE}"
                ),
            ),
            (
                "r.example:5000/x",
                transport("https://r.example:5000/v2/", plaintext),
                "if it may be asked without encryption, give `--mirror r.example:5000=http://r.example:5000`",
            ),
            (
                "redis",
                transport("https://m.example/cache/v2/", plaintext),
                "if it may be asked without encryption, give `--mirror docker.io=http://m.example/cache`",
            ),
        ] {
            let hint = error.pull_hint(&reference.parse().unwrap(), false);
            assert_eq!(hint.as_deref(), Some(expected), "{reference}: {error}");
        }
        assert_eq!(status(418).pull_hint(&"x".parse().unwrap(), false), None);
    }

    #[test]
    fn what_was_built_here_is_had_from_the_engine() {
        let hint = |error: RegistryError| error.pull_hint(&"app:1".parse().unwrap(), true).unwrap();
        for error in [absent("x"), refused("x")] {
            assert!(hint(error).ends_with("; if it was built on this machine, give `--docker`"));
        }
        assert!(!hint(transport("https://r.example/v2/", "refused")).contains("--docker"));
    }

    #[test]
    fn of_several_answers_the_one_that_can_be_acted_on_counts() {
        let silent = || transport("https://r.example/v2/", "refused");
        for (errors, expected) in [
            ([refused("m.example"), absent("r.example")], "docker login m.example"),
            ([refused("m.example"), refused("r.example")], "docker login r.example"),
            ([absent("m.example"), silent()], "spelling of its name and tag"),
            ([silent(), absent("r.example")], "spelling of its name and tag"),
            ([status(500), silent()], ""),
            ([silent(), silent()], "no firewall"),
        ] {
            let hint = everywhere(errors).pull_hint(&"r.example/x:1".parse().unwrap(), false);
            assert!(hint.as_deref().unwrap_or_default().contains(expected), "{expected}: {hint:?}");
        }
    }
}
