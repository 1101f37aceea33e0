//! `bootwright-early`: `/init` of an initrd whose machine has a root image.

fn main() -> std::process::ExitCode {
    bootwright_early::run()
}
