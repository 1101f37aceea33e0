//! The machine's end of one conversation, without the line that it is held on.
//!
//! Bytes go in and [`Heard`] comes out; what is to be said is queued as bytes. A new greeting ends all that was going on:
//! on a serial port a new caller takes the place of the last one without a word. For each request at most [`WINDOW`] bytes are
//! under way, and there are at most [`REQUESTS`] of them, so the queue is bounded by what the other side asks for.

use std::collections::BTreeMap;

use serde::Serialize;

use super::frame::encode;
use super::{Decoder, End, FRAME, Frame, FrameKind, Greeting, Refusal, Request, Stream, VERSION, Window};

/// Bytes of items and data that each side may send for a request before the other grants more.
pub const WINDOW: usize = 64 * 1024;
/// Requests in flight at most.
const REQUESTS: usize = 32;
/// With more bytes than this waiting to be sent, nothing more is read.
const FULL: usize = 256 * 1024;

/// What the other side says.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// A greeting: whatever was going on is over.
    Greeting(Greeting),
    /// A request.
    Request(u32, Request),
    /// Bytes for a process; none: there will be no more.
    Data(u32, Vec<u8>),
    /// Another size of a terminal.
    Window(u32, Window),
    /// A request is not wanted any more.
    Cancel(u32),
}

/// One conversation.
#[derive(Debug, Default)]
pub struct Session {
    decoder: Decoder,
    greeted: bool,
    /// What may still be sent for each request.
    credit: BTreeMap<u32, usize>,
    out: Vec<u8>,
}

impl Session {
    /// Takes bytes; each thing that they say goes to `each`.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Heard)) {
        let mut frames = Vec::new();
        self.decoder.take(bytes, |frame| frames.push(frame));
        for frame in frames {
            if let Some(heard) = self.hear(&frame) {
                each(heard);
            }
        }
    }

    fn hear(&mut self, frame: &Frame) -> Option<Heard> {
        let id = frame.id;
        if frame.kind == FrameKind::Hello {
            let greeting: Greeting = serde_json::from_slice(&frame.payload).ok()?;
            self.reset();
            self.greeted = true;
            return Some(Heard::Greeting(greeting));
        }
        if !self.greeted {
            return None;
        }
        if frame.kind == FrameKind::Request {
            return self.request(id, &frame.payload);
        }
        let credit = self.credit.get_mut(&id)?;
        match frame.kind {
            FrameKind::Data => {
                let (stream, bytes) = frame.payload.split_first()?;
                (Stream::of(*stream)? == Stream::Stdin).then(|| Heard::Data(id, bytes.to_vec()))
            }
            FrameKind::Item => serde_json::from_slice(&frame.payload).ok().map(|window| Heard::Window(id, window)),
            FrameKind::Grant => {
                let more = u32::from_le_bytes(*frame.payload.first_chunk()?);
                // No more than a window, whatever is granted.
                *credit = credit.saturating_add(usize::try_from(more).ok()?).min(WINDOW);
                None
            }
            FrameKind::Cancel => {
                self.credit.remove(&id);
                Some(Heard::Cancel(id))
            }
            FrameKind::Hello | FrameKind::Request | FrameKind::End => None,
        }
    }

    fn request(&mut self, id: u32, payload: &[u8]) -> Option<Heard> {
        let refusal = match serde_json::from_slice(payload) {
            // A number that is in use: its first request goes on.
            _ if self.credit.contains_key(&id) => return None,
            _ if self.credit.len() >= REQUESTS => Refusal::new(format!("more than {REQUESTS} requests at a time")),
            Ok(request) => {
                self.credit.insert(id, WINDOW);
                return Some(Heard::Request(id, request));
            }
            Err(error) => Refusal::new(format!("the machine does not understand the request: {error}"))
                .hint("its init may be older than this program"),
        };
        self.credit.insert(id, 0);
        self.end(id, &End { error: Some(refusal), code: None });
        None
    }

    /// Forgets all requests and what is waiting to be sent.
    pub fn reset(&mut self) {
        *self = Self::default();
        // Ends a frame that has been sent in part.
        self.out.push(0);
    }

    /// Answers a greeting.
    pub fn greet(&mut self, nonce: u64, init: &str, host: &str) {
        let arch = std::env::consts::ARCH.to_owned();
        let greeting = Greeting { version: VERSION, nonce, init: init.to_owned(), host: host.to_owned(), arch };
        self.json(FrameKind::Hello, 0, &greeting);
    }

    /// Bytes that may be sent for a request, in one frame of data; 0 if it is over.
    #[must_use]
    pub fn room(&self, id: u32) -> usize {
        self.credit.get(&id).copied().unwrap_or(0).min(FRAME - 1)
    }

    /// Whether a request may have an item of any size.
    #[must_use]
    pub fn has_room(&self, id: u32) -> bool {
        self.credit.get(&id).is_some_and(|credit| *credit >= FRAME)
    }

    /// Sends an item.
    pub fn item(&mut self, id: u32, item: &impl Serialize) {
        if self.credit.contains_key(&id) {
            let sent = self.json(FrameKind::Item, id, item);
            self.spend(id, sent);
        }
    }

    /// Sends bytes of a stream, at most as many as there is [`Self::room`] for; none to say that it has ended.
    pub fn data(&mut self, id: u32, stream: Stream, bytes: &[u8]) {
        if self.credit.contains_key(&id) {
            encode(FrameKind::Data, id, &[&[stream.number()], bytes], &mut self.out);
            self.spend(id, bytes.len());
        }
    }

    fn spend(&mut self, id: u32, bytes: usize) {
        if let Some(credit) = self.credit.get_mut(&id) {
            *credit = credit.saturating_sub(bytes);
        }
    }

    /// Lets the other side send more for a request.
    pub fn grant(&mut self, id: u32, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        encode(FrameKind::Grant, id, &[&bytes.to_le_bytes()], &mut self.out);
    }

    /// Ends an answer.
    pub fn end(&mut self, id: u32, end: &End) {
        if self.credit.remove(&id).is_some() {
            self.json(FrameKind::End, id, end);
        }
    }

    fn json(&mut self, kind: FrameKind, id: u32, value: &impl Serialize) -> usize {
        // Plain data: it cannot fail.
        let json = serde_json::to_vec(value).unwrap_or_default();
        encode(kind, id, &[&json], &mut self.out);
        json.len()
    }

    /// What is waiting to be sent.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        &self.out
    }

    /// Takes what has been sent off the queue.
    pub fn sent(&mut self, count: usize) {
        self.out.drain(..count.min(self.out.len()));
    }

    /// Whether to read no more for the moment.
    #[must_use]
    pub fn full(&self) -> bool {
        self.out.len() > FULL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(session: &mut Session, kind: FrameKind, id: u32, payload: &[u8]) -> Vec<Heard> {
        let mut bytes = Vec::new();
        encode(kind, id, &[payload], &mut bytes);
        let mut heard = Vec::new();
        session.take(&bytes, |h| heard.push(h));
        heard
    }

    fn greeted() -> Session {
        let mut session = Session::default();
        says(&mut session, FrameKind::Hello, 0, br#"{"version":1,"nonce":5}"#);
        session.greet(5, "0.1.0", "web");
        session.sent(usize::MAX);
        session
    }

    fn sent(session: &mut Session) -> Vec<Frame> {
        let mut frames = Vec::new();
        Decoder::default().take(session.pending(), |frame| frames.push(frame));
        session.sent(usize::MAX);
        frames
    }

    #[test]
    fn nothing_is_heard_before_a_greeting() {
        let mut session = Session::default();
        assert_eq!(says(&mut session, FrameKind::Request, 1, br#"{"op":"ping"}"#), []);
        assert!(session.pending().is_empty());
        let heard = says(&mut session, FrameKind::Hello, 0, br#"{"version":1,"nonce":5,"later":0}"#);
        assert!(matches!(&heard[..], [Heard::Greeting(greeting)] if greeting.nonce == 5));
        assert_eq!(says(&mut session, FrameKind::Request, 1, br#"{"op":"ping"}"#), [Heard::Request(1, Request::Ping)]);
    }

    #[test]
    fn a_new_greeting_ends_what_was_going_on() {
        let mut session = greeted();
        says(&mut session, FrameKind::Request, 1, br#"{"op":"status"}"#);
        session.data(1, Stream::Stdout, b"half");
        session.sent(3);
        says(&mut session, FrameKind::Hello, 0, br#"{"version":1,"nonce":6}"#);
        session.greet(6, "", "");
        session.data(1, Stream::Stdout, b"nobody asked");
        assert_eq!(session.pending()[0], 0, "what was sent in part is ended first");
        let frames = sent(&mut session);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].kind, FrameKind::Hello);
    }

    #[test]
    fn a_request_gets_no_more_than_is_granted() {
        let mut session = greeted();
        says(&mut session, FrameKind::Request, 1, br#"{"op":"status"}"#);
        let mut total = 0;
        while session.room(1) > 0 {
            let room = session.room(1);
            session.data(1, Stream::Stdout, &vec![b'x'; room]);
            total += room;
        }
        assert_eq!(total, WINDOW);
        assert!(!session.has_room(1));
        says(&mut session, FrameKind::Grant, 1, &20_000u32.to_le_bytes());
        assert!(session.has_room(1));
        says(&mut session, FrameKind::Grant, 1, &u32::MAX.to_le_bytes());
        assert_eq!(session.credit[&1], WINDOW);
        session.end(1, &End::default());
        session.end(1, &End::default());
        assert_eq!(session.room(1), 0);
        assert_eq!(sent(&mut session).iter().filter(|f| f.kind == FrameKind::End).count(), 1);
    }

    #[test]
    fn what_is_not_understood_is_answered_and_too_much_is_refused() {
        let mut session = greeted();
        says(&mut session, FrameKind::Request, 9, br#"{"op":"dance"}"#);
        let [answer] = &sent(&mut session)[..] else { panic!("one answer") };
        assert_eq!((answer.kind, answer.id), (FrameKind::End, 9));
        for id in 0..40 {
            says(&mut session, FrameKind::Request, id, br#"{"op":"ping"}"#);
        }
        assert_eq!(session.credit.len(), REQUESTS);
        assert_eq!(sent(&mut session).len(), 40 - REQUESTS);
        assert_eq!(says(&mut session, FrameKind::Cancel, 3, b""), [Heard::Cancel(3)]);
        assert_eq!(says(&mut session, FrameKind::Data, 3, b"\0late"), []);
        assert_eq!(says(&mut session, FrameKind::Data, 4, b"\0hi"), [Heard::Data(4, b"hi".to_vec())]);
        assert_eq!(says(&mut session, FrameKind::Data, 4, b"\x01hi"), [], "that is not its to send");
        let window = Window { columns: 1, rows: 2 };
        let item = serde_json::to_vec(&window).unwrap();
        assert_eq!(says(&mut session, FrameKind::Item, 4, &item), [Heard::Window(4, window)]);
    }
}
