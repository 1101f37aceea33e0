//! What stands on the medium: sectors, numbers in both byte orders, times, directory records, descriptors (ECMA-119).

use crate::GENERATED_MTIME;

/// Bytes of a sector, which is a logical block, too.
pub(super) const SECTOR: u64 = 2048;
/// Bytes at the start that the file system leaves alone: an MBR and a GPT have room there (ECMA-119, 6.2.1).
pub const SYSTEM_AREA: u64 = 16 * SECTOR;
/// Longest directory record: a byte holds its length, and it is even (9.1.1).
pub(super) const RECORD_MAX: usize = 254;
/// Bytes of a record before its identifier (9.1).
pub(super) const RECORD_HEAD: usize = 33;
/// Identifier of a directory in itself, and of the root in the path table (6.8.2.2).
pub(super) const SELF: &[u8] = &[0];
/// Identifier of a directory's parent in it.
pub(super) const PARENT: &[u8] = &[1];
/// Flag of a record: a directory (9.1.6).
pub(super) const DIRECTORY: u8 = 1 << 1;
/// Flag of a record: the next one continues the file.
pub(super) const MULTI_EXTENT: u8 = 1 << 7;
/// Longest section of a file: as many sectors as a 32-bit number of bytes can tell.
pub(super) const SECTION_MAX: u64 = u32::MAX as u64 / SECTOR * SECTOR;

/// First and last second that seven bytes can tell: 1900 to 2155.
const TIMES: (i64, i64) = (-2_208_988_800, 5_869_583_999);

/// Sectors that so many bytes take.
pub(super) fn sectors(bytes: u64) -> u64 {
    bytes.div_ceil(SECTOR)
}

/// A number in both byte orders (7.2.3).
pub(super) fn both16(value: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (value.to_le_bytes(), value.to_be_bytes());
    [a, b, c, d]
}

/// A number in both byte orders (7.3.3).
pub(super) fn both32(value: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// A time of UTC in seven bytes (9.1.5); what they cannot tell becomes the nearest that they can.
pub(super) fn short_time(seconds: i64) -> [u8; 7] {
    let [year, rest @ ..] = civil(seconds.clamp(TIMES.0, TIMES.1));
    let mut bytes = [0; 7];
    for (byte, part) in bytes.iter_mut().zip([year - 1900].into_iter().chain(rest)) {
        *byte = part as u8;
    }
    bytes
}

/// The time of what is generated, as a descriptor has it (8.4.26.1): digits, hundredths, offset from UTC.
fn generated_time() -> [u8; 17] {
    let [year, month, day, hour, minute, second] = civil(GENERATED_MTIME.into());
    let text = format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}00\0");
    text.as_bytes().try_into().expect("sixteen digits and a zero")
}

/// Year, month, day, hour, minute and second in UTC: the usual arithmetic with years that begin in March and eras of 400.
fn civil(seconds: i64) -> [i64; 6] {
    let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    [year, month, day, second / 3600, second / 60 % 60, second % 60]
}

/// A directory record (9.1), but for its identifier and what follows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    /// First sector.
    pub(super) extent: u32,
    /// Bytes.
    pub(super) size: u32,
    /// Seconds since 1970.
    pub(super) time: i64,
    pub(super) flags: u8,
}

impl Record {
    /// Bytes that an identifier leaves for the system's use.
    pub(super) fn room(identifier: &[u8]) -> usize {
        RECORD_MAX - (RECORD_HEAD + identifier.len()).next_multiple_of(2)
    }

    /// The record's bytes.
    pub(super) fn encode(&self, identifier: &[u8], system_use: &[u8]) -> Vec<u8> {
        let len = (RECORD_HEAD + identifier.len()).next_multiple_of(2) + system_use.len().next_multiple_of(2);
        debug_assert!(len <= RECORD_MAX, "what is too long was put elsewhere");
        let mut bytes = Vec::with_capacity(len);
        bytes.extend([len as u8, 0]);
        bytes.extend(both32(self.extent));
        bytes.extend(both32(self.size));
        bytes.extend(short_time(self.time));
        // Neither interleaved; the first volume of a set.
        bytes.extend([self.flags, 0, 0]);
        bytes.extend(both16(1));
        bytes.push(identifier.len() as u8);
        bytes.extend(identifier);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes.extend(system_use);
        bytes.resize(len, 0);
        bytes
    }
}

/// What the primary descriptor tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Primary<'a> {
    pub(super) volume_id: &'a str,
    /// Sectors of the volume.
    pub(super) sectors: u32,
    /// Bytes of a path table.
    pub(super) path_table: u32,
    /// First sectors of the path tables, little and big endian.
    pub(super) path_tables: [u32; 2],
    pub(super) root: Record,
}

impl Primary<'_> {
    /// The primary volume descriptor (8.4).
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = descriptor(1);
        bytes.push(0);
        bytes.extend(text("LINUX", 32));
        bytes.extend(text(self.volume_id, 32));
        bytes.extend([0; 8]);
        bytes.extend(both32(self.sectors));
        bytes.extend([0; 32]);
        // One volume, and this is it.
        bytes.extend(both16(1));
        bytes.extend(both16(1));
        bytes.extend(both16(SECTOR as u16));
        bytes.extend(both32(self.path_table));
        bytes.extend(self.path_tables[0].to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.path_tables[1].to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.root.encode(SELF, &[]));
        // Volume set, publisher, preparer, application.
        bytes.extend(text("", 4 * 128));
        // Files with copyright, abstract, bibliography.
        bytes.extend(text("", 3 * 37));
        // Created and modified; it neither expires nor becomes effective.
        bytes.extend(generated_time());
        bytes.extend(generated_time());
        bytes.extend(b"0000000000000000\0".repeat(2));
        // Version of the file structure.
        bytes.push(1);
        bytes.resize(SECTOR as usize, 0);
        bytes
    }
}

/// The descriptor that ends the others (8.3).
pub(super) fn terminator() -> Vec<u8> {
    let mut bytes = descriptor(255);
    bytes.resize(SECTOR as usize, 0);
    bytes
}

/// The beginning of a volume descriptor of that type (8.1).
pub(super) fn descriptor(kind: u8) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(b"CD001");
    bytes.push(1);
    bytes
}

fn text(text: &str, len: usize) -> impl Iterator<Item = u8> {
    text.bytes().chain(std::iter::repeat(b' ')).take(len)
}

/// An entry of a path table (9.4), little or big endian.
pub(super) fn path_table_entry(identifier: &[u8], extent: u32, parent: u16, is_little: bool) -> Vec<u8> {
    let mut bytes = vec![identifier.len() as u8, 0];
    if is_little {
        bytes.extend(extent.to_le_bytes());
        bytes.extend(parent.to_le_bytes());
    } else {
        bytes.extend(extent.to_be_bytes());
        bytes.extend(parent.to_be_bytes());
    }
    bytes.extend(identifier);
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_and_never_leave_their_range() {
        let cases = [
            (0, [70, 1, 1, 0, 0, 0, 0]),
            (951_782_399, [100, 2, 28, 23, 59, 59, 0]),
            (951_782_400, [100, 2, 29, 0, 0, 0, 0]),
            (-1, [69, 12, 31, 23, 59, 59, 0]),
            (1_492_533_000, [117, 4, 18, 16, 30, 0, 0]),
            (i64::MIN, [0, 1, 1, 0, 0, 0, 0]),
            (i64::MAX, [255, 12, 31, 23, 59, 59, 0]),
        ];
        for (seconds, want) in cases {
            assert_eq!(short_time(seconds), want, "{seconds}");
        }
        assert_eq!(&generated_time(), b"2017041816300000\0");
    }
}
