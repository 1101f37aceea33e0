//! Lines to another machine: RFC 5424 or JSON, by UDP (RFC 5426: a datagram each) or TCP (RFC 6587: syslog with its length
//! in front, JSON with a line end behind).

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use bootwright_bundle::control::{LogLine, timestamp};
use serde_json::json;

use super::Lines;
use crate::journal::Record;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// Facility `daemon`, in RFC 5424.
const DAEMON: u8 = 3;
/// Severities of RFC 5424: what a container says on standard error, and on standard output; that lines are missing.
const WARNING: u8 = 4;
const INFORMATIONAL: u8 = 6;
/// Bytes of an application's name at most, in RFC 5424.
const NAME: usize = 48;

/// What sends.
#[derive(Debug)]
pub struct Sender {
    to: SocketAddr,
    tcp: bool,
    json: bool,
    way: Option<Way>,
}

#[derive(Debug)]
enum Way {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Sender {
    /// To `udp://ADDRESS:PORT` or `tcp://ADDRESS:PORT`.
    pub fn new(to: &str, json: bool) -> Option<Self> {
        let (scheme, address) = to.split_once("://")?;
        Some(Self { to: address.parse().ok()?, tcp: scheme == "tcp", json, way: None })
    }

    /// Sends a line, trying until it has been sent or this is to end.
    pub fn send(&mut self, record: &Record<'_>, lines: &mut Lines) {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let line = record.line();
        let message = if self.json { as_json(&line, &host) } else { as_syslog(&line, &host) };
        loop {
            match self.try_send(&message) {
                Ok(()) => return,
                // An earlier datagram found nobody; that is UDP's way, and this one has not been sent yet.
                Err(error) if !self.tcp && error.kind() == io::ErrorKind::ConnectionRefused => {
                    let _ = self.try_send(&message);
                    return;
                }
                Err(_) => {
                    self.way = None;
                    if !lines.pause() {
                        return;
                    }
                }
            }
        }
    }

    fn try_send(&mut self, message: &str) -> io::Result<()> {
        let way = match &mut self.way {
            Some(way) => way,
            None => self.way.insert(Way::open(self.to, self.tcp)?),
        };
        match way {
            Way::Udp(socket) => socket.send(message.as_bytes()).map(drop),
            Way::Tcp(stream) if self.json => stream.write_all(format!("{message}\n").as_bytes()),
            Way::Tcp(stream) => stream.write_all(format!("{} {message}", message.len()).as_bytes()),
        }
    }
}

impl Way {
    fn open(to: SocketAddr, tcp: bool) -> io::Result<Self> {
        if tcp {
            return TcpStream::connect_timeout(&to, CONNECT).map(Self::Tcp);
        }
        let any = if to.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(to)?;
        Ok(Self::Udp(socket))
    }
}

fn as_syslog(line: &LogLine, host: &str) -> String {
    let severity = if line.lost.is_some() || line.stream == "stderr" { WARNING } else { INFORMATIONAL };
    let text = match line.lost {
        Some(lost) => format!("({lost} lines are missing)"),
        None => line.text.clone(),
    };
    let (priority, time) = (DAEMON * 8 + severity, timestamp(line.time));
    format!("<{priority}>1 {time} {} {} - {} - {text}", word(host, 255), word(&line.source, NAME), line.stream)
}

/// Printable ASCII without spaces, or `-`.
fn word(text: &str, limit: usize) -> String {
    let word: String = text.chars().map(|c| if c.is_ascii_graphic() { c } else { '_' }).take(limit).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

fn as_json(line: &LogLine, host: &str) -> String {
    let LogLine { source, stream, time, uptime, text, lost } = line;
    let time = timestamp(*time);
    match lost {
        Some(lost) => json!({"time": time, "uptime": uptime, "host": host, "source": source, "lost": lost}),
        None => {
            json!({"time": time, "uptime": uptime, "host": host, "source": source, "stream": stream, "message": text})
        }
    }
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Mark;
    use std::io::Read;
    use std::net::TcpListener;

    fn line(text: &str, stream: &str, lost: Option<u64>) -> LogLine {
        let (source, stream, text) = ("web server".to_owned(), stream.to_owned(), text.to_owned());
        LogLine { source, stream, time: 1_500_000, uptime: 7, text, lost }
    }

    fn lines() -> Lines {
        let (socket, _) = crate::control::pair().unwrap();
        Lines { socket, signals: None, ending: false }
    }

    fn send(sender: &mut Sender, text: &str) {
        let mark = Mark { stream: 2, time: 1_500_000, ..Mark::default() };
        sender.send(&Record { mark, source: "web", text: [text.as_bytes(), b""], lost: 0 }, &mut lines());
    }

    #[test]
    fn lines_are_messages() {
        assert_eq!(
            as_syslog(&line("hi ünd", "stdout", None), "host 1"),
            "<30>1 1970-01-01T00:00:01.500Z host_1 web_server - stdout - hi ünd"
        );
        assert_eq!(
            as_syslog(&line("", "stderr", Some(3)), ""),
            "<28>1 1970-01-01T00:00:01.500Z - web_server - stderr - (3 lines are missing)"
        );
        assert_eq!(
            as_json(&line("a\"b", "stderr", None), "h"),
            r#"{"time":"1970-01-01T00:00:01.500Z","uptime":7,"host":"h","source":"web server","stream":"stderr","message":"a\"b"}"#
        );
        assert!(as_json(&line("", "", Some(3)), "h").ends_with(r#""lost":3}"#));
    }

    #[test]
    fn a_datagram_each_and_a_stream_with_lengths_or_line_ends() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = format!("udp://{}", receiver.local_addr().unwrap());
        let mut sender = Sender::new(&to, false).unwrap();
        send(&mut sender, "one");
        let mut bytes = [0; 500];
        let count = receiver.recv(&mut bytes).unwrap();
        assert!(bytes[..count].starts_with(b"<28>1 ") && bytes[..count].ends_with(b" web - stderr - one"));

        for (json, first, last) in [(false, "7", " one"), (true, "{", "\"one\"}\n")] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut sender = Sender::new(&format!("tcp://{}", listener.local_addr().unwrap()), json).unwrap();
            send(&mut sender, "one");
            let (mut stream, _) = listener.accept().unwrap();
            drop(sender);
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.ends_with(last), "{text}");
            if json {
                assert!(text.starts_with(first));
            } else {
                let (length, message) = text.split_once(' ').unwrap();
                assert_eq!(length.parse::<usize>().unwrap(), message.len());
            }
        }
    }

    #[test]
    fn nobody_there_is_no_reason_to_wait_with_udp_and_asked_to_end_it_ends() {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut sender = Sender::new(&format!("udp://{free}"), true).unwrap();
        for _ in 0..5 {
            send(&mut sender, "into the void");
        }
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut sender = Sender::new(&format!("tcp://{free}"), true).unwrap();
        let (readable, writer) = rustix::pipe::pipe().unwrap();
        rustix::io::write(&writer, b"x").unwrap();
        let mut lines = Lines { signals: Some(readable), ..lines() };
        let record = Record { mark: Mark::default(), source: "web", text: [b"", b""], lost: 0 };
        sender.send(&record, &mut lines);
        assert!(lines.ending);
        assert!(Sender::new("udp://name:5", true).is_none() && Sender::new("10.0.0.1:5", true).is_none());
    }
}
