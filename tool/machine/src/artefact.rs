//! What is booted: the files that `bootwright build` wrote, found by path or by name.
//!
//! LinuxKit's names: `N-kernel`, `N-initrd.img`, `N-cmdline` for a build called `N`. The user may name the build (`N`,
//! `dir/N`), any of its files, its YAML file, or a kernel by itself.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A kernel, what it unpacks, and what it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artefact {
    /// The kernel.
    pub kernel: PathBuf,
    /// The initrd.
    pub initrd: Option<PathBuf>,
    /// The command line, verbatim.
    pub cmdline: String,
    /// Path and name without the endings: what `PREFIX-state` is named after.
    pub prefix: PathBuf,
}

/// No machine was found, or one that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArtefactError {
    /// Nothing there.
    #[error("no machine `{name}`: looked for {}", list(.looked))]
    NotFound {
        /// As the user wrote it.
        name: String,
        /// Every path that was tried, in order.
        looked: Vec<PathBuf>,
    },
    /// A kernel without its initrd, or the other way round.
    #[error("the machine `{prefix}` is incomplete: `{missing}` does not exist")]
    Incomplete {
        /// Path and name of the build.
        prefix: PathBuf,
        /// What lacks.
        missing: PathBuf,
    },
    /// There and unreadable.
    #[error("cannot read `{path}`")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ArtefactError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { name, .. } => {
                let spec = if is_yaml(Path::new(name)) { name.clone() } else { format!("{name}.yml") };
                Some(format!("`bootwright build {spec}` makes it"))
            }
            Self::Incomplete { .. } => Some("build it again, with the format `kernel+initrd`".into()),
            Self::Read { .. } => None,
        }
    }
}

const KERNEL: &str = "-kernel";
const INITRD: &str = "-initrd.img";
const CMDLINE: &str = "-cmdline";

impl Artefact {
    /// Finds a build by its name, one of its files, or its YAML file (whose build lies in the current directory).
    pub fn find(name: &str) -> Result<Self, ArtefactError> {
        Self::find_in(name, Path::new(""))
    }

    fn find_in(name: &str, here: &Path) -> Result<Self, ArtefactError> {
        let mut prefixes = vec![name.to_owned()];
        prefixes.extend([KERNEL, INITRD, CMDLINE].iter().filter_map(|e| name.strip_suffix(e)).map(str::to_owned));
        if is_yaml(Path::new(name)) {
            let stem = Path::new(name).file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            prefixes.push(stem);
            prefixes.extend(name.rsplit_once('.').map(|(prefix, _)| prefix.to_owned()));
        }
        let mut looked = Vec::new();
        for prefix in prefixes {
            let prefix = here.join(prefix);
            let kernel = with_ending(&prefix, KERNEL);
            if kernel.is_file() {
                let initrd = with_ending(&prefix, INITRD);
                if !initrd.is_file() {
                    return Err(ArtefactError::Incomplete { prefix, missing: initrd });
                }
                let cmdline = cmdline(&with_ending(&prefix, CMDLINE))?;
                return Ok(Self { kernel, initrd: Some(initrd), cmdline, prefix });
            }
            if !looked.contains(&kernel) {
                looked.push(kernel);
            }
        }
        Err(ArtefactError::NotFound { name: name.into(), looked })
    }

    /// A kernel named by itself, with the initrd and command line beside it where they exist.
    pub fn explicit(kernel: &Path, initrd: Option<&Path>, cmdline_file: Option<&Path>) -> Result<Self, ArtefactError> {
        fs::File::open(kernel).map_err(|source| ArtefactError::Read { path: kernel.into(), source })?;
        let name = kernel.to_string_lossy();
        let prefix = PathBuf::from(name.strip_suffix(KERNEL).unwrap_or(&name));
        let initrd = match initrd {
            Some(path) => Some(path.to_owned()),
            None => Some(with_ending(&prefix, INITRD)).filter(|p| p.is_file()),
        };
        let cmdline = match cmdline_file {
            Some(path) => read(path)?,
            None => cmdline(&with_ending(&prefix, CMDLINE))?,
        };
        Ok(Self { kernel: kernel.into(), initrd, cmdline, prefix })
    }
}

fn cmdline(path: &Path) -> Result<String, ArtefactError> {
    match read(path) {
        Err(ArtefactError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other,
    }
}

fn read(path: &Path) -> Result<String, ArtefactError> {
    let text = fs::read_to_string(path).map_err(|source| ArtefactError::Read { path: path.into(), source })?;
    Ok(text.trim_end_matches('\n').to_owned())
}

fn with_ending(prefix: &Path, ending: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|e| e == "yml" || e == "yaml")
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|p| format!("`{}`", p.display())).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_is_found_by_its_name_its_files_and_its_spec() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("web-kernel", "k"), ("web-initrd.img", "i"), ("web-cmdline", "console=ttyS0 quiet\n")] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        for name in ["web", "web-kernel", "web-initrd.img", "web-cmdline", "web.yml", "specs/web.yaml"] {
            let found = Artefact::find_in(name, dir.path()).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(found.kernel, dir.path().join("web-kernel"), "{name}");
            assert_eq!(found.initrd, Some(dir.path().join("web-initrd.img")), "{name}");
            assert_eq!(found.cmdline, "console=ttyS0 quiet", "{name}");
            assert_eq!(found.prefix, dir.path().join("web"), "{name}");
        }
        let explicit = Artefact::explicit(&dir.path().join("web-kernel"), None, None).unwrap();
        assert_eq!(explicit, Artefact::find_in("web", dir.path()).unwrap());
    }

    #[test]
    fn what_is_not_there_is_said_with_every_place() {
        let error = Artefact::find_in("specs/web.yml", Path::new("")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no machine `specs/web.yml`: looked for `specs/web.yml-kernel`, `web-kernel`, `specs/web-kernel`"
        );
        assert_eq!(error.hint().unwrap(), "`bootwright build specs/web.yml` makes it");

        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("web-kernel"), "k").unwrap();
        let error = Artefact::find_in("web", dir.path()).unwrap_err();
        assert!(matches!(error, ArtefactError::Incomplete { .. }), "{error}");
    }
}
