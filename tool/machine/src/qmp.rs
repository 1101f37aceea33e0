//! A client of QEMU's machine protocol: JSON lines on a socket, commands with ids, events in between.
//!
//! Specification: `docs/interop/qmp-spec.rst` of QEMU. QEMU connects to us, so there is nothing to poll for. A reader
//! thread sorts what comes: answers go to whoever asked, events to one function. When the machine stops it also asks why
//! (`query-status`), because the event alone does not say whether it was an internal error.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// How long QEMU may take for an answer: it is one process on a busy host.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest line that is read.
const LINE: u64 = 8 << 20;

/// A conversation with QEMU failed.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket.
    #[error("the control socket of the machine failed")]
    Io(#[from] io::Error),
    /// What came is not QMP.
    #[error("`{line}` is no QMP")]
    Protocol {
        /// What came.
        line: String,
    },
    /// QEMU refused a command.
    #[error("QEMU refused `{command}`: {problem}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        problem: String,
    },
    /// No answer in time, or the socket was closed.
    #[error("QEMU did not answer `{command}`")]
    NoAnswer {
        /// The command.
        command: String,
    },
}

/// What QEMU tells of its own accord.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QmpEvent {
    /// The machine shut down, with QEMU's reason, such as `guest-shutdown`.
    Shutdown(String),
    /// The guest's kernel said through a device that it panicked.
    GuestPanicked,
    /// The machine stands, in this run state.
    Stopped(String),
    /// The socket is closed.
    Closed,
}

enum Waiter {
    Caller(mpsc::Sender<Result<Value, String>>),
    Status,
    Nobody,
}

struct Inner {
    stream: UnixStream,
    waiting: HashMap<u64, Waiter>,
    last: u64,
    closed: bool,
}

/// One conversation; clones share it.
#[derive(Clone)]
pub struct Qmp {
    inner: Arc<Mutex<Inner>>,
}

impl std::fmt::Debug for Qmp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qmp").finish_non_exhaustive()
    }
}

impl Qmp {
    /// Shakes hands; from then on `on_event` gets every event, on a thread of its own.
    pub(crate) fn connect(
        stream: UnixStream,
        mut on_event: impl FnMut(QmpEvent) + Send + 'static,
    ) -> Result<Self, QmpError> {
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_write_timeout(Some(ANSWER))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let greeting = read(&mut reader)?.unwrap_or_default();
        if greeting.get("QMP").is_none() {
            return Err(QmpError::Protocol { line: greeting.to_string() });
        }
        stream.set_read_timeout(None)?;
        let inner = Inner { stream, waiting: HashMap::new(), last: 0, closed: false };
        let qmp = Self { inner: Arc::new(Mutex::new(inner)) };
        let listener = qmp.clone();
        thread::Builder::new().name("qmp".into()).spawn(move || {
            while let Ok(Some(message)) = read(&mut reader) {
                listener.sort(&message, &mut on_event);
            }
            let mut inner = listener.lock();
            inner.closed = true;
            inner.waiting.clear();
            drop(inner);
            on_event(QmpEvent::Closed);
        })?;
        qmp.execute("qmp_capabilities", Value::Null)?;
        Ok(qmp)
    }

    /// Executes a command and waits for its answer. `arguments` is null or an object.
    pub fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let (sender, answer) = mpsc::channel();
        self.post(command, arguments, Waiter::Caller(sender))?;
        match answer.recv_timeout(ANSWER) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(problem)) => Err(QmpError::Refused { command: command.into(), problem }),
            Err(_) => Err(QmpError::NoAnswer { command: command.into() }),
        }
    }

    /// The run state, such as `running` or `internal-error`.
    pub fn status(&self) -> Result<String, QmpError> {
        let answer = self.execute("query-status", Value::Null)?;
        let status = answer.get("status").and_then(Value::as_str);
        status.map(str::to_owned).ok_or_else(|| QmpError::Protocol { line: answer.to_string() })
    }

    /// Presses the power button.
    pub fn system_powerdown(&self) -> Result<(), QmpError> {
        self.execute("system_powerdown", Value::Null).map(drop)
    }

    /// Presses keys together, by QEMU's names: `ctrl`, `alt`, `delete`.
    pub fn send_key(&self, keys: &[&str]) -> Result<(), QmpError> {
        let keys: Vec<Value> = keys.iter().map(|key| json!({"type": "qcode", "data": key})).collect();
        self.execute("send-key", json!({ "keys": keys })).map(drop)
    }

    /// Lets a machine that was started stopped run.
    pub(crate) fn cont(&self) -> Result<(), QmpError> {
        self.execute("cont", Value::Null).map(drop)
    }

    /// Ends QEMU.
    pub fn quit(&self) -> Result<(), QmpError> {
        self.execute("quit", Value::Null).map(drop)
    }

    fn post(&self, command: &str, arguments: Value, waiter: Waiter) -> Result<(), QmpError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(QmpError::NoAnswer { command: command.into() });
        }
        inner.last += 1;
        let id = inner.last;
        let mut message = json!({"execute": command, "id": id});
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        inner.waiting.insert(id, waiter);
        Ok(inner.stream.write_all(format!("{message}\n").as_bytes())?)
    }

    fn sort(&self, message: &Value, on_event: &mut impl FnMut(QmpEvent)) {
        if let Some(event) = message.get("event").and_then(Value::as_str) {
            match event {
                "SHUTDOWN" => {
                    let reason = message.pointer("/data/reason").and_then(Value::as_str).unwrap_or("guest-shutdown");
                    on_event(QmpEvent::Shutdown(reason.to_owned()));
                    // QEMU stands still with a machine that is over: let it go, so that the console comes to its end.
                    let _ = self.post("quit", Value::Null, Waiter::Nobody);
                }
                "GUEST_PANICKED" => on_event(QmpEvent::GuestPanicked),
                "STOP" => drop(self.post("query-status", Value::Null, Waiter::Status)),
                _ => {}
            }
            return;
        }
        let waiter = message.get("id").and_then(Value::as_u64).and_then(|id| self.lock().waiting.remove(&id));
        match waiter {
            Some(Waiter::Caller(sender)) => {
                let answer = match message.pointer("/error/desc").and_then(Value::as_str) {
                    Some(problem) => Err(problem.to_owned()),
                    None => Ok(message.get("return").cloned().unwrap_or_default()),
                };
                let _ = sender.send(answer);
            }
            Some(Waiter::Status) => {
                if let Some(status) = message.pointer("/return/status").and_then(Value::as_str) {
                    on_event(QmpEvent::Stopped(status.to_owned()));
                }
            }
            Some(Waiter::Nobody) | None => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The next message; none at the end.
fn read(reader: &mut impl BufRead) -> Result<Option<Value>, QmpError> {
    let mut line = Vec::new();
    reader.by_ref().take(LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&line)
        .map(Some)
        .map_err(|_| QmpError::Protocol { line: String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU of few words: greets, then answers each command with the lines that `script` gives for it.
    fn qemu(script: fn(&str, u64) -> Vec<String>) -> (Qmp, mpsc::Receiver<QmpEvent>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        thread::spawn(move || {
            let mut reader = BufReader::new(theirs.try_clone().unwrap());
            let mut theirs = theirs;
            theirs.write_all(b"{\"QMP\":{\"version\":{},\"capabilities\":[]}}\n").unwrap();
            while let Ok(Some(message)) = read(&mut reader) {
                let id = message["id"].as_u64().unwrap();
                for line in script(message["execute"].as_str().unwrap(), id) {
                    theirs.write_all(format!("{line}\n").as_bytes()).unwrap();
                }
            }
        });
        let (sender, events) = mpsc::channel();
        (Qmp::connect(ours, move |event| drop(sender.send(event))).unwrap(), events)
    }

    #[test]
    fn answers_find_their_questions_among_events() {
        let (qmp, events) = qemu(|command, id| match command {
            "query-status" => vec![
                json!({"event": "RESET", "data": {}}).to_string(),
                json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-reset"}}).to_string(),
                json!({"event": "GUEST_PANICKED", "data": {"action": "pause"}}).to_string(),
                json!({"return": {"status": "running"}, "id": id}).to_string(),
            ],
            "quit" => vec![json!({"error": {"class": "GenericError", "desc": "not now"}, "id": id}).to_string()],
            _ => vec![json!({"return": {}, "id": id}).to_string()],
        });
        assert_eq!(qmp.status().unwrap(), "running");
        assert_eq!(events.recv().unwrap(), QmpEvent::Shutdown("guest-reset".into()));
        assert_eq!(events.recv().unwrap(), QmpEvent::GuestPanicked);
        assert_eq!(qmp.quit().unwrap_err().to_string(), "QEMU refused `quit`: not now");
        qmp.send_key(&["ctrl", "alt", "delete"]).unwrap();
    }

    #[test]
    fn a_stop_is_looked_into_and_a_closed_socket_told() {
        let (qmp, events) = qemu(|command, id| match command {
            "cont" => vec![json!({"return": {}, "id": id}).to_string(), json!({"event": "STOP"}).to_string()],
            "query-status" => vec![json!({"return": {"status": "internal-error"}, "id": id}).to_string()],
            "quit" => vec!["no json".into()],
            _ => vec![json!({"return": {}, "id": id}).to_string()],
        });
        qmp.cont().unwrap();
        assert_eq!(events.recv().unwrap(), QmpEvent::Stopped("internal-error".into()));
        assert!(matches!(qmp.quit(), Err(QmpError::NoAnswer { .. })));
        assert_eq!(events.recv().unwrap(), QmpEvent::Closed);
        assert!(matches!(qmp.status(), Err(QmpError::NoAnswer { .. })));
    }

    #[test]
    fn what_does_not_greet_is_refused() {
        for (bytes, part) in [("{\"x\":1}\n", "x"), ("SSH-2.0\n", "SSH-2.0"), ("", "null")] {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            theirs.write_all(bytes.as_bytes()).unwrap();
            drop(theirs);
            let error = Qmp::connect(ours, |_| ()).unwrap_err();
            assert!(matches!(&error, QmpError::Protocol { line } if line.contains(part)), "{error:?}");
        }
    }
}
