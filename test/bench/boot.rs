//! Boots: size, smallest memory, time to the first line of a service.

use std::fs;
use std::path::Path;
use std::time::Instant;

use bootwright_machine::Artefact;
use bootwright_test::{Boot, Built, Story, words};

use crate::{cpio, median};

/// What the only service of the example says first.
const SERVICE: &str = "hello: hello from";
/// Debian's, which loads modules, and ours, which has all built in.
pub(crate) const KERNELS: [&str; 2] = ["kernel/debian/cloud", "kernel/tiny"];
/// What the bare init says.
const BARE: &str = "bare init runs";
/// Memory of the boots that are timed.
const MEMORY: u64 = 512;
/// Boots that an amount of memory must survive: where the kernel lies in memory is random, and at the limit that decides.
const TRIES: usize = 3;

pub(crate) fn sizes() {
    let built = Built::example("minimal");
    let artefact = built.artefact();
    let size = |path: &Path| fs::metadata(path).map(|m| m.len()).unwrap_or_default();
    let unpacked = Story::new().head(&example("minimal")).unpacked_size();
    println!("## Sizes of examples/minimal.yml\n");
    println!("| kernel | initrd | unpacked |\n|---|---|---|");
    let initrd = artefact.initrd().map(size).unwrap_or_default();
    println!("| {} | {initrd} | {unpacked} |\n", artefact.kernel().map(size).unwrap_or_default());
}

/// The example's text, with its packages found from anywhere.
pub(crate) fn example(name: &str) -> String {
    let path = bootwright_test::repository().join("examples").join(format!("{name}.yml"));
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
    text.replace("@pkg:..", "@pkg:REPO")
}

pub(crate) fn smallest_memory() {
    let built = Built::example("minimal");
    let enough = bisect(32, 128, |mib| built.boot().memory(mib), SERVICE);
    println!("## Smallest memory of examples/minimal.yml\n");
    println!("`-m {enough}` brings the service up {TRIES} times of {TRIES}, one MiB less does not; ");
    println!("the build says {} MiB.\n", built.memory_mib());
}

/// The smallest memory above `little`, which must not be enough, with which a service speaks.
pub(crate) fn bisect(mut little: u64, mut enough: u64, boot: impl Fn(u64) -> Boot, service: &str) -> u64 {
    let works = |mib| (0..TRIES).all(|_| boot(mib).start().comes_up(service));
    assert!(works(enough), "{enough} MiB are not enough");
    while enough - little > 1 {
        let middle = little.midpoint(enough);
        *(if works(middle) { &mut enough } else { &mut little }) = middle;
    }
    enough
}

pub(crate) fn first_service(runs: usize) {
    let built = Built::example("minimal");
    let bare = bare(&built);
    let mut ours = (Vec::new(), Vec::new());
    let mut theirs = (Vec::new(), Vec::new());
    for _ in 0..runs {
        for (artefact, line, into) in [(built.artefact(), SERVICE, &mut ours), (bare.clone(), BARE, &mut theirs)] {
            let begin = Instant::now();
            let machine = Boot::new(artefact).memory(MEMORY).start();
            machine.sees_within(line, words::BOOT);
            into.0.push(begin.elapsed().as_secs_f64());
            into.1.push(machine.cpu_seconds());
        }
    }
    let over: Vec<f64> = ours.1.iter().zip(&theirs.1).map(|(a, b)| a - b).collect();
    println!("## From QEMU's start to the first service ({runs} runs in turns, -m {MEMORY}, one CPU, TCG)\n");
    println!("| | wall s | qemu cpu s |\n|---|---|---|");
    println!("| minimal.yml, first line of its service | {} | {} |", median(ours.0), median(ours.1));
    println!("| same kernel and flags, bare static init | {} | {} |", median(theirs.0), median(theirs.1));
    println!("| difference of each pair | | {} |\n", median(over));
}

/// The example's kernel and command line with an initrd that holds a bare init and nothing else.
fn bare(built: &Built) -> Artefact {
    let program = built.dir().join("bare-init");
    bootwright_test::compile("bench/bare_init.rs", &program);
    let init = fs::read(&program).unwrap_or_else(|e| panic!("{e}"));
    let initrd = built.dir().join("bare-initrd.img");
    fs::write(&initrd, cpio::init_only(&init)).unwrap_or_else(|e| panic!("{e}"));
    let ours = built.artefact();
    let kernel = ours.kernel().unwrap_or_else(|| panic!("a kernel is built"));
    Artefact::direct(kernel.to_owned(), Some(initrd), &ours.cmdline)
}
