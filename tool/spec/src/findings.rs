//! Where problems are collected while the search for the next one goes on.
//!
//! A hostile file can be wrong in a million places. What is kept is bounded, for errors and warnings apart (so that no
//! flood of warnings hides an error); the rest is counted.

use crate::{Diagnostic, Diagnostics, Severity};

/// How many errors, and how many warnings, are kept.
const KEPT: usize = 100;

/// Problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
    more_errors: usize,
}

impl Findings {
    /// Adds a problem, or counts it when there are too many already.
    pub(crate) fn push(&mut self, found: Diagnostic) {
        let (list, more) = match found.severity {
            Severity::Error => (&mut self.errors, Some(&mut self.more_errors)),
            Severity::Note | Severity::Warning => (&mut self.warnings, None),
        };
        if list.len() < KEPT {
            list.push(found);
        } else if let Some(more) = more {
            *more += 1;
        }
    }

    /// Whether a further error would only be counted. It is then, and there is no point in describing it.
    pub(crate) fn only_counts(&mut self) -> bool {
        let full = self.full();
        self.more_errors += usize::from(full);
        full
    }

    /// Whether no further error is kept.
    pub(crate) fn full(&self) -> bool {
        self.errors.len() >= KEPT
    }

    /// Whether there is an error among them.
    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// All of them in the order of their places; those without a place first.
    pub(crate) fn finish(self) -> Diagnostics {
        let mut all = self.errors;
        all.extend(self.warnings);
        all.sort_by_key(|d| d.span.map(|span| (span.source, span.start, span.end)));
        if self.more_errors > 0 {
            all.push(Diagnostic::error(format!("{} more errors are not shown", self.more_errors)));
        }
        Diagnostics(all)
    }
}
