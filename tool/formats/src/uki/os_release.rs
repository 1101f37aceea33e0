//! The section `.osrel`, by which boot menus name the machine: `os-release(5)`.

use std::fmt::Write as _;

/// The text for a machine of this name, and version where there is one.
#[must_use]
pub fn os_release(name: &str, version: Option<&str>) -> String {
    let mut text = format!("NAME={0}\nPRETTY_NAME={0}\nID={1}\n", quoted(name), id(name));
    if let Some(version) = version {
        let _ = write!(text, "VERSION={}\nVERSION_ID={}\n", quoted(version), id(version));
    }
    text
}

/// A value as a shell reads it.
fn quoted(value: &str) -> String {
    let mut text = String::from('"');
    for c in value.chars() {
        match c {
            '"' | '\\' | '$' | '`' => text.extend(['\\', c]),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A value of the characters that identifiers may have.
fn id(value: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    value.chars().map(|c| c.to_ascii_lowercase()).map(|c| if allowed(c) { c } else { '-' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_name_back() {
        let text = os_release("Edge \"$box\" `1`", Some("2.0 RC"));
        let script = format!("{text}printf '%s|%s|%s|%s' \"$PRETTY_NAME\" \"$ID\" \"$VERSION\" \"$VERSION_ID\"");
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        let want = "Edge \"$box\" `1`|edge---box---1-|2.0 RC|2.0-rc";
        assert_eq!(String::from_utf8_lossy(&output.stdout), want);
        assert_eq!(os_release("a\nb", None), "NAME=\"a b\"\nPRETTY_NAME=\"a b\"\nID=a-b\n");
    }
}
