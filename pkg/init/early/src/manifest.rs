//! Is the root whole, and the memory enough?
//!
//! The kernel's unpacker prints an error and boots on with what fitted (`kernel-boot.md`, section 3). The manifest, which
//! lies in the first segment, tells. A root that is no initrd has none; its memory stands on the kernel's command line.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::os::unix::fs::MetadataExt;

use bootwright_bundle::{Ending, MANIFEST_PATH, Manifest};

use crate::{Cmdline, Consoles, end};

/// Ends the machine, with one sentence, if its root is not whole or its memory too little. Gives the manifest, an empty one
/// when the machine has none.
pub fn check(consoles: &mut Consoles, cmdline: &Cmdline) -> Manifest {
    let found = read().map(|manifest| {
        let mut manifest = manifest.unwrap_or_default();
        manifest.memory_mib = manifest.memory_mib.max(cmdline.memory_mib);
        (shortfall(&manifest), manifest)
    });
    let sentence = match found {
        Ok((None, manifest)) => return manifest,
        Ok((Some(sentence), _)) => sentence,
        // It lies before the program in the archive: a broken one means that little else can be trusted.
        Err(trouble) => format!("the root is not whole: {trouble}"),
    };
    consoles.say(&sentence);
    end(consoles, Ending::Memory, || {})
}

/// Reads the manifest; none when the machine has none.
fn read() -> Result<Option<Manifest>, String> {
    let file = match File::open(MANIFEST_PATH) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("reading {MANIFEST_PATH}: {error}")),
    };
    match serde_json::from_reader(BufReader::new(file)) {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) => Err(format!("reading {MANIFEST_PATH}: {error}")),
    }
}

/// The sentence of a machine that must not go on, or none.
fn shortfall(manifest: &Manifest) -> Option<String> {
    let missing = compare(manifest, |path| {
        let data = fs::symlink_metadata(path).ok()?;
        Some(data.is_file().then_some(data.size()))
    });
    sentence(missing, present_mib(), manifest.memory_mib)
}

/// What is not there as the manifest has it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Missing {
    entries: u64,
    of: u64,
    first: Option<String>,
}

/// What a filesystem has been mounted over by now, so that what the root holds there cannot be seen, nor is needed.
const COVERED: [&str; 3] = ["/dev/", "/proc/", "/sys/"];

/// Compares the manifest with what `look` finds: nothing, a file of a size, or another kind of entry.
fn compare(manifest: &Manifest, look: impl Fn(&str) -> Option<Option<u64>>) -> Missing {
    let mut missing = Missing::default();
    for segment in &manifest.segments {
        let files = segment.files.iter().map(|(path, size)| (path, look(path) == Some(Some(*size))));
        let others = segment.others.iter().map(|path| (path, look(path).is_some()));
        let seen = |(path, _): &(&String, bool)| !COVERED.iter().any(|covered| path.starts_with(covered));
        for (path, there) in files.chain(others).filter(seen) {
            missing.of += 1;
            if !there {
                missing.entries += 1;
                missing.first.get_or_insert_with(|| path.clone());
            }
        }
    }
    missing
}

fn sentence(missing: Missing, present: u64, needed: u64) -> Option<String> {
    let root = match missing.first {
        Some(first) => format!(
            "; {} of {} entries of the root did not fit or are damaged, the first is {first}",
            missing.entries, missing.of
        ),
        None if present < needed => String::new(),
        None => return None,
    };
    let what = if present < needed { "too little memory" } else { "the root is not whole" };
    Some(format!("{what}: {present} MiB present, {needed} MiB needed{root}"))
}

/// MiB of memory that the machine has, as `-m` or a data sheet says it.
fn present_mib() -> u64 {
    let ram = system_ram(&fs::read_to_string("/proc/iomem").unwrap_or_default());
    let info = rustix::system::sysinfo();
    let usable = u64::from(info.mem_unit).saturating_mul(info.totalram);
    // The BIOS keeps some of the first MiB, hence upwards.
    ram.max(usable).div_ceil(1 << 20)
}

/// Bytes of the ranges of `/proc/iomem` that are memory.
fn system_ram(table: &str) -> u64 {
    let ranges = table.lines().filter(|l| !l.starts_with(' '));
    ranges
        .filter_map(|line| {
            let (range, name) = line.split_once(" : ")?;
            let (start, end) = range.split_once('-')?;
            let start = u64::from_str_radix(start, 16).ok()?;
            let end = u64::from_str_radix(end, 16).ok()?;
            (name == "System RAM").then(|| end.saturating_sub(start).saturating_add(1))
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bootwright_bundle::Segment;

    fn manifest() -> Manifest {
        Manifest {
            version: 1,
            memory_mib: 96,
            segments: vec![Segment {
                name: "services[0] web".to_owned(),
                count: 3,
                files: vec![("/a".to_owned(), 5), ("/b".to_owned(), 0)],
                others: vec!["/d".to_owned(), "/dev/pts".to_owned()],
            }],
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn a_whole_root_with_enough_memory_goes_on() {
        let look = |path: &str| match path {
            "/a" => Some(Some(5)),
            "/b" => Some(Some(0)),
            _ => Some(None),
        };
        assert_eq!(sentence(compare(&manifest(), look), 96, 96), None);
        assert_eq!(
            sentence(compare(&manifest(), look), 95, 96).as_deref(),
            Some("too little memory: 95 MiB present, 96 MiB needed")
        );
    }

    #[test]
    fn what_is_short_or_missing_is_named() {
        let short = |path: &str| (path != "/d").then_some(Some(4));
        let missing = compare(&manifest(), short);
        assert_eq!(missing, Missing { entries: 3, of: 3, first: Some("/a".to_owned()) });
        assert_eq!(
            sentence(missing, 64, 96).as_deref(),
            Some(
                "too little memory: 64 MiB present, 96 MiB needed; \
                 3 of 3 entries of the root did not fit or are damaged, the first is /a"
            )
        );
        let damaged = compare(&manifest(), |path| (path != "/b").then_some(Some(5)));
        assert_eq!(
            sentence(damaged, 256, 96).as_deref(),
            Some(
                "the root is not whole: 256 MiB present, 96 MiB needed; \
                 1 of 3 entries of the root did not fit or are damaged, the first is /b"
            )
        );
    }

    #[test]
    fn memory_is_the_sum_of_the_ranges() {
        let table = "00000000-00000fff : Reserved\n00001000-0009fbff : System RAM\n00100000-05fdffff : System RAM\n  \
                     01000000-01ffffff : Kernel code\nfee00000-fee00fff : Local APIC\n";
        assert_eq!(system_ram(table).div_ceil(1 << 20), 96);
        assert_eq!(system_ram("nothing"), 0);
    }
}
