//! The caller's end of a conversation, over any stream of bytes that blocks.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;

use super::frame::encode;
use super::{Decoder, End, FRAME, Frame, FrameKind, Greeting, Refusal, Request, Stream, VERSION};

/// A conversation failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The line.
    #[error("the connection to the machine failed")]
    Io(#[from] io::Error),
    /// The other end went away.
    #[error("the machine closed the connection")]
    Closed,
    /// The machine speaks another version.
    #[error("the machine speaks version {0} of the control channel, this program version {VERSION}")]
    Version(u32),
    /// What came is not what was asked for.
    #[error("the machine's answer is not understood")]
    Json(#[from] serde_json::Error),
    /// The machine will not, or cannot.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// JSON.
    Item(Vec<u8>),
    /// Bytes of a process; none: the stream has ended.
    Data(Stream, Vec<u8>),
    /// So much more may be sent.
    Grant(usize),
    /// The last part.
    End(End),
}

impl Answer {
    /// Bytes of it for which the machine needs a grant.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::Item(bytes) | Self::Data(_, bytes) => bytes.len(),
            Self::Grant(_) | Self::End(_) => 0,
        }
    }
}

/// One conversation. `S` reads and writes at the same place, as `&UnixStream` does.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    decoder: Decoder,
    frames: std::collections::VecDeque<Frame>,
    /// What the machine said of itself.
    pub greeting: Greeting,
}

impl<S: Read + Write> Client<S> {
    /// Greets and waits for the answer; what comes before it was meant for another.
    pub fn new(stream: S, nonce: u64) -> Result<Self, ClientError> {
        let greeting = Greeting { version: VERSION, nonce, ..Greeting::default() };
        let frames = std::collections::VecDeque::new();
        let mut client = Self { stream, decoder: Decoder::default(), frames, greeting };
        // Ends what a former caller has sent in part.
        client.stream.write_all(&[0])?;
        let hello = serde_json::to_vec(&client.greeting)?;
        client.send(FrameKind::Hello, 0, &[&hello])?;
        loop {
            let frame = client.frame()?;
            if frame.kind != FrameKind::Hello {
                continue;
            }
            let answer: Greeting = serde_json::from_slice(&frame.payload)?;
            if answer.nonce != nonce {
                continue;
            }
            if answer.version != VERSION {
                return Err(ClientError::Version(answer.version));
            }
            client.greeting = answer;
            return Ok(client);
        }
    }

    fn send(&mut self, kind: FrameKind, id: u32, parts: &[&[u8]]) -> Result<(), ClientError> {
        send(&mut self.stream, kind, id, parts)
    }

    /// Begins a request.
    pub fn request(&mut self, id: u32, request: &Request) -> Result<(), ClientError> {
        let json = serde_json::to_vec(request)?;
        if json.len() > FRAME {
            return Err(Refusal::new(format!("the request is longer than {FRAME} bytes")).into());
        }
        self.send(FrameKind::Request, id, &[&json])
    }

    /// The next part of any answer, with its request's number.
    pub fn answer(&mut self) -> Result<(u32, Answer), ClientError> {
        loop {
            let frame = self.frame()?;
            let id = frame.id;
            let answer = match frame.kind {
                FrameKind::Item => Answer::Item(frame.payload),
                FrameKind::Data => {
                    let Some((stream, bytes)) = frame.payload.split_first() else { continue };
                    let Some(stream) = Stream::of(*stream) else { continue };
                    Answer::Data(stream, bytes.to_vec())
                }
                FrameKind::Grant => match frame.payload.first_chunk() {
                    Some(more) => Answer::Grant(u32::from_le_bytes(*more) as usize),
                    None => continue,
                },
                FrameKind::End => Answer::End(serde_json::from_slice(&frame.payload)?),
                FrameKind::Hello | FrameKind::Request | FrameKind::Cancel => continue,
            };
            return Ok((id, answer));
        }
    }

    /// Says that a part has been dealt with, so that the machine may send more of that request.
    pub fn dealt_with(&mut self, id: u32, answer: &Answer) -> Result<(), ClientError> {
        if answer.size() == 0 {
            return Ok(());
        }
        let granted = u32::try_from(answer.size()).unwrap_or(u32::MAX).to_le_bytes();
        self.send(FrameKind::Grant, id, &[&granted])
    }

    /// Makes a request; each item of the answer goes to `each`. The exit code, if there is one.
    pub fn ask<T: DeserializeOwned>(
        &mut self,
        request: &Request,
        mut each: impl FnMut(T) -> io::Result<()>,
    ) -> Result<Option<u8>, ClientError> {
        const ID: u32 = 1;
        self.request(ID, request)?;
        loop {
            let (id, answer) = self.answer()?;
            if id != ID {
                continue;
            }
            match &answer {
                Answer::Item(json) => each(serde_json::from_slice(json)?)?,
                Answer::End(End { error: Some(refusal), .. }) => return Err(refusal.clone().into()),
                Answer::End(End { code, .. }) => return Ok(*code),
                Answer::Data(..) | Answer::Grant(_) => {}
            }
            self.dealt_with(id, &answer)?;
        }
    }

    fn frame(&mut self) -> Result<Frame, ClientError> {
        let mut bytes = [0; 8192];
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Ok(frame);
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(ClientError::Closed),
                Ok(count) => {
                    let frames = &mut self.frames;
                    self.decoder.take(&bytes[..count], |frame| frames.push_back(frame));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Sends a frame, on any handle of the stream.
pub(super) fn send(stream: &mut impl Write, kind: FrameKind, id: u32, parts: &[&[u8]]) -> Result<(), ClientError> {
    let mut bytes = Vec::new();
    encode(kind, id, parts, &mut bytes);
    Ok(stream.write_all(&bytes)?)
}
