//! Names in FAT: a long one in UTF-16, and the short one of eight and three characters that each file has for old readers.

use std::collections::{HashMap, HashSet};

/// A name as a directory stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// Eight and three characters, filled up with spaces.
    pub(super) short: [u8; 11],
    /// The name, if the short one is not all of it.
    pub(super) long: Vec<u16>,
}

/// What is wrong with a name, if anything is.
pub(super) fn fault(name: &str) -> Option<&'static str> {
    if name.is_empty() || name == "." || name == ".." {
        return Some("a part of its path is empty, `.` or `..`");
    }
    if name.encode_utf16().count() > 255 {
        return Some("a part of its path is longer than 255 characters");
    }
    if name.ends_with(['.', ' ']) {
        return Some("a part of its path ends with a dot or a space");
    }
    let bad = |c: char| c.is_control() || r#""*/:<>?\|"#.contains(c);
    name.contains(bad).then_some(r#"a part of its path has a control character or one of `"*/:<>?\|`"#)
}

/// What names are compared by.
pub(super) fn folded(name: &str) -> String {
    name.to_uppercase()
}

/// The names of a directory, of which no two are equal when folded, with short names that are all different.
pub(super) fn of_directory<'n>(names: impl Iterator<Item = &'n str> + Clone) -> Vec<Name> {
    // Names that are short already come first, so that no made-up name is one of them.
    let mut taken: HashSet<_> = names.clone().filter_map(as_short).collect();
    // The last number for each beginning, or thousands of similar names would take millions of tries.
    let mut numbers: HashMap<[u8; 11], u32> = HashMap::new();
    let name = |name: &'n str| match as_short(name) {
        Some(short) if !name.contains(|c: char| c.is_ascii_lowercase()) => Name { short, long: Vec::new() },
        short => {
            let number = numbers.entry(with_tail(name, 0)).or_insert(0);
            let free = || loop {
                *number += 1;
                let short = with_tail(name, *number);
                if taken.insert(short) {
                    return short;
                }
            };
            let short = short.unwrap_or_else(free);
            Name { short, long: name.encode_utf16().collect() }
        }
    };
    names.map(name).collect()
}

/// The name in capitals, if that is a short name.
fn as_short(name: &str) -> Option<[u8; 11]> {
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let fits = (1..=8).contains(&base.len()) && extension.len() <= 3;
    (fits && base.chars().chain(extension.chars()).all(is_short)).then(|| join(base, extension))
}

/// A short name with a number, as the specification's "basis-name generation" makes it.
fn with_tail(name: &str, number: u32) -> [u8; 11] {
    let name = name.trim_start_matches('.');
    let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let clean = |text: &str| -> String {
        let kept = text.chars().filter(|c| *c != ' ' && *c != '.');
        kept.map(|c| if is_short(c) { c } else { '_' }).collect()
    };
    let tail = format!("~{number}");
    let mut base = clean(base);
    base.truncate(8_usize.saturating_sub(tail.len()));
    let mut extension = clean(extension);
    extension.truncate(3);
    join(&(base + &tail), &extension)
}

fn is_short(c: char) -> bool {
    c.is_ascii_alphanumeric() || "$%'-_@~`!(){}^#&".contains(c)
}

fn join(base: &str, extension: &str) -> [u8; 11] {
    let mut short = [b' '; 11];
    for (byte, out) in base.bytes().zip(&mut short[..8]) {
        *out = byte.to_ascii_uppercase();
    }
    for (byte, out) in extension.bytes().zip(&mut short[8..]) {
        *out = byte.to_ascii_uppercase();
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorts(names: &[&str]) -> Vec<String> {
        let names = of_directory(names.iter().copied());
        names.iter().map(|name| String::from_utf8(name.short.to_vec()).unwrap()).collect()
    }

    #[test]
    fn short_names_are_capitals_or_have_a_number() {
        let cases = [
            ("BOOTX64.EFI", "BOOTX64 EFI"),
            ("kernel", "KERNEL     "),
            ("initrd.img", "INITRD  IMG"),
            ("loader.conf", "LOADER~1CON"),
            (".profile", "PROFIL~1   "),
            ("a b", "AB~1       "),
            ("a.b.c", "AB~1    C  "),
            ("ä+.x", "__~1    X  "),
            ("x.tar.gzip", "XTAR~1  GZI"),
        ];
        for (name, short) in cases {
            assert_eq!(shorts(&[name]), [short], "{name}");
        }
    }

    #[test]
    fn no_two_short_names_are_equal() {
        assert_eq!(shorts(&["longer-name", "LONGER~1", "longer-names"]), ["LONGER~2   ", "LONGER~1   ", "LONGER~3   "]);
        let many: Vec<_> = (0..1000).map(|i| format!("a long name {i}")).collect();
        let shorts: HashSet<_> = shorts(&many.iter().map(|n| &n[..]).collect::<Vec<_>>()).into_iter().collect();
        assert_eq!(shorts.len(), 1000);
        assert!(shorts.contains("ALON~999   ") && shorts.contains("ALO~1000   "));
    }

    #[test]
    fn a_long_name_is_stored_where_the_short_one_is_not_all() {
        for (name, long) in [("A.B", ""), ("KERNEL~1", ""), ("a.b", "a.b"), ("A.BCDE", "A.BCDE"), ("ß", "ß")] {
            let names = of_directory([name].into_iter());
            assert_eq!(String::from_utf16(&names[0].long).unwrap(), long);
        }
    }
}
