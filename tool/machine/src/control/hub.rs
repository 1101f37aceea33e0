//! One machine, many callers: requests get numbers of their own on the way in, and answers find their callers on the way
//! out.
//!
//! A caller greets the hub as he would the machine. The hub passes the greeting on while nothing is in flight, so that the answer is
//! the machine's, and otherwise answers as the machine did last. What waits for a caller is bounded by what the callers
//! have granted (`bootwright_bundle::control`); one that grants and does not read is let go.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use bootwright_bundle::control::{Decoder, Frame, FrameKind, Greeting};

use crate::Error;

/// Frames that wait for a caller at most.
const WAITING: usize = 4096;
/// Callers at a time at most.
const CALLERS: usize = 64;

/// A caller's number, and the number of his request.
type Origin = (u64, u32);

#[derive(Debug)]
struct State {
    callers: HashMap<u64, SyncSender<Vec<u8>>>,
    /// Requests in flight, by their numbers at the machine.
    live: HashMap<u32, Origin>,
    last: u32,
    greeting: Option<Greeting>,
    /// Whose greeting is at the machine, by its number.
    greeted: HashMap<u64, u64>,
}

/// Passes on what callers ask and the machine answers, on threads of its own, until the machine closes its end.
#[derive(Clone, Debug)]
pub struct Hub {
    state: Arc<Mutex<State>>,
    machine: Arc<Mutex<UnixStream>>,
}

impl Hub {
    /// Begins. `machine` is the port, `listener` where callers come.
    pub fn start(machine: UnixStream, listener: UnixListener) -> Result<Self, Error> {
        let mut from_machine = machine.try_clone().map_err(Error::system("set up the control socket"))?;
        let state =
            State { callers: HashMap::new(), live: HashMap::new(), last: 0, greeting: None, greeted: HashMap::new() };
        let hub = Self { state: Arc::new(Mutex::new(state)), machine: Arc::new(Mutex::new(machine)) };
        let reading = hub.clone();
        let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
            let started = thread::Builder::new().name(name.into()).spawn(work);
            started.map(drop).map_err(Error::system("start a thread"))
        };
        spawn(
            "control-machine",
            Box::new(move || {
                each_frame(&mut from_machine, |frame| reading.hear_machine(frame));
                // The machine is gone: so are the conversations with it.
                reading.lock().callers.clear();
            }),
        )?;
        let accepting = hub.clone();
        spawn(
            "control-callers",
            Box::new(move || {
                for (number, stream) in listener.incoming().flatten().enumerate() {
                    accepting.serve(number as u64, stream);
                }
            }),
        )?;
        Ok(hub)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a caller on two threads.
    fn serve(&self, caller: u64, stream: UnixStream) {
        let (sender, frames) = sync_channel::<Vec<u8>>(WAITING);
        let (Ok(mut reader), mut writer) = (stream.try_clone(), stream) else { return };
        {
            let mut state = self.lock();
            if state.callers.len() >= CALLERS {
                return;
            }
            state.callers.insert(caller, sender);
        }
        let hub = self.clone();
        let _ = thread::Builder::new().name("control-reader".into()).spawn(move || {
            each_frame(&mut reader, |frame| hub.hear_caller(caller, frame));
            hub.leave(caller);
        });
        let _ = thread::Builder::new().name("control-writer".into()).spawn(move || {
            while let Ok(bytes) = frames.recv() {
                if writer.write_all(&bytes).is_err() {
                    break;
                }
            }
            // Wakes the reader as well.
            let _ = writer.shutdown(std::net::Shutdown::Both);
        });
    }

    fn hear_caller(&self, caller: u64, mut frame: Frame) {
        let mut state = self.lock();
        let origin = (caller, frame.id);
        let at_machine = state.live.iter().find(|(_, live)| **live == origin).map(|(id, _)| *id);
        match (frame.kind, at_machine) {
            (FrameKind::Hello, _) => {
                let Ok(greeting) = serde_json::from_slice::<Greeting>(&frame.payload) else { return };
                if let Some(known) = state.greeting.clone().filter(|_| !state.live.is_empty()) {
                    let answer = Greeting { nonce: greeting.nonce, ..known };
                    frame.payload = serde_json::to_vec(&answer).unwrap_or_default();
                    state.send(caller, &frame);
                    return;
                }
                state.greeted.insert(greeting.nonce, caller);
            }
            (FrameKind::Request, None) => {
                state.last = state.last.wrapping_add(1);
                frame.id = state.last;
                state.live.insert(frame.id, origin);
            }
            (FrameKind::Cancel, Some(id)) => {
                frame.id = id;
                state.live.remove(&id);
            }
            (_, Some(id)) => frame.id = id,
            (_, None) => return,
        }
        drop(state);
        self.to_machine(&frame);
    }

    fn to_machine(&self, frame: &Frame) {
        let mut bytes = Vec::new();
        if frame.kind == FrameKind::Hello {
            bytes.push(0);
        }
        frame.encode(&mut bytes);
        // A machine that is gone is noticed by the thread that reads.
        let _ = self.machine.lock().unwrap_or_else(PoisonError::into_inner).write_all(&bytes);
    }

    fn hear_machine(&self, mut frame: Frame) {
        let mut state = self.lock();
        if frame.kind == FrameKind::Hello {
            let Ok(greeting) = serde_json::from_slice::<Greeting>(&frame.payload) else { return };
            let Some(caller) = state.greeted.remove(&greeting.nonce) else { return };
            state.greeting = Some(greeting);
            state.send(caller, &frame);
            return;
        }
        let Some((caller, id)) = state.live.get(&frame.id).copied() else { return };
        if frame.kind == FrameKind::End {
            state.live.remove(&frame.id);
        }
        frame.id = id;
        state.send(caller, &frame);
    }

    /// A caller is gone: what he asked for is not wanted any more.
    fn leave(&self, caller: u64) {
        let mut state = self.lock();
        state.callers.remove(&caller);
        state.greeted.retain(|_, owner| *owner != caller);
        let his: Vec<u32> = state.live.iter().filter(|(_, (owner, _))| *owner == caller).map(|(id, _)| *id).collect();
        state.live.retain(|_, (owner, _)| *owner != caller);
        drop(state);
        for id in his {
            self.to_machine(&Frame { kind: FrameKind::Cancel, id, payload: Vec::new() });
        }
    }
}

impl State {
    fn send(&mut self, caller: u64, frame: &Frame) {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        if self.callers.get(&caller).is_some_and(|sender| sender.try_send(bytes).is_err()) {
            // Its threads end with the sender.
            self.callers.remove(&caller);
        }
    }
}

fn each_frame(stream: &mut UnixStream, mut each: impl FnMut(Frame)) {
    let mut decoder = Decoder::default();
    let mut bytes = [0; 16 * 1024];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return,
            Ok(count) => decoder.take(&bytes[..count], &mut each),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootwright_bundle::control::{Client, End, Heard, LogLine, Request, Session};

    /// A machine that follows a log for ever and answers `ping`.
    fn machine(mut stream: UnixStream, seen: std::sync::mpsc::Sender<Heard>) {
        let mut session = Session::default();
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let mut heard = Vec::new();
            session.take(&bytes[..count], |h| heard.push(h));
            for h in heard {
                match &h {
                    Heard::Greeting(greeting) => session.greet(greeting.nonce, "9.9", "test"),
                    Heard::Request(id, Request::Ping) => session.end(*id, &End::default()),
                    Heard::Request(id, _) => {
                        let line = LogLine {
                            source: "web".into(),
                            stream: "stdout".into(),
                            time: 0,
                            uptime: 0,
                            text: format!("for {id}"),
                            lost: None,
                        };
                        session.item(*id, &line);
                    }
                    _ => {}
                }
                let _ = seen.send(h);
            }
            stream.write_all(session.pending()).unwrap();
            session.sent(usize::MAX);
        }
    }

    #[test]
    fn callers_do_not_get_into_each_others_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (seen, sees) = std::sync::mpsc::channel();
        thread::spawn(move || machine(theirs, seen));
        let _hub = Hub::start(ours, UnixListener::bind(&path).unwrap()).unwrap();
        let call = |nonce| Client::new(UnixStream::connect(&path).unwrap(), nonce).unwrap();

        let mut follower = call(1);
        assert_eq!(follower.greeting.init, "9.9");
        follower.request(1, &Request::Logs { source: None, last: None, since: None, follow: true }).unwrap();
        follower.answer().unwrap();
        // While that goes on, others are greeted and answered, under the same numbers.
        for nonce in 2..20 {
            let mut other = call(nonce);
            assert_eq!(other.greeting.init, "9.9");
            assert_eq!(other.ask(&Request::Ping, |_: LogLine| Ok(())).unwrap(), None);
        }
        drop(follower);
        let cancelled = sees.iter().find(|heard| matches!(heard, Heard::Cancel(_)));
        assert_eq!(cancelled, Some(Heard::Cancel(1)));
    }
}
