//! PAX extended headers (POSIX 1003.1-2017, pax, "pax Extended Header"): records `length keyword=value\n`.
//!
//! What image layers use: names, sizes, owners and times that ustar cannot hold; extended attributes as
//! `SCHILY.xattr.<name>` (GNU tar, Go, star) or `LIBARCHIVE.xattr.<name>` (base64); and GNU tar's three kinds of sparse
//! maps. Everything else (atime, comment, uname, Windows' attributes) has no place in a tree and is passed over.
//!
//! Global headers may set owner and time, as POSIX says. One that names, links or sizes every following entry is no
//! honest archive's, and readers disagree about it: it is refused. (Container engines ignore global headers.)

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

use super::error::{Problem, show};

/// What the extended headers before an entry say about it.
#[derive(Clone, Debug, Default)]
pub(super) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mtime: Option<i64>,
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: Sparse,
}

/// GNU tar's `GNU.sparse.*` records.
#[derive(Clone, Debug, Default)]
pub(super) struct Sparse {
    /// Format 1.0: the map is at the start of the data.
    pub in_data: bool,
    /// Formats 0.1 and 1.0: the file's real name.
    pub name: Option<Vec<u8>>,
    /// The file's real size.
    pub size: Option<u64>,
    /// Formats 0.0 and 0.1: the map, offset after length after offset.
    pub map: Option<Vec<u64>>,
}

impl Pax {
    /// Reads the records of a header of one entry, over what global headers said before.
    pub fn parse(records: &[u8], global: &Self, entry: &str) -> Result<Self, Problem> {
        let mut pax = global.clone();
        let (mut version, mut version_minor) = (None, None);
        let mut schily = BTreeMap::new();
        for record in (Records { rest: records }) {
            let (key, value) = record.map_err(|why| refuse(entry, b"", why))?;
            let refuse = |why| refuse(entry, key, why);
            if value.is_empty() && pax.clear(key) {
                continue;
            }
            let number = || decimal(value).ok_or_else(|| refuse("not a number that fits"));
            let small = || number()?.try_into().map_err(|_| refuse("not a number that fits"));
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"linkpath" => pax.link = Some(value.to_vec()),
                b"size" => pax.size = Some(number()?),
                b"uid" => pax.uid = Some(small()?),
                b"gid" => pax.gid = Some(small()?),
                b"mtime" => pax.mtime = Some(seconds(value).ok_or_else(|| refuse("not a time"))?),
                b"SCHILY.devmajor" => pax.major = Some(small()?),
                b"SCHILY.devminor" => pax.minor = Some(small()?),
                b"hdrcharset" if matches!(value, b"BINARY" | b"ISO-IR 10646 2000 UTF-8") => {}
                b"hdrcharset" => return Err(refuse("an unknown character set")),
                b"GNU.sparse.major" => version = Some(number()?),
                b"GNU.sparse.minor" => version_minor = Some(number()?),
                b"GNU.sparse.name" => pax.sparse.name = Some(value.to_vec()),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => pax.sparse.size = Some(number()?),
                // The count is told by the map itself.
                b"GNU.sparse.numblocks" => pax.sparse.map = Some(Vec::new()),
                b"GNU.sparse.map" if value.is_empty() => pax.sparse.map = Some(Vec::new()),
                b"GNU.sparse.map" => {
                    let numbers = value.split(|b| *b == b',').map(decimal).collect::<Option<_>>();
                    pax.sparse.map = Some(numbers.ok_or_else(|| refuse("not a list of numbers"))?);
                }
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    let map = pax.sparse.map.get_or_insert_default();
                    if map.len().is_multiple_of(2) != (key == b"GNU.sparse.offset") {
                        return Err(refuse("offsets and lengths do not alternate"));
                    }
                    map.push(number()?);
                }
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        schily.insert(name.to_vec(), value.to_vec());
                    } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                        let name = percent_decoded(name).ok_or_else(|| refuse("not percent-encoded"))?;
                        let value = value.trim_ascii_end();
                        let value = value.strip_suffix(b"==").or(value.strip_suffix(b"=")).unwrap_or(value);
                        let value = STANDARD_NO_PAD.decode(value).map_err(|_| refuse("not base64"))?;
                        pax.xattrs.insert(name, value);
                    }
                }
            }
        }
        // bsdtar writes both kinds; the binary one cannot be misread.
        pax.xattrs.append(&mut schily);
        match (version, version_minor) {
            (None, None) | (Some(0), _) => {}
            (Some(1), None | Some(0)) => pax.sparse.in_data = true,
            _ => return Err(refuse(entry, b"GNU.sparse.major", "an unknown version of sparse maps")),
        }
        Ok(pax)
    }

    /// Reads the records of a global header, over earlier ones.
    pub fn parse_global(records: &[u8], earlier: &Self) -> Result<Self, Problem> {
        const ENTRY: &str = "global header";
        for record in (Records { rest: records }) {
            let (key, _) = record.map_err(|why| refuse(ENTRY, b"", why))?;
            let own = [&b"GNU.sparse."[..], b"SCHILY.xattr.", b"LIBARCHIVE.xattr.", b"SCHILY.dev"];
            if matches!(key, b"path" | b"linkpath" | b"size") || own.iter().any(|prefix| key.starts_with(prefix)) {
                return Err(refuse(ENTRY, key, "may only be said about one entry"));
            }
        }
        Self::parse(records, earlier, ENTRY)
    }

    /// An empty value takes back what a global header or the same one said (POSIX). Not so for other keywords: an
    /// extended attribute may well be empty.
    fn clear(&mut self, key: &[u8]) -> bool {
        match key {
            b"path" => self.path = None,
            b"linkpath" => self.link = None,
            b"size" => self.size = None,
            b"uid" => self.uid = None,
            b"gid" => self.gid = None,
            b"mtime" => self.mtime = None,
            _ => return false,
        }
        true
    }
}

fn refuse(entry: &str, record: &[u8], why: &'static str) -> Problem {
    Problem::Pax { entry: entry.to_owned(), record: show(record), why }
}

/// The records of a header.
struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.record().inspect_err(|_| self.rest = &[]))
    }
}

impl<'a> Records<'a> {
    fn record(&mut self) -> Result<(&'a [u8], &'a [u8]), &'static str> {
        let space = self.rest.iter().take(21).position(|b| *b == b' ').ok_or("no length")?;
        let length = decimal(&self.rest[..space]).and_then(|n| usize::try_from(n).ok()).ok_or("no length")?;
        if length <= space + 1 || length > self.rest.len() {
            return Err("a length that does not fit");
        }
        let (record, rest) = self.rest.split_at(length);
        let record = record[space + 1..].strip_suffix(b"\n").ok_or("no newline where its length ends")?;
        let equals = record.iter().position(|b| *b == b'=').ok_or("no `=`")?;
        if equals == 0 || record[..equals].contains(&0) {
            return Err("no keyword");
        }
        self.rest = rest;
        Ok((&record[..equals], &record[equals + 1..]))
    }
}

/// A number of decimal digits, no larger than an i64 can hold, so that sums with offsets fit into a u64.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let value = text.iter().try_fold(0u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit.is_ascii_digit().then(|| digit - b'0')?))
    })?;
    (value <= i64::MAX as u64).then_some(value)
}

/// Whole seconds of a time such as `-1.5`, rounded towards the past as `stat` does.
fn seconds(text: &[u8]) -> Option<i64> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let dot = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let fraction = text.get(dot + 1..).unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let whole = i64::try_from(decimal(&text[..dot])?).ok()?;
    if !negative {
        return Some(whole);
    }
    Some(-whole - i64::from(fraction.iter().any(|digit| *digit != b'0')))
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let [high, low, tail @ ..] = tail else { return None };
            let digit = |b: u8| char::from(b).to_digit(16);
            out.push((digit(*high)? << 4 | digit(*low)?) as u8);
            rest = tail;
        } else {
            out.push(*first);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
        let length = (1..).find(|n| n.to_string().len() + body.len() == *n).unwrap();
        [length.to_string().as_bytes(), &body].concat()
    }

    fn parse(records: &[(&str, &[u8])]) -> Result<Pax, Problem> {
        let bytes: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        Pax::parse(&bytes, &Pax::default(), "x")
    }

    #[test]
    fn times_round_towards_the_past() {
        let cases: [(&str, Option<i64>); 9] = [
            ("0", Some(0)),
            ("1700000000.999", Some(1_700_000_000)),
            ("-1", Some(-1)),
            ("-1.5", Some(-2)),
            ("-1.000", Some(-1)),
            ("5.", Some(5)),
            ("1e3", None),
            ("--1", None),
            (".5", None),
        ];
        for (text, want) in cases {
            assert_eq!(seconds(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn extended_attributes_come_in_two_spellings() {
        let pax = parse(&[
            ("LIBARCHIVE.xattr.user.a%20b", b"AAE="),
            ("LIBARCHIVE.xattr.security.capability", b"////"),
            ("SCHILY.xattr.security.capability", b"\x01\0\n="),
            ("SCHILY.xattr.user.empty", b""),
        ])
        .unwrap();
        assert_eq!(pax.xattrs[&b"user.a b"[..]], [0, 1]);
        assert_eq!(pax.xattrs[&b"security.capability"[..]], b"\x01\0\n=");
        assert_eq!(pax.xattrs[&b"user.empty"[..]], b"");
    }

    #[test]
    fn an_empty_value_takes_back_what_was_said() {
        let global = Pax::parse_global(&[record("uid", b"5"), record("gid", b"6")].concat(), &Pax::default()).unwrap();
        let pax = Pax::parse(&record("uid", b""), &global, "x").unwrap();
        assert_eq!((pax.uid, pax.gid), (None, Some(6)));
    }

    #[test]
    fn bad_records_are_refused_and_name_the_entry() {
        for bytes in [
            &b"5 a=b"[..],
            b"6 a=b\n\n",
            b"99 a=b\n",
            b"0 a=b\n",
            b"3 \n",
            b"4 =\n",
            b"a=b\n",
            b"99999999999999999999999 a=b\n",
            b"7 a\0=b\n",
            b"5 ab\n",
        ] {
            let problem = Pax::parse(bytes, &Pax::default(), "file").unwrap_err();
            assert!(problem.to_string().contains("`file`"), "{problem}");
        }
        for (key, value) in [
            ("size", "-1"),
            ("size", "18446744073709551615"),
            ("uid", "4294967296"),
            ("mtime", "x"),
            ("hdrcharset", "EBCDIC"),
            ("GNU.sparse.major", "2"),
            ("GNU.sparse.map", "1,,2"),
            ("GNU.sparse.numbytes", "1"),
            ("LIBARCHIVE.xattr.a", "???"),
            ("LIBARCHIVE.xattr.%f", "AAAA"),
        ] {
            assert!(parse(&[(key, value.as_bytes())]).is_err(), "{key}={value}");
        }
        for key in ["path", "linkpath", "size", "GNU.sparse.size", "SCHILY.xattr.user.a"] {
            assert!(Pax::parse_global(&record(key, b"1"), &Pax::default()).is_err(), "{key}");
        }
    }
}
