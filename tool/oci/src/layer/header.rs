//! One 512-byte tar header: v7, ustar (POSIX 1003.1), star and GNU, told apart by their magic.
//!
//! Own code rather than the `tar` crate's: that reads negative base-256 numbers as large positive ones and long names
//! without a bound, and here both come from strangers.

/// Bytes of a header and of what data is padded to.
pub(super) const BLOCK: usize = 512;
pub(super) type Block = [u8; BLOCK];

/// The type flags that this module's users tell apart (POSIX, then GNU).
pub(super) mod flag {
    pub const V7_FILE: u8 = 0;
    pub const FILE: u8 = b'0';
    pub const HARD_LINK: u8 = b'1';
    pub const SYMLINK: u8 = b'2';
    pub const CHAR_DEVICE: u8 = b'3';
    pub const BLOCK_DEVICE: u8 = b'4';
    pub const DIRECTORY: u8 = b'5';
    pub const FIFO: u8 = b'6';
    /// "Contiguous"; POSIX says to treat it as a file where that means nothing.
    pub const CONTIGUOUS: u8 = b'7';
    pub const PAX: u8 = b'x';
    pub const PAX_GLOBAL: u8 = b'g';
    pub const GNU_LONG_LINK: u8 = b'K';
    pub const GNU_LONG_NAME: u8 = b'L';
    pub const GNU_SPARSE: u8 = b'S';
}

/// A header with a right checksum.
pub(super) struct Header {
    block: Block,
    pub flag: u8,
}

/// One run of data in an old GNU sparse map: offset and length in the file.
pub(super) type SparseRun = (u64, u64);

impl Header {
    /// Checks the checksum; both the standard unsigned sum and the signed one of some old writers pass.
    pub fn parse(block: Block) -> Option<Self> {
        let stored = number(&block[148..156])?;
        let (mut unsigned, mut signed) = (0i128, 0i128);
        for (at, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&at) { b' ' } else { byte };
            unsigned += i128::from(byte);
            signed += i128::from(byte.cast_signed());
        }
        (stored == unsigned || stored == signed).then(|| Self { flag: block[156], block })
    }

    /// The name, with the prefix where the format has one.
    pub fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = match (&self.block[257..265], &self.block[508..512]) {
            // GNU tar puts other things where ustar has the prefix.
            (b"ustar  \0", _) => &[],
            ([b'u', b's', b't', b'a', b'r', ..], b"tar\0") => text(&self.block[345..476]),
            ([b'u', b's', b't', b'a', b'r', ..], _) => text(&self.block[345..500]),
            _ => &[],
        };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    pub fn link_name(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    pub fn mode(&self) -> Option<u32> {
        // Some writers put the file type above the permission bits.
        number(&self.block[100..108]).map(|mode| (mode & 0o7777) as u32)
    }

    pub fn uid(&self) -> Option<u32> {
        number(&self.block[108..116])?.try_into().ok()
    }

    pub fn gid(&self) -> Option<u32> {
        number(&self.block[116..124])?.try_into().ok()
    }

    pub fn size(&self) -> Option<u64> {
        // Every sum with an offset of the archive must fit as well.
        number(&self.block[124..136])?.try_into().ok().filter(|size| *size <= i64::MAX as u64)
    }

    pub fn mtime(&self) -> Option<i64> {
        number(&self.block[136..148])?.try_into().ok()
    }

    /// Major and minor number of a device; v7 headers have none.
    pub fn device(&self) -> Option<(u32, u32)> {
        if &self.block[257..262] != b"ustar" {
            return Some((0, 0));
        }
        Some((number(&self.block[329..337])?.try_into().ok()?, number(&self.block[337..345])?.try_into().ok()?))
    }

    /// Old GNU sparse: the map's first runs, whether more blocks of it follow, and the file's real size.
    pub fn sparse(&self) -> Option<(Vec<SparseRun>, bool, u64)> {
        let size = number(&self.block[483..495])?.try_into().ok().filter(|size| *size <= i64::MAX as u64)?;
        Some((sparse_runs(&self.block[386..482])?, self.block[482] != 0, size))
    }
}

/// A further block of an old GNU sparse map: runs, and whether yet another follows.
pub(super) fn sparse_block(block: &Block) -> Option<(Vec<SparseRun>, bool)> {
    Some((sparse_runs(&block[..504])?, block[504] != 0))
}

fn sparse_runs(bytes: &[u8]) -> Option<Vec<SparseRun>> {
    let mut runs = Vec::new();
    for run in bytes.chunks_exact(24) {
        if run[0] == 0 || run[12] == 0 {
            break;
        }
        runs.push((number(&run[..12])?.try_into().ok()?, number(&run[12..])?.try_into().ok()?));
    }
    Some(runs)
}

/// What is before the first NUL.
fn text(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

/// A number: octal digits up to a NUL, perhaps among spaces, or, where the first bit is set, GNU's big-endian two's complement
/// (base-256). An empty field is 0, as every reader has it.
fn number(field: &[u8]) -> Option<i128> {
    if let [first @ 0x80..=0xff, rest @ ..] = field {
        // Bit 6 is the sign. 12 bytes at most, so that nothing overflows.
        let start = if first & 0x40 == 0 { i128::from(first & 0x3f) } else { i128::from(first | 0x80) - 0x100 };
        return Some(rest.iter().fold(start, |value, byte| (value << 8) | i128::from(*byte)));
    }
    let start = field.iter().position(|b| *b != b' ' && *b != 0).unwrap_or(field.len());
    text(&field[start..]).trim_ascii_end().iter().try_fold(0i128, |value, digit| match digit {
        b'0'..=b'7' => Some((value << 3) | i128::from(digit - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_two_s_complement() {
        let cases: [(&[u8], Option<i128>); 14] = [
            (b"0000644\0", Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"00000000", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"        ", Some(0)),
            (b"77777777", Some(0o77_777_777)),
            (b"\x80\0\0\0\0\0\0\x05", Some(5)),
            (b"\x80\0\0\0\0\0\0\x02\x40\0\0\0", Some(9 << 30)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe\0\0\0\0", Some(-(2 << 32))),
            (b"0000x44\0", None),
            (b"-000644\0", None),
            (b"006 44 \0", None),
            (b"00644\x0099", Some(0o644)),
        ];
        for (field, want) in cases {
            assert_eq!(number(field), want, "{}", field.escape_ascii());
        }
    }
}
