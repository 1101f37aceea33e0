//! `bootwright check`.

use bootwright_spec::Severity;

use super::build::Images;
use super::compose::{Composer, Inputs};
use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::Global;

/// Look for everything that would go wrong, in the spec and in its images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Spec files; `-` is standard input, and http(s) URLs are read too
    #[arg(required = true, value_name = "SPEC")]
    specs: Vec<String>,
    #[command(flatten)]
    images: Images,
}

impl Args {
    pub fn run(self, global: &Global, printer: &Printer) -> Result<u8, Failure> {
        let composer = Composer::new(global, &self.images, printer)?;
        let (_, found) = composer.machine(Inputs::read(&self.specs, global)?, Severity::Note)?;
        let told = match (found.warnings, found.notes) {
            (0, 0) => "nothing to say against it".to_owned(),
            (warnings, notes) => format!("no errors; warnings: {warnings}, notes: {notes}"),
        };
        printer.result(|| format!("{}: {told}", self.specs.join(" ")), || found.json.clone());
        Ok(0)
    }
}
