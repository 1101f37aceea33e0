//! Patterns of `modules.alias`: fnmatch(3) with `*`, `?` and `[...]`, where `-` and `_` are the same letter.

/// Whether a text matches a pattern. Takes time in the product of the lengths at most and no memory.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.as_bytes(), text.as_bytes());
    // After the last star: the pattern there, and the text from which the star is tried one longer.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match step(pattern, text) {
            Step::End => return true,
            Step::Star(rest) => {
                retry = Some((rest, text));
                pattern = rest;
            }
            Step::One(rest) => {
                pattern = rest;
                text = text.get(1..).unwrap_or_default();
            }
            Step::No => match retry {
                Some((rest, [_, from @ ..])) => {
                    retry = Some((rest, from));
                    (pattern, text) = (rest, from);
                }
                _ => return false,
            },
        }
    }
}

enum Step<'a> {
    End,
    Star(&'a [u8]),
    One(&'a [u8]),
    No,
}

fn step<'a>(pattern: &'a [u8], text: &[u8]) -> Step<'a> {
    match (pattern, text.first()) {
        ([], None) => Step::End,
        ([b'*', rest @ ..], _) => Step::Star(rest),
        ([b'?', rest @ ..], Some(_)) => Step::One(rest),
        ([b'[', rest @ ..], Some(byte)) => class(rest, *byte),
        ([p, rest @ ..], Some(byte)) if plain(*p) == plain(*byte) => Step::One(rest),
        _ => Step::No,
    }
}

/// The rest of a class and whether it has the byte. No `!`: depmod writes none.
fn class<'a>(pattern: &'a [u8], byte: u8) -> Step<'a> {
    let Some(end) = pattern.iter().position(|b| *b == b']') else { return Step::No };
    let (mut members, rest) = pattern.split_at(end);
    let mut found = false;
    while let [first, tail @ ..] = members {
        members = if let [b'-', last, tail @ ..] = tail {
            found |= (*first..=*last).contains(&byte);
            tail
        } else {
            found |= *first == byte;
            tail
        };
    }
    if found { Step::One(rest.get(1..).unwrap_or_default()) } else { Step::No }
}

fn plain(byte: u8) -> u8 {
    if byte == b'-' { b'_' } else { byte }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_aliases() {
        let pci = "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00";
        for (pattern, text, expected) in [
            ("pci:v00001AF4d*sv*sd*bc*sc*i*", pci, true),
            ("pci:v00001AF5d*sv*sd*bc*sc*i*", pci, false),
            ("pci:v*d*sv*sd*bc01sc00i*", pci, true),
            ("pci:v*d*sv*sd*bc01sc01i*", pci, false),
            ("virtio:d00000002v*", "virtio:d00000002v00001AF4", true),
            ("acpi*:PNP0C0C:*", "acpi:PNP0C0C:", true),
            ("acpi*:PNP0C0C:*", "acpi:LNXPWRBN:PNP0C0C:", true),
            ("usb:v0BDAp8153d[0-9]*dc*", "usb:v0BDAp8153d31dcFF", true),
            ("usb:v0BDAp8153d[a-fx]*dc*", "usb:v0BDAp8153d31dcFF", false),
            ("fs-overlay", "fs-overlay", true),
            ("fs-overlay", "fs_overlay", true),
            ("fs-overlay", "fs-overlayfs", false),
            ("", "", true),
            ("*", "", true),
            ("?", "", false),
            ("[a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_take_bounded_time() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
        assert!(!matches(&format!("{}b", "*a".repeat(1000)), &"a".repeat(20_000)));
    }
}
