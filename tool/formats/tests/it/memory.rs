//! Memory does not grow with what is packed.

use std::fs::{self, File};

use bootwright_formats::{Compression, Format, Options};
use bootwright_oci::{Content, Digest, Kind};

use crate::machine::{Builder, Place};
use crate::output::{child, child_directory};

const SIZE: u64 = 300 << 20;

pub fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn packing_300_mb_takes_less_than_a_third_of_it() {
    for (test, most_mib) in
        [("memory::child_writes_a_tar", 32), ("memory::child_packs_zstd", 90), ("memory::child_packs_lz4", 64)]
    {
        let directory = tempfile::tempdir().unwrap();
        let ended = child(test, ":", directory.path());
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        let peak: u64 = fs::read_to_string(directory.path().join("peak")).unwrap().parse().unwrap();
        eprintln!("{test}: {} MiB", peak >> 10);
        assert!(peak >> 10 < most_mib, "{test}: {} MiB", peak >> 10);
    }
}

fn pack(format: Format, compression: Compression) {
    let directory = child_directory();
    let path = directory.join("sparse");
    File::create(&path).unwrap().set_len(SIZE).unwrap();
    let content = Content::Host { path, size: SIZE, digest: Digest::of(b"not looked at") };
    let machine = Builder::new(&[("init[0]", "i")]).node(0, "init", Kind::File(content), |_| {}).0;
    let place = Place::new();
    place.build(&machine, &[format], &Options { compression, ..Options::default() }).unwrap();
    fs::write(directory.join("peak"), peak_kib().to_string()).unwrap();
}

#[test]
#[ignore = "run by another test"]
fn child_writes_a_tar() {
    pack(Format::Tar, Compression::default());
}

#[test]
#[ignore = "run by another test"]
fn child_packs_zstd() {
    pack(Format::KernelInitrd, Compression::Zstd);
}

#[test]
#[ignore = "run by another test"]
fn child_packs_lz4() {
    pack(Format::KernelInitrd, Compression::Lz4);
}
