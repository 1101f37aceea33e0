//! All formats of one machine, out of one build: each file boots to the service's line, on each bus under each firmware, and the
//! programs that other people read such files with find nothing wrong.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use bootwright_test::{Board, Built, Bus, Checks, ESP, Entry, ROOT, Serial, Story, names, partition};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// In this order, so that the plain names go to the formats that the others are compared with.
const FORMATS: [&str; 30] = [
    "kernel+initrd",
    "kernel+squashfs",
    "kernel+erofs",
    "netboot",
    "tar-kernel-initrd",
    "tar",
    "docker",
    "docker-archive",
    "oci",
    "uki",
    "raw",
    "raw-bios",
    "raw-efi",
    "qcow2",
    "qcow2-bios",
    "qcow2-efi",
    "kvm",
    "openstack",
    "vhd",
    "dynamic-vhd",
    "vhdx",
    "vmdk",
    "ova",
    "aws",
    "azure",
    "gcp",
    "iso",
    "iso-bios",
    "iso-efi",
    "iso-efi-initrd",
];

/// What the service says.
const UP: &str = "service: up";

/// Who boots a file.
#[derive(Clone, Copy, Debug)]
enum By {
    /// QEMU, which is a boot loader for kernels.
    Qemu,
    Bios,
    Uefi,
}

/// Ending of the file's name, board, bus (none: what `bootwright run` chooses) and firmware.
type Row = (&'static str, Board, Option<Bus>, By);

/// Each file once, and each bus under each firmware. Debian's cloud kernel has drivers neither for AHCI nor for USB, so what
/// boots there are ISOs, whose root is in the initrd.
const BOOTS: [Row; 31] = {
    use Board::{Default as Q35, Pc};
    use Bus::{Ide, Nvme, Scsi, Usb, Virtio};
    use By::{Bios, Qemu, Uefi};
    [
        (".img", Pc, Some(Ide), Bios),
        (".img", Q35, Some(Virtio), Bios),
        (".img", Q35, Some(Scsi), Bios),
        (".img", Q35, Some(Virtio), Uefi),
        ("-bios.img", Pc, Some(Ide), Bios),
        ("-efi.img", Q35, Some(Nvme), Uefi),
        (".qcow2", Pc, Some(Ide), Uefi),
        ("-qcow2-bios.qcow2", Pc, Some(Virtio), Bios),
        ("-efi.qcow2", Q35, Some(Scsi), Uefi),
        (".vhd", Pc, Some(Ide), Bios),
        ("-dynamic-vhd.vhd", Pc, Some(Ide), Bios),
        (".vhdx", Q35, Some(Scsi), Uefi),
        (".vmdk", Q35, Some(Scsi), Bios),
        (".ova", Q35, Some(Scsi), Bios),
        ("-azure.vhd", Pc, Some(Ide), Bios),
        (".raw", Q35, Some(Nvme), Bios),
        (".img.tar.gz", Q35, Some(Scsi), Uefi),
        (".iso", Q35, None, Bios),
        (".iso", Q35, None, Uefi),
        (".iso", Q35, Some(Virtio), Uefi),
        (".iso", Q35, Some(Usb), Bios),
        ("-iso-bios.iso", Pc, None, Bios),
        ("-iso-bios.iso", Q35, Some(Ide), Bios),
        ("-efi.iso", Q35, None, Uefi),
        ("-efi.iso", Q35, Some(Ide), Uefi),
        ("-efi-initrd.iso", Q35, None, Uefi),
        ("-efi-initrd.iso", Q35, Some(Usb), Uefi),
        (".efi", Q35, None, Uefi),
        ("", Q35, None, Qemu),
        ("-kernel-squashfs", Q35, None, Qemu),
        ("-kernel-erofs", Q35, None, Qemu),
    ]
};

/// Nobody adds `no_timer_check` for an emulated machine where firmware boots.
const HEAD: &str = r#"
kernel:
  image: "@pkg:REPO/kernel/debian/cloud"
  cmdline: "console=ttyS0 quiet panic=-1 no_timer_check"
  modules: [cloud, erofs]
boot:
  image: "@pkg:REPO/pkg/boot"
init:
  - "@pkg:REPO/pkg/init"
"#;

/// A machine whose service says a line.
fn story() -> Story {
    Story::new().head(HEAD).service(Entry::shell("service", "echo up; exec sleep 1000"))
}

#[test]
fn every_file_boots_and_is_what_other_programs_expect() {
    let built = story().build_formats(&FORMATS, &[]);
    let checks = Checks::default();
    thread::scope(|scope| {
        scope.spawn(|| checks.make_each(&BOOTS, |row| boots(&built, *row)));
        scope.spawn(|| checks.make("netboot", || boots_from_the_network(&built)));
        checks.make("disks", || disks_are_read(&built));
        checks.make("containers of disks", || containers_hold_the_disk(&built));
        checks.make("ISOs", || isos_are_read(&built));
        checks.make("roots and streams", || roots_and_streams_are_read(&built));
        checks.make("again", || again_the_same(&built));
    });
    checks.end();
}

fn boots(built: &Built, (ending, board, bus, by): Row) {
    let mut boot = built.boot_of(ending).memory(256).board(board);
    if let Some(bus) = bus {
        boot = boot.bus(bus);
    }
    if matches!(by, By::Uefi) {
        boot = boot.uefi();
    }
    let machine = boot.start();
    machine.sees(UP);
    println!("{:.1} s of CPU: {ending:?} {board:?} {bus:?} {by:?}", machine.cpu_seconds());
}

/// The network card's iPXE finds the script by DHCP, and fetches all three files by TFTP.
fn boots_from_the_network(built: &Built) {
    let tftp = built.dir().to_str().unwrap();
    let net = format!("user,id=n,restrict=on,tftp={tftp},bootfile=story-netboot.ipxe");
    Serial::start(&format!("-M q35 -m 256 -netdev {net} -device virtio-net-pci,netdev=n")).sees(UP);
}

/// Runs a program on `FILE`; it must succeed. Returns what it wrote on standard output.
#[track_caller]
fn ask(program: &str, arguments: &str, path: &Path) -> String {
    let mut command = Command::new(program);
    let words =
        arguments.split_whitespace().map(|word| if word == "FILE" { path.as_os_str() } else { OsStr::new(word) });
    command.args(words).env("LC_ALL", "C");
    let output = command.output().unwrap_or_else(|e| panic!("cannot start {program} (make setup-test): {e}"));
    let [said, errors] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{program} {arguments} {}: {said}{errors}", path.display());
    said
}

#[track_caller]
fn has_all(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

const FAT32_LBA: &str = "c";

fn disks_are_read(built: &Built) {
    let dir = tempfile::tempdir().unwrap();
    let fat = dir.path().join("fat.img");
    for (ending, kind, file) in [
        (".img", ESP, "BOOTX64"),
        ("-efi.img", ESP, "BOOTX64"),
        (".iso", ESP, "BOOTX64"),
        ("-bios.img", FAT32_LBA, "initrd"),
    ] {
        let disk = built.file(ending);
        if kind == ESP {
            has_all(&ask("sgdisk", "-v FILE", &disk), &["No problems found"]);
        }
        fs::write(&fat, partition(&disk, kind)).unwrap();
        ask("fsck.vfat", "-n FILE", &fat);
        has_all(&ask("mdir", "-/ -b -i FILE", &fat), &[file]);
    }
    assert_eq!(ask("cmp", &format!("{} FILE", built.file(".raw").display()), &built.file(".img")), "");
    let sections = ask("objdump", "-h FILE", &built.file(".efi"));
    has_all(&sections, &[".osrel", ".cmdline", ".linux", ".initrd"]);
}

fn containers_hold_the_disk(built: &Built) {
    let raw = built.file(".img");
    for ending in [".qcow2", "-kvm.qcow2", "-openstack.qcow2", "-qcow2-bios.qcow2", "-efi.qcow2", ".vhdx", ".vmdk"] {
        has_all(&ask("qemu-img", "check FILE", &built.file(ending)), &["No errors were found"]);
    }
    for (ending, format, disk) in [
        (".qcow2", "qcow2", ".img"),
        ("-efi.qcow2", "qcow2", "-efi.img"),
        (".vhd", "vpc", ".img"),
        ("-azure.vhd", "vpc", ".img"),
        (".vhdx", "vhdx", ".img"),
        (".vmdk", "vmdk", ".img"),
    ] {
        let arguments = format!("compare -f {format} -F raw {} FILE", built.file(ending).display());
        has_all(&ask("qemu-img", &arguments, &built.file(disk)), &["Images are identical"]);
    }
    assert_eq!(sha256(&built.file("-kvm.qcow2")), sha256(&built.file(".qcow2")));
    assert_eq!(sha256(&built.file("-openstack.qcow2")), sha256(&built.file(".qcow2")));
    assert_eq!(fs::metadata(built.file(".vhd")).unwrap().len(), fs::metadata(&raw).unwrap().len() + 512);
    assert_eq!(ask("tar", "-tzf FILE", &built.file(".img.tar.gz")), "disk.raw\n");
    assert_eq!(ask("tar", "-tf FILE", &built.file(".ova")), "story.ovf\nstory.mf\nstory-disk1.vmdk\n");
}

fn isos_are_read(built: &Built) {
    for (ending, bios, uefi) in [
        (".iso", true, true),
        ("-iso-bios.iso", true, false),
        ("-efi.iso", false, true),
        ("-efi-initrd.iso", false, true),
    ] {
        let report = ask("xorriso", "-indev FILE -report_el_torito plain", &built.file(ending));
        let entries: Vec<&str> = report.lines().filter(|line| line.starts_with("El Torito boot img :")).collect();
        let has = |platform: &str| entries.iter().any(|line| line.split_whitespace().any(|word| word == platform));
        assert_eq!((has("BIOS"), has("UEFI")), (bios, uefi), "{report}");
    }
}

fn roots_and_streams_are_read(built: &Built) {
    let squashfs = built.file("-kernel-squashfs-squashfs.img");
    has_all(&ask("unsquashfs", "-s FILE", &squashfs), &["Found a valid SQUASHFS 4:0 superblock", "Compression zstd"]);
    let config = "containers/services/service/config.json\n";
    has_all(&ask("unsquashfs", "-lls FILE", &squashfs), &["squashfs-root/init\n", config]);
    ask("fsck.erofs", "FILE", &built.file("-kernel-erofs-erofs.img"));
    for ending in [".tar", ".docker"] {
        has_all(&ask("tar", "-tf FILE", &built.file(ending)), &["\ninit\n", config]);
    }
    has_all(&ask("tar", "-tf FILE", &built.file("-initrd.tar")), &["kernel\n", "initrd.img\n", "cmdline\n"]);
    for (transport, ending) in [("oci-archive", "-oci.tar"), ("docker-archive", "-docker.tar")] {
        let image = format!("{transport}:{}", built.file(ending).display());
        let said: Value = serde_json::from_str(&ask("skopeo", "inspect FILE", Path::new(&image))).unwrap();
        assert_eq!((&said["Architecture"], &said["Os"]), (&"amd64".into(), &"linux".into()), "{said}");
        let layers = said["Layers"].as_array().unwrap();
        assert_eq!(layers.len(), 1, "{said}");
    }
}

fn sha256(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn again_the_same(built: &Built) {
    let again = built.again(&FORMATS);
    let digests = |dir: &Path| -> BTreeMap<String, String> {
        let files = names(dir).into_iter().filter(|name| name != "story.yml");
        files.map(|name| (sha256(&dir.join(&name)), name)).map(|(digest, name)| (name, digest)).collect()
    };
    let (first, second) = (digests(built.dir()), digests(again.path()));
    assert!(first.len() > FORMATS.len());
    assert_eq!(first, second);
}

/// Room on a disk is at its end, where nothing is; what has no room is refused.
#[test]
fn a_size_leaves_room() {
    let built = story().build_formats(&["raw"], &["--size", "64M"]);
    let disk = built.file(".img");
    assert_eq!(fs::metadata(&disk).unwrap().len(), 64 << 20);
    has_all(&ask("sgdisk", "-v FILE", &disk), &["No problems found"]);
    let root = |disk: &Path| Sha256::digest(partition(disk, ROOT));
    let plain = built.again(&["raw"]);
    let plain = plain.path().join("story.img");
    assert_eq!(root(&disk), root(&plain));

    // A disk is a whole number of MiB, so what it would have taken is what it takes when nothing is said.
    let mib = fs::metadata(plain).unwrap().len() >> 20;
    let said = story().refused(&["raw"], &["--size", "1M"]);
    has_all(
        &said,
        &["a disk of 1048576 bytes is too small", " bytes (", &format!("{mib} MiB)"), &format!("`--size {mib}M`")],
    );
}

#[test]
fn formats_with_the_same_file_names_are_both_written() {
    let built = story().build_formats(&["vhd", "dynamic-vhd"], &[]);
    assert_eq!(names(built.dir()), ["story-dynamic-vhd.vhd", "story.vhd", "story.yml"]);
    let said = "another format of this build has the file names of `dynamic-vhd`, so it writes `story-dynamic-vhd.vhd`";
    has_all(built.said(), &["warning", said]);
}

/// Debian's kernel has all of them as modules: no initrd would load them for an ISO, and the preset leaves one out.
#[test]
fn a_kernel_that_cannot_mount_the_root_beside_it_is_refused() {
    has_all(&story().refused(&["kernel+iso"], &[]), &["kernel+iso", "CONFIG_ISO9660_FS", "CONFIG_VIRTIO_BLK"]);
    let cloud = HEAD.replace(", erofs]", "]");
    let said = story().head(&cloud).refused(&["kernel+erofs"], &[]);
    has_all(&said, &["kernel+erofs", "CONFIG_EROFS_FS", "modules: [cloud, erofs]"]);
}
