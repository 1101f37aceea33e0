//! The command line: one file per verb, one printer, one place that renders errors and picks the exit code.

mod arguments;
mod failure;
mod printer;
mod session;
mod verbs;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

pub use failure::{Failure, Kind, Report};

/// Builds bootable, immutable OS images from one YAML spec, and runs them.
///
/// No daemon, no root, no VM. Exit codes: 0 done, 1 the input cannot be satisfied, 2 bad usage, 3 our bug or the world's;
/// `run` adds codes of its own for how the guest ended.
#[derive(Debug, Parser)]
#[command(name = "bootwright", version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    global: session::Global,
    #[command(subcommand)]
    verb: verbs::Verb,
}

/// Runs the program with these arguments, the first of which is its own name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments::normalise(arguments)) {
        Ok(cli) => cli,
        Err(error) => {
            let usage = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // A closed pipe is no reason to fail a help text.
            let _ = error.print();
            return ExitCode::from(if usage { 2 } else { 0 });
        }
    };
    let printer = printer::Printer::new(cli.global.verbosity(), cli.global.json);
    match cli.verb.run(&cli.global, &printer) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            printer.failure(&failure);
            ExitCode::from(failure.kind().exit_code())
        }
    }
}
