//! Memory does not grow with what is packed.

use std::fs::{self, File};
use std::io;

use bootwright_formats::erofs::Erofs;
use bootwright_formats::iso::MachineIso;
use bootwright_formats::{Compression, Format, Options};
use bootwright_oci::{Content, Digest, Kind, Silent};
use bootwright_rootfs::Machine;

use crate::machine::{Builder, Place, Store};
use crate::output::{child, child_directory};

const SIZE: u64 = 300 << 20;

pub fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn packing_300_mb_takes_less_than_a_third_of_it() {
    for (test, most_mib) in [
        ("memory::child_writes_a_tar", 32),
        ("memory::child_packs_zstd", 90),
        ("memory::child_packs_lz4", 64),
        ("memory::child_writes_iso", 32),
        ("memory::child_writes_erofs", 32),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let ended = child(test, ":", directory.path());
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        let peak: u64 = fs::read_to_string(directory.path().join("peak")).unwrap().parse().unwrap();
        eprintln!("{test}: {} MiB", peak >> 10);
        assert!(peak >> 10 < most_mib, "{test}: {} MiB", peak >> 10);
    }
}

/// Does something with a machine that has one large file, and keeps how much memory that took.
fn measure(work: impl FnOnce(&Machine)) {
    let directory = child_directory();
    let path = directory.join("sparse");
    File::create(&path).unwrap().set_len(SIZE).unwrap();
    let content = Content::Host { path, size: SIZE, digest: Digest::of(b"not looked at") };
    work(&Builder::new(&[("init[0]", "i")]).node(0, "init", Kind::File(content), |_| {}).0);
    fs::write(directory.join("peak"), peak_kib().to_string()).unwrap();
}

fn pack(format: Format, compression: Compression) {
    let options = Options { compression, ..Options::default() };
    measure(|machine| drop(Place::new().build(machine, &[format], &options).unwrap()));
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

#[test]
#[ignore = "run by another test"]
fn child_writes_iso() {
    measure(|machine| {
        MachineIso::plan(machine, "").unwrap().write(&Store::default(), &mut io::sink(), &mut Silent).unwrap();
    });
}

#[test]
#[ignore = "run by another test"]
fn child_writes_erofs() {
    measure(|machine| {
        Erofs::plan(machine).unwrap().write(&Store::default(), &mut io::sink(), &mut Silent).unwrap();
    });
}
