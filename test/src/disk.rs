//! Disks with partitions, looked at without our own reader: `sfdisk` reads GPT and MBR.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::run;

/// Bytes of a sector.
const SECTOR: u64 = 512;

/// Type of an EFI system partition, as `sfdisk` names it.
pub const ESP: &str = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
/// Type of a root partition for amd64 of a GPT.
pub const ROOT: &str = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709";

/// Where the first partition of a type lies, in bytes.
#[track_caller]
pub fn partition_range(disk: &Path, kind: &str) -> Range<u64> {
    let said = run(Command::new("sfdisk").arg("--json").arg(disk));
    let table: Value = serde_json::from_slice(&said).expect("it is JSON");
    let all = table["partitiontable"]["partitions"].as_array().expect("a table has a list of partitions");
    let found = all.iter().find(|p| p["type"] == kind).unwrap_or_else(|| panic!("no {kind} in {table}"));
    let field = |name: &str| found[name].as_u64().expect("a number of sectors") * SECTOR;
    field("start")..field("start") + field("size")
}

/// Changes one bit of a file.
pub fn flip(path: &Path, at: u64) {
    let opened = File::options().read(true).write(true).open(path);
    let file = opened.unwrap_or_else(|e| panic!("cannot open {}: {e}", path.display()));
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("it is as long");
    file.write_all_at(&[byte[0] ^ 1], at).expect("it is ours");
}

/// What the first partition of a type holds.
#[track_caller]
pub fn partition(disk: &Path, kind: &str) -> Vec<u8> {
    let range = partition_range(disk, kind);
    let mut bytes = vec![0; (range.end - range.start) as usize];
    let file = File::open(disk).unwrap_or_else(|e| panic!("cannot open {}: {e}", disk.display()));
    file.read_exact_at(&mut bytes, range.start).expect("the partition is on the disk");
    bytes
}
