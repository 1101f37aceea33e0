//! The caller's side of a program that runs in a service: its input from one thread, its output to another.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::client::send;
use super::{Answer, Client, ClientError, End, FRAME, FrameKind, Request, Stream, WINDOW, Window};

/// The number of the request; there is only this one in its conversation.
const ID: u32 = 1;

/// A program that has been asked for.
#[derive(Debug)]
pub struct Program {
    client: Client<UnixStream>,
    typist: Typist,
}

/// Where its input goes; clones go to the same program.
#[derive(Clone, Debug)]
pub struct Typist(Arc<Input>);

#[derive(Debug)]
struct Input {
    stream: Mutex<UnixStream>,
    /// Bytes that may be sent before more are granted; none: it is over.
    credit: Mutex<Option<usize>>,
    granted: Condvar,
}

impl Program {
    /// Asks for it. `stream` is another handle of the client's.
    pub fn start(mut client: Client<UnixStream>, stream: UnixStream, request: &Request) -> Result<Self, ClientError> {
        client.request(ID, request)?;
        let input = Input { stream: Mutex::new(stream), credit: Mutex::new(Some(WINDOW)), granted: Condvar::new() };
        Ok(Self { client, typist: Typist(Arc::new(input)) })
    }

    /// Where its input goes.
    #[must_use]
    pub fn typist(&self) -> Typist {
        self.typist.clone()
    }

    /// Passes its output on until it has ended; its exit code.
    pub fn output(mut self, stdout: &mut impl Write, stderr: &mut impl Write) -> Result<u8, ClientError> {
        let ended = self.pass_on(stdout, stderr);
        // However it has ended: whoever waits to type waits in vain.
        self.typist.granted(None);
        ended
    }

    fn pass_on(&mut self, stdout: &mut impl Write, stderr: &mut impl Write) -> Result<u8, ClientError> {
        loop {
            let (_, answer) = self.client.answer()?;
            match &answer {
                Answer::Data(Stream::Stderr, bytes) => {
                    stderr.write_all(bytes)?;
                    stderr.flush()?;
                }
                Answer::Data(_, bytes) => {
                    stdout.write_all(bytes)?;
                    stdout.flush()?;
                }
                Answer::Grant(more) => self.typist.granted(Some(*more)),
                Answer::End(End { error: Some(refusal), .. }) => return Err(refusal.clone().into()),
                Answer::End(End { code, .. }) => return Ok(code.unwrap_or(0)),
                Answer::Item(_) => {}
            }
            // Not by the client: two that write to one stream would write into each other's frames.
            if answer.size() > 0 {
                let size = u32::try_from(answer.size()).unwrap_or(u32::MAX);
                // A machine that is gone may have said its last words: reading tells.
                let _ = self.typist.send(FrameKind::Grant, &[&size.to_le_bytes()]);
            }
        }
    }
}

impl Typist {
    /// Copies all that there is to read, and then says that there is no more. Waits for the program to take it.
    pub fn copy(&self, mut from: impl Read) -> Result<(), ClientError> {
        let mut bytes = [0; 8192];
        loop {
            let count = from.read(&mut bytes)?;
            if count == 0 {
                return self.end();
            }
            if !self.type_bytes(&bytes[..count])? {
                return Ok(());
            }
        }
    }

    /// Says that there is no input, or no more.
    pub fn end(&self) -> Result<(), ClientError> {
        self.send(FrameKind::Data, &[&[Stream::Stdin.number()]])
    }

    /// Types bytes. False when the program has ended.
    pub fn type_bytes(&self, mut bytes: &[u8]) -> Result<bool, ClientError> {
        while !bytes.is_empty() {
            let Some(room) = self.room() else { return Ok(false) };
            let (now, later) = bytes.split_at(room.min(bytes.len()).min(FRAME / 2));
            self.send(FrameKind::Data, &[&[Stream::Stdin.number()], now])?;
            if let Some(credit) = &mut *lock(&self.0.credit) {
                *credit -= now.len();
            }
            bytes = later;
        }
        Ok(true)
    }

    /// Says that the caller's terminal has another size.
    pub fn resize(&self, window: Window) -> Result<(), ClientError> {
        self.send(FrameKind::Item, &[&serde_json::to_vec(&window)?])
    }

    fn send(&self, kind: FrameKind, parts: &[&[u8]]) -> Result<(), ClientError> {
        send(&mut *lock(&self.0.stream), kind, ID, parts)
    }

    /// Waits until something may be sent, and says how much; none when the program has ended.
    fn room(&self) -> Option<usize> {
        let mut credit = lock(&self.0.credit);
        while *credit == Some(0) {
            credit = self.0.granted.wait(credit).unwrap_or_else(PoisonError::into_inner);
        }
        *credit
    }

    fn granted(&self, more: Option<usize>) {
        let mut credit = lock(&self.0.credit);
        *credit = credit.zip(more).map(|(credit, more)| credit.saturating_add(more));
        self.0.granted.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::super::{Heard, Refusal, Session};
    use super::*;
    use std::thread;

    /// A machine that runs `cat`, and takes its time.
    fn cat(mut stream: UnixStream) {
        let mut session = Session::default();
        let mut bytes = [0; 1000];
        let mut waiting: Vec<u8> = Vec::new();
        let mut over = false;
        loop {
            while !session.pending().is_empty() {
                let count = stream.write(session.pending()).unwrap();
                session.sent(count);
            }
            if over && waiting.is_empty() {
                session.data(ID, Stream::Stderr, b"done");
                session.end(ID, &End { error: None, code: Some(3) });
                stream.write_all(session.pending()).unwrap();
                return;
            }
            let count = stream.read(&mut bytes).unwrap();
            let mut heard = Vec::new();
            session.take(&bytes[..count], |h| heard.push(h));
            for h in heard {
                match h {
                    Heard::Greeting(greeting) => session.greet(greeting.nonce, "0", "test"),
                    Heard::Data(_, bytes) if bytes.is_empty() => over = true,
                    Heard::Data(_, bytes) => waiting.extend(bytes),
                    _ => {}
                }
            }
            // What is left when it is over goes as soon as there is room.
            let now = waiting.drain(..waiting.len().min(session.room(ID))).collect::<Vec<_>>();
            if !now.is_empty() {
                session.data(ID, Stream::Stdout, &now);
                session.grant(ID, now.len());
            }
        }
    }

    #[test]
    fn who_types_at_a_program_that_is_refused_does_not_wait_for_ever() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let machine = thread::spawn(move || {
            let mut session = Session::default();
            let mut bytes = [0; 1000];
            while let Ok(count @ 1..) = theirs.read(&mut bytes) {
                let mut heard = Vec::new();
                session.take(&bytes[..count], |h| heard.push(h));
                for h in heard {
                    match h {
                        Heard::Greeting(greeting) => session.greet(greeting.nonce, "0", "test"),
                        _ => session.end(ID, &End { error: Some(Refusal::new("no")), code: None }),
                    }
                }
                theirs.write_all(session.pending()).unwrap();
                session.sent(usize::MAX);
            }
        });
        let client = Client::new(ours.try_clone().unwrap(), 77).unwrap();
        let request = Request::Exec { service: "web".into(), argv: vec!["cat".into()], terminal: None };
        let program = Program::start(client, ours, &request).unwrap();
        let typist = program.typist();
        let output = thread::spawn(move || program.output(&mut Vec::new(), &mut Vec::new()));
        assert!(!typist.type_bytes(&vec![b'x'; 5 * WINDOW]).unwrap());
        assert!(matches!(output.join().unwrap(), Err(ClientError::Refused(_))));
        drop(typist);
        machine.join().unwrap();
    }

    #[test]
    fn more_than_a_window_goes_through_both_ways() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let machine = thread::spawn(move || cat(theirs));
        let client = Client::new(ours.try_clone().unwrap(), 77).unwrap();
        assert_eq!(client.greeting.host, "test");
        let request = Request::Exec { service: "web".into(), argv: vec!["cat".into()], terminal: None };
        let program = Program::start(client, ours, &request).unwrap();
        let sent: Vec<u8> = (0..5 * WINDOW).map(|i| (i % 251) as u8).collect();
        let typist = program.typist();
        let input = sent.clone();
        let typing = thread::spawn(move || typist.copy(&input[..]).unwrap());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        assert_eq!(program.output(&mut out, &mut err).unwrap(), 3);
        typing.join().unwrap();
        machine.join().unwrap();
        assert_eq!(out.len(), sent.len());
        assert!(out == sent);
        assert_eq!(err, b"done");
    }
}
