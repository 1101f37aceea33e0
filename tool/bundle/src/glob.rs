//! Shell patterns as `modules.alias` uses them (fnmatch(3) without flags): `*`, `?`, `[a-z]`, `[!a-z]`, `\x`.
//!
//! Matching is iterative with one remembered `*`, so that no pattern, however hostile, costs more than
//! pattern times text.

/// Whether `pattern` covers the whole of `text`.
#[must_use]
pub fn glob_match(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the part after the last `*` fails: the pattern behind it, one byte later in the text.
    let mut star: Option<(usize, usize)> = None;
    while let Some(&byte) = text.get(t) {
        if pattern.get(p) == Some(&b'*') {
            p += 1;
            star = Some((p, t));
            continue;
        }
        if let Some(next) = one(pattern, p, byte) {
            p = next;
            t += 1;
            continue;
        }
        let Some((behind, from)) = star else { return false };
        p = behind;
        t = from + 1;
        star = Some((behind, t));
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|b| *b == b'*'))
}

/// Whether a pattern holds anything but plain characters.
#[must_use]
pub fn is_glob(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// Matches one byte at one place of the pattern; the place behind it, or none if it does not match.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match *pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => match class(pattern, at + 1, byte) {
            Some((true, next)) => Some(next),
            Some((false, _)) => None,
            None => (byte == b'[').then_some(at + 1),
        },
        b'\\' if pattern.len() > at + 1 => (pattern.get(at + 1) == Some(&byte)).then_some(at + 2),
        plain => (plain == byte).then_some(at + 1),
    }
}

/// A bracket expression: whether the byte is in it, and the place behind it; none if it has no end.
fn class(pattern: &[u8], mut at: usize, byte: u8) -> Option<(bool, usize)> {
    let negated = matches!(pattern.get(at), Some(b'!' | b'^'));
    if negated {
        at += 1;
    }
    let first = at;
    let mut found = false;
    loop {
        let low = *pattern.get(at)?;
        if low == b']' && at > first {
            return Some((found != negated, at + 1));
        }
        if pattern.get(at + 1) == Some(&b'-') && pattern.get(at + 2).is_some_and(|b| *b != b']') {
            let high = *pattern.get(at + 2)?;
            found |= (low..=high).contains(&byte);
            at += 3;
        } else {
            found |= low == byte;
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_fnmatch_does() {
        for (pattern, text, want) in [
            ("virtio:d00000001v*", "virtio:d00000001v00001AF4", true),
            ("virtio:d00000001v*", "virtio:d00000002v00001AF4", false),
            ("pci:v*d*sv*sd*bc03sc*i*", "pci:v00001234d00001111sv00001AF4sd00001100bc03sc00i00", true),
            ("pci:v*d*sv*sd*bc03sc*i*", "pci:v00001234d00001111sv00001AF4sd00001100bc06sc00i00", false),
            ("usb:v0[0-9A-F]*", "usb:v0FFF", true),
            ("usb:v0[!0-9]x", "usb:v0Ax", true),
            ("usb:v0[!0-9]x", "usb:v05x", false),
            ("a[]]b", "a]b", true),
            ("a[b", "a[b", true),
            ("*", "", true),
            ("", "", true),
            ("?", "", false),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("*a*b", "xxaxxb", true),
        ] {
            assert_eq!(glob_match(pattern, text), want, "{pattern} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_size_times_the_text() {
        let pattern = "*a".repeat(2_000);
        assert!(!glob_match(&pattern, &"a".repeat(1_999)));
        assert!(glob_match(&pattern, &"a".repeat(2_000)));
    }
}
