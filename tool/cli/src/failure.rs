//! What ends a command early: an error, whose fault it is, and what to do about it.
//!
//! Whose fault decides the exit code, so every conversion from a library's error says it: what the user gave (the spec,
//! an image, a package) is 1, the command line 2, and what may be gone when the same is tried again elsewhere or later
//! (disk, network, a missing tool) is 3, as are our own bugs.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use bootwright_oci::archive::ArchiveError;
use bootwright_oci::engine::EngineError;
use bootwright_oci::registry::RegistryError;
use bootwright_oci::{FetchError, StoreError};
use bootwright_packages::{AptError, CargoError, CommandError, KernelBuildError, KernelError};
use bootwright_spec::{Diagnostic, Diagnostics, Sources};

/// Whose fault it is, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The input cannot be satisfied: 1.
    Input,
    /// The command line is wrong: 2.
    Usage,
    /// Our bug or the world's (network, disk): 3.
    World,
    /// A machine that would have too little memory, and so was not started: 14, as if its init had said so.
    Memory,
}

impl Kind {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Input => 1,
            Self::Usage => 2,
            Self::World => 3,
            Self::Memory => bootwright_machine::Outcome::OutOfMemory.exit_code(),
        }
    }
}

/// An error at the level of a command.
#[derive(Debug)]
pub struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    error: anyhow::Error,
    hints: Vec<String>,
    reports: Vec<Report>,
}

/// Diagnostics and the texts that they are about.
#[derive(Debug)]
pub struct Report {
    /// The texts.
    pub sources: Sources,
    /// The diagnostics.
    pub diagnostics: Diagnostics,
}

impl Failure {
    /// A failure without hints.
    pub fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Self(Box::new(Inner { kind, error: error.into(), hints: Vec::new(), reports: Vec::new() }))
    }

    /// The input cannot be satisfied.
    pub fn input(message: impl fmt::Display) -> Self {
        Self::new(Kind::Input, anyhow::anyhow!("{message}"))
    }

    /// The command line is wrong.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(Kind::Usage, anyhow::anyhow!("{message}"))
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.0.hints.extend(hint.into());
        self
    }

    /// Says what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display + Send + Sync + 'static) -> Self {
        self.0.error = self.0.error.context(doing);
        self
    }

    /// Adds diagnostics, shown before the error and after those that are there.
    #[must_use]
    pub fn report(mut self, diagnostics: Diagnostics, sources: &Sources) -> Self {
        self.0.reports.push(Report { sources: sources.clone(), diagnostics });
        self
    }

    /// Says which place of the spec asked for what failed, before all else.
    #[must_use]
    pub fn asked_at(mut self, place: Diagnostic, sources: &Sources) -> Self {
        self.0.reports.insert(0, Report { sources: sources.clone(), diagnostics: Diagnostics(vec![place]) });
        self
    }

    /// Whose fault.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What happened; its chain of sources are the causes.
    pub fn error(&self) -> &anyhow::Error {
        &self.0.error
    }

    /// What to do.
    pub fn hints(&self) -> &[String] {
        &self.0.hints
    }

    /// What was found wrong, and where.
    pub fn reports(&self) -> &[Report] {
        &self.0.reports
    }
}

/// Input, unless the disk or our rights on it are at the bottom of it.
fn input_or_disk(error: &(dyn StdError + 'static)) -> Kind {
    let mut next = Some(error);
    while let Some(cause) = next {
        let full = cause.downcast_ref::<io::Error>().is_some_and(|e| {
            use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
            matches!(e.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem | PermissionDenied)
        });
        if full {
            return Kind::World;
        }
        next = cause.source();
    }
    Kind::Input
}

fn store(error: &StoreError) -> Kind {
    match error {
        // The image itself is no good.
        StoreError::Layer { .. } | StoreError::Flatten { .. } | StoreError::DiffId { .. } => input_or_disk(error),
        StoreError::Name { .. } | StoreError::Manifest(_) | StoreError::Image { .. } => Kind::Input,
        // The store is.
        _ => Kind::World,
    }
}

fn archive(error: &ArchiveError) -> Kind {
    match error {
        ArchiveError::Store(error) => store(error),
        error => input_or_disk(error),
    }
}

fn registry(error: &RegistryError) -> Kind {
    match error {
        RegistryError::Store(error) => store(error),
        RegistryError::Push { .. } => Kind::Input,
        error if error.is_absence() => Kind::Input,
        _ => Kind::World,
    }
}

fn engine(error: &EngineError) -> Kind {
    match error {
        EngineError::NotFound { .. } => Kind::Input,
        EngineError::Archive(error) => archive(error),
        EngineError::Store(error) => store(error),
        _ => Kind::World,
    }
}

fn fetch(error: &FetchError) -> Kind {
    match error {
        FetchError::NotFound { absent: false, .. } => Kind::World,
        FetchError::Store(error) => store(error),
        FetchError::Archive { source, .. } => archive(source),
        FetchError::Engine { source, .. } => engine(source),
        _ => Kind::Input,
    }
}

/// A program that ran and refused what it was given speaks of the input; one that is missing, of the machine.
fn program(error: &CommandError) -> Kind {
    match error {
        CommandError::Failed { .. } => Kind::Input,
        _ => Kind::World,
    }
}

fn package(error: &bootwright_packages::Error) -> Kind {
    use bootwright_packages::Error;
    match error {
        Error::Store { source, .. } => store(source),
        Error::Scratch { .. } | Error::Changed { .. } => Kind::World,
        Error::Cargo { source, .. } => match &**source {
            CargoError::Cargo { source, .. } => program(source),
            CargoError::TargetMissing(_) | CargoError::Metadata { .. } => Kind::World,
            error => input_or_disk(error),
        },
        Error::Apt { source, .. } => match &**source {
            AptError::Resolve { source, .. } => program(source),
            AptError::Offline(_) => Kind::Input,
            _ => Kind::World,
        },
        Error::Kernel { source, .. } => match &**source {
            KernelError::Io { .. } => Kind::World,
            KernelError::Depmod { source, .. } => program(source),
            error => input_or_disk(error),
        },
        Error::KernelBuild { source, .. } => match &**source {
            KernelBuildError::Missing(_) => Kind::World,
            KernelBuildError::Version(source) | KernelBuildError::Finish(source) => program(source),
            error => input_or_disk(error),
        },
        error => input_or_disk(error),
    }
}

fn format(error: &bootwright_formats::Error) -> Kind {
    use bootwright_formats::Error;
    match error {
        Error::NotStreamable { .. } | Error::NoFormat | Error::Compression(_) | Error::SquashfsOptions(_) => {
            Kind::Usage
        }
        // A broken tree is assembly's bug.
        Error::Write { .. } | Error::Cache { .. } | Error::Read { .. } | Error::Tree { .. } => Kind::World,
        _ => Kind::Input,
    }
}

fn machine(error: &bootwright_machine::Error) -> Kind {
    match error {
        bootwright_machine::Error::Conflict(_) => Kind::Usage,
        bootwright_machine::Error::NoDisk { .. } | bootwright_machine::Error::NoMachine { .. } => Kind::Input,
        bootwright_machine::Error::LittleMemory { .. } => Kind::Memory,
        _ => Kind::World,
    }
}

/// Conversions of errors that know a hint, each with the function that says whose fault it is.
macro_rules! failures {
    ($($error:ty => $kind:expr),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let (kind, hint) = ($kind(&error), error.hint());
                Self::new(kind, error).hint(hint)
            }
        }
    )*};
}

failures! {
    StoreError => store,
    ArchiveError => archive,
    RegistryError => registry,
    bootwright_formats::Error => format,
    bootwright_formats::authenticode::SigningError => |_: &_| Kind::Input,
    bootwright_machine::Error => machine,
    bootwright_machine::ArtefactError => input_or_disk,
    bootwright_oci::ReferenceError => |_: &_| Kind::Input,
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let (kind, hint) = (fetch(&error), error.hint());
        match error {
            FetchError::Store(error) => Self::new(kind, *error),
            error => Self::new(kind, error),
        }
        .hint(hint)
    }
}

impl From<bootwright_packages::Error> for Failure {
    fn from(error: bootwright_packages::Error) -> Self {
        let (kind, hint) = (package(&error), error.hint());
        let report = match &error {
            bootwright_packages::Error::Spec { sources, diagnostics, .. } => {
                Some((diagnostics.clone(), (**sources).clone()))
            }
            _ => None,
        };
        let failure = Self::new(kind, error).hint(hint);
        match report {
            Some((diagnostics, sources)) => failure.report(diagnostics, &sources),
            None => failure,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Kind::World, error)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use bootwright_oci::Digest;
    use bootwright_packages::Error;

    use super::*;

    fn disk(kind: io::ErrorKind) -> io::Error {
        io::Error::from(kind)
    }

    fn apt(source: AptError) -> Failure {
        Error::Apt { directory: PathBuf::from("p"), source: Box::new(source) }.into()
    }

    fn failed() -> CommandError {
        CommandError::Failed { command: "apt-get".into(), status: "100".into(), stderr: "E: no such".into() }
    }

    fn missing() -> CommandError {
        CommandError::Missing { program: "apt-get".into(), package: "apt" }
    }

    #[test]
    fn packages_tell_a_wrong_name_from_a_missing_tool() {
        let packages = vec!["nope".to_owned()];
        let cargo = |source| Failure::from(Error::Cargo { directory: "p".into(), source: Box::new(source) });
        let kernel = |source| Failure::from(Error::KernelBuild { directory: "p".into(), source: Box::new(source) });
        for (failure, kind) in [
            (kernel(KernelBuildError::Missing(vec!["flex"])), Kind::World),
            (kernel(KernelBuildError::Finish(missing())), Kind::World),
            (kernel(KernelBuildError::Refused(Vec::new())), Kind::Input),
            (apt(AptError::Resolve { packages: packages.clone(), source: failed() }), Kind::Input),
            (apt(AptError::Resolve { packages: packages.clone(), source: missing() }), Kind::World),
            (apt(AptError::Missing(missing())), Kind::World),
            (apt(AptError::Download { packages, source: failed() }), Kind::World),
            (apt(AptError::Offline("x is".into())), Kind::Input),
            (cargo(CargoError::Cargo { package: "p".into(), source: failed() }), Kind::Input),
            (cargo(CargoError::Cargo { package: "p".into(), source: missing() }), Kind::World),
            (cargo(CargoError::TargetMissing("x86_64-unknown-linux-musl")), Kind::World),
            (cargo(CargoError::NoPackage { workspace: "/w".into(), package: "p".into() }), Kind::Input),
        ] {
            assert_eq!(failure.kind(), kind, "{failure:?}");
        }
    }

    #[test]
    fn the_disk_is_the_worlds_and_what_is_on_it_the_users() {
        use bootwright_formats::Error as Format;
        let path = || Path::new("/x").to_owned();
        let digest = Digest::of(b"");
        let read = |kind| Error::Read { directory: path(), source: disk(kind), hint: None };
        for (failure, kind) in [
            (Failure::from(read(io::ErrorKind::NotFound)), Kind::Input),
            (read(io::ErrorKind::PermissionDenied).into(), Kind::World),
            (ArchiveError::Io { path: path(), source: disk(io::ErrorKind::NotFound) }.into(), Kind::Input),
            (ArchiveError::Io { path: path(), source: disk(io::ErrorKind::StorageFull) }.into(), Kind::World),
            (StoreError::Io { path: path(), source: disk(io::ErrorKind::NotFound) }.into(), Kind::World),
            (StoreError::Missing { digest }.into(), Kind::World),
            (StoreError::Name { name: "x".into(), near: Vec::new() }.into(), Kind::Input),
            (Format::Write { path: "x".into(), source: disk(io::ErrorKind::BrokenPipe) }.into(), Kind::World),
            (Format::NoDirectory(path()).into(), Kind::Input),
            (Format::NoFormat.into(), Kind::Usage),
        ] {
            assert_eq!(failure.kind(), kind, "{failure:?}");
        }
    }

    #[test]
    fn a_place_that_could_not_be_asked_is_not_the_users_fault() {
        for (absent, kind) in [(true, Kind::Input), (false, Kind::World)] {
            let error = FetchError::NotFound { reference: "x".into(), searched: Vec::new(), absent, hint: None };
            assert_eq!(Failure::from(error).kind(), kind);
        }
    }
}
