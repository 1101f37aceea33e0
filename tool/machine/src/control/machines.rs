//! The machines that run, by name: links in a directory of the cache, each to the control socket of one.
//!
//! A socket lies in a temporary directory, because the path of a socket must be short. What a run that was killed has left
//! behind is a link to a socket on which nobody listens; both are taken away by the next one who looks.

use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bootwright_bundle::control::{Client, ClientError};

use crate::{Error, sys};

/// The directory of links.
#[derive(Clone, Debug)]
pub struct Machines(PathBuf);

/// A machine's entry; it goes with this.
#[derive(Debug)]
pub struct Listed {
    /// The name under which it is found.
    pub name: String,
    link: PathBuf,
}

impl Machines {
    /// Those below a cache.
    pub fn of(cache: &Path) -> Self {
        Self(cache.join("machines"))
    }

    /// Enters a machine under a name, or the name with a number if another machine has it.
    pub fn enter(&self, name: &str, socket: &Path) -> Result<Listed, Error> {
        fs::create_dir_all(&self.0).map_err(Error::file("make", &self.0))?;
        self.running();
        for number in 1u32.. {
            let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            let link = self.0.join(&name);
            match std::os::unix::fs::symlink(socket, &link) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => {
                    made.map_err(Error::file("make", &link))?;
                    return Ok(Listed { name, link });
                }
            }
        }
        Err(Error::Conflict("there are too many machines of that name"))
    }

    /// The names of those that run, sorted.
    pub fn running(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter(|entry| match UnixStream::connect(short(&entry.path())) {
                Ok(_) => true,
                Err(error) => {
                    if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
                        forget(&entry.path());
                    }
                    false
                }
            })
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Calls a machine by its name.
    pub fn connect(&self, name: &str) -> Result<UnixStream, Error> {
        let unknown = || Error::NoMachine { name: name.to_owned(), running: self.running() };
        if name.is_empty() || name.contains('/') {
            return Err(unknown());
        }
        UnixStream::connect(short(&self.0.join(name))).map_err(|_| unknown())
    }
}

/// Where a link leads: the path of a socket must be short.
fn short(link: &Path) -> PathBuf {
    fs::read_link(link).unwrap_or_else(|_| link.to_owned())
}

/// Takes away what a run that was killed has left behind: the link, the socket, and the directory that was made for it.
fn forget(link: &Path) {
    let socket = short(link);
    let _ = fs::remove_file(link);
    let _ = fs::remove_file(&socket);
    let _ = socket.parent().map(fs::remove_dir);
}

impl Drop for Listed {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.link);
    }
}

/// Calls a machine by its name, by the path of its socket (which has a slash), or by `vsock:CID:PORT`.
pub fn connect(machine: &str, cache: &Path) -> Result<UnixStream, Error> {
    if let Some(address) = machine.strip_prefix("vsock:") {
        let (cid, port) = address
            .split_once(':')
            .and_then(|(cid, port)| Some((cid.parse().ok()?, port.parse().ok()?)))
            .ok_or(Error::Conflict("a machine by vsock is `vsock:CID:PORT`, two numbers"))?;
        // A stream is a stream: what is called on it does not ask what carries it.
        let connected = sys::connect_vsock(cid, port).map(UnixStream::from);
        return connected.map_err(|source| Error::Vsock { machine: machine.to_owned(), source });
    }
    if machine.contains('/') {
        return UnixStream::connect(machine).map_err(Error::file("connect to", machine));
    }
    Machines::of(cache).connect(machine)
}

/// Greets a machine, which must answer within `limit`.
///
/// # Errors
///
/// It does not answer, or the connection fails.
pub fn greet(stream: &UnixStream, limit: Duration) -> Result<Client<UnixStream>, ClientError> {
    stream.set_read_timeout(Some(limit))?;
    let client = Client::new(stream.try_clone()?, nonce())?;
    stream.set_read_timeout(None)?;
    Ok(client)
}

/// A number that nobody else uses at the same time, which is all that is asked of it.
fn nonce() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
    u64::from(std::process::id()) << 32 | u64::from(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn machines_are_found_by_name_and_dead_ones_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let machines = Machines::of(dir.path());
        assert!(machines.running().is_empty());
        fs::create_dir(dir.path().join("made")).unwrap();
        let sockets = ["a", "b", "made/dead"].map(|name| dir.path().join(name));
        drop(UnixListener::bind(&sockets[2]).unwrap());
        let listeners: Vec<UnixListener> = sockets[..2].iter().map(|path| UnixListener::bind(path).unwrap()).collect();
        let first = machines.enter("web", &sockets[0]).unwrap();
        let second = machines.enter("web", &sockets[1]).unwrap();
        std::mem::forget(machines.enter("old", &sockets[2]).unwrap());
        assert_eq!((first.name.as_str(), second.name.as_str()), ("web", "web-2"));
        machines.connect("web-2").unwrap();
        let error = machines.connect("wbe").unwrap_err();
        assert_eq!(error.hint().unwrap(), "those that run are `web`, `web-2`");
        assert!(!dir.path().join("machines/old").is_symlink(), "nobody listens there");
        assert!(!dir.path().join("made").exists(), "what was made for it");
        drop((first, second, listeners));
        assert!(machines.running().is_empty());
        assert!(machines.connect("web").unwrap_err().hint().unwrap().contains("bootwright run"));
        connect("vsock:x", dir.path()).unwrap_err();
        // Nobody's address; a host without vsock has no such family of sockets.
        let error = connect("vsock:4294967294:1", dir.path()).unwrap_err();
        assert!(error.hint().unwrap().contains("control: {vsock: PORT}"), "{error}");
        connect("../a", dir.path()).unwrap_err();
    }
}
