//! Between PID 1 and the child that serves the control channel: a request and a socket for its answer, in one datagram.
//!
//! PID 1 never waits and keeps nothing: an answer is a few datagrams into a socket that is large enough for them, and a socket that
//! is not is closed without an end, by which the child knows. The socket of a request for logs becomes a reader of the
//! journal.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use bootwright_bundle::control::{End, Refusal, Request};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair, sockopt,
};
use serde::{Deserialize, Serialize};

/// Bytes of a request at most; a frame's.
const REQUEST: usize = bootwright_bundle::control::FRAME;
/// Bytes that an answer may have before the child has read any of it.
const ANSWER: usize = 4 * 1024 * 1024;

/// A pair of sockets: PID 1's end and the child's.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Where the process of a container is, as PID 1 answers a request to execute something in it; empty for the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Whereabouts {
    /// Directory below `/containers`.
    pub kind: String,
    /// The bundle's directory.
    pub directory: String,
    /// Its first process, whose root is its own; none: the machine's.
    pub pid: Option<i32>,
}

/// A request at PID 1.
#[derive(Debug)]
pub struct Call {
    /// What is wanted.
    pub request: Request,
    /// Where the answer goes.
    pub reply: Reply,
}

/// Where an answer goes.
#[derive(Debug)]
pub struct Reply(OwnedFd);

impl Reply {
    /// Sends a part. False when there is no room, after which nothing more is sent.
    fn part(&self, kind: u8, json: &impl Serialize) -> bool {
        let mut bytes = vec![kind];
        serde_json::to_writer(&mut bytes, json).is_ok()
            && send(&self.0, &bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).is_ok()
    }

    /// Answers with items.
    pub fn items<T: Serialize>(self, items: impl IntoIterator<Item = T>) {
        if items.into_iter().all(|item| self.part(b'I', &item)) {
            self.part(b'E', &End::default());
        }
    }

    /// Answers that it is done, or why not.
    pub fn done(self, result: Result<(), Refusal>) {
        self.part(b'E', &End { error: result.err(), code: None });
    }

    /// The socket itself, for lines of a log.
    pub fn into_socket(self) -> OwnedFd {
        self.0
    }
}

/// PID 1's end: the next request that waits.
pub fn next_call(socket: impl AsFd) -> io::Result<Option<Call>> {
    let mut bytes = vec![0; REQUEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let received = match recvmsg(socket, &mut slices, &mut control, RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC) {
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
        other => other?.bytes,
    };
    let fds = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fd = fds.flatten().last();
    if received == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let request = serde_json::from_slice(bytes.get(..received).unwrap_or_default())?;
    Ok(fd.map(|fd| Call { request, reply: Reply(fd) }))
}

/// The child's end: sends a request; the answer comes from the socket that is returned.
pub fn call(socket: impl AsFd, request: &Request) -> io::Result<OwnedFd> {
    let (ours, theirs) = pair()?;
    if !matches!(request, Request::Logs { .. } | Request::Events { .. }) {
        sockopt::set_socket_send_buffer_size_force(&theirs, ANSWER)?;
    }
    let json = serde_json::to_vec(request)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [theirs.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(socket, &[IoSlice::new(&json)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(ours)
}

/// A part of an answer, at the child.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// An item, as JSON.
    Item(&'a [u8]),
    /// The end.
    End(End),
}

impl<'a> Part<'a> {
    /// Reads a datagram.
    pub fn of(datagram: &'a [u8]) -> Option<Self> {
        match datagram.split_first()? {
            (b'I', json) => Some(Self::Item(json)),
            (b'E', json) => serde_json::from_slice(json).ok().map(Self::End),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootwright_bundle::control::Power;
    use rustix::net::recv;

    #[test]
    fn a_request_brings_the_way_for_its_answer() {
        let (pid1, child) = pair().unwrap();
        assert!(next_call(&pid1).unwrap().is_none());
        let answer = call(&child, &Request::Power { how: Power::Halt }).unwrap();
        let Call { request, reply } = next_call(&pid1).unwrap().unwrap();
        assert_eq!(request, Request::Power { how: Power::Halt });
        reply.items(["one", "two"]);
        let mut bytes = [0; 100];
        let mut next = || recv(&answer, &mut bytes[..], RecvFlags::empty()).map(|(n, _)| bytes[..n].to_vec());
        assert_eq!(Part::of(&next().unwrap()), Some(Part::Item(br#""one""#)));
        next().unwrap();
        assert_eq!(Part::of(&next().unwrap()), Some(Part::End(End::default())));
        assert_eq!(next().unwrap(), b"", "closed");
        drop(child);
        next_call(&pid1).unwrap_err();
    }

    #[test]
    fn an_answer_that_nobody_reads_does_not_wait() {
        let (pid1, child) = pair().unwrap();
        let answer = call(&child, &Request::Status).unwrap();
        let call = next_call(&pid1).unwrap().unwrap();
        call.reply.items(std::iter::repeat_n("x".repeat(10_000), 10_000));
        let mut bytes = vec![0; 20_000];
        let mut last = Vec::new();
        while let Ok((count, _)) = recv(&answer, &mut bytes[..], RecvFlags::empty())
            && count > 0
        {
            last = bytes[..count].to_vec();
        }
        assert!(matches!(Part::of(&last), Some(Part::Item(_))), "it has no end");
    }
}
