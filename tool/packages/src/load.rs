//! Reading a package's `build.yml`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bootwright_spec::{Input, MAX_BYTES, Package, Sources, parse_package};

use crate::error::Error;

/// The package in a directory.
pub(crate) fn package(directory: &Path) -> Result<Package, Error> {
    let path = directory.join("build.yml");
    let read = || -> io::Result<(String, std::path::PathBuf)> {
        // What cargo and the sources of files are found by must not depend on where this program was started.
        let absolute = directory.canonicalize()?;
        let mut text = String::new();
        // One byte more than is allowed: the parser says by name that it is too long.
        File::open(&path)?.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
        Ok((text, absolute))
    };
    let (text, absolute) = read().map_err(|source| Error::Read { directory: directory.to_owned(), source })?;
    let home = std::env::home_dir();
    let mut sources = Sources::default();
    let input = Input { name: path.display().to_string(), text, directory: Some(absolute) };
    parse_package(input, home.as_deref(), &mut sources).map_err(|diagnostics| Error::Spec {
        directory: directory.to_owned(),
        sources: Box::new(sources),
        diagnostics,
    })
}
