//! What is wrong with a spec and where: sources, spans, diagnostics.
//!
//! A span is a range of bytes in one source. Line and column are derived when a diagnostic is rendered, so that nothing
//! on the way has to carry them.

use std::fmt;
use std::ops::Deref;

/// Names one text given to the parser: an index into [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceId(pub u32);

/// A range of bytes in one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The text the range lies in.
    pub source: SourceId,
    /// Offset of the first byte.
    pub start: u32,
    /// Offset after the last byte; equal to `start` for a place between bytes.
    pub end: u32,
}

/// A value and where it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub span: Span,
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// The texts of a build, by [`SourceId`], each with the name that messages call it by.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    texts: Vec<(String, String)>,
}

impl Sources {
    /// Adds a text under the name that messages show (a path, a URL, `<stdin>`).
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        let id = SourceId(u32::try_from(self.texts.len()).expect("fewer than 2^32 sources"));
        self.texts.push((name.into(), text.into()));
        id
    }

    /// The name of a source.
    #[must_use]
    pub fn name(&self, id: SourceId) -> &str {
        self.texts.get(id.0 as usize).map_or("", |(name, _)| name)
    }

    /// The text of a source.
    #[must_use]
    pub fn text(&self, id: SourceId) -> &str {
        self.texts.get(id.0 as usize).map_or("", |(_, text)| text)
    }

    /// Line and column of a span's first character, both from 1; columns count characters, as editors do.
    #[must_use]
    pub fn location(&self, span: Span) -> (usize, usize) {
        let text = self.text(span.source);
        let before = text.get(..span.start as usize).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = before.matches('\n').count() + 1;
        // A byte order mark is no column of the first line.
        let mark = usize::from(before[line_start..].starts_with('\u{feff}'));
        let column = before[line_start..].chars().count() + 1 - mark;
        (line, column)
    }

    /// `name:line:column` of a span.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        let (line, column) = self.location(span);
        format!("{}:{line}:{column}", self.name(span.source))
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; the build goes on.
    Note,
    /// Probably not what was meant; the build goes on.
    Warning,
    /// The build cannot go on.
    Error,
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong: lower case, no full stop, names in backticks.
    pub message: String,
    /// Where, if it has a place.
    pub span: Option<Span>,
    /// What stands under the caret: what is allowed, or what was found.
    pub label: Option<String>,
    /// What to do about it.
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// An error without a place.
    #[must_use]
    pub fn error(message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, message: message.into(), span: None, label: None, hints: Vec::new() }
    }

    /// A warning without a place.
    #[must_use]
    pub fn warning(message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(message) }
    }

    /// Says where it is.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Says what stands under the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

/// All problems of one pass, in the order of their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Whether the build must stop.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|d| d.severity == Severity::Error)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}
