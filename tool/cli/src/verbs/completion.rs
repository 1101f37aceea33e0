//! `bootwright completion`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::failure::Failure;
use crate::printer::Printer;

/// Print a completion script
#[derive(Debug, clap::Args)]
pub struct Args {
    /// For this shell
    shell: Shell,
}

impl Args {
    pub fn run(self, printer: &Printer) -> Result<u8, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut crate::Cli::command(), "bootwright", &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        printer.result(|| script.clone(), || serde_json::Value::String(script.clone()));
        Ok(0)
    }
}
