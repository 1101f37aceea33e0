//! Looking at a port: a TCP connection, or the status of an HTTP answer (RFC 9112), in the network of the service.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Bytes of an answer that are looked at; the status is in the first few.
const ANSWER: usize = 1024;

/// Enters the network namespace of a process.
pub fn enter(process: &Path) -> io::Result<()> {
    let namespace = File::open(process.join("ns/net"))?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Connects to a port of the loopback, by IPv4 or by IPv6.
pub fn connect(port: u16, deadline: Instant) -> Result<TcpStream, String> {
    let mut found = String::new();
    for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
        let left = left(deadline).ok_or_else(|| format!("port {port}: no answer"))?;
        match TcpStream::connect_timeout(&SocketAddr::new(address, port), left) {
            Ok(stream) => return Ok(stream),
            // What IPv4 says is what people expect to hear.
            Err(error) if found.is_empty() => found = format!("port {port}: {}", cause(&error)),
            Err(_) => {}
        }
    }
    Err(found)
}

/// Gets a page, of which the status is looked at.
pub fn get(port: u16, path: &str, deadline: Instant) -> Result<(), String> {
    let mut stream = connect(port, deadline)?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bootwright\r\nConnection: close\r\n\r\n");
    let failed = |error: io::Error| format!("port {port}: {}", cause(&error));
    stream.set_write_timeout(left(deadline)).and_then(|()| stream.write_all(request.as_bytes())).map_err(failed)?;
    let mut answer = Vec::new();
    let mut bytes = [0; 256];
    while !answer.contains(&b'\n') && answer.len() < ANSWER {
        let left = left(deadline).ok_or_else(|| format!("port {port}: no answer"))?;
        stream.set_read_timeout(Some(left)).map_err(failed)?;
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => answer.extend(bytes.iter().take(count)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    match status(&answer) {
        Some(200..=399) => Ok(()),
        Some(status) => Err(format!("{path} answers {status}")),
        None => Err(format!("port {port}: what answers is not HTTP")),
    }
}

/// The status of an answer.
fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\n').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    std::str::from_utf8(rest.get(2..5)?).ok()?.parse().ok()
}

fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer".to_owned(),
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        _ => error.to_string(),
    }
}

fn left(deadline: Instant) -> Option<Duration> {
    Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_page_is_well_or_what_is_wrong_is_said() {
        for (answer, expected) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", Ok(())),
            ("HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n", Ok(())),
            ("HTTP/1.1 503 Service Unavailable\r\n\r\n", Err("/health answers 503")),
            ("SSH-2.0-x\r\n", Err("port PORT: what answers is not HTTP")),
            ("", Err("port PORT: what answers is not HTTP")),
        ] {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = thread::spawn(move || {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 256];
                let count = stream.read(&mut request).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
                String::from_utf8_lossy(&request[..count]).into_owned()
            });
            let found = get(port, "/health", Instant::now() + Duration::from_secs(10));
            assert_eq!(found, expected.map_err(|text| text.replace("PORT", &port.to_string())), "{answer}");
            assert!(server.join().unwrap().starts_with("GET /health HTTP/1.1\r\nHost: localhost\r\n"));
        }
    }

    #[test]
    fn nobody_listens_and_nobody_answers() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let silent = get(port, "/", Instant::now() + Duration::from_millis(50));
        assert_eq!(silent, Err(format!("port {port}: no answer")));
        drop(listener);
        let refused = connect(port, Instant::now() + Duration::from_secs(10)).map(drop);
        assert_eq!(refused, Err(format!("port {port}: connection refused")));
    }
}
