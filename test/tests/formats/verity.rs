//! dm-verity in machines that the tool builds: `veritysetup` agrees about every format, and a flipped bit is refused before
//! anything of the root runs, or is an error of whoever reads it, or lies where nobody looks.
//!
//! What is vouched for are blocks of 4096 bytes: a bit is refused with all that shares its block.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use bootwright_machine::Artefact;
use bootwright_test::{
    Boot, Built, Checks, ESP, Entry, ImageBuilder, Outcome, ROOT, RootImage, Story, flip, noise, partition,
    partition_range, run, words,
};

/// In this order, so that the plain names go to the first.
const FORMATS: [&str; 7] = ["kernel+squashfs", "kernel+erofs", "kernel+initrd", "raw-bios", "raw-efi", "uki", "iso"];
/// Type of a root partition of an MBR.
const LINUX: &str = "83";
/// Bytes of a block of dm-verity.
const BLOCK: u64 = 4096;

/// What the service does: it reads what nobody has read until then, when it is told to.
const SCRIPT: &str = "echo up on $(grep ' / ' /proc/1/mounts); read go < /dev/ttyS0; \
    cat /noise > /copy || echo half of it cannot be read; cat /names/NAME; \
    exec sleep 1000";
/// What it says first.
const UP: &str = "app: up on /dev/dm-0 / ";
/// Its program, in the root.
const PROGRAM: &str = "containers/services/app/lower/bin/busybox";

/// What no compressor makes smaller: the service's file.
fn file() -> Vec<u8> {
    noise(512 << 10)
}

/// And the names in its directory, which take several blocks of the table of directories.
fn names() -> Vec<String> {
    let hex = |name: &[u8]| name.iter().map(|byte| format!("{byte:02x}")).collect();
    file().chunks(40).take(400).map(hex).collect()
}

/// The one that is read, amid the others.
const NAME: usize = 200;

/// A machine with this service, and further keys.
fn story(keys: &str) -> Story {
    let story = Story::new().kernel("modules: [cloud, erofs]").cmdline("no_timer_check").boot_loader().keys(keys);
    let app = ImageBuilder::busybox().file("noise", 0o644, file());
    let app = names().iter().fold(app, |app, name| app.file(&format!("names/{name}"), 0o644, ""));
    let app = app.write(story.dir(), "app");
    // Written in two parts, so that the name itself is in the directory only.
    let name = names().swap_remove(NAME);
    let (begin, end) = name.split_at(40);
    let script = SCRIPT.replace("NAME", &format!("{begin}''{end}"));
    story.service(
        Entry::new("app", &app)
            .script(&script)
            .key("pid", "host")
            .key("binds", "[\"/dev:/dev\"]")
            .key("restart", "never"),
    )
}

#[test]
fn a_flipped_bit_is_refused_or_an_error_of_who_reads_it() {
    let built = story("").build_formats(&FORMATS, &["--verity"]);
    let squashfs = RootImage::read(built.file("-squashfs.img"));
    let init = middle(&squashfs.packed(&content(&squashfs, "init")[..4096]));
    let checks = Checks::default();
    thread::scope(|scope| {
        scope.spawn(|| checks.make_each(&losses(&squashfs, init), |loss| is_not_entered(&built, &squashfs, loss)));
        scope.spawn(|| checks.make("short", || is_refused_without_all_hashes(&built, &squashfs)));
        scope.spawn(|| checks.make("raw-bios", || is_refused_on_a_disk(&built, "-bios.img", LINUX, init)));
        scope.spawn(|| checks.make("raw-efi", || is_refused_on_a_disk(&built, "-efi.img", ROOT, init)));
        scope.spawn(|| checks.make("unread", || is_an_error_when_it_is_read(&built, &squashfs)));
        scope.spawn(|| checks.make("program", || is_a_service_that_does_not_start(&built, &squashfs)));
        checks.make("veritysetup", || veritysetup_agrees(&built));
    });
    checks.end();
}

/// A flipped bit, and what the sentence has that refuses it.
#[derive(Debug)]
struct Loss {
    what: &'static str,
    at: u64,
    sentence: &'static str,
}

const REFUSED: &str = "dm-verity refuses the root image of /dev/vda: it is damaged";

/// Where a machine is not entered that has lost a bit.
fn losses(image: &RootImage, init: u64) -> Vec<Loss> {
    let bytes = fs::read(&image.path).unwrap();
    let number = |at: u64| u64::from_le_bytes(bytes[at as usize..][..8].try_into().unwrap());
    // Fields of the superblock (fs/squashfs/squashfs_fs.h): the root's inode, by its block's offset in the table and its own in
    // the block; the table of inodes; the list of the blocks of the table of fragments, the first of which follows directories.
    let root_inode = number(32) >> 16;
    let [inodes, fragments] = [64, 80].map(number);
    let (mark, superblock) = (image.filesystem, image.superblock());
    let tree = superblock + BLOCK;
    // Fewer than 128 * 128 blocks: below the root of the tree are the hashes of blocks, 128 in each of its blocks.
    let hashes = tree + BLOCK + init / BLOCK / 128 * BLOCK;
    [
        ("the superblock's time", 8, REFUSED),
        ("the superblock's magic", 0, "vda holds no root image"),
        ("the table of inodes, the root's", inodes + root_inode + 2, REFUSED),
        ("the table of directories, the root's", number(fragments) - 1, REFUSED),
        ("the table of fragments", fragments, REFUSED),
        ("the first block of init", init, REFUSED),
        ("the root of the hash tree", tree, REFUSED),
        ("the hashes of init", hashes, REFUSED),
        ("the mark's name", mark + 40, "vda holds the root image "),
        ("the mark's length of the hash tree", mark + 32, REFUSED),
        ("the magic of verity's superblock", superblock, "cannot be verified: there is no hash tree behind it"),
    ]
    .map(|(what, at, sentence)| Loss { what, at, sentence })
    .into()
}

fn is_not_entered(built: &Built, image: &RootImage, loss: &Loss) {
    let damaged = image.copied(&loss.what.replace(|c: char| !c.is_ascii_alphabetic(), "-"));
    damaged.flip(loss.at);
    let mut boot = boot(built, "", "squashfs", &damaged);
    if loss.sentence.starts_with("vda holds") {
        // Another disk may come that holds it.
        boot = boot.argument(&format!("{}3", words::ROOT_WAIT));
    }
    boot.start().has_no_root(loss.sentence);
}

/// A bit that nothing looks at, one of a file, and one of a directory.
fn damage(image: &RootImage, name: &str) -> RootImage {
    let damaged = image.copied(name);
    // The UUID of verity's superblock, which no hash covers and nobody reads.
    damaged.flip(damaged.superblock() + 16);
    // In a block of its own, beyond what is read ahead when the machine boots.
    damaged.flip(damaged.position(&file()[300 << 10..][..64]));
    // The blocks around it are of the same directory.
    damaged.flip(middle(&damaged.packed(names()[NAME].as_bytes())));
    damaged
}

fn is_an_error_when_it_is_read(built: &Built, image: &RootImage) {
    let mut machine = boot(built, "", "squashfs", &damage(image, "unread")).start();
    machine.sees_all(&[words::READY, UP]);
    assert!(!machine.said("corrupted"), "{:?}", machine.lines());
    machine.types("go\n");
    machine.sees_all(&["is corrupted", "app: half of it cannot be read"]);
    let name = format!("app: cat: can't open '/names/{}': Input/output error", names()[NAME]);
    machine.sees_all(&["is corrupted", &name]);
    machine.powers_off();
    println!("{:.1} s of CPU: unread", machine.cpu_seconds());
}

/// A program that cannot be read is not run, here on EROFS; the machine is there for the other services.
fn is_a_service_that_does_not_start(built: &Built, squashfs: &RootImage) {
    let program = RootImage::read(built.file("-kernel-erofs-erofs.img")).copied("program");
    program.flip(program.position(&content(squashfs, PROGRAM)[..4096]));
    let mut machine = boot(built, "-kernel-erofs", "erofs", &program).start();
    machine.sees_all(&[words::READY, "is corrupted", &words::ended("service", "app")]);
    assert!(machine.said("app: failed to execvp err=EIO"), "{:?}", machine.lines());
    machine.powers_off();
    println!("{:.1} s of CPU: program", machine.cpu_seconds());
}

/// A disk that has lost its last sector has lost hashes with it.
fn is_refused_without_all_hashes(built: &Built, image: &RootImage) {
    let short = image.copied("short");
    let file = File::options().write(true).open(&short.path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 512).unwrap();
    let machine = boot(built, "", "squashfs", &short).start();
    machine.has_no_root("the root image of /dev/vda cannot be verified: it ends within its hash tree");
}

/// A partition is refused as a disk is.
fn is_refused_on_a_disk(built: &Built, ending: &str, kind: &str, at: u64) {
    let disk = built.dir().join(format!("damaged{ending}"));
    fs::copy(built.file(ending), &disk).unwrap();
    flip(&disk, partition_range(&disk, kind).start + at);
    let mut boot = Boot::new(Artefact::whole(&disk).unwrap()).memory(256);
    if kind == ROOT {
        boot = boot.uefi();
    }
    boot.start().has_no_root("dm-verity refuses the root image of /dev/vda2: it is damaged");
}

/// The root hash of each format is what `veritysetup` computes of the image that the format carries, wherever both lie.
fn veritysetup_agrees(built: &Built) {
    let read = |ending: &str| fs::read(built.file(ending)).unwrap();
    let image = |ending: &str| RootImage::read(built.file(ending));
    let on_disk = |ending: &str, kind: &str| {
        let path = built.dir().join(format!("root{ending}"));
        fs::write(&path, partition(&built.file(ending), kind)).unwrap();
        RootImage::read(path)
    };
    let initrd = built.file("-kernel-initrd-initrd.img");
    let [uki, efi, iso] = [built.file(".efi"), uki_on(&built.file("-efi.img")), uki_on(&built.file(".iso"))];
    // The loader's parameters lie before the first partition.
    let bios = fs::read(built.file("-bios.img")).unwrap()[..1 << 20].to_vec();
    for (format, image, words) in [
        ("kernel+squashfs", image("-squashfs.img"), read("-cmdline")),
        ("kernel+erofs", image("-kernel-erofs-erofs.img"), read("-kernel-erofs-cmdline")),
        ("kernel+initrd", RootImage::of_initrd(&initrd), read("-kernel-initrd-cmdline")),
        ("raw-bios", on_disk("-bios.img", LINUX), bios),
        ("raw-efi", on_disk("-efi.img", ROOT), fs::read(section(&efi, "cmdline")).unwrap()),
        ("uki", RootImage::of_initrd(&section(&uki, "initrd")), fs::read(section(&uki, "cmdline")).unwrap()),
        ("iso", RootImage::of_initrd(&section(&iso, "initrd")), fs::read(section(&iso, "cmdline")).unwrap()),
    ] {
        let hash = root_hash(&words);
        assert_eq!(image.root_hash(), hash, "{format}");
        assert!(image.is_verified(&hash), "{format}");
        let damaged = image.copied(&format!("{format}.damaged"));
        damaged.flip(image.filesystem / 2);
        assert!(!damaged.is_verified(&hash), "{format}");
    }
}

/// The keys of the spec do what `--verity` does, and make a machine restart that reads a damaged block.
#[test]
fn a_flipped_bit_restarts_a_machine_whose_spec_says_so() {
    let built = story("root: {verity: true, corruption: restart}\n").build_formats(&["kernel+squashfs"], &[]);
    let image = RootImage::read(built.file("-squashfs.img"));
    let mut machine = boot(&built, "", "squashfs", &damage(&image, "restarts")).start();
    machine.sees_all(&[words::READY, UP]);
    machine.types("go\n");
    assert_eq!(machine.ends(), Outcome::Rebooted);
    assert!(!machine.said("cannot be read"), "{:?}", machine.lines());
}

/// A boot of a kernel with this root as its first disk.
fn boot(built: &Built, name: &str, kind: &str, root: &RootImage) -> Boot {
    let file = |ending: &str| built.file(&format!("{name}-{ending}"));
    let cmdline = fs::read_to_string(file("cmdline")).unwrap();
    let artefact = Artefact::direct(file("kernel"), Some(file(&format!("{kind}-initrd.img"))), &cmdline);
    Boot::new(artefact).memory(256).disk(&root.disk())
}

/// A file of a squashfs.
fn content(image: &RootImage, path: &str) -> Vec<u8> {
    run(Command::new("unsquashfs").arg("-cat").arg(&image.path).arg(path))
}

fn middle(range: &Range<u64>) -> u64 {
    range.start.midpoint(range.end)
}

/// The root hash in a command line, whatever is around it.
#[track_caller]
fn root_hash(words: &[u8]) -> String {
    let key = words::VERITY.as_bytes();
    let at = words.windows(key.len()).position(|window| window == key).expect("it has a root hash");
    String::from_utf8(words[at + key.len()..][..64].to_vec()).unwrap()
}

/// The UKI that is on a disk's ESP, as a file beside the disk.
fn uki_on(disk: &Path) -> PathBuf {
    let [esp, uki] = ["esp", "uki"].map(|what| beside(disk, what));
    fs::write(&esp, partition(disk, ESP)).unwrap();
    run(Command::new("mcopy").arg("-i").arg(&esp).arg("::/EFI/BOOT/BOOTX64.EFI").arg(&uki));
    uki
}

/// A section of a UKI, as a file beside it.
fn section(uki: &Path, name: &str) -> PathBuf {
    let [section, copy] = [name, "copy"].map(|what| beside(uki, what));
    let dump = format!(".{name}={}", section.display());
    run(Command::new("objcopy").args(["--dump-section", &dump]).arg(uki).arg(&copy));
    section
}

fn beside(path: &Path, what: &str) -> PathBuf {
    format!("{}.{what}", path.display()).into()
}
