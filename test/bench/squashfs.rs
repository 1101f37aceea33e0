//! Our squashfs and `mksquashfs`'s of the same tree, with the same compressor and block size, in turns.
//!
//! Ours is the whole command, which reads the tree out of an OCI image and writes a kernel beside it. Theirs reads the tree from a
//! directory: the one that `unsquashfs` made of ours.

use std::fs;
use std::path::Path;
use std::process::Command;

use bootwright_test::{Entry, ImageBuilder, Story, run, tool, unpacked_store};

use crate::build::Costs;
use crate::median;

/// What is packed: programs, text and bytecode of the host.
const TREES: [&str; 2] = ["/usr/lib/python3.11", "/usr/lib/git-core"];
/// Compressors at the levels that are ours by default, and how `mksquashfs` is told.
const COMPRESSORS: [(&str, &[&str]); 4] = [
    ("zstd", &["-comp", "zstd", "-Xcompression-level", "15"]),
    ("gzip", &["-comp", "gzip"]),
    ("xz", &["-comp", "xz"]),
    ("lz4", &["-comp", "lz4"]),
];

pub(crate) fn squashfs(runs: usize) {
    let image =
        TREES.iter().map(Path::new).filter(|tree| tree.is_dir()).fold(ImageBuilder::busybox(), ImageBuilder::tree);
    let story = Story::of_kernel("kernel/debian/cloud");
    let image = image.write(story.dir(), "big");
    let story = story.service(Entry::new("big", &image).key("readonly", "true"));
    // Fetches the image and the packages, so that none of it is measured.
    story.build_tar();
    let spec = story.dir().join("story.yml");

    println!("## Squashfs and mksquashfs, the same tree and settings ({runs} runs in turns)\n");
    println!("| | bytes | mksquashfs | first write: wall s | mksquashfs | cpu s | mksquashfs | again: wall s |");
    println!("|---|---|---|---|---|---|---|---|");
    for (compressor, flags) in COMPRESSORS {
        let (mut first, mut again, mut theirs) = (Costs::default(), Costs::default(), Costs::default());
        let [mut ours_bytes, mut their_bytes] = [0; 2];
        for _ in 0..runs {
            let out = tempfile::tempdir_in(story.dir()).expect("the directory is ours");
            let packed = unpacked_store();
            let arguments = ["build", "--format", "kernel+squashfs", "--root-compress", compressor, "--dir"];
            let mut ours = Command::new(tool());
            ours.args(arguments).arg(out.path()).arg(&spec).env("BOOTWRIGHT_CACHE", packed.path());
            first.add(&ours);
            again.add(&ours);
            let image = out.path().join("story-squashfs.img");
            ours_bytes = size(&image);

            let tree = out.path().join("tree");
            run(Command::new("unsquashfs").args(["-no-progress", "-quiet", "-d"]).arg(&tree).arg(&image));
            let other = out.path().join("other.img");
            let mut mksquashfs = Command::new("mksquashfs");
            mksquashfs.arg(&tree).arg(&other).args(["-noappend", "-no-progress", "-quiet", "-b", "131072"]).args(flags);
            theirs.add(&mksquashfs);
            their_bytes = size(&other);
        }
        println!(
            "| {compressor} | {ours_bytes} | {their_bytes} | {} | {} | {} | {} | {} |",
            median(first.wall),
            median(theirs.wall),
            median(first.cpu),
            median(theirs.cpu),
            median(again.wall)
        );
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).len()
}
