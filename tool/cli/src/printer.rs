//! The one way to the terminal: results on standard output, everything else on standard error.
//!
//! On a terminal long work is a bar; elsewhere it is a line when it begins; with `-q` only warnings and errors are
//! said; with `--json` standard output holds one JSON document per result and errors are JSON too.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use bootwright_oci::{Reporter, Task};
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

    /// Whether to colour what goes to standard error.
    pub fn color(&self) -> bool {
        self.color
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

    /// Already rendered text for standard error.
    pub fn raw(&self, text: &str) {
        self.line(text.trim_end_matches('\n'));
    }

    /// Renders an error: what happened, the causes, what to do.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            let causes: Vec<String> = failure.error.chain().skip(1).map(ToString::to_string).collect();
            let document = serde_json::json!({
                "error": failure.error.to_string(),
                "causes": causes,
                "hints": failure.hints,
                "exit": failure.kind.exit_code(),
                "diagnostics": failure.json,
            });
            let _ = writeln!(std::io::stdout().lock(), "{document:#}");
            return;
        }
        if let Some(rendered) = &failure.rendered {
            self.raw(rendered);
        }
        self.line(&format!("{} {}", self.paint("31", "error:"), failure.error));
        let mut said = failure.error.to_string();
        for cause in failure.error.chain().skip(1).map(ToString::to_string) {
            // Some causes repeat what their parent said.
            if !said.contains(&cause) {
                self.line(&format!("  caused by: {cause}"));
            }
            said = cause;
        }
        for hint in &failure.hints {
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
