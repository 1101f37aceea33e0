//! Too little memory: the kernel boots on with half a root, and init must notice before anything is started. And enough
//! memory, by the builder's own figure, is enough.

use bootwright_test::{Built, Entry, ImageBuilder, Outcome, Story, words};

/// Boots with this much memory and returns whether it came up. Our sentence and a panic before init are the only other ways.
fn comes_up(built: &Built, mib: u64, service: &str) -> bool {
    let mut machine = built.boot().memory(mib).start();
    // The word comes from a machine that is whole; one that is not ends by itself, and the wait ends with it.
    if machine.wait_ready() {
        machine.sees(service);
        machine.powers_off();
        return true;
    }
    let outcome = machine.ends();
    let lines = machine.lines();
    let by_init = lines.iter().filter(|line| line.starts_with(words::INIT)).collect::<Vec<_>>();
    match outcome {
        Outcome::OutOfMemory => {
            let sentence = by_init.iter().find(|line| line.matches(words::MEMORY_UNIT).count() >= 2);
            let sentence = sentence.unwrap_or_else(|| panic!("-m {mib}: no sentence with MiB present and needed"));
            let present = format!("{}too little memory: {mib} MiB present, ", words::INIT);
            assert!(sentence.starts_with(&present), "-m {mib}: {sentence}");
            let needed = sentence[present.len()..].split(' ').next().and_then(|number| number.parse().ok());
            assert_eq!(needed, Some(built.memory_mib()), "-m {mib}: {sentence}");
            assert_eq!(by_init.len(), 3, "-m {mib}: greeting, sentence, end: {by_init:?}");
        }
        Outcome::Panicked => assert!(by_init.is_empty(), "-m {mib}: a panic after init began: {by_init:?}"),
        other => panic!("-m {mib}: {other:?}"),
    }
    let name = service.split(": ").next().unwrap_or(service);
    assert!(!lines.iter().any(|line| line.contains(&format!("{name}: "))), "-m {mib}: a container was started");
    println!("-m {mib} of {}: {outcome:?}", built.memory_mib());
    false
}

/// The builder's figure is enough, one MiB less is not, and neither is anything below.
fn has_a_floor(built: &Built, below: &[u64], service: &str) {
    let needed = built.memory_mib();
    for mib in below.iter().copied().chain([needed - 1]) {
        assert!(!comes_up(built, mib, service), "-m {mib} is too little, {needed} MiB are needed");
    }
    assert!(comes_up(built, needed, service), "-m {needed} was said to be enough");
}

#[test]
fn minimal_below_its_floor_says_so_and_starts_nothing() {
    has_a_floor(&Built::example("minimal"), &[36, 56, 72], "hello: hello from");
}

/// 48 MiB that do not compress: the initrd itself and its unpacked form need room at the same time.
#[test]
fn a_root_that_does_not_compress_is_noticed() {
    let mut state = 88_172_645_463_325_252_u64;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    });
    let noise: Vec<u8> = noise.take(48 << 20).collect();
    let story = Story::new();
    let image = ImageBuilder::busybox().file("noise", 0o644, noise).write(story.dir(), "noise");
    let built = story.service(Entry::new("big", &image).script("echo up; exec sleep 1000")).build();
    has_a_floor(&built, &[100, 140], "big: up");
}

/// 60 MiB of zeros in 60 files: next to nothing to load, and then more than the kernel's root, half of the memory, takes.
#[test]
fn a_root_that_fits_only_in_part_is_noticed() {
    let story = Story::new();
    let files = (0..60).fold(ImageBuilder::busybox(), |image, n| image.file(&format!("z{n}"), 0o644, vec![0; 1 << 20]));
    let image = files.write(story.dir(), "zeros");
    let built = story.service(Entry::new("big", &image).script("echo up; exec sleep 1000")).build();
    let mut machine = built.boot().memory(130).start();
    machine.sees("entries of the root did not fit");
    assert_eq!(machine.ends(), Outcome::OutOfMemory);
    // Gives its place among the machines that run at a time to the next.
    drop(machine);
    has_a_floor(&built, &[150], "big: up");
}
