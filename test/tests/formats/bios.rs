//! The BIOS loaders: a kernel and an initrd of the tool's, put onto disks and CDs, started by SeaBIOS.
//!
//! The layout is the test's own and the simplest there is: boot code, stage 2, and then everything else end to end. Where
//! nothing can be booted, the machine must say why, on the serial port too.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use bootwright_formats::bios::{Extent, KernelHeader, Loader, Parameters, UNIT};
use bootwright_test::{Built, ImageBuilder, Serial, Story, repository};
use tempfile::TempDir;

/// The first unit of stage 2: behind what an MBR and a GPT take.
const STAGE2: u64 = 34;
/// Where the disk's signature of a boot sector lies.
const SIGNATURE: u64 = 510;

/// What is booted: its init says what it finds, once for all tests.
struct Machine {
    _built: Built,
    kernel: Vec<u8>,
    initrd: Vec<u8>,
}

fn machine() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        let script = "#!/bin/sh\nmkdir -p /proc\nmount -t proc proc /proc\n\
                      echo \"story: $(cat /early), $(cat /proc/cmdline | wc -c) bytes\"\nexec sleep 1000\n";
        let story = Story::new();
        let init = ImageBuilder::busybox().file("init", 0o755, script).write(story.dir(), "init");
        let head = format!("kernel:\n  image: \"@pkg:REPO/kernel/debian/cloud\"\ninit:\n  - {init:?}\n");
        let built = story.head(&head).build();
        let artefact = built.artefact();
        let kernel = fs::read(artefact.kernel().unwrap()).unwrap();
        let initrd = fs::read(artefact.initrd().unwrap()).unwrap();
        Machine { _built: built, kernel, initrd }
    })
}

/// An archive with one file, as microcode comes: before the initrd, and of a length that is no multiple of four.
fn early() -> Vec<u8> {
    let text = b"the early one";
    let mut archive = Vec::new();
    for (name, mode, data) in [("early", 0o100_644, &text[..]), ("TRAILER!!!", 0, &[])] {
        archive.extend(b"070701");
        for field in [1, mode, 0, 0, 1, 0, data.len(), 0, 0, 0, 0, name.len() + 1, 0] {
            archive.extend(format!("{field:08x}").bytes());
        }
        archive.extend(name.bytes());
        archive.push(0);
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(data);
        archive.resize(archive.len().next_multiple_of(4), 0);
    }
    archive.extend([0; 2]);
    archive
}

/// A command line of the greatest length that the kernel takes.
fn cmdline(kernel: &[u8]) -> String {
    let words = "console=ttyS0 panic=-1 no_timer_check quiet fill=";
    let most = KernelHeader::read(kernel).unwrap().cmdline_size as usize;
    format!("{words}{}", "x".repeat(most - words.len()))
}

fn grub() -> Loader {
    let dir = Path::new("/usr/lib/grub/i386-pc");
    let loader = Loader::grub(|name| fs::read(dir.join(name)).ok());
    loader.unwrap_or_else(|e| panic!("{}: {e} (apt-get install grub-pc-bin)", dir.display()))
}

fn ours() -> Loader {
    let dir = repository().join("pkg/boot/bios");
    Loader::ours(&fs::read(dir.join("stage1.bin")).unwrap(), fs::read(dir.join("stage2.bin")).unwrap()).unwrap()
}

/// What is put onto a medium, and where.
struct Medium {
    dir: TempDir,
    loader: Loader,
    kernel: Vec<u8>,
    initrds: Vec<Vec<u8>>,
    cmdline: String,
    /// Where the kernel lies; behind stage 2 if not said.
    kernel_at: Option<u64>,
}

impl Medium {
    fn new() -> Self {
        let machine = machine();
        Self {
            dir: tempfile::tempdir().unwrap(),
            loader: ours(),
            kernel: machine.kernel.clone(),
            initrds: vec![early(), machine.initrd.clone()],
            cmdline: cmdline(&machine.kernel),
            kernel_at: None,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("medium")
    }

    /// Lays everything out from stage 2's unit on, in a file whose first unit is this one. Returns the size of stage 2.
    fn lay(&self, file: &File, first: u64, stage2: u64) -> u16 {
        let header = KernelHeader::read(&self.kernel).unwrap();
        let initrd_bytes = self.initrds.iter().map(|initrd| initrd.len() as u64).sum();
        self.loader.check(&header, self.kernel.len() as u64, &self.cmdline, initrd_bytes).unwrap();
        let sectors = self.loader.stage2_sectors(self.initrds.len(), &self.cmdline).unwrap();
        let mut next = self.kernel_at.unwrap_or(stage2 + u64::from(sectors));
        let mut put = |bytes: &[u8]| {
            let extent = Extent { lba: next, bytes: u32::try_from(bytes.len()).unwrap() };
            file.write_all_at(bytes, (next - first) * UNIT).unwrap();
            next += (bytes.len() as u64).div_ceil(UNIT);
            extent
        };
        let kernel = put(&self.kernel);
        let initrds = self.initrds.iter().map(|initrd| put(initrd)).collect();
        let parameters = Parameters { kernel, initrds, cmdline: self.cmdline.clone() };
        file.write_all_at(&self.loader.stage2(stage2, &parameters).unwrap(), (stage2 - first) * UNIT).unwrap();
        file.set_len((next - first) * UNIT).unwrap();
        sectors
    }

    /// Writes a disk.
    fn disk(&self) -> PathBuf {
        let file = File::create(self.path()).unwrap();
        let sectors = self.lay(&file, 0, STAGE2);
        file.write_all_at(&self.loader.boot_code(STAGE2, sectors), 0).unwrap();
        file.write_all_at(&[0x55, 0xaa], SIGNATURE).unwrap();
        self.path()
    }

    /// Writes a CD that is a disk, too. All but the boot image lies in one file, behind so many units.
    fn cd(&self, lead: u64) -> PathBuf {
        let tree = self.dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join("boot.img"), [0; 2048]).unwrap();
        let payload = File::create(tree.join("payload")).unwrap();
        self.lay(&payload, 0, lead);
        let iso = self.path();
        let mut xorriso = Command::new("xorriso");
        xorriso.args("-as mkisofs -quiet -b boot.img -c boot.cat -no-emul-boot -boot-load-size 4 -o".split(' '));
        let output = xorriso.args([&iso, &tree]).output();
        let output = output.unwrap_or_else(|e| panic!("cannot start xorriso (apt-get install xorriso): {e}"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let [boot, payload] = ["/boot.img", "/payload"].map(|name| unit_of(&iso, name));
        let file = File::options().write(true).open(&iso).unwrap();
        let size = file.metadata().unwrap().len();
        let sectors = self.lay(&file, 0, payload + lead);
        file.set_len(size).unwrap();
        file.write_all_at(&self.loader.cd_boot_image(payload + lead, sectors), boot * UNIT).unwrap();
        file.write_all_at(&self.loader.boot_code(payload + lead, sectors), 0).unwrap();
        file.write_all_at(&[0x55, 0xaa], SIGNATURE).unwrap();
        iso
    }
}

/// Where a file of an ISO begins, as xorriso sees it.
fn unit_of(iso: &Path, name: &str) -> u64 {
    let iso = iso.to_str().unwrap();
    let output = Command::new("xorriso").args(["-indev", iso, "-find", name, "-exec", "report_lba", "--"]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    // `File data lba:  0 ,       36 ,     1000 ,  2000000 , '/payload'`
    let line = text.lines().find(|line| line.starts_with("File data lba")).unwrap_or_else(|| panic!("{text}"));
    line.split(',').nth(1).unwrap().trim().parse::<u64>().unwrap() * 4
}

/// Starts QEMU; `DISK` becomes what names the file in `-drive`.
fn start(path: &Path, arguments: &str) -> Serial {
    let drive = format!("file={},format=raw,snapshot=on", path.display());
    Serial::start(&arguments.replace("DISK", &drive))
}

/// It boots: everything is there.
fn boots(medium: &Medium, path: &Path, arguments: &str) -> Serial {
    let mut machine = start(path, arguments);
    machine.sees("bootwright: loading");
    // And a newline.
    machine.sees(&format!("story: the early one, {} bytes", medium.cmdline.len() + 1));
    machine
}

#[test]
fn a_disk_on_ide() {
    let medium = Medium::new();
    boots(&medium, &medium.disk(), "-M pc -m 256 -drive if=ide,DISK");
}

/// More than 4 GiB of memory: the initrd stays below.
#[test]
fn a_disk_on_nvme_with_5_gib() {
    let medium = Medium::new();
    boots(&medium, &medium.disk(), "-M q35 -m 5G -drive if=none,id=d,DISK -device nvme,drive=d,serial=1");
}

#[test]
fn a_disk_on_usb() {
    let medium = Medium::new();
    let usb = "-M q35 -m 256 -device qemu-xhci -drive if=none,id=d,DISK -device usb-storage,drive=d";
    boots(&medium, &medium.disk(), usb);
}

/// The kernel lies where 32 bits do not reach, on a disk of 2 TiB and a little.
#[test]
fn a_large_disk_on_virtio() {
    let medium = Medium { kernel_at: Some((1 << 32) + 5), ..Medium::new() };
    boots(&medium, &medium.disk(), "-M q35 -m 256 -drive if=virtio,DISK");
}

#[test]
fn a_cd_and_the_same_as_a_disk() {
    let medium = Medium::new();
    // Nothing begins with a sector of the CD.
    let iso = medium.cd(1);
    boots(&medium, &iso, "-M q35 -m 256 -drive if=none,id=d,media=cdrom,DISK -device ide-cd,drive=d");
    boots(&medium, &iso, "-M pc -m 256 -device virtio-scsi-pci -drive if=none,id=d,DISK -device scsi-hd,drive=d");
}

#[test]
fn grub_on_a_cd_and_the_same_as_a_disk() {
    let cmdline = "console=ttyS0 panic=-1 no_timer_check quiet fill=\"a b\"".to_owned();
    let medium = Medium { loader: grub(), cmdline, ..Medium::new() };
    let iso = medium.cd(4);
    for arguments in [
        "-M q35 -m 256 -drive if=none,id=d,media=cdrom,DISK -device ide-cd,drive=d",
        "-M q35 -m 256 -drive if=virtio,DISK",
    ] {
        let line = start(&iso, arguments).sees("story: ");
        let (early, bytes) = line.split_once(", ").unwrap();
        // GRUB clears the screen, on the serial port too, and ends no line.
        assert!(early.ends_with("story: the early one"), "{line}");
        let bytes: usize = bytes.strip_suffix(" bytes").unwrap().parse().unwrap();
        // `BOOT_IMAGE=` and a place.
        let before = bytes - medium.cmdline.len() - 1;
        assert!((20..50).contains(&before), "{before}");
    }
}

/// Puts the boot sector with the other memory map before the disk's own.
fn with_memory_map(disk: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let [object, flat] = ["map.o", "map.bin"].map(|name| dir.path().join(name));
    let source = repository().join("test/data/memory_map.S");
    let run = |program: &str, arguments: &str, paths: [&Path; 2]| {
        let status = Command::new(program).args(arguments.split(' ')).args(paths).status();
        let status = status.unwrap_or_else(|e| panic!("`{program}` (apt-get install binutils-x86-64-linux-gnu): {e}"));
        assert!(status.success(), "{program}");
    };
    run("x86_64-linux-gnu-as", "--32 -o", [&object, &source]);
    let arguments = "-m elf_i386 -N -e 0 --build-id=none -Ttext=0 --oformat=binary -o";
    run("x86_64-linux-gnu-ld", arguments, [&flat, &object]);
    let file = File::options().read(true).write(true).open(disk).unwrap();
    let mut own = [0; 512];
    file.read_exact_at(&mut own, 0).unwrap();
    file.write_all_at(&own, 512).unwrap();
    file.write_all_at(&fs::read(flat).unwrap(), 0).unwrap();
}

/// Of the map in `memory_map.S`, the kernel takes the first piece that is large enough, and the initrd the end of the last one.
#[test]
fn a_memory_map_with_holes() {
    let cmdline = "console=ttyS0 panic=-1 no_timer_check nokaslr".to_owned();
    let medium = Medium { cmdline, ..Medium::new() };
    let disk = medium.disk();
    with_memory_map(&disk);
    let ahci = "-M q35 -m 256 -drive if=none,id=d,DISK -device ide-hd,drive=d";
    let machine = boots(&medium, &disk, ahci);
    let initrd = machine.said().iter().find(|line| line.contains("RAMDISK: ")).unwrap();
    assert!(initrd.ends_with("-0x0befffff]"), "{initrd}");
    drop(machine);

    // 47 MiB is what the reserved page leaves there, though there is more in all.
    let mut large = Medium::new();
    large.initrds[0].resize(60 << 20, 0);
    let disk = large.disk();
    with_memory_map(&disk);
    let line = start(&disk, ahci).sees("cannot boot");
    assert!(line.contains("too little memory for the initrd: ") && line.contains(" MiB present"), "{line}");
}

#[test]
fn what_cannot_boot_says_why() {
    let medium = Medium::new();
    let disk = medium.disk();
    let whole = fs::read(&disk).unwrap();
    let kernel_at = (STAGE2 + u64::from(ours().stage2_sectors(2, &medium.cmdline).unwrap())) as usize * 512;
    let stage2_at = STAGE2 as usize * 512;
    let block_at = stage2_at + whole[stage2_at..kernel_at].windows(4).rposition(|bytes| bytes == b"BwPB").unwrap();
    let written = |at: usize, bytes: &[u8]| {
        let mut damaged = whole.clone();
        damaged[at..at + bytes.len()].copy_from_slice(bytes);
        damaged
    };
    let mut large = Medium::new();
    large.initrds[0].resize(200 << 20, 0);
    large.disk();
    let header = KernelHeader::read(&medium.kernel).unwrap();
    let needed = (header.preferred_address + u64::from(header.init_size)).div_ceil(1 << 20);
    let cases: [(&str, Vec<u8>, u32, &str); 9] = [
        (
            "a letter of the command line",
            written(block_at + 80, b"C"),
            256,
            "the checksum of the parameter block is wrong: the disk is damaged or was written in part",
        ),
        (
            "no parameter block",
            written(block_at, &[0; 512]),
            256,
            "the checksum of the parameter block is wrong: the disk is damaged or was written in part",
        ),
        ("no stage 2", written(stage2_at, &[0; 512]), 256, "stage 2 is not on the disk"),
        ("no kernel", written(kernel_at, &[0; 4096]), 256, "where the kernel should be is no Linux kernel (bzImage)"),
        ("an old kernel", written(kernel_at + 0x206, &[9, 2]), 256, "the kernel's boot protocol is older than 2.10"),
        (
            "a disk that ends in the kernel",
            whole[..12 << 20].to_vec(),
            256,
            "the disk cannot be read: error 1 at sector 24576",
        ),
        ("a disk that ends before stage 2", whole[..512].to_vec(), 256, "the disk cannot be read"),
        (
            "no room for the kernel",
            whole.clone(),
            48,
            &format!("too little memory for the kernel: {needed} MiB needed without a hole, 48 MiB present"),
        ),
        ("no room for the initrd", fs::read(large.path()).unwrap(), 256, "too little memory for the initrd: "),
    ];
    for (what, bytes, mib, why) in cases {
        fs::write(&disk, bytes).unwrap();
        let line = start(&disk, &format!("-M pc -m {mib} -drive if=ide,DISK")).sees("cannot boot");
        let said = line.strip_prefix("bootwright: cannot boot: ").unwrap_or_else(|| panic!("{what}: {line}"));
        assert!(said.starts_with(why), "{what}: {said}");
    }
}
