//! Too little memory: the kernel boots on with half a root, and early or init must notice before anything is started. And
//! enough memory, by the builder's own figure, is enough, and the figure is not much above what is really needed.

use bootwright_test::{Boot, Built, Entry, ImageBuilder, Outcome, Story, words};

/// What the BIOS loader says before there is a kernel.
const LOADER: &str = "bootwright: loading";

/// Where a machine's root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Root {
    /// Unpacked from the initrd.
    Initrd,
    /// A squashfs in the initrd.
    Image,
    /// A squashfs on a disk.
    Disk,
}

/// A machine with these files in its one service's image.
fn machine(root: Root, files: &[(String, Vec<u8>)]) -> Built {
    let story = Story::new().cmdline("no_timer_check").boot_loader();
    let image = files.iter().fold(ImageBuilder::busybox(), |image, (name, data)| image.file(name, 0o644, data.clone()));
    let image = image.write(story.dir(), "big");
    let story = story.service(Entry::new("big", &image).script("echo up; exec sleep 1000"));
    story.build_with(match root {
        Root::Initrd => &["--root", "initrd"],
        Root::Image => &["--root", "squashfs"],
        // The same initrd is in both: the disk is what is booted, and of the other its manifest can be read and changed.
        Root::Disk => &["--root", "squashfs", "--format", "kernel+squashfs,raw-bios"],
    })
}

/// Boots with this much memory and returns whether it came up. Our sentence and a panic before init are the only other ways.
fn comes_up(boot: Boot, mib: u64, needed: u64) -> bool {
    let mut machine = boot.memory(mib).start();
    // The word comes from a machine that is whole; one that is not ends by itself, and the wait ends with it.
    if machine.wait_ready() {
        machine.sees("big: up");
        machine.powers_off();
        return true;
    }
    let outcome = machine.ends();
    let lines = machine.lines();
    let ours = lines.iter().filter(|line| line.starts_with(words::INIT) && *line != LOADER).collect::<Vec<_>>();
    match outcome {
        Outcome::OutOfMemory => {
            // Init greets first; early says nothing without need.
            let said = ours.iter().filter(|line| !line.starts_with(words::GREETING)).collect::<Vec<_>>();
            assert_eq!(said.len(), 2, "-m {mib}: sentence and end: {ours:?}");
            let sentence = format!("{}too little memory: {mib} MiB present, {needed} MiB needed", words::INIT);
            assert!(said[0].starts_with(&sentence), "-m {mib}: {ours:?}");
        }
        Outcome::Panicked => assert!(ours.is_empty(), "-m {mib}: a panic after init began: {ours:?}"),
        other => panic!("-m {mib}: {other:?}"),
    }
    assert!(!lines.iter().any(|line| line.contains("big: ")), "-m {mib}: a container was started");
    println!("-m {mib} of {needed}: {outcome:?}");
    false
}

/// The builder's figure is enough, one MiB less is refused, and a machine that knows no figure needs at least four fifths of it.
fn has_a_floor(root: Root, files: &[(String, Vec<u8>)]) {
    let built = machine(root, files);
    let needed = built.memory_mib();
    let boot = || if root == Root::Disk { built.boot_file("-bios.img") } else { built.boot() };
    assert!(!comes_up(boot(), needed - 1, needed), "{root:?}: {needed} MiB are needed");
    assert!(comes_up(boot(), needed, needed), "{root:?}: {needed} MiB were said to be enough");
    let less = needed * 4 / 5 - 1;
    let machine = built.boot_unchecked().memory(less).start();
    assert!(!machine.wait_ready(), "{root:?}: {less} MiB are enough, {needed} MiB are more than 25 % above");
}

/// Bytes that do not compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    noise.take(bytes).collect()
}

/// A root that is nothing but the service; with each kind of root, as those below.
#[test]
fn a_small_root_has_a_floor() {
    for root in [Root::Initrd, Root::Image, Root::Disk] {
        has_a_floor(root, &[]);
    }
}

/// 20 MiB that do not compress: the initrd itself and its unpacked form need room at the same time.
#[test]
fn a_root_that_does_not_compress_has_a_floor() {
    let files = [("noise".to_owned(), noise(20 << 20))];
    for root in [Root::Initrd, Root::Image, Root::Disk] {
        has_a_floor(root, &files);
    }
}

/// 60 MiB of which half compresses to nothing: unpacked, it is bound by the kernel's root, which takes half of the memory.
#[test]
fn a_root_that_compresses_has_a_floor() {
    let half = noise(1 << 19);
    let file = |n: usize| {
        let mut data = half.clone();
        // Each is another, else it would be stored once.
        data[..8].copy_from_slice(&n.to_le_bytes());
        data.iter_mut().for_each(|byte| *byte ^= n as u8);
        data.resize(1 << 20, 0);
        (format!("z{n}"), data)
    };
    let files: Vec<_> = (0..60).map(file).collect();
    for root in [Root::Initrd, Root::Image, Root::Disk] {
        has_a_floor(root, &files);
    }
}

#[test]
fn minimal_far_below_its_floor_says_so_or_panics() {
    let built = Built::example("minimal");
    for mib in [36, 56, 72] {
        let mut machine = built.boot().memory(mib).start();
        assert!(!machine.wait_ready(), "-m {mib}");
        let outcome = machine.ends();
        assert!(matches!(outcome, Outcome::OutOfMemory | Outcome::Panicked), "-m {mib}: {outcome:?}");
        assert!(!machine.said("hello: "), "-m {mib}");
    }
}

/// 60 MiB of zeros in 60 files: next to nothing to load, and then more than the kernel's root, half of the memory, takes.
#[test]
fn a_root_that_fits_only_in_part_is_noticed() {
    let files: Vec<_> = (0..60).map(|n| (format!("z{n}"), vec![0; 1 << 20])).collect();
    let built = machine(Root::Initrd, &files);
    let mut machine = built.boot().memory(130).start();
    machine.sees("entries of the root did not fit");
    assert_eq!(machine.ends(), Outcome::OutOfMemory);
}

/// Where the spec's own command line says more than the builder computed, that counts, on a disk as well.
#[test]
fn the_command_lines_figure_is_honoured() {
    let story = Story::new().cmdline("no_timer_check bootwright.memory=300").boot_loader();
    let built = story.service(Entry::shell("big", "echo up; exec sleep 1000")).build_with(&["--format", "raw-bios"]);
    assert!(!comes_up(built.boot_file("-bios.img"), 128, 300), "300 MiB are needed");
}
