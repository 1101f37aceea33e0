//! A running Docker engine (or Podman's socket), asked over its unix socket: Engine API, `GET /images/NAME/json` and
//! `GET /images/NAME/get`.
//!
//! The second answers with what `docker save` writes, which is read like any such archive. It is large, so the first is
//! asked before: an image whose id we have taken before is in the store already.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use crate::archive::{ArchiveError, ArchiveLimits, from_docker_stream};
use crate::{Image, Platform, Reference, Reporter, Store, StoreError};

const HEADERS_MAX: u64 = 64 << 10;
const ANSWER_MAX: u64 = 4 << 20;
/// The engine gathers layers before it answers.
const TIMEOUT: Duration = Duration::from_secs(300);
const ENGINE_ID: &str = "org.bootwright.engine.id";

/// Why an engine does not give an image.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// `DOCKER_HOST` names something that we do not speak.
    #[error("`DOCKER_HOST` is `{host}`; only unix:// sockets are supported")]
    Host {
        /// What it says.
        host: String,
    },
    /// The socket cannot be used.
    #[error("the container engine at `{}` cannot be reached", .socket.display())]
    Socket {
        /// The socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It has no such image.
    #[error("the container engine at `{}` has no `{reference}`", .socket.display())]
    NotFound {
        /// The socket.
        socket: PathBuf,
        /// What was asked for.
        reference: String,
    },
    /// It says something else than an image.
    #[error("the container engine at `{}` answers {status} for `{reference}`", .socket.display())]
    Status {
        /// The socket.
        socket: PathBuf,
        /// What was asked for.
        reference: String,
        /// HTTP status.
        status: u16,
    },
    /// Its archive is refused.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EngineError {
    /// What helps, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Host { .. } => {
                Some("`docker save NAME | bootwright cache import -` works with any engine".to_owned())
            }
            Self::Socket { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "the socket belongs to another group; `docker save` and `docker-archive:` need no socket".to_owned(),
            ),
            Self::Socket { .. } => {
                Some("start the engine, or say where its socket is: `DOCKER_HOST=unix:///PATH`".to_owned())
            }
            _ => None,
        }
    }
}

/// An engine's socket.
#[derive(Clone, Debug)]
pub struct Engine {
    socket: PathBuf,
}

impl Engine {
    /// The engine behind a socket.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The engine that `DOCKER_HOST` names, else the one at Docker's usual place.
    ///
    /// # Errors
    ///
    /// `DOCKER_HOST` names no unix socket.
    pub fn from_env() -> Result<Self, EngineError> {
        match std::env::var("DOCKER_HOST") {
            Ok(host) if !host.is_empty() => match host.strip_prefix("unix://") {
                Some(path) => Ok(Self::new(path.into())),
                None => {
                    // A user name may stand in it.
                    let host = host.split_once('@').map_or(host.clone(), |(_, tail)| format!("…@{tail}"));
                    Err(EngineError::Host { host })
                }
            },
            _ => Ok(Self::new("/var/run/docker.sock".into())),
        }
    }

    /// Takes the image of a platform into the store, where it is kept under `docker-daemon:REFERENCE`: not under its
    /// own name, so that a build without `--docker` never gets it by surprise.
    ///
    /// # Errors
    ///
    /// The engine cannot be reached, lacks it, or has it for another platform.
    pub fn fetch(
        &self,
        store: &Store,
        reference: &Reference,
        platform: &Platform,
        reporter: &dyn Reporter,
    ) -> Result<Image, EngineError> {
        let id = self.id(reference)?;
        let name = format!("docker-daemon:{reference}");
        if let Some(known) = store.find_name(&name)?
            && known.annotations.get(ENGINE_ID) == Some(&id)
            && let Ok(image) = store.image(&name, &known, platform)
        {
            return Ok(image);
        }
        let _task = reporter.start(&format!("{reference} from the container engine"), None);
        let (status, mut body) = self.get(&format!("/images/{reference}/get"))?;
        self.check(status, reference)?;
        let place = self.socket.display().to_string();
        let limits = ArchiveLimits::default();
        let image = from_docker_stream(store, &mut body, &place, &name, reference, platform, &limits)?;
        let mut descriptor = store.describe(&image)?;
        descriptor.annotations.insert(ENGINE_ID.to_owned(), id);
        store.tag_as(&name, &descriptor)?;
        Ok(image)
    }

    fn id(&self, reference: &Reference) -> Result<String, EngineError> {
        let (status, body) = self.get(&format!("/images/{reference}/json"))?;
        self.check(status, reference)?;
        let mut bytes = Vec::new();
        body.take(ANSWER_MAX).read_to_end(&mut bytes).map_err(|source| self.broken(source))?;
        let value: serde_json::Value =
            serde_json::from_slice(&bytes).map_err(|e| self.broken(io::Error::new(io::ErrorKind::InvalidData, e)))?;
        Ok(value["Id"].as_str().unwrap_or_default().to_owned())
    }

    fn check(&self, status: u16, reference: &Reference) -> Result<(), EngineError> {
        let (socket, reference) = (self.socket.clone(), reference.to_string());
        match status {
            200 => Ok(()),
            404 => Err(EngineError::NotFound { socket, reference }),
            status => Err(EngineError::Status { socket, reference, status }),
        }
    }

    fn broken(&self, source: io::Error) -> EngineError {
        EngineError::Socket { socket: self.socket.clone(), source }
    }

    /// One request, one connection.
    fn get(&self, path: &str) -> Result<(u16, Box<dyn Read>), EngineError> {
        let exchange = || -> io::Result<(u16, Box<dyn Read>)> {
            let mut stream = UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(TIMEOUT))?;
            stream.set_write_timeout(Some(TIMEOUT))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")?;
            answer(BufReader::with_capacity(128 << 10, stream))
        };
        exchange().map_err(|source| self.broken(source))
    }
}

/// Reads an HTTP/1.1 answer's head and says how its body is to be read.
fn answer<R: BufRead + 'static>(mut reader: R) -> io::Result<(u16, Box<dyn Read>)> {
    let invalid = || io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP");
    let mut head = Vec::new();
    let mut left = HEADERS_MAX;
    while !head.ends_with(b"\r\n\r\n") {
        let read = reader.by_ref().take(left).read_until(b'\n', &mut head)?;
        left -= read as u64;
        if read == 0 || left == 0 {
            return Err(invalid());
        }
    }
    let head = String::from_utf8(head).map_err(|_| invalid())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1."));
    let status = status.and_then(|rest| rest.split(' ').nth(1)).and_then(|s| s.parse().ok()).ok_or_else(invalid)?;
    let header = |name: &str| {
        let mut all = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_ascii_lowercase())
    };
    if header("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        return Ok((status, Box::new(Chunked { inner: reader, left: 0, state: State::First })));
    }
    match header("content-length") {
        Some(length) => {
            let left = length.parse().map_err(|_| invalid())?;
            Ok((status, Box::new(Counted { inner: reader, left })))
        }
        None => Ok((status, Box::new(reader))),
    }
}

/// A body of known length; ending before is an error.
struct Counted<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.by_ref().take(self.left).read(buffer)?;
        self.left -= read as u64;
        if read == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}

/// A chunked body (RFC 9112 section 7.1); ending without the last chunk is an error.
struct Chunked<R> {
    inner: R,
    left: u64,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    First,
    Between,
    Done,
}

impl<R: BufRead> Chunked<R> {
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.inner.by_ref().take(1024).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn next(&mut self) -> io::Result<()> {
        if self.state == State::Between && !self.line()?.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a chunk is longer than it says"));
        }
        let line = self.line()?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = u64::from_str_radix(size, 16);
        self.left = size.map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
        self.state = if self.left == 0 { State::Done } else { State::Between };
        Ok(())
    }
}

impl<R: BufRead> Read for Chunked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 && self.state != State::Done {
            self.next()?;
        }
        if self.state == State::Done {
            return Ok(0);
        }
        let read = self.inner.by_ref().take(self.left).read(buffer)?;
        self.left -= read as u64;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> io::Result<(u16, String)> {
        let (status, mut body) = answer(text.as_bytes())?;
        let mut out = String::new();
        body.read_to_string(&mut out)?;
        Ok((status, out))
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        for (text, want) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd", Some((200, "abc"))),
            ("HTTP/1.0 404 Not Found\r\n\r\nx", Some((404, "x"))),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
                Some((200, "abcde")),
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", None),
            ("HTTP/1.1 200 OK\r\n", None),
            ("SSH-2.0-x\r\n\r\n", None),
            ("", None),
        ] {
            let got = read(text).ok();
            assert_eq!(got.as_ref().map(|(s, b)| (*s, b.as_str())), want, "{text:?}");
        }
    }
}
