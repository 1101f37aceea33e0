//! JSON values as block-style YAML. A string is written plain only where no YAML reader, old or new, could take it for
//! something else; several lines of it as a literal block where that is exact; else between double quotes.

use std::fmt::Write;

use serde_json::{Map, Value as Json};

/// A document of one map.
pub(super) fn document(value: &Json) -> String {
    let mut out = String::new();
    match value {
        Json::Object(map) if !map.is_empty() => object(&mut out, map, 0),
        _ => out.push_str("{}\n"),
    }
    out
}

fn object(out: &mut String, map: &Map<String, Json>, indent: usize) {
    for (i, (key, value)) in map.iter().enumerate() {
        // The first key of a list's entry stands behind its dash.
        if i > 0 || !out.ends_with("- ") {
            spaces(out, indent);
        }
        // A key longer than YAML's 1024 characters must say that it is one.
        if key.len() > 1000 {
            out.push_str("? ");
            scalar(out, key);
            out.push('\n');
            spaces(out, indent);
        } else {
            scalar(out, key);
        }
        out.push(':');
        match value {
            Json::Object(map) if !map.is_empty() => {
                out.push('\n');
                object(out, map, indent + 2);
            }
            Json::Array(list) if !list.is_empty() => {
                out.push('\n');
                array(out, list, indent + 2);
            }
            other => {
                out.push(' ');
                leaf(out, other, indent + 2);
            }
        }
    }
}

fn array(out: &mut String, list: &[Json], indent: usize) {
    for value in list {
        spaces(out, indent);
        out.push_str("- ");
        match value {
            Json::Object(map) if !map.is_empty() => object(out, map, indent + 2),
            other => leaf(out, other, indent + 2),
        }
    }
}

fn leaf(out: &mut String, value: &Json, indent: usize) {
    match value {
        Json::String(text) if is_block(text) => block(out, text, indent),
        Json::String(text) => {
            scalar(out, text);
            out.push('\n');
        }
        // Numbers, booleans, empty collections, and lists in lists: JSON is YAML.
        other => {
            let _ = writeln!(out, "{other}");
        }
    }
}

fn spaces(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n(' ', count));
}

/// Whether a text is exactly what a literal block gives back.
fn is_block(text: &str) -> bool {
    let Some(body) = text.strip_suffix('\n') else { return false };
    let first = body.chars().next();
    !body.ends_with('\n')
        && first.is_some_and(|c| !c.is_whitespace())
        && body.lines().all(|line| !line.starts_with(['\t', ' ']) || !line.trim().is_empty())
        && text.chars().all(|c| c == '\n' || c == '\t' || is_printable(c))
}

fn block(out: &mut String, text: &str, indent: usize) {
    out.push_str("|\n");
    for line in text.split_terminator('\n') {
        if !line.is_empty() {
            spaces(out, indent);
        }
        out.push_str(line);
        out.push('\n');
    }
}

/// Characters that need no escape anywhere.
fn is_printable(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}')
}

fn scalar(out: &mut String, text: &str) {
    if is_plain(text) {
        out.push_str(text);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c => {
                let _ = match u32::from(c) {
                    code @ ..=0xff => write!(out, "\\x{code:02x}"),
                    code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push('"');
}

/// Whether a text can stand without quotes: it starts with a letter, `/` or `_`, holds nothing that means something, and is
/// not a word that some YAML takes for a boolean or null.
fn is_plain(text: &str) -> bool {
    const WORDS: &[&str] = &["true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf"];
    let mut chars = text.chars();
    let start = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '/' || c == '_');
    let inside = |c: char| c.is_ascii_alphanumeric() || "/_-.,=+@%~ :".contains(c);
    start
        && chars.all(inside)
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}
