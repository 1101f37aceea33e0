//! The host's side of a machine's services: small clients with deadlines.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::words;

/// How long one connection may take.
const CONNECTION: Duration = Duration::from_secs(10);

/// A port of loopback on which nobody listens at the moment.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// Gets a page, trying again while the machine does not answer: QEMU accepts on the host before the guest listens, so
/// what is waited for is an answer, not a connection.
#[track_caller]
pub fn http_get(port: u16, path: &str) -> String {
    let deadline = Instant::now() + words::SOON;
    loop {
        let attempt = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().and_then(|mut stream| {
            stream.set_read_timeout(Some(CONNECTION)).ok()?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).ok()?;
            let mut text = String::new();
            stream.read_to_string(&mut text).ok().filter(|n| *n > 0)?;
            Some(text)
        });
        if let Some(text) = attempt {
            return text;
        }
        assert!(Instant::now() < deadline, "nobody answered on port {port} within {} s", words::SOON.as_secs());
        // QEMU refuses at once while nobody listens in the guest; this paces the attempts and nothing depends on it.
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::thread;

    #[test]
    fn a_server_that_is_slow_to_come_is_waited_for() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            // What QEMU does before the guest listens: accept and close.
            drop(listener.accept().unwrap());
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nhi").unwrap();
            line
        });
        assert_eq!(http_get(port, "/a"), "HTTP/1.0 200 OK\r\n\r\nhi");
        assert_eq!(server.join().unwrap(), "GET /a HTTP/1.0\r\n");
    }
}
