//! Diagnostics for people and for programs.
//!
//! A problem is shown with its place, its line and a run of carets under what is meant. What a file says is not trusted:
//! control and direction characters are replaced, tabs become spaces, and of a long line only the neighbourhood is shown, so
//! that the carets always stand where they belong.

use std::fmt::Write;

use serde_json::{Value as Json, json};
use unicode_width::UnicodeWidthChar;

use crate::{Diagnostic, Diagnostics, Severity, Sources, Span};

/// Most characters of a line shown before the caret, and from it on.
const BEFORE: usize = 60;
const AFTER: usize = 100;
/// Columns of a hint.
const WIDTH: usize = 90;
/// How a tab is shown.
const TAB: &str = "    ";

impl Diagnostics {
    /// All problems as text for a terminal, with ANSI colours if wanted.
    #[must_use]
    pub fn render(&self, sources: &Sources, color: bool) -> String {
        let mut out = String::new();
        for (i, found) in self.0.iter().enumerate() {
            if i > 0 {
                out.push('\n');
            }
            found.render(sources, color, &mut out);
        }
        out
    }

    /// All problems as a JSON array of objects with `severity`, `message`, `file`, `line`, `column`, `end_line`,
    /// `end_column`, `label` and `hints`.
    #[must_use]
    pub fn to_json(&self, sources: &Sources) -> Json {
        let one = |found: &Diagnostic| {
            let mut json = json!({ "severity": found.severity.to_string(), "message": found.message });
            if let Some(span) = found.span {
                let (line, column) = sources.location(span);
                let (end_line, end_column) = sources.location(Span { start: span.end, ..span });
                json["file"] = sources.name(span.source).into();
                json["line"] = line.into();
                json["column"] = column.into();
                json["end_line"] = end_line.into();
                json["end_column"] = end_column.into();
            }
            if let Some(label) = &found.label {
                json["label"] = label.as_str().into();
            }
            json["hints"] = found.hints.as_slice().into();
            json
        };
        self.0.iter().map(one).collect()
    }
}

/// The colours, or none.
struct Paint(bool);

impl Paint {
    fn paint(&self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn severity(&self, severity: Severity, text: &str) -> String {
        let code = match severity {
            Severity::Note => "1;36",
            Severity::Warning => "1;33",
            Severity::Error => "1;31",
        };
        self.paint(code, text)
    }

    fn frame(&self, text: &str) -> String {
        self.paint("1;34", text)
    }
}

impl Diagnostic {
    fn render(&self, sources: &Sources, color: bool, out: &mut String) {
        let paint = Paint(color);
        let severity = paint.severity(self.severity, &self.severity.to_string());
        let _ = writeln!(out, "{severity}: {}", paint.paint("1", &safe(&self.message)));
        let mut gutter = 1;
        if let Some(span) = self.span {
            let (line, column) = sources.location(span);
            let number = line.to_string();
            gutter = number.len();
            let pad = " ".repeat(gutter);
            let _ = writeln!(out, "{pad}{} {}:{line}:{column}", paint.frame("-->"), safe(sources.name(span.source)));
            let excerpt = Excerpt::new(sources.text(span.source), span);
            let carets = format!("{}{}", "^".repeat(excerpt.carets), if excerpt.goes_on { "…" } else { "" });
            let label = self.label.as_deref().map(|label| format!(" {}", safe(label))).unwrap_or_default();
            let _ = writeln!(out, "{pad} {}", paint.frame("|"));
            let _ = writeln!(out, "{} {}", paint.frame(&format!("{number} |")), excerpt.text);
            let under = paint.severity(self.severity, &format!("{carets}{label}"));
            let _ = writeln!(out, "{pad} {} {}{under}", paint.frame("|"), " ".repeat(excerpt.indent));
        } else if let Some(label) = &self.label {
            let _ = writeln!(out, "  {} {}", paint.frame("="), safe(label));
        }
        for hint in &self.hints {
            let pad = " ".repeat(gutter);
            for (i, line) in lines(hint).into_iter().enumerate() {
                let _ = match i {
                    0 => writeln!(out, "{pad} {} hint: {line}", paint.frame("=")),
                    _ => writeln!(out, "{pad}         {line}"),
                };
            }
        }
    }
}

/// The part of a line around a span, fit to be printed.
struct Excerpt {
    text: String,
    /// Columns before the first caret, and number of carets.
    indent: usize,
    carets: usize,
    /// Whether the span goes on behind the part that is shown.
    goes_on: bool,
}

impl Excerpt {
    fn new(source: &str, span: Span) -> Self {
        let (start, end) = (span.start as usize, span.end as usize);
        let (Some(before), Some(rest)) = (source.get(..start), source.get(start..)) else {
            return Self { text: String::new(), indent: 0, carets: 1, goes_on: false };
        };
        let line_before = &before[before.rfind('\n').map_or(0, |newline| newline + 1)..];
        let from = line_before.char_indices().rev().nth(BEFORE - 1).map_or(0, |(byte, _)| byte);
        // Lines can be as long as the file: nothing here looks further than what is shown.
        let line_rest = upto(rest, AFTER);
        let meant = source.get(start..end).unwrap_or_default();
        let shown = upto(meant, AFTER);

        let mut text = if from > 0 { "…".to_owned() } else { String::new() };
        text.push_str(&safe(&line_before[from..]));
        let indent = width(&text);
        text.push_str(&safe(line_rest));
        if rest[line_rest.len()..].starts_with(|c| c != '\n' && c != '\r') {
            text.push('…');
        }
        let goes_on = shown.len() < meant.len();
        Self { text: text.trim_end().to_owned(), indent, carets: width(&safe(shown)).max(1), goes_on }
    }
}

/// The text up to the end of its line, at most so many characters.
fn upto(text: &str, most: usize) -> &str {
    let end = text.char_indices().enumerate().find(|(i, (_, c))| *i == most || matches!(c, '\n' | '\r'));
    end.map_or(text, |(_, (byte, _))| &text[..byte])
}

/// Text that does nothing to a terminal but appear: tabs as spaces, everything invisible as a visible sign.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push_str(TAB),
            '\u{feff}' => {}
            '\0'..='\u{1f}' => out.push(char::from_u32(0x2400 + u32::from(c)).unwrap_or('�')),
            '\u{7f}' => out.push('␡'),
            '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => {
                out.push('�')
            }
            c => out.push(c),
        }
    }
    out
}

/// A text in lines of words that fit on a terminal.
fn lines(hint: &str) -> Vec<String> {
    match hint.contains('\n') {
        // Lines of a file, to be copied as they are.
        true => hint.split('\n').map(safe).collect(),
        false => wrapped(&safe(hint)),
    }
}

/// At most so many columns each.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if line.is_empty() {
            line.push_str(word);
        } else if width(line) + 1 + width(word) <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Columns that a text takes on a terminal.
fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str, range: std::ops::Range<u32>, label: &str) -> String {
        let mut sources = Sources::default();
        let source = sources.add("a.yml", text);
        let span = Span { source, start: range.start, end: range.end };
        Diagnostics(vec![Diagnostic::error("wrong").at(span).label(label).hint("help")]).render(&sources, false)
    }

    #[test]
    fn points_at_what_is_meant() {
        assert_eq!(
            shown("a: 1\nb: two\n", 8..11, "here"),
            "error: wrong\n --> a.yml:2:4\n  |\n2 | b: two\n  |    ^^^ here\n  = hint: help\n"
        );
    }

    #[test]
    fn survives_hostile_lines() {
        for (text, range, line, carets) in [
            ("\tx: y", 4..5, "1 |     x: y", "  |        ^ l"),
            ("\x1b[31m: y", 7..8, "1 | ␛[31m: y", "  |        ^ l"),
            ("日本: y", 8..9, "1 | 日本: y", "  |       ^ l"),
            ("日本: y", 0..6, "1 | 日本: y", "  | ^^^^ l"),
            ("a: \u{202e}b", 3..7, "1 | a: �b", "  |    ^^ l"),
            ("a: |\n x\n y\n", 3..10, "1 | a: |", "  |    ^… l"),
            ("a:\r\nb:\r\n", 4..5, "2 | b:", "  | ^ l"),
            ("", 0..0, "1 | ", "  | ^ l"),
        ] {
            let shown = shown(text, range, "l");
            let lines: Vec<_> = shown.lines().collect();
            assert_eq!(lines[3..5], [line, carets], "{text:?}");
        }
        let long = format!("k: \"{}\" z", "x".repeat(5000));
        let shown = shown(&long, 3..5005, "l");
        assert!(shown.lines().all(|line| line.chars().count() < 240), "{shown}");
        let far = Diagnostics(vec![Diagnostic::error("far").at(Span {
            source: crate::SourceId(0),
            start: 10_001,
            end: 10_002,
        })]);
        let mut sources = Sources::default();
        sources.add("a.yml", format!("{} z", "é".repeat(5000)));
        let shown = far.render(&sources, false);
        assert!(shown.contains("a.yml:1:5002"), "{shown}");
        assert_eq!(shown.lines().nth(3).unwrap().chars().last(), Some('z'));
    }

    #[test]
    fn programs_get_ranges() {
        let mut sources = Sources::default();
        let source = sources.add("a.yml", "a: 1\nb: two\n");
        let found = Diagnostics(vec![
            Diagnostic::error("wrong").at(Span { source, start: 8, end: 11 }),
            Diagnostic::warning("placeless"),
        ]);
        let expected = json!([
            {"severity": "error", "message": "wrong", "file": "a.yml", "line": 2, "column": 4, "end_line": 2, "end_column": 7, "hints": []},
            {"severity": "warning", "message": "placeless", "hints": []},
        ]);
        assert_eq!(found.to_json(&sources), expected);
    }
}
