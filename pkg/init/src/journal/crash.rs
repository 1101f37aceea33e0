//! What outlives a crash: lines that go into the kernel's log, which pstore keeps, and what it kept of the last time.
//!
//! When a kernel crashes it writes the end of its log into whatever store the machine has (EFI variables, ACPI ERST, reserved
//! memory), and the next kernel shows that below `/sys/fs/pstore`: files of a few KiB, the last of the log first.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// Where the kernel shows what was kept.
pub const PSTORE: &str = "/sys/fs/pstore";
/// Lines that the kernel takes through one open file before it takes no more for five seconds (`printk_devkmsg`).
const BURST: usize = 10;
/// Bytes of a line at most; the kernel refuses longer ones (`LOG_LINE_MAX`).
const LINE: usize = 900;
/// Bytes that are read of each file.
const FILE: usize = 64 * 1024;

/// Writes lines into the kernel's log, with a priority that shows them on no console, where they have been said already.
pub fn to_kernel<'a>(lines: impl IntoIterator<Item = &'a [u8]>) {
    let mut kmsg = None;
    for (i, line) in lines.into_iter().enumerate() {
        if i % BURST == 0 {
            kmsg = File::options().write(true).open("/dev/kmsg").ok();
        }
        let Some(kmsg) = &mut kmsg else { return };
        let line = line.get(..LINE).unwrap_or(line);
        let _ = kmsg.write_all(&[b"<7>bootwright: ", line, b"\n"].concat());
    }
}

/// Takes what was kept: the lines of the kernel's log, oldest first. It is gone from the store then, which is small.
pub fn take(store: &Path) -> Vec<String> {
    let files = fs::read_dir(store).into_iter().flatten().flatten();
    let mut dumps: Vec<(u32, u32, String)> = files
        .filter(|file| file.file_name().to_string_lossy().starts_with("dmesg-"))
        .filter_map(|file| {
            let mut bytes = fs::read(file.path()).ok()?;
            bytes.truncate(FILE);
            let _ = fs::remove_file(file.path());
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let (crash, part) = numbers(&text);
            Some((crash, part, text))
        })
        .collect();
    // The first part is the last of the log.
    dumps.sort_by_key(|(crash, part, _)| (*crash, u32::MAX - part));
    dumps.iter().flat_map(|(_, _, text)| text.lines().skip(1).map(str::to_owned)).collect()
}

/// The numbers of crash and part in `Panic#1 Part2`, the first line of a dump.
fn numbers(text: &str) -> (u32, u32) {
    let numbers = text.lines().next().and_then(|line| line.split_once('#')?.1.split_once(" Part"));
    let number = |text: &str| text.trim().parse().unwrap_or(0);
    numbers.map_or((0, 0), |(crash, part)| (number(crash), number(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_put_together_and_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("dmesg-efi_pstore-2", "Panic#1 Part1\n<0>[ 9.0] Kernel panic\n<0>[ 9.1] Call Trace:\n"),
            ("dmesg-efi_pstore-1", "Panic#1 Part2\n<7>[ 8.0] bootwright: service `web` ended\n"),
            ("console-ramoops-0", "something else\n"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        assert_eq!(
            take(dir.path()),
            ["<7>[ 8.0] bootwright: service `web` ended", "<0>[ 9.0] Kernel panic", "<0>[ 9.1] Call Trace:"]
        );
        assert!(take(dir.path()).is_empty());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(take(Path::new("/nonexistent")).is_empty());
    }
}
