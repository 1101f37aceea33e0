//! What assembly finds wrong, collected: nothing found stops the search for the next.

use bootwright_spec::{Diagnostic, Diagnostics, Severity, Span};

/// A list of diagnostics in the making.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Diagnostic>);

impl Problems {
    pub(crate) fn error(&mut self, span: Option<Span>, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Error, span, message.into())
    }

    pub(crate) fn warning(&mut self, span: Option<Span>, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Warning, span, message.into())
    }

    pub(crate) fn note(&mut self, span: Option<Span>, message: impl Into<String>) -> &mut Diagnostic {
        self.add(Severity::Note, span, message.into())
    }

    pub(crate) fn extend(&mut self, more: Diagnostics) {
        for diagnostic in more.0 {
            self.push(diagnostic);
        }
    }

    fn add(&mut self, severity: Severity, span: Option<Span>, message: String) -> &mut Diagnostic {
        self.0.push(Diagnostic { severity, message, span, label: None, hints: Vec::new() });
        self.0.last_mut().expect("one was just pushed")
    }

    /// Adds one, unless the very same was said already (one label serves many containers).
    fn push(&mut self, diagnostic: Diagnostic) {
        if !self.0.contains(&diagnostic) {
            self.0.push(diagnostic);
        }
    }

    /// All of them, in the order of their places; those without a place come last.
    pub(crate) fn finish(self) -> Diagnostics {
        let mut all: Vec<Diagnostic> = Vec::with_capacity(self.0.len());
        for diagnostic in self.0 {
            if !all.contains(&diagnostic) {
                all.push(diagnostic);
            }
        }
        all.sort_by_key(|d| (d.span.is_none(), d.span));
        Diagnostics(all)
    }
}

/// Adds what the fix is, or what stands under the caret.
pub(crate) trait Describe {
    fn hint(&mut self, text: impl Into<String>) -> &mut Self;
}

impl Describe for Diagnostic {
    fn hint(&mut self, text: impl Into<String>) -> &mut Self {
        self.hints.push(text.into());
        self
    }
}

/// The candidate nearest to a name, if it is near enough to have been meant.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + name.len().min(candidate.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate)
}
