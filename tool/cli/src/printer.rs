//! The one way to the terminal: results on standard output, everything else on standard error.
//!
//! On a terminal long work is a bar; elsewhere it is a line when it begins; with `-q` only warnings and errors are
//! said; with `--json` standard output holds one JSON document per result and errors are JSON too.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use bootwright_oci::{Reporter, Task};
use bootwright_spec::{Diagnostics, Sources};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::failure::Failure;

/// How much is said: 0 errors and warnings, 1 what happens, 2 and more details.
pub type Verbosity = u8;

/// The printer.
#[derive(Debug)]
pub struct Printer {
    verbosity: Verbosity,
    json: bool,
    color: bool,
    bars: Option<MultiProgress>,
}

impl Printer {
    /// Looks at standard error once to know whether it is a terminal.
    pub fn new(verbosity: Verbosity, json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self {
            verbosity,
            json,
            color: terminal && std::env::var_os("NO_COLOR").is_none(),
            bars: (terminal && verbosity > 0 && !json).then(MultiProgress::new),
        }
    }

    /// Whether to go into details.
    pub fn details(&self) -> bool {
        self.verbosity > 1
    }

    /// Whether only what is wrong is said.
    pub fn quiet(&self) -> bool {
        self.verbosity == 0
    }

    /// Whether `--json` was given.
    pub fn json(&self) -> bool {
        self.json
    }

    /// A result, to standard output: text for people, or a JSON document.
    pub fn result(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> serde_json::Value) {
        let mut out = if self.json { format!("{:#}", json()) } else { text() };
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        // Whoever closed the pipe has read enough.
        let _ = std::io::stdout().lock().write_all(out.as_bytes());
    }

    /// Diagnostics, each with its place, and an empty line after the last.
    pub fn diagnostics(&self, diagnostics: &Diagnostics, sources: &Sources) {
        if !diagnostics.0.is_empty() {
            self.line(&format!("{}\n", diagnostics.render(sources, self.color).trim_end_matches('\n')));
        }
    }

    /// Those of the notices whose flag was given.
    pub fn notices(&self, notices: &[(bool, &str)]) {
        for (_, notice) in notices.iter().filter(|(given, _)| *given) {
            self.note(notice);
        }
    }

    /// Renders an error: what happened, the causes, what to do.
    pub fn failure(&self, failure: &Failure) {
        let error = failure.error();
        if self.json {
            let causes: Vec<String> = error.chain().skip(1).map(ToString::to_string).collect();
            let diagnostics: Vec<_> = failure
                .reports()
                .iter()
                .flat_map(|r| r.diagnostics.to_json(&r.sources).as_array().cloned().unwrap_or_default())
                .collect();
            let document = serde_json::json!({
                "error": error.to_string(),
                "causes": causes,
                "hints": failure.hints(),
                "exit": failure.kind().exit_code(),
                "diagnostics": diagnostics,
            });
            let _ = writeln!(std::io::stdout().lock(), "{document:#}");
            return;
        }
        for report in failure.reports() {
            self.diagnostics(&report.diagnostics, &report.sources);
        }
        self.line(&format!("{} {error}", self.paint("31", "error:")));
        let mut said = error.to_string();
        for cause in error.chain().skip(1).map(ToString::to_string) {
            // Some causes repeat what their parent said.
            if !said.contains(&cause) {
                self.line(&format!("  caused by: {cause}"));
            }
            said = cause;
        }
        for hint in failure.hints() {
            self.line(&format!("{} {hint}", self.paint("36", "hint:")));
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[1;{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn line(&self, text: &str) {
        let write = || {
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}

impl Reporter for Printer {
    fn start(&self, what: &str, total: Option<u64>) -> Box<dyn Task> {
        let Some(bars) = &self.bars else {
            if self.verbosity > 0 && !self.json {
                self.line(what);
            }
            return Box::new(bootwright_oci::Silent);
        };
        let bar = match total {
            Some(total) => ProgressBar::new(total).with_style(style("{msg:40!} {bar:24} {bytes:>10}/{total_bytes:10}")),
            None => ProgressBar::new_spinner().with_style(style("{msg:40!} {spinner} {bytes:>10}")),
        };
        let bar = bars.add(bar.with_message(what.to_owned()));
        bar.enable_steady_tick(Duration::from_millis(120));
        Box::new(Bar(bar))
    }

    fn note(&self, line: &str) {
        if self.verbosity > 0 && !self.json {
            self.line(line);
        }
    }

    fn warn(&self, line: &str) {
        self.line(&format!("{} {line}", self.paint("33", "warning:")));
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

struct Bar(ProgressBar);

impl Task for Bar {
    fn advance(&mut self, bytes: u64) {
        self.0.inc(bytes);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
