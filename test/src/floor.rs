//! The least memory of a machine: by the builder's figure it comes up, one MiB less is refused, and a machine that knows no figure
//! does not come up with less than four fifths of it. So the true floor lies between the two.

use crate::machine::Boot;
use crate::{Built, Entry, ImageBuilder, Outcome, Story, noise, words};

/// What the BIOS loader says before there is a kernel.
const LOADER: &str = "bootwright: loading";

/// Where a machine's root is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Unpacked from the initrd.
    Initrd,
    /// A squashfs in the initrd.
    Image,
    /// A squashfs on a disk that a BIOS boots, mounted by the initrd.
    Disk,
    /// A squashfs on a disk, mounted by the kernel: there is no initrd.
    Kernel,
}

impl Root {
    /// Builds a machine, spec to be completed, with these files in the image of its one service.
    pub fn build(self, story: Story, files: &Files) -> Built {
        let busybox = ImageBuilder::busybox();
        let image = files.iter().fold(busybox, |image, (name, data)| image.file(name, 0o644, data.clone()));
        let image = image.write(story.dir(), "big");
        let service = Entry::new("big", &image).script("echo up; exec sleep 1000");
        story.service(service).build_with(match self {
            Self::Initrd => &["--root", "initrd"],
            Self::Image => &["--root", "squashfs"],
            // The same initrd is in both: the disk is what is booted, and of the other its manifest can be read and changed.
            Self::Disk => &["--root", "squashfs", "--format", "kernel+squashfs,raw-bios"],
            Self::Kernel => &["--root", "squashfs", "--format", "kernel+squashfs"],
        })
    }

    fn boot(self, built: &Built) -> Boot {
        if self == Self::Disk { built.boot_file("-bios.img") } else { built.boot() }
    }

    /// A boot of the same machine that knows no figure, so that it starts with whatever memory it has.
    fn boot_unchecked(self, built: &Built) -> Boot {
        match self {
            Self::Kernel => built.boot().argument(&format!("{}0", words::MEMORY)),
            _ => built.boot_unchecked(),
        }
    }

    /// Judges the figure of a machine.
    #[track_caller]
    pub fn has_a_floor(self, built: &Built) {
        let needed = built.memory_mib();
        assert!(!comes_up(self.boot(built), needed - 1, needed), "{self:?}: {needed} MiB are needed");
        assert!(comes_up(self.boot(built), needed, needed), "{self:?}: {needed} MiB were said to be enough");
        let less = needed * 4 / 5 - 1;
        let machine = self.boot_unchecked(built).memory(less).start();
        assert!(
            !machine.comes_up(words::READY),
            "{self:?}: {less} MiB are enough, {needed} MiB are more than 25 % above"
        );
    }

    /// The smallest memory with which it comes up three times of three, found by halving. Says what it finds.
    pub fn bisect(self, built: &Built) -> u64 {
        let comes_up = |mib: u64| {
            (0..3).all(|_| {
                let machine = self.boot_unchecked(built).memory(mib).start();
                machine.comes_up("big: up")
            })
        };
        let needed = built.memory_mib();
        let (mut failed, mut enough) = (needed / 2, needed * 2);
        while enough - failed > 1 {
            let middle = failed.midpoint(enough);
            *(if comes_up(middle) { &mut enough } else { &mut failed }) = middle;
        }
        println!("{self:?}: {enough} MiB, computed {needed}");
        enough
    }
}

/// Names and contents.
pub type Files = Vec<(String, Vec<u8>)>;

/// Files of a service's image: none at all; 20 MiB that do not compress, so that an initrd and its unpacked form need room at the
/// same time; 60 MiB of which half compresses to nothing, so that unpacked they are bound by the kernel's root, half of the memory.
pub fn images() -> [(&'static str, Files); 3] {
    let half = noise(1 << 19);
    let file = |n: usize| {
        let mut data = half.clone();
        // Each is another, else it would be stored once.
        data[..8].copy_from_slice(&n.to_le_bytes());
        data.iter_mut().for_each(|byte| *byte ^= n as u8);
        data.resize(1 << 20, 0);
        (format!("z{n}"), data)
    };
    [
        ("only busybox", Vec::new()),
        ("20 MiB that do not compress", vec![("noise".to_owned(), noise(20 << 20))]),
        ("60 MiB of which half compresses", (0..60).map(file).collect()),
    ]
}

/// Boots with this much memory and returns whether it came up. Our sentence and a panic before init are the only other ways.
#[track_caller]
pub fn comes_up(boot: Boot, mib: u64, needed: u64) -> bool {
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
