//! `bootwright schema`.

use crate::failure::Failure;
use crate::printer::Printer;

/// Print the JSON Schema of the spec, for editors
#[derive(Debug, clap::Args)]
pub struct Args {}

impl Args {
    pub fn run(self, printer: &Printer) -> Result<u8, Failure> {
        let schema = bootwright_spec::schema();
        printer.result(|| format!("{schema:#}"), || schema.clone());
        Ok(0)
    }
}
