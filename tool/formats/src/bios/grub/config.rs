//! What GRUB is told, and how a command line gets through it.
//!
//! GRUB reads words, and writes them again for the kernel: in double quotes where there is a space within, and with a backslash
//! before quotes and backslashes, which the kernel does not understand. So the words are split here as the kernel splits them
//! (`next_arg` in `lib/cmdline.c`: double quotes keep spaces), and given without their quotes.

use std::fmt::Write as _;

use crate::bios::{BiosError, Extent, Parameters, UNIT};

/// What GRUB puts before the command line at most: `BOOT_IMAGE=`, a device, a place and a space.
const BEFORE: usize = "BOOT_IMAGE=(hd127)18446744073709551615+8388608 ".len();

/// The embedded configuration. Errors are said on COM1, too.
pub(super) fn text(parameters: &Parameters) -> Result<String, BiosError> {
    let mut text = "serial --unit=0 --speed=115200\nterminal_output console serial\nlinux".to_owned();
    let place = |text: &mut String, extent: &Extent| {
        // Behind the end of a file, its last sector has zeros.
        let _ = write!(text, " ($root){}+{}", extent.lba, u64::from(extent.bytes).div_ceil(UNIT));
    };
    place(&mut text, &parameters.kernel);
    for word in words(&parameters.cmdline)? {
        let _ = write!(text, " '{word}'");
    }
    if !parameters.initrds.is_empty() {
        text.push_str("\ninitrd");
        for initrd in &parameters.initrds {
            place(&mut text, initrd);
        }
    }
    text.push_str("\nboot\n");
    Ok(text)
}

/// Bytes of the command line as the kernel gets it.
pub(super) fn cmdline_bytes(cmdline: &str) -> Result<usize, BiosError> {
    let bytes = words(cmdline)?.into_iter().map(|word| word.len() + 1 + if word.contains(' ') { 2 } else { 0 });
    Ok(BEFORE + bytes.sum::<usize>())
}

/// The words of a command line, without quotes.
fn words(cmdline: &str) -> Result<Vec<String>, BiosError> {
    let mut words = Vec::new();
    let mut rest = cmdline.trim_ascii();
    while !rest.is_empty() {
        let mut quoted = false;
        let end = rest.find(|c: char| {
            quoted ^= c == '"';
            c.is_ascii_whitespace() && !quoted
        });
        let (word, more) = rest.split_at(end.unwrap_or(rest.len()));
        rest = more.trim_ascii_start();
        // The kernel takes quotes away around a word, and around a value.
        let plain = match word.strip_prefix('"') {
            Some(inner) => inner.strip_suffix('"').unwrap_or(inner).to_owned(),
            None => match word.split_once("=\"") {
                Some((key, value)) => format!("{key}={}", value.strip_suffix('"').unwrap_or(value)),
                None => word.to_owned(),
            },
        };
        if plain.contains(['"', '\'', '\\', '\n']) {
            return Err(BiosError::Quoting(word.to_owned()));
        }
        words.push(plain);
    }
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cmdline: &str) -> Parameters {
        let initrds = vec![Extent { lba: 300, bytes: 512 }, Extent { lba: 301, bytes: 513 }];
        Parameters { kernel: Extent { lba: 100, bytes: 1 }, initrds, cmdline: cmdline.to_owned() }
    }

    #[test]
    fn the_configuration_names_places() {
        let parameters = of("quiet  dm-mod.create=\"root,,,ro,0 8 linear\" \"a b=c\" ");
        let want = "serial --unit=0 --speed=115200\nterminal_output console serial\n\
                    linux ($root)100+1 'quiet' 'dm-mod.create=root,,,ro,0 8 linear' 'a b=c'\n\
                    initrd ($root)300+1 ($root)301+2\nboot\n";
        assert_eq!(text(&parameters).unwrap(), want);
        let without = Parameters { initrds: Vec::new(), ..of("") };
        assert!(text(&without).unwrap().ends_with("linux ($root)100+1\nboot\n"));
        assert_eq!(cmdline_bytes("a \"b c\"").unwrap() - cmdline_bytes("").unwrap(), "a \"b c\" ".len());
    }

    #[test]
    fn what_grub_would_change_is_refused() {
        for bad in ["a='b'", "a=b\\c", "a=\"b\"c\"", "a=b\"c d\""] {
            assert_eq!(text(&of(&format!("quiet {bad}"))), Err(BiosError::Quoting(bad.to_owned())), "{bad}");
        }
    }
}
