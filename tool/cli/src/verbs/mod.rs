//! The verbs, one file each.

mod build;
mod cache;
mod check;
mod completion;
mod compose;
mod ctl;
mod debug;
mod pkg;
mod run;
mod schema;
mod test;
mod version;

use clap::Subcommand;

use crate::failure::Failure;
use crate::printer::Printer;
use crate::session::Global;

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Build(build::Args),
    Cache(cache::Args),
    Check(check::Args),
    Completion(completion::Args),
    Ctl(ctl::Args),
    Pkg(pkg::Args),
    Run(Box<run::Args>),
    Schema(schema::Args),
    Test(Box<test::Args>),
    Version(version::Args),
}

impl Verb {
    /// Does it; the number is the exit code.
    pub fn run(self, global: &Global, printer: &Printer) -> Result<u8, Failure> {
        match self {
            Self::Build(args) => args.run(global, printer),
            Self::Cache(args) => args.run(global, printer),
            Self::Check(args) => args.run(global, printer),
            Self::Completion(args) => args.run(printer),
            Self::Ctl(args) => args.run(global, printer),
            Self::Pkg(args) => args.run(global, printer),
            Self::Run(args) => args.run(global, printer),
            Self::Schema(args) => args.run(printer),
            Self::Test(args) => args.run(global, printer),
            Self::Version(args) => args.run(printer),
        }
    }
}
