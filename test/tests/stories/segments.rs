//! The initrd's segments are archives of their own: inode numbers of one mean nothing in the next.

use bootwright_test::{Entry, ImageBuilder, Outcome, Story};

/// Without a trailer between them the kernel takes equal inode numbers for hard links, also across segments.
#[test]
fn equal_inode_numbers_in_two_segments_are_not_hard_links() {
    let story = Story::new();
    let image = |name: &str| {
        ImageBuilder::busybox()
            .directory("data", 0o755)
            .file("data/one", 0o644, format!("of {name}"))
            .hardlink("data/two", "data/one")
            .write(story.dir(), name)
    };
    let (first, second) = (image("first"), image("second"));
    let look = "echo $(cat /data/one), $(cat /data/two), $(stat -c %h /data/one) names, \
                $([ $(stat -c %i /data/one) = $(stat -c %i /data/two) ] && echo linked)";
    let built = story
        .onboot(Entry::new("first", &first).script(look))
        .onboot(Entry::new("second", &second).script(&format!("{look}; exec sleep 1")))
        .service(Entry::new("end", &second).script("busybox poweroff").key("pid", "host"))
        .build_with(&["--root", "initrd"]);

    let segments = built.segments();
    let inodes: Vec<u32> = ["first", "second"]
        .iter()
        .map(|name| {
            let data = format!("of {name}").into_bytes();
            let named = |suffix: &str| {
                let of = segments.iter().flatten().filter(|e| e.name.ends_with(suffix) && e.name.contains(name));
                of.cloned().collect::<Vec<_>>()
            };
            let both = [named("data/one"), named("data/two")].concat();
            assert!(both.len() == 2 && both.iter().any(|e| e.data == data), "{name}: {both:?}");
            assert!(both.iter().all(|e| e.inode == both[0].inode && e.links == 2), "{name}: {both:?}");
            both[0].inode
        })
        .collect();
    assert_eq!(inodes[0], inodes[1], "the case that is to be tested: one inode number in two segments");

    let mut machine = built.boot().start();
    machine.sees("first: of first, of first, 2 names, linked");
    machine.sees("second: of second, of second, 2 names, linked");
    assert_eq!(machine.ends(), Outcome::PoweredOff);
}
