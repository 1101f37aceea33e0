//! The kernel that is compiled from source: without a single module it finds disks of every kind that QEMU has, reads what
//! roots are made of, runs containers on a network, and hears the power button.

use std::fs::File;

use bootwright_test::{Entry, Story};

const HEAD: &str = r#"
kernel:
  image: "@pkg:REPO/kernel/tiny"
  cmdline: "console=ttyS0 quiet panic=-1"
init:
  - "@pkg:REPO/pkg/init"
"#;

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
    let built = Story::new().head(HEAD).service(Entry::shell("look", LOOK).key("net", "host")).build();
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
