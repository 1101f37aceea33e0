//! Too little memory: the kernel boots on with half a root, and early or init must notice before anything is started. And
//! enough memory, by the builder's own figure, is enough, and the figure is not much above what is really needed.

use bootwright_test::{Built, Entry, Outcome, Root, Story, comes_up, images};

/// Those that Debian's cloud kernel can have; the fourth is in the stories of kernel/tiny.
const ROOTS: [Root; 3] = [Root::Initrd, Root::Image, Root::Disk];

fn story() -> Story {
    Story::new().cmdline("no_timer_check").boot_loader()
}

/// With each kind of root.
fn has_a_floor(image: usize) {
    let (_, files) = &images()[image];
    for root in ROOTS {
        root.has_a_floor(&root.build(story(), files));
    }
}

#[test]
fn a_small_root_has_a_floor() {
    has_a_floor(0);
}

#[test]
fn a_root_that_does_not_compress_has_a_floor() {
    has_a_floor(1);
}

#[test]
fn a_root_that_compresses_has_a_floor() {
    has_a_floor(2);
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
    let built = Root::Initrd.build(story(), &files);
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
