//! Small programs of one file, for machines that have no library.

use std::path::Path;
use std::process::Command;

use crate::place;

/// Compiles a source of this crate, by its path in it, to a static program for musl.
///
/// # Panics
/// When rustc cannot.
pub fn compile(source: &str, program: &Path) {
    let source = place::repository().join("test").join(source);
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let status = Command::new(rustc)
        .args("--edition 2024 --target x86_64-unknown-linux-musl -O -C panic=abort -C strip=symbols -o".split(' '))
        .arg(program)
        .arg(&source)
        .status();
    assert!(status.is_ok_and(|s| s.success()), "rustc could not compile {}", source.display());
}
