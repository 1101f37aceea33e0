//! A request in progress, at the child that serves: where its answer comes from, and a step that moves what can be moved.
//!
//! A step tries everything and blocks on nothing; what is worth waiting for between steps is what [`Job::polls`] says. Nothing is
//! taken from a source for which the caller has not granted room, so a slow caller slows the source down: a log
//! falls behind in PID 1's rings, a program waits in its write.

use std::os::fd::OwnedFd;

use bootwright_bundle::control::{End, Refusal, Request, Session, Window};
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::link::{self, Part};
use super::program::{Program, What, Wish};
use crate::journal::Record;

/// Bytes of a datagram of PID 1's at most.
const DATAGRAM: usize = 32 * 1024;

/// A request in progress.
#[derive(Debug)]
pub struct Job {
    /// Its number.
    pub id: u32,
    kind: Kind,
}

/// Sends a record as an item.
type Tell = fn(&Record<'_>, u32, &mut Session);

#[derive(Debug)]
enum Kind {
    /// Items and an end from PID 1.
    Answer(OwnedFd),
    /// Records from PID 1, until it closes, and how each is told.
    Records(OwnedFd, Tell),
    /// PID 1 is to say where the container is, for a program.
    Find(OwnedFd, Box<Wish>),
    /// A program in a container.
    Program(Box<Program>),
}

impl Job {
    /// Begins one.
    pub fn begin(id: u32, request: Request, pid1: &OwnedFd) -> Result<Self, Refusal> {
        let answer = link::call(pid1, &request).map_err(|error| Refusal::new(format!("asking PID 1: {error}")))?;
        let kind = match request {
            Request::Logs { .. } => Kind::Records(answer, |record, id, session| session.item(id, &record.line())),
            Request::Events { .. } => Kind::Records(answer, |record, id, session| session.item(id, &record.event())),
            Request::Exec { argv, terminal, .. } => Kind::Find(answer, Box::new(Wish::new(What::Exec(argv), terminal))),
            Request::ReadFile { path, .. } => Kind::Find(answer, Box::new(Wish::new(What::Read(path), None))),
            Request::Debug { container, terminal, .. } => {
                Kind::Find(answer, Box::new(Wish::new(What::Debug(container), terminal)))
            }
            _ => Kind::Answer(answer),
        };
        Ok(Self { id, kind })
    }

    /// What is worth waiting for.
    pub fn polls<'a>(&'a self, session: &Session, polls: &mut Vec<PollFd<'a>>) {
        match &self.kind {
            Kind::Answer(socket) | Kind::Records(socket, _) | Kind::Find(socket, ..) => {
                if session.has_room(self.id) {
                    polls.push(PollFd::new(socket, PollFlags::IN));
                }
            }
            Kind::Program(program) => program.polls(session.room(self.id) > 0, polls),
        }
    }

    /// Moves what can be moved. True when the request is over.
    pub fn step(&mut self, session: &mut Session) -> bool {
        let id = self.id;
        let mut datagram = [0; DATAGRAM];
        while let Kind::Answer(socket) | Kind::Records(socket, _) | Kind::Find(socket, ..) = &self.kind {
            if !session.has_room(id) || session.full() {
                return false;
            }
            let received = match recv(socket, &mut datagram[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => None,
                Ok((count, _)) => datagram.get(..count),
                Err(Errno::AGAIN | Errno::INTR) => return false,
                Err(_) => None,
            };
            match (&mut self.kind, received) {
                (Kind::Records(_, tell), Some(record)) => {
                    if let Some(Part::End(end)) = Part::of(record) {
                        session.end(id, &end);
                        return true;
                    }
                    if let Some(record) = Record::decode(record) {
                        tell(&record, id, session);
                    }
                }
                (Kind::Records(..), None) => {
                    session.end(id, &End::default());
                    return true;
                }
                (Kind::Find(_, wish), Some(part)) => match Part::of(part) {
                    Some(Part::Item(json)) => match Program::start(json, wish) {
                        Ok(program) => self.kind = Kind::Program(Box::new(program)),
                        Err(refusal) => {
                            session.end(id, &End { error: Some(refusal), code: None });
                            return true;
                        }
                    },
                    Some(Part::End(end)) => {
                        session.end(id, &end);
                        return true;
                    }
                    None => {}
                },
                (_, Some(part)) => match Part::of(part) {
                    Some(Part::Item(json)) => {
                        let item: Result<serde_json::Value, _> = serde_json::from_slice(json);
                        session.item(id, &item.unwrap_or_default());
                    }
                    Some(Part::End(end)) => {
                        session.end(id, &end);
                        return true;
                    }
                    None => {}
                },
                (_, None) => {
                    let refusal = Refusal::new("PID 1 did not answer the request to its end");
                    session.end(id, &End { error: Some(refusal), code: None });
                    return true;
                }
            }
        }
        let Kind::Program(program) = &mut self.kind else { return false };
        program.step(id, session)
    }

    /// Whether PID 1 has more to say to it.
    pub fn waits_for_pid1(&self) -> bool {
        !matches!(self.kind, Kind::Program(_))
    }

    /// Takes bytes for a program.
    pub fn input(&mut self, bytes: &[u8]) {
        match &mut self.kind {
            Kind::Find(_, wish) => drop(wish.input.take(bytes)),
            Kind::Program(program) => program.input(bytes),
            Kind::Answer(_) | Kind::Records(..) => {}
        }
    }

    /// Takes another size of the terminal.
    pub fn resize(&mut self, window: Window) {
        match &mut self.kind {
            Kind::Find(_, wish) => wish.window = wish.window.and(Some(window)),
            Kind::Program(program) => program.resize(window),
            Kind::Answer(_) | Kind::Records(..) => {}
        }
    }
}
