//! GUIDs, as they are written in texts and as GPT stores them.

use std::fmt;

use bootwright_oci::Digest;

/// A GUID.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Guid(u128);

impl Guid {
    /// The GUID of these 32 hexadecimal digits.
    #[must_use]
    pub const fn new(digits: u128) -> Self {
        Self(digits)
    }

    /// The first half of a digest as a UUID of version 8, which is the one for contents of one's own (RFC 9562, section 5.8).
    pub(super) fn of_digest(digest: &Digest) -> Self {
        let half = digest.bytes().iter().take(16).fold(0, |bits, byte| bits << 8 | u128::from(*byte));
        let version = half & !(0xf << 76) | 0x8 << 76;
        Self(version & !(0b11 << 62) | 0b10 << 62)
    }

    /// The bytes on disk: the first three groups of digits are little-endian numbers, the other two are bytes in order.
    pub(super) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = self.0.to_be_bytes();
        bytes[0..4].reverse();
        bytes[4..6].reverse();
        bytes[6..8].reverse();
        bytes
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_bytes_are_those_of_the_specification() {
        let guid = Guid::new(0xc12a7328_f81f_11d2_ba4b_00a0c93ec93b);
        assert_eq!(guid.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        let bytes = *b"\x28\x73\x2a\xc1\x1f\xf8\xd2\x11\xba\x4b\x00\xa0\xc9\x3e\xc9\x3b";
        assert_eq!(guid.to_bytes(), bytes);
    }

    #[test]
    fn digests_become_uuids_of_version_8() {
        let of = |byte| Guid::of_digest(&Digest::from_bytes([byte; 32])).to_string();
        assert_eq!(of(0xff), "ffffffff-ffff-8fff-bfff-ffffffffffff");
        assert_eq!(of(0x00), "00000000-0000-8000-8000-000000000000");
    }
}
