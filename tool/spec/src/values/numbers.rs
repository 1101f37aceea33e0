//! Numbers, durations, modes, ids and booleans: what a plain scalar may be where one of them is wanted.

use std::time::Duration;

use super::{Complaint, complain, quoted};
use crate::Owner;

/// Parses permission bits. `plain` is whether they were written without quotes, that is as YAML's number.
pub(crate) fn mode(text: &str, plain: bool) -> Result<u32, Complaint> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let octal = !digits.is_empty() && digits.len() <= 8 && digits.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let Some(bits) = octal.then(|| u32::from_str_radix(digits, 8).ok()).flatten().filter(|bits| *bits <= 0o7777) else {
        return complain(
            format!("{} is not a file mode", quoted(text)),
            "octal digits up to \"7777\", such as \"0644\"",
        );
    };
    // A plain 644 is six hundred and forty-four to YAML; only a leading zero says octal.
    if plain && !text.starts_with('0') {
        return complain(
            format!("the mode {} is a decimal number", quoted(text)),
            format!("write \"0{digits}\" for octal"),
        );
    }
    Ok(bits)
}

/// Parses a uid or gid.
pub(crate) fn owner(text: &str, plain: bool) -> Result<Owner, Complaint> {
    if text.is_empty() || text == "root" {
        return Ok(Owner::Id(0));
    }
    let number = text.strip_prefix('-').unwrap_or(text).bytes().all(|b| b.is_ascii_digit());
    if number {
        if text.starts_with('0') && text.len() > 1 {
            return complain(
                format!("the id {} starts with a zero", quoted(text)),
                "octal or decimal? write it without",
            );
        }
        // The last number is -1, "unchanged", in the kernel's eyes.
        return match text.parse() {
            Ok(id) if id < u32::MAX => Ok(Owner::Id(id)),
            _ => complain(format!("{} is not an id", quoted(text)), format!("ids go from 0 to {}", u32::MAX - 1)),
        };
    }
    if plain && (text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o")) {
        return complain(format!("{} is not an id", quoted(text)), "a whole decimal number, or a name");
    }
    if text.contains(':') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return complain(format!("{} is not the name of a user or group", quoted(text)), "a number or a name");
    }
    Ok(Owner::Name(text.to_owned()))
}

/// Parses a whole number between two bounds.
pub(crate) fn integer(text: &str, min: i64, max: i64) -> Result<i64, Complaint> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return complain(format!("{} is not a whole number", quoted(text)), "decimal digits are expected");
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return complain(
            format!("the number {} starts with a zero", quoted(text)),
            "octal or decimal? write it without",
        );
    }
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => complain(format!("{} is out of range", quoted(text)), range(min, max)),
    }
}

/// Parses a number of bytes: `512K`, `64M`, `2G`, or without a unit.
pub(crate) fn size(text: &str) -> Result<u64, Complaint> {
    let (digits, unit) = match text.split_at_checked(text.len().saturating_sub(1)) {
        Some((digits, "K")) => (digits, 1 << 10),
        Some((digits, "M")) => (digits, 1 << 20),
        Some((digits, "G")) => (digits, 1 << 30),
        _ => (text, 1),
    };
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
    match digits.parse::<u64>().ok().filter(|_| plain).and_then(|n| n.checked_mul(unit)) {
        Some(bytes) => Ok(bytes),
        None => complain(format!("{} is not a size", quoted(text)), "bytes, or with a unit: `512K`, `64M`, `2G`"),
    }
}

/// Units of durations, and their milliseconds; the largest last.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Parses a duration: a whole number and its unit.
pub(crate) fn duration(text: &str) -> Result<Duration, Complaint> {
    let (digits, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let milliseconds =
        unit.and_then(|(_, factor)| digits.parse::<u32>().ok()?.checked_mul(u32::try_from(*factor).ok()?));
    match milliseconds {
        Some(0) => complain(format!("{} is no time at all", quoted(text)), "at least `1ms`"),
        Some(milliseconds) => Ok(Duration::from_millis(milliseconds.into())),
        None if unit.is_some() && !digits.is_empty() => {
            complain(format!("the duration {} is too long", quoted(text)), "at most `1000h`")
        }
        None => complain(
            format!("{} is not a duration", quoted(text)),
            "a whole number and its unit: `500ms`, `10s`, `2m`, `1h`",
        ),
    }
}

/// A duration as it is written, with the largest unit that leaves a whole number.
pub(crate) fn duration_text(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let whole = UNITS.iter().rev().find(|(_, factor)| milliseconds.is_multiple_of(*factor));
    whole.map_or_else(|| format!("{milliseconds}ms"), |(name, factor)| format!("{}{name}", milliseconds / factor))
}

/// A range in words.
pub(crate) fn range(min: i64, max: i64) -> String {
    match (min, max) {
        (min, i64::MAX) => format!("at least {min}"),
        (i64::MIN, max) => format!("at most {max}"),
        (min, max) => format!("from {min} to {max}"),
    }
}

/// Parses a boolean; YAML 1.1's words too, as LinuxKit's parser does where a boolean is wanted.
pub(crate) fn flag(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_bytes_or_have_a_unit() {
        for (text, bytes) in [("1", 1), ("512K", 512 << 10), ("64M", 64 << 20), ("2G", 2 << 30)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "M", "0", "064M", "-1", "+1M", "1.5M", "64MB", "64 M", "99999999999G", "é", "1é"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
