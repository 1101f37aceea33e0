//! The formats, judged by the programs that read them: GNU cpio and tar, qemu-img, unsquashfs, xorriso, sbverify and their like.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall panic")]

mod bios;
mod container;
mod determinism;
mod disk;
mod erofs;
mod fat;
mod grub;
mod guest;
mod initrd;
mod iso;
mod kernel;
mod limits;
mod machine;
mod memory;
mod output;
mod ova;
mod signing;
mod squashfs;
mod tar;
mod tools;
mod trees;
mod uki;
mod vdisk;
mod verity;
