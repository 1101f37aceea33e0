//! The newc header: its fields, their order and their limits.

/// First six bytes of every header. The variant with checksums (`070702`) is neither written nor read.
pub const MAGIC: &[u8; 6] = b"070701";
/// Name of the entry that ends an archive.
pub const TRAILER: &[u8] = b"TRAILER!!!";
/// Longest name or symlink target in bytes, NUL included. The kernel skips longer ones without a word.
pub const PATH_MAX: usize = 4096;
/// Longest single component of a path in bytes, on tmpfs and nearly everywhere else.
pub const NAME_MAX: usize = 255;
/// Bytes of a header.
pub(super) const HEADER_LEN: usize = 110;

/// The numbers before each name, as they are in the archive: 32 bits each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Inode number; equal numbers within an archive are hard links if [`Header::nlink`] is over one.
    pub ino: u32,
    /// File type and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Link count.
    pub nlink: u32,
    /// Seconds since 1970, unsigned.
    pub mtime: u32,
    /// Bytes of data: a file's content, a symlink's target.
    pub file_size: u32,
    /// Major number of a device node.
    pub rdev_major: u32,
    /// Minor number of a device node.
    pub rdev_minor: u32,
}

/// A header that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// It does not start with [`MAGIC`].
    Magic,
    /// A field is not eight hex digits.
    Digits,
}

impl Header {
    /// The header's bytes. Device numbers of the file system (`dev`) and the checksum are always zero.
    pub(super) fn to_bytes(self, name_size: u32) -> [u8; HEADER_LEN] {
        let fields = [
            self.ino,
            self.mode,
            self.uid,
            self.gid,
            self.nlink,
            self.mtime,
            self.file_size,
            0,
            0,
            self.rdev_major,
            self.rdev_minor,
            name_size,
            0,
        ];
        let mut bytes = [0; HEADER_LEN];
        bytes[..6].copy_from_slice(MAGIC);
        for (field, out) in fields.iter().zip(bytes[6..].chunks_exact_mut(8)) {
            for (i, digit) in out.iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(field >> (28 - 4 * i)) as usize & 15];
            }
        }
        bytes
    }

    /// Reads a header's bytes; gives the size of the name, NUL included, too.
    pub(super) fn parse(bytes: &[u8; HEADER_LEN]) -> Result<(Self, u32), BadHeader> {
        if bytes[..6] != MAGIC[..] {
            return Err(BadHeader::Magic);
        }
        let mut fields = [0u32; 13];
        for (field, digits) in fields.iter_mut().zip(bytes[6..].chunks_exact(8)) {
            for digit in digits {
                let value = char::from(*digit).to_digit(16).ok_or(BadHeader::Digits)?;
                *field = *field << 4 | value;
            }
        }
        let [ino, mode, uid, gid, nlink, mtime, file_size, _, _, rdev_major, rdev_minor, name_size, _] = fields;
        Ok((Self { ino, mode, uid, gid, nlink, mtime, file_size, rdev_major, rdev_minor }, name_size))
    }
}

/// Bytes until the next multiple of four.
pub(super) fn padding(size: u64) -> usize {
    (4 - (size % 4) as usize) % 4
}

/// Bytes that an entry takes in an archive, given the lengths of its name (without NUL) and of its data.
#[must_use]
pub fn entry_size(name_len: usize, data_len: u64) -> u64 {
    let head = (HEADER_LEN + name_len + 1) as u64;
    head + padding(head) as u64 + data_len + padding(data_len) as u64
}
