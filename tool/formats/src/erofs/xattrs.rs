//! Extended attributes, as they lie behind an inode: a head, then each with its name space as a number.

use std::collections::BTreeMap;

/// Name spaces and their numbers. ACLs have a number for their whole name.
const SPACES: [(&[u8], u8, bool); 5] = [
    (b"user.", 1, false),
    (b"system.posix_acl_access", 2, true),
    (b"system.posix_acl_default", 3, true),
    (b"trusted.", 4, false),
    (b"security.", 6, false),
];
/// Bytes before the first attribute.
const HEAD: usize = 12;
/// Attributes are multiples of so many bytes.
const ALIGNMENT: usize = 4;
/// Most bytes of all attributes of an inode: the inode counts them by four in 16 bits, the head as one.
const ALL_MAX: usize = HEAD + (u16::MAX as usize - 1) * ALIGNMENT;

/// The number of a name's space, and the rest of the name; none if the kernel would not show it.
pub(super) fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    SPACES.iter().find_map(|(space, number, is_whole)| {
        let rest = name.strip_prefix(*space)?;
        (rest.is_empty() == *is_whole && rest.len() <= usize::from(u8::MAX)).then_some((*number, rest))
    })
}

/// Why attributes are too much.
pub(super) fn exceeded(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Option<String> {
    let large = xattrs.iter().find(|(_, value)| value.len() > usize::from(u16::MAX));
    if let Some((name, value)) = large {
        let name = String::from_utf8_lossy(name);
        return Some(format!("{} bytes in the extended attribute `{name}`, {} at most", value.len(), u16::MAX));
    }
    let len = encode(xattrs).len();
    (len > ALL_MAX).then(|| format!("{len} bytes of extended attributes, {ALL_MAX} at most"))
}

/// The bytes behind an inode; none without attributes.
pub(super) fn encode(xattrs: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in xattrs {
        let Some((space, rest)) = split(name) else { continue };
        if bytes.is_empty() {
            bytes.resize(HEAD, 0);
        }
        bytes.extend([rest.len() as u8, space]);
        bytes.extend((value.len() as u16).to_le_bytes());
        bytes.extend(rest);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
    }
    bytes
}

/// What the inode says of so many bytes of attributes.
pub(super) fn count(len: usize) -> u16 {
    len.checked_sub(HEAD).map_or(0, |rest| (rest / ALIGNMENT + 1) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_space_or_are_none() {
        let number = |name: &str| split(name.as_bytes()).map(|(number, rest)| (number, rest.len()));
        for (name, want) in [
            ("user.a", Some((1, 1))),
            ("security.capability", Some((6, 10))),
            ("trusted.overlay.opaque", Some((4, 14))),
            ("system.posix_acl_access", Some((2, 0))),
            ("system.posix_acl_access2", None),
            ("user.", None),
            ("com.apple.quarantine", None),
            ("system.nfs4_acl", None),
        ] {
            assert_eq!(number(name), want, "{name}");
        }
    }

    #[test]
    fn what_is_too_much_is_said() {
        let of =
            |count: usize, len: usize| (0..count).map(|i| (format!("user.{i}").into_bytes(), vec![0; len])).collect();
        assert_eq!(exceeded(&of(1, 65_535)), None);
        assert_eq!(exceeded(&of(1, 65_536)).unwrap(), "65536 bytes in the extended attribute `user.0`, 65535 at most");
        assert_eq!(exceeded(&of(4, 65_532)).unwrap(), "262172 bytes of extended attributes, 262148 at most");
    }
}
