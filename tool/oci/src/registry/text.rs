//! A text from an `https://` URL (a spec), with the same certificates, proxies and retries as images.

use std::io::Read;

use ureq::http::Method;

use super::http::{Call, Failure, Http, Payload};
use super::{RegistryError, RegistryOptions};

/// How many redirects are followed.
const REDIRECTS: u32 = 5;

/// Fetches a text of at most `limit` bytes; more than that is cut at `limit + 1`, which the caller refuses.
///
/// # Errors
///
/// The server cannot be reached, does not have it, or sends what is no UTF-8.
pub fn fetch_text(url: &str, limit: u64, options: &RegistryOptions) -> Result<String, RegistryError> {
    let http = Http::new(options)?;
    let mut url = url.to_owned();
    for _ in 0..=REDIRECTS {
        let found = http.with_retries(|_| {
            let call =
                Call { method: Method::GET, url: &url, headers: &[], authorization: None, payload: Payload::None };
            let mut answer = http.send(&call)?;
            let status = answer.status();
            if status.is_redirection()
                && let Some(to) = answer.headers().get("location").and_then(|l| l.to_str().ok())
            {
                return Ok(Err(absolute(&url, to)));
            }
            if !status.is_success() {
                let error = RegistryError::Text { url: url.clone(), reason: format!("the server answers {status}") };
                return Err(Failure::Final(error));
            }
            let mut text = String::new();
            let read = answer.body_mut().as_reader().take(limit + 1).read_to_string(&mut text);
            let failed = |e: std::io::Error| RegistryError::Text { url: url.clone(), reason: e.to_string() };
            read.map(|_| Ok(text)).map_err(|e| Failure::passing(failed(e)))
        })?;
        match found {
            Ok(text) => return Ok(text),
            Err(next) => url = next,
        }
    }
    Err(RegistryError::Text { url, reason: format!("more than {REDIRECTS} redirects") })
}

/// A `Location`, which may be relative to the server or the directory.
fn absolute(from: &str, to: &str) -> String {
    if to.contains("://") {
        return to.to_owned();
    }
    let after_scheme = from.find("://").map_or(0, |at| at + 3);
    let root = from[after_scheme..].find('/').map_or(from.len(), |at| after_scheme + at);
    if to.starts_with('/') {
        return format!("{}{to}", &from[..root]);
    }
    let directory = from.rfind('/').filter(|at| *at >= root).map_or(from, |at| &from[..at]);
    format!("{directory}/{to}")
}

#[cfg(test)]
mod tests {
    use super::absolute;

    #[test]
    fn locations_are_resolved() {
        for (from, to, want) in [
            ("https://a/b/c.yml", "https://x/y", "https://x/y"),
            ("https://a/b/c.yml", "/y", "https://a/y"),
            ("https://a/b/c.yml", "d.yml", "https://a/b/d.yml"),
            ("https://a", "d.yml", "https://a/d.yml"),
        ] {
            assert_eq!(absolute(from, to), want);
        }
    }
}
