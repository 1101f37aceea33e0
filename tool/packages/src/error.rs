//! What can go wrong with a package, by the recipe that it went wrong in; each cause is its module's own error.

use std::io;
use std::path::{Path, PathBuf};

use bootwright_oci::{Platform, ReferenceError, StoreError};
use bootwright_spec::{Diagnostics, Sources};

use crate::apt::AptError;
use crate::cargo::CargoError;
use crate::debian::DebianError;
use crate::files::FilesError;
use crate::kernel::KernelError;
use crate::kernel_build::KernelBuildError;

/// A package that was not built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `build.yml` cannot be read.
    #[error("`{}` is no package: its `build.yml` cannot be read", .directory.display())]
    Read {
        /// The package.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// `build.yml` is wrong; the diagnostics are to be rendered against the sources.
    #[error("`{}` has {} in its `build.yml`", .directory.display(), count(.diagnostics))]
    Spec {
        /// The package.
        directory: PathBuf,
        /// The text.
        sources: Box<Sources>,
        /// What is wrong with it.
        diagnostics: Diagnostics,
    },
    /// Its name makes no reference.
    #[error("`{}` has a name that no image can have", .directory.display())]
    Name {
        /// The package.
        directory: PathBuf,
        /// Why.
        #[source]
        source: ReferenceError,
    },
    /// It is not made for what was asked for.
    #[error("`{}` is not made for {}; it offers {}", .directory.display(), listed(.wanted), .offered.join(", "))]
    Platform {
        /// The package.
        directory: PathBuf,
        /// What was asked for.
        wanted: Vec<Platform>,
        /// Its `arches`.
        offered: Vec<String>,
    },
    /// Recipe `cargo`.
    #[error("package `{}`, recipe `cargo`", .directory.display())]
    Cargo {
        /// The package.
        directory: PathBuf,
        /// Why.
        #[source]
        source: Box<CargoError>,
    },
    /// Recipe `debian`: apt.
    #[error("package `{}`, recipe `debian`", .directory.display())]
    Apt {
        /// The package.
        directory: PathBuf,
        /// Why.
        #[source]
        source: Box<AptError>,
    },
    /// Recipe `debian`: unpacking.
    #[error("package `{}`, recipe `debian`", .directory.display())]
    Debian {
        /// The package.
        directory: PathBuf,
        /// Why.
        #[source]
        source: Box<DebianError>,
    },
    /// Recipe `debian`: a kernel.
    #[error("package `{}`, recipe `debian` with `kernel: true`", .directory.display())]
    Kernel {
        /// The package.
        directory: PathBuf,
        /// Why.
        #[source]
        source: Box<KernelError>,
    },
    /// Recipe `kernel`.
    #[error("package `{}`, recipe `kernel`", .directory.display())]
    KernelBuild {
        /// The package.
        directory: PathBuf,
        /// Why.
        #[source]
        source: Box<KernelBuildError>,
    },
    /// Recipe `files`.
    #[error("package `{}`, recipe `files`", .directory.display())]
    Files {
        /// The package.
        directory: PathBuf,
        /// Why.
        #[source]
        source: Box<FilesError>,
    },
    /// Sources changed under the build.
    #[error("`{}` was changed while it was being built", .directory.display())]
    Changed {
        /// The package.
        directory: PathBuf,
    },
    /// The store.
    #[error("package `{}` cannot be put into the store", .directory.display())]
    Store {
        /// The package.
        directory: PathBuf,
        /// Why.
        #[source]
        source: Box<StoreError>,
    },
    /// Scratch files.
    #[error("cannot write scratch files in `{}`", .directory.display())]
    Scratch {
        /// Where.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { hint, .. } => hint.clone(),
            Self::Cargo { source, .. } => source.hint(),
            Self::Apt { source, .. } => source.hint(),
            Self::Debian { source, .. } => source.hint(),
            Self::Kernel { source, .. } => source.hint(),
            Self::KernelBuild { source, .. } => source.hint(),
            Self::Name { source, .. } => source.hint(),
            Self::Store { source, .. } => source.hint(),
            Self::Changed { .. } => Some("build it again".to_owned()),
            _ => None,
        }
    }

    pub(crate) fn cargo(directory: &Path, source: CargoError) -> Self {
        Self::Cargo { directory: directory.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn apt(directory: &Path, source: AptError) -> Self {
        Self::Apt { directory: directory.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn debian(directory: &Path, source: DebianError) -> Self {
        Self::Debian { directory: directory.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn kernel(directory: &Path, source: KernelError) -> Self {
        Self::Kernel { directory: directory.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn kernel_build(directory: &Path, source: KernelBuildError) -> Self {
        Self::KernelBuild { directory: directory.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn files(directory: &Path, source: FilesError) -> Self {
        Self::Files { directory: directory.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn store(directory: &Path, source: StoreError) -> Self {
        Self::Store { directory: directory.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn scratch(directory: &Path, source: io::Error) -> Self {
        Self::Scratch { directory: directory.to_owned(), source }
    }
}

fn count(diagnostics: &Diagnostics) -> String {
    match diagnostics.0.len() {
        1 => "a problem".to_owned(),
        n => format!("{n} problems"),
    }
}

fn listed(platforms: &[Platform]) -> String {
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
