//! Power buttons: input devices that have the key, now and later.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// `KEY_POWER` and `EV_KEY` of `linux/input-event-codes.h`.
const KEY_POWER: usize = 116;
const EV_KEY: u16 = 1;
/// Size of `struct input_event` on 64-bit machines; the time takes the first 16 bytes.
const EVENT: usize = 24;

/// Opens all input devices that have a power key, with their names.
pub fn buttons() -> Vec<(String, OwnedFd)> {
    let devices = fs::read_dir("/sys/class/input").into_iter().flatten().flatten();
    let names = devices.map(|d| d.file_name().to_string_lossy().into_owned());
    names.filter_map(|name| button(&name).map(|button| (name, button))).collect()
}

/// Opens an input device, `event3`, if it has a power key.
pub fn button(name: &str) -> Option<OwnedFd> {
    if !name.starts_with("event") {
        return None;
    }
    let keys = Path::new("/sys/class/input").join(name).join("device/capabilities/key");
    if !has_key(&fs::read_to_string(keys).ok()?, KEY_POWER) {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(Path::new("/dev/input").join(name), flags, Mode::empty()).ok()
}

/// Whether a bitmap of sysfs, words of 64 bits in hex with the highest first, has a key.
fn has_key(bitmap: &str, key: usize) -> bool {
    let word = bitmap.split_ascii_whitespace().rev().nth(key / 64);
    word.and_then(|w| u64::from_str_radix(w, 16).ok()).is_some_and(|w| w >> (key % 64) & 1 == 1)
}

/// Whether events say that a power key was pressed.
pub fn pressed(bytes: &[u8]) -> bool {
    bytes.chunks_exact(EVENT).any(|event| {
        let number = |at: usize| event.get(at..at + 2).and_then(|b| b.try_into().ok()).map(u16::from_ne_bytes);
        let value = event.get(20..24).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
        number(16) == Some(EV_KEY) && number(18).map(usize::from) == Some(KEY_POWER) && value == Some(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitmaps() {
        // An ACPI power button and a mouse, as Linux 6.1 shows them.
        assert!(has_key("10000000000000 0\n", KEY_POWER));
        assert!(!has_key("70000 0 0 0 0\n", KEY_POWER));
        assert!(!has_key("", KEY_POWER));
        assert!(!has_key("0\n", KEY_POWER));
    }

    #[test]
    fn events() {
        let event = |kind: u16, code: u16, value: i32| {
            let mut bytes = vec![0; 16];
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(code.to_ne_bytes());
            bytes.extend(value.to_ne_bytes());
            bytes
        };
        assert!(pressed(&[event(0, 0, 0), event(1, 116, 1)].concat()));
        assert!(!pressed(&event(1, 116, 0)), "released");
        assert!(!pressed(&event(1, 30, 1)), "another key");
        assert!(!pressed(&event(1, 116, 1)[..20]));
    }
}
