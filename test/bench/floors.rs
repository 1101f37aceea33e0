//! The true floor of each kind of root with each kind of image, beside the builder's figure, on both kernels.

use bootwright_test::{Root, Story, images};

use crate::boot::KERNELS;

pub(crate) fn floors() {
    println!("## Smallest memory of each root (three boots of three), and the builder's figure\n");
    println!("| kernel | image | root | smallest `-m` | computed | over |\n|---|---|---|---|---|---|");
    for kernel in KERNELS {
        for (image, files) in images() {
            // Without an initrd there is nothing that would load the cloud kernel's modules; with one there is no disk's initrd
            // to take the figure out of.
            let third = if kernel == "kernel/tiny" { Root::Kernel } else { Root::Disk };
            for root in [Root::Initrd, Root::Image, third] {
                let story = Story::of_kernel(kernel).cmdline("no_timer_check").boot_loader();
                let built = root.build(story, &files);
                let (floor, computed) = (root.bisect(&built), built.memory_mib());
                let over = 100.0 * (computed as f64 / floor as f64 - 1.0);
                println!("| {kernel} | {image} | {root:?} | {floor} | {computed} | {over:.0} % |");
            }
        }
    }
    println!();
}
