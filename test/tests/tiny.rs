//! The kernel that is compiled from source: without a single module it finds disks of every kind that QEMU has, reads what
//! roots are made of, runs containers on a network, and hears the power button.

use std::fs::{self, File};

use bootwright_test::{Board, Bus, Entry, ImageBuilder, Outcome, Root, Story, images, names, noise};

/// What of a machine is looked at from inside: block devices with their sectors, file systems, the network card.
const LOOK: &str = r#"
for disk in vda sda sdb sr0 nvme0n1; do echo "found $disk $(cat /sys/block/$disk/size)"; done
for fs in squashfs erofs iso9660 vfat ext4 overlay; do grep -qw $fs /proc/filesystems && echo "reads $fs"; done
echo "card $(basename $(readlink /sys/class/net/eth0/device/driver))"
exec sleep 1000
"#;

#[test]
#[ignore = "compiles a kernel, ten minutes on two cores: make test-kernel"]
fn the_kernel_from_source_has_built_in_whatever_a_boot_needs() {
    let built = Story::of_kernel("kernel/tiny").service(Entry::shell("look", LOOK).key("net", "host")).build();
    assert!(!built.said().contains("warning"), "{}", built.said());
    let devices = [
        "virtio-blk-pci,drive=d0",
        "scsi-hd,bus=scsi.0,drive=d1",
        "ide-hd,bus=ide.0,drive=d2",
        "ide-cd,bus=ide.1,drive=d3",
        "nvme,serial=d4,drive=d4",
    ];
    let mut boot = built.boot().memory(128).network().device("virtio-scsi-pci,id=scsi");
    for (n, device) in devices.into_iter().enumerate() {
        let image = built.dir().join(format!("disk{n}.img"));
        File::create(&image).and_then(|file| file.set_len(4 << 20)).expect("the directory is ours");
        let drive = format!("if=none,id=d{n},format=raw,file={}", image.display());
        boot = boot.qemu(["-drive", &drive]).device(device);
    }
    let mut machine = boot.start();
    machine.sees_all(&[
        "look: found vda 8192",
        "look: found sda 8192",
        "look: found sdb 8192",
        "look: found sr0 8192",
        "look: found nvme0n1 8192",
        "look: reads squashfs",
        "look: reads erofs",
        "look: reads iso9660",
        "look: reads vfat",
        "look: reads ext4",
        "look: reads overlay",
        "look: card virtio_net",
    ]);
    machine.powers_off();
}

/// Roots beside a kernel without an initrd, each as the first virtio disk: what the kernel mounts is what the builder wrote.
#[test]
#[ignore = "compiles a kernel, ten minutes on two cores: make test-kernel"]
fn the_kernel_mounts_every_kind_of_root_by_itself() {
    let look = "grep ' / ' /proc/1/mounts; echo \"$(wc -c </noise) bytes\"; cat /noise >/noise.copy || echo cannot be read; \
                exec sleep 1000";
    let story = || {
        let story = Story::of_kernel("kernel/tiny");
        let image = ImageBuilder::busybox().file("noise", 0o644, noise(512 << 10)).write(story.dir(), "app");
        let cmdline = story.cmdline("no_timer_check");
        cmdline.service(Entry::new("look", &image).script(look).key("pid", "host"))
    };
    let formats = ["firecracker", "kernel+squashfs", "kernel+erofs", "kernel+iso"];
    let built = story().build_formats(&formats, &[]);
    assert!(names(built.dir()).iter().all(|name| !name.contains("initrd")), "{:?}", names(built.dir()));
    for (ending, board, mount) in [
        ("-firecracker.json", Board::Microvm, "/dev/root / squashfs ro"),
        ("-kernel", Board::Default, "/dev/root / squashfs ro"),
        ("-kernel-erofs", Board::Default, "/dev/root / erofs ro"),
        ("-kernel-iso", Board::Pc, "/dev/root / iso9660 ro"),
    ] {
        let mut machine = built.boot_of(ending).memory(128).board(board).start();
        machine.sees(&format!("look: {mount}"));
        machine.sees("look: 524288 bytes");
        match board {
            // It has no power button.
            Board::Microvm => drop(machine),
            _ => machine.powers_off(),
        }
    }
    drop(built);

    // The kernel sets dm-verity up by itself, before it mounts: `dm-mod.create=`.
    let built = story().build_formats(&["firecracker", "kernel+squashfs"], &["--verity"]);
    let cmdline = fs::read_to_string(built.file("-cmdline")).expect("the build made it");
    assert!(cmdline.starts_with("dm-mod.create=\"") && cmdline.contains("root=/dev/dm-0"), "{cmdline}");
    let machine = built.boot_of("-firecracker.json").memory(128).board(Board::Microvm).start();
    machine.sees("look: /dev/root / squashfs ro");
    drop(machine);

    let image = built.file("-squashfs.img");
    let bytes = fs::read(&image).expect("the build made it");
    let flipped = |at: usize| {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        fs::write(&image, bytes).expect("it is ours");
        built.boot_of("-kernel").memory(128)
    };
    // A block that is read when the service asks for it, not before.
    let noise = noise(512 << 10);
    let at = bytes.windows(64).position(|window| window == &noise[300 << 10..][..64]).expect("it is stored as it is");
    let mut machine = flipped(at).start();
    machine.sees_all(&["is corrupted", "look: cannot be read"]);
    machine.powers_off();
    drop(machine);
    // The superblock: there is nothing that could say a sentence of ours.
    let mut machine = flipped(8).start();
    machine.sees_all(&["is corrupted", "Unable to mount root fs"]);
    assert_eq!(machine.ends(), Outcome::Panicked);
}

/// Disks on controllers for which Debian's cloud kernel has no driver.
#[test]
#[ignore = "compiles a kernel, ten minutes on two cores: make test-kernel"]
fn disks_are_found_on_further_controllers() {
    let story = Story::of_kernel("kernel/tiny").cmdline("no_timer_check").boot_loader();
    let service = Entry::shell("service", "grep ' / ' /proc/1/mounts; exec sleep 1000").key("pid", "host");
    let built = story.service(service).build_formats(&["raw", "vmdk", "azure", "aws", "iso"], &["--verity"]);
    assert!(!built.said().contains("warning"), "{}", built.said());
    let ide = [(".img", false), (".img", true), ("-azure.vhd", false)];
    for (ending, uefi) in ide {
        let boot = built.boot_of(ending).memory(if uefi { 192 } else { 96 }).bus(Bus::Ide);
        let mut machine = if uefi { boot.uefi() } else { boot }.start();
        machine.sees("service: /dev/dm-0 / squashfs ro");
        machine.powers_off();
    }
    for (ending, bus, uefi) in [(".raw", Bus::Nvme, true), (".vmdk", Bus::Scsi, false), (".iso", Bus::Ide, false)] {
        let boot = built.boot_of(ending).memory(if uefi { 192 } else { 96 }).bus(bus);
        let machine = if uefi { boot.uefi() } else { boot }.start();
        machine.sees("service: /dev/dm-0 / squashfs ro");
    }
}

/// The figure of the memory of a root that the kernel mounts by itself; those of the others are judged with Debian's kernel.
#[test]
#[ignore = "compiles a kernel, ten minutes on two cores: make test-kernel"]
fn a_root_that_the_kernel_mounts_has_a_floor() {
    for (name, files) in images() {
        println!("{name}");
        let story = Story::of_kernel("kernel/tiny").cmdline("no_timer_check");
        Root::Kernel.has_a_floor(&Root::Kernel.build(story, &files));
    }
}
