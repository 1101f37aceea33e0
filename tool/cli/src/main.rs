//! `bootwright`: builds bootable, immutable OS images from one YAML spec, and runs them.

use std::process::ExitCode;

fn main() -> ExitCode {
    bootwright::main(std::env::args_os())
}
