//! Reading a package's `build.yml`.

use std::path::Path;

use bootwright_spec::Package;

use crate::error::Error;

/// The package in a directory.
pub(crate) fn package(_directory: &Path) -> Result<Package, Error> {
    unreachable!()
}
