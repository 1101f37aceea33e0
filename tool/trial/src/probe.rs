//! Looking at a machine from the host, by a port of loopback.
//!
//! QEMU accepts there whatever the machine does, and closes the connection when the machine does not take it. So a connection says
//! nothing, and a refusal looks like an answer of no bytes.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use ureq::Agent;

use crate::verdict::Page;

/// Bytes of an answer that are looked at.
const ANSWER: u64 = 1 << 20;

/// A port of loopback on which nobody listens at the moment.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Asks for a page. Nothing of the environment, such as a proxy, has a say in it.
pub(crate) fn page(port: u16, path: &str, limit: Duration) -> Result<Page, String> {
    let config = Agent::config_builder().proxy(None).http_status_as_error(false).max_redirects(0);
    let agent: Agent = config.timeout_global(Some(limit)).build().into();
    let nobody = |error: ureq::Error| format!("expected a page, and nobody answers: {error}");
    let response = agent.get(format!("http://127.0.0.1:{port}{path}")).call().map_err(nobody)?;
    let (head, body) = response.into_parts();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
    let mut bytes = Vec::new();
    let read = body.into_reader().take(ANSWER).read_to_end(&mut bytes);
    read.map_err(|error| format!("expected a page, and it breaks off after {} bytes: {error}", bytes.len()))?;
    Ok(Page { status: head.status.as_u16(), headers, body: bytes })
}

/// Sends bytes and returns the answer: until it holds a text, the machine closes, or the time is over.
pub(crate) fn answer(port: u16, send: &str, until: &str, limit: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), limit)?;
    let mut answer = Vec::new();
    let mut bytes = [0; 4096];
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(send.as_bytes())?;
    while !answer.windows(until.len()).any(|window| window == until.as_bytes()) && answer.len() as u64 <= ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => answer.extend_from_slice(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What has come is what is judged.
            Err(_) => break,
        }
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::thread;

    /// Takes a line and gives these bytes for it, once.
    fn server(says: &'static str) -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while !matches!(lines.next(), Some(Ok(line)) if line.is_empty() || line == "PING") {}
            stream.write_all(says.as_bytes()).unwrap();
        });
        port
    }

    const LIMIT: Duration = Duration::from_secs(10);

    #[test]
    fn pages_come_with_status_headers_and_body() {
        let port = server("HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 2\r\n\r\nhi");
        let seen = page(port, "/a", LIMIT).unwrap();
        assert_eq!((seen.status, seen.body.as_slice()), (302, &b"hi"[..]));
        assert!(seen.headers.contains(&("location".into(), "/b".into())), "{seen:?}");
        assert!(page(free_port().unwrap(), "/", LIMIT).unwrap_err().contains("nobody answers"));
        assert!(page(server(""), "/", LIMIT).unwrap_err().contains("nobody answers"));
    }

    #[test]
    fn an_answer_is_read_as_far_as_it_is_wanted() {
        assert_eq!(answer(server("+PONG\r\n"), "PING\n", "PONG", LIMIT).unwrap()[..5], *b"+PONG");
        assert_eq!(answer(server("-ERR"), "PING\n", "PONG", LIMIT).unwrap(), b"-ERR");
    }
}
