//! Docker's credentials: `config.json` and the helpers that it names.
//!
//! A secret is only ever turned into a header. It has no `Display`, its `Debug` shows nothing, and a helper's output is
//! never repeated, because a helper that fails may print what it holds.

use std::fmt;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_credential::{CredentialRetrievalError, DockerCredential};

/// What must not be shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Who we are for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Credentials {
    Anonymous,
    Basic(Secret),
    Identity(Secret),
}

/// Why there are no credentials although some are configured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{config}` {problem}")]
pub struct CredentialError {
    config: String,
    problem: String,
}

impl Credentials {
    /// Looks a registry up. No file, or nothing about this registry in it, means anonymous.
    pub(crate) fn find(config: Option<&Path>, authority: &str) -> Result<Self, CredentialError> {
        let Some(path) = config else { return Ok(Self::Anonymous) };
        let error = |problem: &str| CredentialError { config: path.display().to_string(), problem: problem.to_owned() };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::Anonymous),
            Err(e) => return Err(error(&format!("cannot be read: {e}"))),
        };
        let server = match authority {
            "registry-1.docker.io" | "docker.io" | "index.docker.io" => "https://index.docker.io/v1/",
            other => other,
        };
        use CredentialRetrievalError as E;
        match docker_credential::get_credential_from_reader(BufReader::new(file), server) {
            Ok(DockerCredential::IdentityToken(token)) if token.is_empty() => Ok(Self::Anonymous),
            Ok(DockerCredential::IdentityToken(token)) => Ok(Self::Identity(Secret::new(token))),
            Ok(DockerCredential::UsernamePassword(user, password)) => {
                Ok(Self::Basic(Secret::new(STANDARD.encode(format!("{user}:{password}")))))
            }
            Err(E::NoCredentialConfigured | E::ConfigNotFound) => Ok(Self::Anonymous),
            Err(E::HelperFailure { stdout, stderr, .. })
                if format!("{stdout}{stderr}").to_lowercase().contains("credentials not found") =>
            {
                Ok(Self::Anonymous)
            }
            Err(E::HelperFailure { helper, .. }) => Err(error(&format!("names the helper `{helper}`, which failed"))),
            Err(E::HelperCommunicationError) => Err(error("names a credential helper that cannot be started")),
            Err(E::MalformedHelperResponse) => Err(error("names a credential helper whose answer is not understood")),
            Err(E::CredentialDecodingError) => Err(error(&format!("has an `auth` for {server} that is no base64"))),
            Err(E::CredentialMismatchError) => {
                Err(error(&format!("has an `auth` for {server} that contradicts `username` and `password`")))
            }
            Err(E::ConfigReadError) => Err(error("is not a Docker configuration")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.json");
        let auth = STANDARD.encode("user:hunter2");
        let json = format!(
            r#"{{"auths":{{"localhost:5000":{{"auth":"{auth}"}},"https://index.docker.io/v1/":{{"identitytoken":"hunter3"}},
                "bad.example":{{"auth":"!"}},"empty.example":{{}}}},"credHelpers":{{"helper.example":"bootwright-none"}}}}"#
        );
        std::fs::write(&path, json).unwrap();
        let find = |authority| Credentials::find(Some(&path), authority);
        assert_eq!(find("localhost:5000").unwrap(), Credentials::Basic(Secret::new(auth.clone())));
        assert_eq!(find("registry-1.docker.io").unwrap(), Credentials::Identity(Secret::new("hunter3")));
        assert_eq!(find("quay.io").unwrap(), Credentials::Anonymous);
        assert_eq!(find("empty.example").unwrap(), Credentials::Anonymous);
        assert!(find("bad.example").unwrap_err().to_string().contains("no base64"));
        assert!(find("helper.example").unwrap_err().to_string().contains("cannot be started"));
        assert_eq!(Credentials::find(Some(&directory.path().join("none")), "x").unwrap(), Credentials::Anonymous);
        assert_eq!(Credentials::find(None, "x").unwrap(), Credentials::Anonymous);
        for shown in [format!("{:?}", find("localhost:5000")), format!("{:?}", find("docker.io"))] {
            assert!(!shown.contains("hunter") && !shown.contains(&auth), "{shown}");
        }
        std::fs::write(&path, "{").unwrap();
        assert!(find("x").unwrap_err().to_string().contains("not a Docker configuration"));
    }
}
