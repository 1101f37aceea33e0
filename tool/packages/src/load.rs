//! Reading a package's `build.yml`, and what was meant where there is none.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use bootwright_spec::{Input, MAX_BYTES, Package, Sources, nearest, parse_package};

use crate::error::Error;

/// The file that makes a directory a package.
const RECIPES: &str = "build.yml";
/// So many packages of a directory are listed.
const LISTED: usize = 5;

/// The package in a directory.
pub(crate) fn package(directory: &Path) -> Result<Package, Error> {
    let path = directory.join(RECIPES);
    let read = || -> io::Result<(String, std::path::PathBuf)> {
        // What cargo and the sources of files are found by must not depend on where this program was started.
        let absolute = directory.canonicalize()?;
        let mut text = String::new();
        // One byte more than is allowed: the parser says by name that it is too long.
        File::open(&path)?.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
        Ok((text, absolute))
    };
    let (text, absolute) = read().map_err(|source| {
        let hint = if source.kind() == io::ErrorKind::NotFound { meant(directory) } else { None };
        Error::Read { directory: directory.to_owned(), source, hint }
    })?;
    let home = std::env::home_dir();
    let mut sources = Sources::default();
    let input = Input { name: path.display().to_string(), text, directory: Some(absolute) };
    parse_package(input, home.as_deref(), &mut sources).map_err(|diagnostics| Error::Spec {
        directory: directory.to_owned(),
        sources: Box::new(sources),
        diagnostics,
    })
}

/// What may have been meant by a directory that is no package: names only, for they are right wherever the path starts.
fn meant(directory: &Path) -> Option<String> {
    if directory.is_dir() {
        let inside = packages(directory);
        if inside.is_empty() {
            return Some(format!("give it a `{RECIPES}` (docs/packages.md)"));
        }
        let listed: Vec<String> = inside.iter().take(LISTED).map(|name| format!("`{name}`")).collect();
        let more = if inside.len() > LISTED { ", …" } else { "" };
        return Some(format!("name one of the packages in it: {}{more}", listed.join(", ")));
    }
    let beside = directory.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let names = packages(beside);
    let near = nearest(directory.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(format!("did you mean `{near}`?"))
}

/// The names of the packages in a directory, in order.
fn packages(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let packages = entries.filter(|entry| entry.path().join(RECIPES).is_file());
    let mut names: Vec<String> = packages.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_package_is_answered_with_one() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["init", "dhcp", "getty", "httpd", "redis", "sysctl"] {
            fs::create_dir_all(directory.path().join("pkg").join(name)).unwrap();
            fs::write(directory.path().join("pkg").join(name).join(RECIPES), "").unwrap();
        }
        fs::create_dir_all(directory.path().join("pkg/bare")).unwrap();
        for (name, expected) in [
            ("pkg/dhcp4", Some("did you mean `dhcp`?")),
            ("pkg/bare", Some("give it a `build.yml` (docs/packages.md)")),
            ("pkg/nginx", None),
            ("none/dhcp", None),
            ("pkg", Some("name one of the packages in it: `dhcp`, `getty`, `httpd`, `init`, `redis`, …")),
        ] {
            let hint = package(&directory.path().join(name)).unwrap_err().hint();
            assert_eq!(hint.as_deref(), expected, "{name}");
        }
    }
}
