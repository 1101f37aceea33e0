//! A machine's control channel, as its checks use it: a call for each question, each with its deadline.
//!
//! Whether the channel is there is found out when it is wanted first; when it is not, every check that wants it says why.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bootwright_machine::Guest;
use bootwright_machine::control::{Client, ClientError, Power, Program, Request, UnitStatus, greet};

use crate::verdict::{Ran, excerpt, time};

/// How long a machine that is up may take to answer a greeting.
const GREETING: Duration = Duration::from_secs(10);
/// Bytes of a program's output that are kept.
const OUTPUT: usize = 1 << 20;

/// The channel of one boot.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// Whether the spec says that it is not there.
    closed: Option<bool>,
    /// Whether init's own word was heard.
    ours: bool,
    reached: bool,
    missing: Option<String>,
}

impl Channel {
    /// Of a machine that is up; `ours` is whether its init is.
    pub(crate) fn new(closed: Option<bool>, ours: bool) -> Self {
        Self { closed, ours, reached: false, missing: None }
    }

    fn call(&mut self, guest: &Guest, limit: Duration) -> Result<(Client<UnixStream>, UnixStream), String> {
        if self.closed == Some(true) {
            return Err("it needs the control channel, and the spec says `control: {virtio-serial: false}`".to_owned());
        }
        if let Some(missing) = &self.missing {
            return Err(missing.clone());
        }
        if guest.is_down() {
            return Err("there is no answer".to_owned());
        }
        let Some(socket) = guest.control_socket() else { return Err("the machine has no control channel".to_owned()) };
        let connect = || -> Result<_, ClientError> {
            let stream = UnixStream::connect(socket)?;
            let client = greet(&stream, limit.min(GREETING))?;
            Ok((client, stream))
        };
        match connect() {
            Ok(call) => {
                self.reached = true;
                Ok(call)
            }
            Err(error) if self.reached || guest.is_down() => Err(say(&error)),
            Err(ClientError::Version(version)) => Err(ClientError::Version(version).to_string()),
            Err(_) => {
                let why = match (self.ours, self.closed) {
                    (false, _) => "its init is not bootwright's",
                    (true, Some(_)) => "its kernel has no driver `virtio_console`",
                    (true, None) => {
                        "its kernel has no driver `virtio_console`, or its spec says `control: {virtio-serial: false}`"
                    }
                };
                let missing = format!("it needs the control channel, where nobody answers: {why}");
                self.missing = Some(missing.clone());
                Err(missing)
            }
        }
    }

    /// Runs a program in a service.
    pub(crate) fn exec(&mut self, guest: &Guest, request: &Request, limit: Duration) -> Result<Ran, String> {
        let deadline = Instant::now() + limit;
        let (client, stream) = self.call(guest, limit)?;
        // It bounds each read; what goes on saying something is bounded where it is written.
        let timeout = stream.set_read_timeout(Some(deadline.saturating_duration_since(Instant::now()).max(GRAIN)));
        timeout.map_err(|error| error.to_string())?;
        let program = Program::start(client, stream, request).map_err(|error| say(&error))?;
        program.typist().end().map_err(|error| say(&error))?;
        let (mut stdout, mut stderr) = (Capture::until(deadline), Capture::until(deadline));
        match program.output(&mut stdout, &mut stderr) {
            Ok(code) => Ok(Ran { code, stdout: stdout.bytes, stderr: stderr.bytes }),
            Err(ClientError::Io(error)) if is_late(&error) => {
                let said = excerpt(&[stdout.bytes, stderr.bytes].concat());
                Err(format!("it has not ended within {}; it said {said}", time(limit)))
            }
            Err(error) => Err(say(&error)),
        }
    }

    /// Reads a file; none if there is no such file.
    pub(crate) fn file(
        &mut self,
        guest: &Guest,
        service: Option<&str>,
        path: &str,
        limit: Duration,
    ) -> Result<Option<Vec<u8>>, String> {
        let request = Request::ReadFile { service: service.map(str::to_owned), path: path.to_owned() };
        let ran = self.exec(guest, &request, limit)?;
        match ran.code {
            0 => Ok(Some(ran.stdout)),
            1 => Ok(None),
            _ => Err(String::from_utf8_lossy(&ran.stderr).into_owned()),
        }
    }

    /// The containers.
    pub(crate) fn units(&mut self, guest: &Guest, limit: Duration) -> Result<Vec<UnitStatus>, String> {
        let mut units = Vec::new();
        self.ask(guest, &Request::Status, limit, |unit| units.push(unit))?;
        Ok(units)
    }

    /// Wants the machine to end. How it was asked: by the channel where it can be had, else by the power button, which cannot
    /// ask for a reboot.
    pub(crate) fn power(&mut self, guest: &Guest, how: Power, limit: Duration) -> Result<Asked, String> {
        match self.ask(guest, &Request::Power { how }, limit, |_: UnitStatus| ()) {
            Ok(()) => Ok(Asked::Channel),
            Err(_) => guest.powerdown().map(|()| Asked::Button).map_err(|error| error.to_string()),
        }
    }

    fn ask<T: serde::de::DeserializeOwned>(
        &mut self,
        guest: &Guest,
        request: &Request,
        limit: Duration,
        mut each: impl FnMut(T),
    ) -> Result<(), String> {
        let (mut client, stream) = self.call(guest, limit)?;
        stream.set_read_timeout(Some(limit.max(GRAIN))).map_err(|error| error.to_string())?;
        let asked = client.ask(request, |item| {
            each(item);
            Ok(())
        });
        asked.map(drop).map_err(|error| say(&error))
    }
}

/// The shortest time for which a socket waits; none would be for ever.
const GRAIN: Duration = Duration::from_millis(1);

/// By which way a machine was asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Channel,
    Button,
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn say(error: &ClientError) -> String {
    match error {
        ClientError::Io(error) if is_late(error) => "the machine does not answer on its control channel".to_owned(),
        ClientError::Io(source) => format!("{error}: {source}"),
        ClientError::Refused(refusal) => match &refusal.hint {
            Some(hint) => format!("{refusal}; {hint}"),
            None => refusal.to_string(),
        },
        error => error.to_string(),
    }
}

/// The first bytes of an output that ends in time.
struct Capture {
    bytes: Vec<u8>,
    deadline: Instant,
}

impl Capture {
    fn until(deadline: Instant) -> Self {
        Self { bytes: Vec::new(), deadline }
    }
}

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if Instant::now() >= self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let room = OUTPUT.saturating_sub(self.bytes.len()).min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..room]);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
