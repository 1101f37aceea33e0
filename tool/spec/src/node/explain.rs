//! What the parser's words mean to someone who writes a spec.

/// The parser's complaint in other words, and what to do about it.
pub(super) fn explain(info: &str) -> (&'static str, Option<&'static str>) {
    let quote = "put quotes around values that hold `: ` or ` #` or that start with one of `@ ` * & ! % { [ | > ' \"`";
    let indent = "entries of one map or list start in the same column";
    let has = |word: &str| info.contains(word);
    if has("recursion limit") {
        ("it is nested too deeply", None)
    } else if has("tab") && (has("indentation") || has("disallowed")) || has("found a tab") {
        ("a tab stands where only spaces may", Some("indent with spaces"))
    } else if has("unknown anchor") {
        (
            "an alias names an anchor that was not set before",
            Some("`&name` sets an anchor, `*name` uses it; quote a text that starts with `*`"),
        )
    } else if has("unexpected character") {
        ("a value cannot start with this character", Some(quote))
    } else if has("unknown escape") || has("hexadecimal") || has("Unicode character escape") {
        (
            "unknown escape in a double-quoted string",
            Some("write `\\\\` for a backslash, or use single quotes, where nothing is an escape"),
        )
    } else if has("quoted scalar") && has("end of stream") {
        ("a quote is opened and never closed", None)
    } else if has("trailing content") {
        ("text follows a closing quote", Some("quote the whole value, or nothing of it"))
    } else if has("flow mapping") || has("flow sequence") || has("misplaced bracket") || has("flow construct") {
        ("brackets do not match, or a comma is missing", Some(quote))
    } else if has("mapping values are not allowed") || has("illegal placement of ':'") {
        ("a `:` stands where no key can be", Some(quote))
    } else if has("expected key") || has("expected '-'") || has("indentation") || has("indented") || has("simple key") {
        ("the indentation does not fit, or a `:` is missing after a key", Some(indent))
    } else if has("document") {
        ("text follows the end of the document", Some(indent))
    } else if has("unprintable") {
        (
            "a character that YAML does not allow",
            Some("write it as an escape in a double-quoted string, such as `\"\\x07\"`"),
        )
    } else if has("node content") || has("eof") || has("end of stream") {
        ("the text ends, or a value is missing, where one is expected", Some(quote))
    } else {
        ("the parser stopped here", None)
    }
}
