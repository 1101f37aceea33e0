//! What ends a command early: an error, whose fault it is, and what to do about it.

use std::fmt;

/// Whose fault it is, which decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The input cannot be satisfied: 1.
    Input,
    /// The command line is wrong: 2.
    Usage,
    /// Our bug or the world's (network, disk): 3.
    World,
}

/// An error at the level of a command.
#[derive(Debug)]
pub struct Failure {
    /// Whose fault.
    pub kind: Kind,
    /// What happened; its chain of sources are the causes.
    pub error: anyhow::Error,
    /// What to do.
    pub hints: Vec<String>,
    /// Already rendered diagnostics, printed before the error.
    pub rendered: Option<String>,
    /// The same for `--json`.
    pub json: Option<serde_json::Value>,
}

impl Kind {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Input => 1,
            Self::Usage => 2,
            Self::World => 3,
        }
    }
}

impl Failure {
    /// A failure without hints.
    pub fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Self {
        Self { kind, error: error.into(), hints: Vec::new(), rendered: None, json: None }
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
        self.hints.extend(hint.into());
        self
    }

    /// Says what was being done.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display + Send + Sync + 'static) -> Self {
        self.error = self.error.context(doing);
        self
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Kind::World, error)
    }
}

impl From<bootwright_packages::Error> for Failure {
    fn from(error: bootwright_packages::Error) -> Self {
        let hint = error.hint();
        let rendered = match &error {
            bootwright_packages::Error::Spec { sources, diagnostics, .. } => Some(diagnostics.render(sources, false)),
            _ => None,
        };
        Self { rendered, ..Self::new(Kind::Input, error).hint(hint) }
    }
}

impl From<bootwright_oci::StoreError> for Failure {
    fn from(error: bootwright_oci::StoreError) -> Self {
        let kind = match &error {
            bootwright_oci::StoreError::Name { .. } | bootwright_oci::StoreError::Manifest(_) => Kind::Input,
            _ => Kind::World,
        };
        let hint = error.hint();
        Self::new(kind, error).hint(hint)
    }
}

impl From<bootwright_formats::Error> for Failure {
    fn from(error: bootwright_formats::Error) -> Self {
        let hint = error.hint();
        let kind = match &error {
            bootwright_formats::Error::Write { .. } => Kind::World,
            _ => Kind::Input,
        };
        Self::new(kind, error).hint(hint)
    }
}

impl From<bootwright_machine::Error> for Failure {
    fn from(error: bootwright_machine::Error) -> Self {
        let hint = error.hint();
        let kind = match &error {
            bootwright_machine::Error::Conflict(_) => Kind::Usage,
            _ => Kind::World,
        };
        Self::new(kind, error).hint(hint)
    }
}

impl From<bootwright_machine::ArtefactError> for Failure {
    fn from(error: bootwright_machine::ArtefactError) -> Self {
        let hint = error.hint();
        Self::new(Kind::Input, error).hint(hint)
    }
}
