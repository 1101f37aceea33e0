//! A QEMU in trouble, for the tests of this crate: it takes QEMU's arguments, connects to the control socket that they
//! name and speaks QMP, but has no machine. What it plays under which accelerator, `FAKE_KVM` and `FAKE_TCG` beside its
//! log say (files, because the tests that run in one process share its environment): words of the list in [`play`].

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let after = |option: &str, prefix: &str| {
        let mut values = arguments.windows(2).filter(|w| w[0] == option).map(|w| &w[1]);
        values.find_map(|v| v.strip_prefix(prefix)).unwrap_or_default().to_owned()
    };
    // The kernel's directory is the test's.
    let kernel = after("-kernel", "");
    let test = Path::new(&kernel).parent().unwrap_or(Path::new("."));
    let accelerator = after("-accel", "");
    let script = fs::read_to_string(test.join(format!("fake-{accelerator}"))).unwrap_or_default();
    let mut log = fs::OpenOptions::new().create(true).append(true).open(test.join("fake-log")).expect("the test's log");
    writeln!(log, "{accelerator}").expect("the test's log");
    play(script.split_whitespace(), &after("-chardev", "socket,id=qmp,path="))
}

fn play<'a>(script: impl Iterator<Item = &'a str>, socket: &str) -> ExitCode {
    let mut qmp = None;
    for word in script {
        match word {
            // Ends before it speaks, as when /dev/kvm does not open.
            "no-kvm" => {
                eprintln!("qemu-system-x86_64: failed to initialize kvm: Permission denied");
                return ExitCode::FAILURE;
            }
            "bad-port" => {
                eprintln!("qemu-system-x86_64: -netdev user: Could not set up host forwarding rule 'tcp::80-:80'");
                return ExitCode::FAILURE;
            }
            "connect" => qmp = Some(Monitor::connect(socket)),
            "internal-error" => monitor(&mut qmp).stop("internal-error"),
            "shutdown" => monitor(&mut qmp).shutdown("guest-shutdown"),
            "reset" => monitor(&mut qmp).shutdown("guest-reset"),
            "panic" => monitor(&mut qmp).shutdown("guest-panic"),
            // Answers until it is told to go, or for ever.
            "serve" => monitor(&mut qmp).serve(),
            "die" => return ExitCode::from(7),
            // Says what is typed, until there is no more.
            "echo" => {
                let mut byte = [0];
                while std::io::stdin().read(&mut byte).is_ok_and(|n| n == 1) {
                    print!("{}", byte[0] as char);
                    let _ = std::io::stdout().flush();
                    if byte[0] == b'!' {
                        println!();
                        break;
                    }
                }
            }
            "flood" => {
                for n in 0..200_000 {
                    println!("line {n} of a console that nobody stops");
                }
            }
            // Anything else is console output, with `_` for a blank.
            line => println!("{}", line.replace('_', " ")),
        }
    }
    ExitCode::SUCCESS
}

fn monitor(qmp: &mut Option<Monitor>) -> &mut Monitor {
    qmp.as_mut().expect("`connect` comes first")
}

struct Monitor {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
    status: &'static str,
}

impl Monitor {
    fn connect(path: &str) -> Self {
        let mut stream = UnixStream::connect(path).expect("the control socket");
        stream.write_all(b"{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n").expect("the greeting");
        let reader = BufReader::new(stream.try_clone().expect("a second handle"));
        let mut monitor = Self { stream, reader, status: "running" };
        while monitor.answer().is_some_and(|command| command != "cont") {}
        monitor
    }

    /// Answers one command; none at the end.
    fn answer(&mut self) -> Option<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let message: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let command = message["execute"].as_str().expect("a command").to_owned();
        let answer = match command.as_str() {
            "query-status" => serde_json::json!({"running": self.status == "running", "status": self.status}),
            _ => serde_json::json!({}),
        };
        self.say(&serde_json::json!({"return": answer, "id": message["id"]}));
        Some(command)
    }

    fn say(&mut self, message: &serde_json::Value) {
        let _ = self.stream.write_all(format!("{message}\r\n").as_bytes());
    }

    fn stop(&mut self, status: &'static str) {
        self.status = status;
        self.say(&serde_json::json!({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}));
    }

    fn shutdown(&mut self, reason: &str) {
        self.say(&serde_json::json!({"event": "SHUTDOWN", "data": {"guest": true, "reason": reason}}));
    }

    fn serve(&mut self) {
        while let Some(command) = self.answer() {
            match command.as_str() {
                "quit" => return,
                "system_powerdown" => {
                    println!("the button was pressed");
                    self.shutdown("guest-shutdown");
                }
                _ => {}
            }
        }
        // A QEMU whose monitor is gone stays; only a signal ends it.
        loop {
            thread::park();
        }
    }
}
