//! A squashfs root and an initrd root side by side, and two kernels: what is loaded, what memory it takes, what a boot costs.

use std::fs;

use bootwright_test::{Built, Story};

use crate::boot::{self, KERNELS};
use crate::median;

/// Examples, and what their service's first line has in it.
const EXAMPLES: [(&str, &str); 2] = [("minimal", "hello: hello from"), ("web", "bootwright: ready in ")];

pub(crate) fn roots(runs: usize) {
    println!("## Squashfs root and initrd root ({runs} boots, -m 512, one CPU, TCG)\n");
    println!(
        "| example | kernel | root | kernel + initrd, bytes | together MiB | smallest `-m` | computed | cpu s to the service |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (example, service) in EXAMPLES {
        for kernel in KERNELS {
            for root in ["squashfs", "initrd"] {
                let built = build(example, kernel, root);
                let artefact = built.artefact();
                let [kernel_bytes, initrd_bytes] = [artefact.kernel(), artefact.initrd()]
                    .map(|path| path.and_then(|p| fs::metadata(p).ok()).map_or(0, |m| m.len()));
                let together = (kernel_bytes + initrd_bytes) as f64 / f64::from(1 << 20);
                let smallest = boot::bisect(32, 256, |mib| built.boot_unchecked().memory(mib).network(), service);
                let cpu = (0..runs).map(|_| {
                    let machine = built.boot().memory(512).network().start();
                    machine.sees(service);
                    machine.cpu_seconds()
                });
                println!(
                    "| {example} | {kernel} | {root} | {kernel_bytes} + {initrd_bytes} | {together:.2} | {smallest} | {} | {} |",
                    built.memory_mib(),
                    median(cpu.collect())
                );
            }
        }
    }
    println!();
}

fn build(example: &str, kernel: &str, root: &str) -> Built {
    let text = boot::example(example).replace("kernel/debian/cloud", kernel);
    Story::new().head(&text).build_with(&["--root", root])
}
