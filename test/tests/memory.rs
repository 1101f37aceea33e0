//! Too little memory: the kernel boots on with half a root, and init must notice before anything is started.

use bootwright_test::{Built, Entry, ImageBuilder, Outcome, Story, words};

/// Boots with this much memory and returns whether it came up. Our sentence and a panic before init are the only other ways.
fn comes_up(built: &Built, mib: u64, service: &str) -> bool {
    let mut machine = built.boot().memory(mib).start();
    // The word comes from a machine that is whole; one that is not ends by itself, and the wait ends with it.
    let ready = machine.wait_ready();
    if ready {
        machine.powers_off();
        return true;
    }
    let outcome = machine.ends();
    let by_init = machine.lines().into_iter().filter(|line| line.starts_with(words::INIT)).collect::<Vec<_>>();
    match outcome {
        Outcome::OutOfMemory => {
            let sentence = by_init.iter().find(|line| line.matches(words::MEMORY_UNIT).count() >= 2);
            let sentence = sentence.unwrap_or_else(|| panic!("-m {mib}: no sentence with MiB present and needed"));
            let words = sentence.split(' ').collect::<Vec<_>>();
            let numbers: Vec<u64> =
                words.windows(2).filter(|w| w[1].starts_with("MiB")).filter_map(|w| w[0].parse().ok()).collect();
            assert!(numbers.len() == 2 && numbers.iter().all(|n| *n > 0), "-m {mib}: {sentence}");
            assert!(numbers.iter().any(|n| *n <= mib), "-m {mib}: {sentence}");
        }
        Outcome::Panicked => assert!(by_init.is_empty(), "-m {mib}: a panic after init began: {by_init:?}"),
        other => panic!("-m {mib}: {other:?}"),
    }
    assert!(!machine.said(&format!("{service}: ")), "-m {mib}: a container was started");
    false
}

#[test]
fn minimal_below_its_floor_says_so_and_starts_nothing() {
    let built = Built::example("minimal");
    let up: Vec<(u64, bool)> = [36, 44, 52, 60, 68, 76].map(|mib| (mib, comes_up(&built, mib, "hello"))).to_vec();
    assert!(!up[0].1, "36 MiB cannot hold Debian's kernel: {up:?}");
    assert!(up.is_sorted_by_key(|(_, up)| *up), "more memory is never worse: {up:?}");
}

/// 64 MiB that do not compress: the initrd itself and its unpacked form need room at the same time.
#[test]
fn a_root_that_fits_only_in_part_is_noticed() {
    let story = Story::new();
    let mut state = 88_172_645_463_325_252_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(64 << 20)
    .collect();
    let image = ImageBuilder::busybox().file("noise", 0o644, noise).write(story.dir(), "noise");
    let built = story.service(Entry::new("big", &image).script("echo up; exec sleep 1000")).build();
    for mib in [96, 144, 192] {
        assert!(!comes_up(&built, mib, "big"), "-m {mib} cannot hold it twice");
    }
    assert!(comes_up(&built, 512, "big"));
}
