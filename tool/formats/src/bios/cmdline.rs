//! What a boot loader itself has to do about a kernel's command line (boot.rst, "Special Command Line Options").

use super::BiosError;

/// `vga=normal`, and what is said without it.
const NORMAL: u16 = 0xffff;

/// The video mode for the kernel's header: what the last `vga=` says.
pub(super) fn video_mode(cmdline: &str) -> Result<u16, BiosError> {
    let Some(mode) = values(cmdline, "vga=").last() else { return Ok(NORMAL) };
    match mode {
        "normal" => Ok(NORMAL),
        "ext" => Ok(0xfffe),
        "ask" => Ok(0xfffd),
        number => integer(number)
            .and_then(|(value, rest)| u16::try_from(value).ok().filter(|_| rest.is_empty()))
            .ok_or_else(|| BiosError::VideoMode(number.to_owned())),
    }
}

/// The address that the initrd lies below: the lowest `mem=`, the end of memory as far as the kernel will know it.
pub(super) fn memory_limit(cmdline: &str) -> u32 {
    let ends = values(cmdline, "mem=").filter_map(|value| {
        let (number, suffix) = integer(value)?;
        let shift = match suffix.to_ascii_lowercase().as_str() {
            "" => 0,
            "k" => 10,
            "m" => 20,
            "g" => 30,
            // Terabytes and more are above what counts here, and the rest is no size: `mem=nopentium`.
            _ => return None,
        };
        number.checked_mul(1 << shift)
    });
    ends.filter_map(|end| u32::try_from(end).ok()).min().unwrap_or(u32::MAX)
}

fn values<'a>(cmdline: &'a str, key: &'static str) -> impl Iterator<Item = &'a str> {
    // What follows `--` is for init.
    let words = cmdline.split_ascii_whitespace().take_while(|word| *word != "--");
    words.filter_map(move |word| word.strip_prefix(key))
}

/// A number in C's notation, and what follows it.
fn integer(text: &str) -> Option<(u64, &str)> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(rest) => (rest, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    Some((u64::from_str_radix(&digits[..end], radix).ok()?, &digits[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_video_mode_is_what_vga_says() {
        for (cmdline, mode) in [
            ("quiet", 0xffff),
            ("vga=normal", 0xffff),
            ("vga=ext", 0xfffe),
            ("vga=ask quiet", 0xfffd),
            ("vga=791", 791),
            ("vga=0x317", 0x317),
            ("vga=01", 1),
            ("vga=0", 0),
            ("vga=1 vga=2", 2),
            ("quiet -- vga=1", 0xffff),
        ] {
            assert_eq!(video_mode(cmdline), Ok(mode), "{cmdline}");
        }
        for bad in ["", "70000", "791x", "text"] {
            assert_eq!(video_mode(&format!("vga={bad}")), Err(BiosError::VideoMode(bad.to_owned())));
        }
    }

    #[test]
    fn the_initrd_stays_below_the_end_of_memory() {
        for (cmdline, limit) in [
            ("", u32::MAX),
            ("mem=64M", 64 << 20),
            ("mem=0x4000000", 64 << 20),
            ("mem=1g mem=512m", 512 << 20),
            ("mem=8G", u32::MAX),
            ("mem=2T mem=nopentium mem=", u32::MAX),
            ("memmap=1M -- mem=1M", u32::MAX),
        ] {
            assert_eq!(memory_limit(cmdline), limit, "{cmdline}");
        }
    }
}
