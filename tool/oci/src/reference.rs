//! References to images: Docker's rules (`distribution/reference`), and the prefixes that name a place explicitly.
//!
//! A reference is normalised once, here, so that every verb means the same image by the same words: `redis` is
//! `docker.io/library/redis:latest` whether it is built, pulled, pushed, exported or removed. What looks like a host
//! (a dot, a colon, `localhost`, or a capital letter before the first slash) is one; all else lives on Docker Hub.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::Digest;

const DEFAULT_DOMAIN: &str = "docker.io";
const NAME_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// A normalised reference: domain, path, and a tag or a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// A text that is not a reference, and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference: {rule}")]
pub struct ReferenceError {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub rule: String,
}

impl ReferenceError {
    /// What to write instead, where that is clear.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let lower = self.text.to_lowercase();
        (lower != self.text && lower.parse::<Reference>().is_ok()).then(|| format!("did you mean `{lower}`?"))
    }
}

impl Reference {
    /// The registry's domain, `docker.io` for Docker Hub.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository's path, such as `library/redis`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag; none where only a digest is given.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one is given: it decides then, whatever the tag says.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Domain and path.
    #[must_use]
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same repository with this tag and no digest.
    ///
    /// # Errors
    ///
    /// The tag breaks Docker's rules.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        check_tag(tag).map_err(|rule| ReferenceError { text: format!("{}:{tag}", self.repository()), rule })?;
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository at a digest, without a tag.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))?;
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        parse(text).map_err(|rule| ReferenceError { text: text.to_owned(), rule })
    }
}

fn parse(text: &str) -> Result<Reference, String> {
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    if let Some(bad) = text.chars().find(|c| !c.is_ascii_graphic()) {
        return Err(format!("the character {bad:?} is not allowed"));
    }
    let (rest, digest) = match text.split_once('@') {
        None => (text, None),
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>().map_err(|e| e.to_string())?)),
    };
    // A colon after the last slash starts the tag; before it, it belongs to the port.
    let name_end = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[name_end..].find(':') {
        None => (rest, None),
        Some(at) => (&rest[..name_end + at], Some(&rest[name_end + at + 1..])),
    };
    if name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("64 hex digits are an image id, not a name; write `name@sha256:…`".to_owned());
    }
    let (domain, path) = match name.split_once('/') {
        Some((first, path)) if looks_like_domain(first) => (first, path),
        _ => (DEFAULT_DOMAIN, name),
    };
    let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
    let path =
        if domain == DEFAULT_DOMAIN && !path.contains('/') { format!("library/{path}") } else { path.to_owned() };
    check_domain(domain)?;
    check_path(&path)?;
    if domain.len() + 1 + path.len() > NAME_MAX {
        return Err(format!("its name is longer than {NAME_MAX} characters"));
    }
    if let Some(tag) = tag {
        check_tag(tag)?;
    }
    let tag = match (tag, digest) {
        (None, None) => Some("latest".to_owned()),
        (tag, _) => tag.map(str::to_owned),
    };
    Ok(Reference { domain: domain.to_owned(), path, tag, digest })
}

fn looks_like_domain(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':']) || first.bytes().any(|b| b.is_ascii_uppercase())
}

fn check_domain(domain: &str) -> Result<(), String> {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, port)) => {
            if v6.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(format!("`[{v6}]` is not an IPv6 address"));
            }
            (None, if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or(port)) })
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    for label in host.into_iter().flat_map(|host| host.split('.')) {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        if let Some(bad) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
            return Err(format!("the host `{domain}` holds the character `{bad}`"));
        }
        if !edge(label.bytes().next()) || !edge(label.bytes().last()) {
            return Err(format!("in the host `{domain}` every part starts and ends with a letter or a digit"));
        }
    }
    match port {
        Some(port) if port.is_empty() || port.parse::<u16>().is_err() || port.starts_with('+') => {
            Err(format!("`{port}` is not a port"))
        }
        _ => Ok(()),
    }
}

fn check_path(path: &str) -> Result<(), String> {
    for component in path.split('/') {
        if component.is_empty() {
            return Err("a part of its path is empty".to_owned());
        }
        if let Some(bad) = component.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
            let why = if bad.is_ascii_uppercase() { "; names are lower case" } else { "" };
            return Err(format!("its path holds the character `{bad}`{why}"));
        }
        let separators = component.split(|c: char| c.is_ascii_alphanumeric()).filter(|s| !s.is_empty());
        for separator in separators {
            if !matches!(separator, "." | "_" | "__") && separator.bytes().any(|b| b != b'-') {
                return Err(format!("`{separator}` cannot separate words in its path; `.`, `_`, `__` and dashes can"));
            }
        }
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
        if !edge(component.bytes().next()) || !edge(component.bytes().last()) {
            return Err(format!("`{component}` in its path does not start and end with a letter or a digit"));
        }
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<(), String> {
    if tag.is_empty() {
        return Err("the tag after `:` is empty".to_owned());
    }
    if tag.len() > TAG_MAX {
        return Err(format!("the tag is longer than {TAG_MAX} characters"));
    }
    if let Some(bad) = tag.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '.' | '-')) {
        return Err(format!("the tag `{tag}` holds the character `{bad}`"));
    }
    if tag.starts_with(['.', '-']) {
        return Err(format!("the tag `{tag}` starts with `{}`", &tag[..1]));
    }
    Ok(())
}

/// Where an image is to be taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageSource {
    /// By name: the store, then its registry.
    Named(Reference),
    /// `oci:DIR[:tag]`: a directory in OCI image layout.
    OciDirectory {
        /// The directory.
        path: PathBuf,
        /// The entry's `org.opencontainers.image.ref.name`; needed where there are several.
        tag: Option<String>,
    },
    /// `oci-archive:FILE[:tag]`: such a directory as a tar.
    OciArchive {
        /// The tar.
        path: PathBuf,
        /// As for a directory.
        tag: Option<String>,
    },
    /// `docker-archive:FILE[:ref]`: what `docker save` writes.
    DockerArchive {
        /// The tar.
        path: PathBuf,
        /// Which image of the archive; needed where there are several.
        reference: Option<Reference>,
    },
    /// `docker-daemon:REF`: a running Docker engine.
    DockerDaemon(Reference),
}

impl ImageSource {
    /// Reads a reference with an optional prefix; relative paths start at `base`.
    ///
    /// # Errors
    ///
    /// A reference that breaks Docker's rules, or a prefix without what it needs.
    pub fn parse(text: &str, base: &Path) -> Result<Self, ReferenceError> {
        let error = |rule: &str| ReferenceError { text: text.to_owned(), rule: rule.to_owned() };
        let split = |rest: &str| -> Result<(PathBuf, Option<String>), ReferenceError> {
            let (path, tail) = match rest.split_once(':') {
                None => (rest, None),
                Some((_, "")) => return Err(error("nothing follows the last `:`")),
                Some((path, tail)) => (path, Some(tail.to_owned())),
            };
            if path.is_empty() {
                return Err(error("a path must follow the prefix"));
            }
            Ok((base.join(path), tail))
        };
        if let Some(rest) = text.strip_prefix("docker://") {
            return Ok(Self::Named(rest.parse()?));
        }
        if let Some(rest) = text.strip_prefix("docker-daemon:") {
            return Ok(Self::DockerDaemon(rest.parse()?));
        }
        if let Some(rest) = text.strip_prefix("oci:") {
            return split(rest).map(|(path, tag)| Self::OciDirectory { path, tag });
        }
        if let Some(rest) = text.strip_prefix("oci-archive:") {
            return split(rest).map(|(path, tag)| Self::OciArchive { path, tag });
        }
        if let Some(rest) = text.strip_prefix("docker-archive:") {
            let (path, tail) = split(rest)?;
            let reference = tail.map(|tail| tail.parse()).transpose()?;
            return Ok(Self::DockerArchive { path, reference });
        }
        Ok(Self::Named(text.parse()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_are_normalised_by_dockers_rules() {
        for (given, want) in [
            ("redis", "docker.io/library/redis:latest"),
            ("redis:7", "docker.io/library/redis:7"),
            ("linuxkit/init:v1", "docker.io/linuxkit/init:v1"),
            ("docker.io/redis", "docker.io/library/redis:latest"),
            ("index.docker.io/redis", "docker.io/library/redis:latest"),
            ("index.docker.io/a/b", "docker.io/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:y", "localhost:5000/x:y"),
            ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("Host/x", "Host/x:latest"),
            ("a__b/c-d---e.f", "docker.io/a__b/c-d---e.f:latest"),
            ("quay.io/x:Tag_1.2-3", "quay.io/x:Tag_1.2-3"),
        ] {
            assert_eq!(given.parse::<Reference>().unwrap().to_string(), want, "{given}");
        }
        let both = format!("redis:7@{D}").parse::<Reference>().unwrap();
        assert_eq!(both.to_string(), format!("docker.io/library/redis:7@{D}"));
        assert_eq!((both.tag(), both.digest().unwrap().to_string().as_str()), (Some("7"), D));
        let digest_only = format!("redis@{D}").parse::<Reference>().unwrap();
        assert_eq!((digest_only.tag(), digest_only.to_string()), (None, format!("docker.io/library/redis@{D}")));
        assert_eq!(both.to_string().parse::<Reference>().unwrap(), both, "normal form is stable");
    }

    #[test]
    fn a_bad_reference_is_told_which_rule_it_breaks() {
        for (given, want) in [
            ("", "empty"),
            ("Redis", "`R`; names are lower case"),
            ("a b", "' '"),
            ("redis:", "tag after `:` is empty"),
            ("redis:a/b:c", "the host `redis:a`"),
            ("redis:-x", "starts with `-`"),
            ("redis:a+b", "character `+`"),
            ("a//b", "empty"),
            ("a/", "empty"),
            ("/a", "empty"),
            ("a/_b", "start and end"),
            ("a/b..c", "cannot separate"),
            ("a/b___c", "cannot separate"),
            ("x@sha256:12", "not a digest"),
            ("x@sha512:12", "not a digest"),
            ("-a.io/x", "starts and ends"),
            ("a.io:port/x", "not a port"),
            ("a.io:99999/x", "not a port"),
            ("[::g]:1/x", "IPv6"),
            ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "image id"),
        ] {
            let error = given.parse::<Reference>().unwrap_err();
            let expected_host = given == "redis:a/b:c" && error.rule.contains("not a port");
            assert!(expected_host || error.rule.contains(want), "{given}: {error}");
        }
        assert!("a".repeat(300).parse::<Reference>().unwrap_err().rule.contains("255"));
        assert!(format!("a:{}", "t".repeat(129)).parse::<Reference>().unwrap_err().rule.contains("128"));
        assert_eq!("Redis".parse::<Reference>().unwrap_err().hint().unwrap(), "did you mean `redis`?");
    }

    #[test]
    fn prefixes_name_a_place_and_relative_paths_start_at_the_base() {
        let base = Path::new("/spec");
        let parse = |text| ImageSource::parse(text, base).unwrap();
        assert_eq!(parse("oci:dir"), ImageSource::OciDirectory { path: "/spec/dir".into(), tag: None });
        assert_eq!(
            parse("oci-archive:/x.tar:docker.io/library/x:1"),
            ImageSource::OciArchive { path: "/x.tar".into(), tag: Some("docker.io/library/x:1".into()) }
        );
        assert_eq!(
            parse("docker-archive:x.tar:redis"),
            ImageSource::DockerArchive { path: "/spec/x.tar".into(), reference: Some("redis:latest".parse().unwrap()) }
        );
        assert_eq!(parse("docker-daemon:redis"), ImageSource::DockerDaemon("redis".parse().unwrap()));
        assert_eq!(parse("docker://oci:7"), ImageSource::Named("docker.io/library/oci:7".parse().unwrap()));
        for bad in ["oci:", "oci::x", "oci-archive:x:", "docker-archive:x:Y", "docker-daemon:", "docker://"] {
            assert!(ImageSource::parse(bad, base).is_err(), "{bad}");
        }
    }
}
