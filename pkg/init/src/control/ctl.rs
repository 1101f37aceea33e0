//! `ctl` in the machine: the control channel's client, over its unix socket.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use bootwright_bundle::control::{
    CONTROL_SOCKET, Client, ClientError, Event, LogLine, Order, Program, Report, Request, UnitStatus, event_line,
    log_line, status_table,
};

use crate::sys;

const USAGE: &str = "\
usage: ctl [vsock:CID:PORT] status | logs [-f] [SOURCE] | events [-f] | exec SERVICE [--] COMMAND... | start|stop|restart SERVICE | boot-report
       service SERVICE start|stop|restart";

/// Runs it.
pub fn run(words: &[&str]) -> ExitCode {
    let vsock = words.first().and_then(|word| vsock(word));
    let words = if vsock.is_some() { words.get(1..).unwrap_or_default() } else { words };
    let Some(request) = request(words) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match talk(&request, vsock) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("ctl: {error}");
            if let ClientError::Io(error) = &error {
                eprintln!("ctl: {error}; is the control channel on? (`control: {{socket: true}}` in the spec)");
            }
            if let ClientError::Refused(refusal) = &error
                && let Some(hint) = &refusal.hint
            {
                eprintln!("ctl: {hint}");
            }
            ExitCode::FAILURE
        }
    }
}

fn request(words: &[&str]) -> Option<Request> {
    Some(match words {
        ["status"] => Request::Status,
        ["boot-report"] => Request::BootReport,
        ["events"] => Request::Events { follow: false },
        ["events", "-f"] => Request::Events { follow: true },
        ["logs", rest @ ..] => {
            let source = rest.iter().find(|word| **word != "-f").map(|word| (*word).to_owned());
            Request::Logs { source, last: None, since: None, follow: rest.contains(&"-f") }
        }
        ["exec", service, argv @ ..] => {
            let argv = argv.strip_prefix(&["--"]).unwrap_or(argv).iter().map(|word| (*word).to_owned());
            let argv: Vec<String> = Some(argv.collect()).filter(|argv: &Vec<String>| !argv.is_empty())?;
            Request::Exec { service: (*service).to_owned(), argv, terminal: None }
        }
        [order, name] | ["service", name, order] => {
            let order = match *order {
                "start" => Order::Start,
                "stop" => Order::Stop,
                "restart" => Order::Restart,
                _ => return None,
            };
            Request::Service { name: (*name).to_owned(), order }
        }
        _ => return None,
    })
}

/// `vsock:CID:PORT`.
fn vsock(word: &str) -> Option<(u32, u32)> {
    let (cid, port) = word.strip_prefix("vsock:")?.split_once(':')?;
    Some((cid.parse().ok()?, port.parse().ok()?))
}

fn talk(request: &Request, vsock: Option<(u32, u32)>) -> Result<u8, ClientError> {
    let stream = match vsock {
        // A stream is a stream: what is called on it does not ask what carries it.
        Some((cid, port)) => UnixStream::from(sys::connect_vsock(cid, port)?),
        None => UnixStream::connect(CONTROL_SOCKET)?,
    };
    let mut client = Client::new(stream.try_clone()?, u64::from(std::process::id()))?;
    let mut out = io::stdout().lock();
    match request {
        Request::Status => {
            let mut units: Vec<UnitStatus> = Vec::new();
            client.ask(request, |unit| {
                units.push(unit);
                Ok(())
            })?;
            out.write_all(status_table(&units).as_bytes())?;
        }
        Request::Logs { .. } => {
            client.ask(request, |line: LogLine| writeln!(out, "{}", log_line(&line)))?;
        }
        Request::Events { .. } => {
            client.ask(request, |event: Event| writeln!(out, "{}", event_line(&event)))?;
        }
        Request::BootReport => {
            client.ask(request, |report: Report| writeln!(out, "{}", serde_json::to_string_pretty(&report)?))?;
        }
        Request::Exec { .. } | Request::ReadFile { .. } => {
            let program = Program::start(client, stream, request)?;
            let typist = program.typist();
            // Ends with this process: nothing wakes a read of standard input.
            std::thread::spawn(move || typist.copy(io::stdin()));
            return program.output(&mut out, &mut io::stderr().lock());
        }
        Request::Ping | Request::Debug { .. } | Request::Service { .. } | Request::Power { .. } => {
            client.ask(request, |_: serde_json::Value| Ok(()))?;
        }
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_requests() {
        assert_eq!(request(&["status"]), Some(Request::Status));
        let logs = |source: Option<&str>, follow| {
            Some(Request::Logs { source: source.map(str::to_owned), last: None, since: None, follow })
        };
        assert_eq!(request(&["logs"]), logs(None, false));
        assert_eq!(request(&["logs", "-f", "web"]), logs(Some("web"), true));
        assert_eq!(request(&["events", "-f"]), Some(Request::Events { follow: true }));
        let restart = Some(Request::Service { name: "web".into(), order: Order::Restart });
        assert_eq!(request(&["restart", "web"]), restart);
        assert_eq!(request(&["service", "web", "restart"]), restart);
        let argv = vec!["ls".to_owned(), "-l".to_owned()];
        let exec = Some(Request::Exec { service: "web".into(), argv, terminal: None });
        assert_eq!(request(&["exec", "web", "ls", "-l"]), exec);
        assert_eq!(request(&["exec", "web", "--", "ls", "-l"]), exec);
        for wrong in [&[][..], &["lunch"], &["exec", "web"], &["exec", "web", "--"], &["service", "web", "eat"]] {
            assert_eq!(request(wrong), None, "{wrong:?}");
        }
    }
}
