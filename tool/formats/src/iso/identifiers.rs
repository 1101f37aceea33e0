//! Names as plain ISO 9660 has them (ECMA-119, 7.5 and 7.6): capitals, digits and `_`, 30 characters, for readers that do not know
//! Rock Ridge. Each is the only one of its kind in its directory.

use std::collections::{BTreeMap, BTreeSet};

/// Longest name, its extension included but not the dot between them.
const NAME_MAX: usize = 30;
/// Longest extension.
const EXTENSION_MAX: usize = 8;

/// Makes the identifiers of one directory.
#[derive(Debug, Default)]
pub(super) struct Identifiers {
    taken: BTreeSet<(Vec<u8>, Vec<u8>)>,
    /// How often a name was asked for again.
    again: BTreeMap<(Vec<u8>, Vec<u8>), usize>,
}

impl Identifiers {
    /// An identifier for a name, unlike all others before.
    pub(super) fn add(&mut self, name: &[u8], is_directory: bool) -> Vec<u8> {
        let dot = name.iter().rposition(|byte| *byte == b'.').filter(|at| *at > 0 && !is_directory);
        let (stem, extension) = dot.map_or((name, &name[..0]), |at| (&name[..at], &name[at + 1..]));
        let extension = plain(extension, EXTENSION_MAX);
        let wanted = (plain(stem, NAME_MAX - extension.len()), extension);
        let (mut stem, extension) = wanted.clone();
        while !self.taken.insert((stem.clone(), extension.clone())) {
            let number = self.again.entry(wanted.clone()).or_default();
            *number += 1;
            let suffix = format!("_{number}");
            stem = wanted.0.clone();
            stem.truncate(NAME_MAX - extension.len() - suffix.len());
            stem.extend(suffix.bytes());
        }
        if !is_directory {
            stem.push(b'.');
            stem.extend(extension);
            stem.extend(b";1");
        }
        stem
    }
}

fn plain(name: &[u8], most: usize) -> Vec<u8> {
    let letter = |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase() } else { b'_' };
    name.iter().take(most).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_plain_and_unlike() {
        let mut identifiers = Identifiers::default();
        let long = "x".repeat(255);
        let cases = [
            ("kernel", false, "KERNEL.;1"),
            ("Kernel", false, "KERNEL_1.;1"),
            ("KERNEL", true, "KERNEL_2"),
            ("kernel_1", false, "KERNEL_1_1.;1"),
            ("a.tar.gz", false, "A_TAR.GZ;1"),
            (".config", false, "_CONFIG.;1"),
            ("rc.d", true, "RC_D"),
            ("\u{e4}", false, "__.;1"),
            (&long, false, "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXX.;1"),
            (&long, false, "XXXXXXXXXXXXXXXXXXXXXXXXXXXX_1.;1"),
            ("a.extension-of-many-letters", false, "A.EXTENSIO;1"),
        ];
        for (name, is_directory, want) in cases {
            assert_eq!(String::from_utf8(identifiers.add(name.as_bytes(), is_directory)).unwrap(), want, "{name}");
        }
    }
}
