//! `bootwright ctl MACHINE …`.

use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use bootwright_machine::control::{
    Client, ClientError, Order, Power, Program, Report, Request, UnitStatus, Window, connect, event_line, greet,
    log_line, status_table,
};
use bootwright_machine::{RawTerminal, on_resize, svg};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::{Failure, Kind};
use crate::printer::Printer;
use crate::session::Global;

/// How long a machine may take to answer a greeting.
const GREETING: Duration = Duration::from_secs(20);

/// Control a running machine
///
/// MACHINE is the name of what `bootwright run` runs, the path of a control socket (with a slash), or vsock:CID:PORT.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: those of the program with exec, else 0; 1, 2 and 3 as everywhere: input, usage, the world."
)]
pub struct Args {
    machine: String,
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    #[command(flatten)]
    Ask(Ask),
    Debug(super::debug::Args),
}

#[derive(Debug, clap::Subcommand)]
enum Ask {
    /// Which containers there are, and what they do
    Status,
    /// What containers have printed, and init has said
    Logs {
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
        /// The last N lines
        #[arg(short = 'n', long, value_name = "N")]
        last: Option<u64>,
        /// Nothing older than this: 90, 90s, 5m
        #[arg(long, value_name = "TIME", value_parser = super::run::duration)]
        since: Option<Duration>,
        /// A container, init, or pstore (what the machine said before it crashed) [default: all]
        source: Option<String>,
    },
    /// What has happened to the containers
    Events {
        /// Go on with what happens
        #[arg(short, long)]
        follow: bool,
    },
    /// Run a program in a service
    Exec {
        #[command(flatten)]
        tty: Tty,
        service: String,
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Stop a service and start it again
    Restart { service: String },
    /// Stop a service
    Stop { service: String },
    /// Start a service
    Start { service: String },
    /// Power the machine off
    Poweroff,
    /// Reboot the machine
    Reboot,
    /// How the machine came up
    BootReport {
        /// Draw it
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
}

/// Whether a program has a terminal.
#[derive(Debug, clap::Args)]
pub struct Tty {
    /// With a terminal [default: when standard input and output are terminals]
    #[arg(short, long)]
    terminal: bool,
    /// Without a terminal
    #[arg(short = 'T', long, conflicts_with = "terminal")]
    no_terminal: bool,
}

impl Tty {
    /// The size of the terminal that it is to have.
    pub fn window(&self) -> Option<Window> {
        let people = io::stdin().is_terminal() && io::stdout().is_terminal();
        let size = || bootwright_machine::window().unwrap_or(Window { columns: 80, rows: 24 });
        ((self.terminal || people) && !self.no_terminal).then(size)
    }
}

impl Args {
    pub fn run(self, global: &Global, printer: &Printer) -> Result<u8, Failure> {
        let stream = connect(&self.machine, &global.cache_directory()?)?;
        let machine = self.machine;
        let client = greet(&stream, GREETING).map_err(|error| failure(error, &machine))?;
        match self.what {
            What::Debug(args) => args.run(client, stream, &machine, (global, printer)),
            What::Ask(ask) => ask.run(client, stream, printer).map_err(|error| failure(error, &machine)),
        }
    }
}

/// Whose fault it is, and what to do.
pub fn failure(error: ClientError, machine: &str) -> Failure {
    let late = |error: &io::Error| matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    match error {
        ClientError::Refused(refusal) => {
            let hint = refusal.hint.clone();
            Failure::new(Kind::Input, refusal).hint(hint)
        }
        ClientError::Io(error) if late(&error) => {
            Failure::new(Kind::World, anyhow::anyhow!("`{machine}` does not answer")).hint(
                "it may still be booting; or its init is not ours, or its spec says `control: {virtio-serial: false}`"
                    .to_owned(),
            )
        }
        error => Failure::new(Kind::World, error),
    }
}

impl Ask {
    fn run(self, mut client: Client<UnixStream>, stream: UnixStream, printer: &Printer) -> Result<u8, ClientError> {
        let service = |name, order| Request::Service { name, order };
        match self {
            Self::Status => {
                let mut units: Vec<UnitStatus> = Vec::new();
                client.ask(&Request::Status, |unit| {
                    units.push(unit);
                    Ok(())
                })?;
                printer.result(|| status_table(&units), || serde_json::json!(units));
            }
            Self::Logs { follow, last, since, source } => {
                let since = since.map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
                let request = Request::Logs { source, last, since, follow };
                lines(&mut client, &request, printer.json(), log_line)?;
            }
            Self::Events { follow } => lines(&mut client, &Request::Events { follow }, printer.json(), event_line)?,
            Self::Exec { tty, service, command } => {
                return exec(client, stream, Request::Exec { service, argv: command, terminal: tty.window() });
            }
            Self::Restart { service: name } => done(&mut client, &service(name, Order::Restart))?,
            Self::Stop { service: name } => done(&mut client, &service(name, Order::Stop))?,
            Self::Start { service: name } => done(&mut client, &service(name, Order::Start))?,
            Self::Poweroff => done(&mut client, &Request::Power { how: Power::Poweroff })?,
            Self::Reboot => done(&mut client, &Request::Power { how: Power::Reboot })?,
            Self::BootReport { svg: file } => {
                let mut report = Report::default();
                client.ask(&Request::BootReport, |part: Report| {
                    report = part;
                    Ok(())
                })?;
                match file {
                    Some(file) => std::fs::write(file, svg(&report))?,
                    None => {
                        let json = serde_json::to_value(&report)?;
                        printer.result(|| format!("{json:#}"), || json.clone());
                    }
                }
            }
        }
        Ok(0)
    }
}

fn done(client: &mut Client<UnixStream>, request: &Request) -> Result<(), ClientError> {
    client.ask(request, |_: serde_json::Value| Ok(())).map(drop)
}

/// Lines as they come: text, or a JSON document each.
fn lines<T: Serialize + DeserializeOwned>(
    client: &mut Client<UnixStream>,
    request: &Request,
    json: bool,
    show: fn(&T) -> String,
) -> Result<(), ClientError> {
    let mut out = io::stdout().lock();
    let written = client.ask(request, |line: T| {
        let text = if json { serde_json::to_string(&line)? } else { show(&line) };
        writeln!(out, "{text}")?;
        out.flush()
    });
    match written {
        // Whoever closed the pipe has read enough.
        Err(ClientError::Io(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map(drop),
    }
}

fn exec(client: Client<UnixStream>, stream: UnixStream, request: Request) -> Result<u8, ClientError> {
    let terminal = matches!(request, Request::Exec { terminal: Some(_), .. });
    let program = Program::start(client, stream, &request)?;
    // Given back when this is dropped.
    let _raw = terminal.then(RawTerminal::new);
    let typist = program.typist();
    if terminal {
        let typist = program.typist();
        on_resize(move |window| drop(typist.resize(window)));
    }
    // Ends with this process: nothing wakes a read of standard input.
    std::thread::spawn(move || typist.copy(io::stdin()));
    program.output(&mut io::stdout().lock(), &mut io::stderr().lock())
}
