//! `bootwright version`.

use crate::failure::Failure;
use crate::printer::Printer;

/// Print the version
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the number
    #[arg(long)]
    short: bool,
}

impl Args {
    pub fn run(self, printer: &Printer) -> Result<u8, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let text = if self.short { version.to_owned() } else { format!("bootwright version {version}") };
        printer.result(|| text, || serde_json::json!({ "version": version }));
        Ok(0)
    }
}
