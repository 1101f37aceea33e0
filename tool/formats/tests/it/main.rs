//! The formats, judged by the programs that read them: GNU cpio and tar, Python's tarfile, gzip, zstd and lz4,
//! veritysetup, objcopy and sbverify.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

mod bios;
mod determinism;
mod initrd;
mod kernel;
mod limits;
mod machine;
mod memory;
mod output;
mod signing;
mod tar;
mod tools;
mod uki;
mod verity;
