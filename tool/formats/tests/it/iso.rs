//! ISO 9660, read by libarchive, cdrkit, xorriso, gdisk, and by firmware. The kernel reads it in `erofs.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bootwright_formats::RawImage;
use bootwright_formats::iso::{self, BiosEntry, MachineIso, Media, MediaFile, SYSTEM_AREA};
use bootwright_oci::{Content, Digest, Kind, Silent};
use bootwright_rootfs::Machine;
use proptest::prelude::*;
use serde_json::Value;

use crate::guest::Qemu;
use crate::machine::{Builder, Store, everything, path};
use crate::tools::{run, text};
use crate::trees::{Found, Holes, Listing, Names, any_machine, compare, expected, hard, links, with_root};

pub fn image(machine: &Machine, store: &Store) -> Vec<u8> {
    assert!(iso::misfits(machine).is_empty());
    let plan = MachineIso::plan(machine, "bootwright").unwrap();
    let mut out = Vec::new();
    plan.write(store, &mut out, &mut Silent).unwrap();
    assert_eq!(out.len() as u64, plan.size());
    out
}

/// Puts bytes into a file of a directory that lives as long as the test.
fn on_disk(place: &Path, bytes: &[u8]) -> String {
    let file = place.join("image.iso");
    fs::write(&file, bytes).unwrap();
    file.to_str().unwrap().to_owned()
}

/// What is in an ISO, by way of libarchive, which makes a tar of it, and Python's tarfile; and which names are one file.
fn listing(file: &str) -> (Listing, Names) {
    const LIST: &str = r#"
import io, json, sys, tarfile
tar = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), mode="r:", encoding="latin-1")
rows, kinds = [], {"0": "f", "1": "f", "2": "l", "3": "c", "4": "b", "5": "d", "6": "p"}
for m in tar:
    kind = kinds[m.type.decode()]
    data = {"f": lambda: tar.extractfile(m).read().decode("latin-1"), "l": lambda: m.linkname,
        "c": lambda: f"{m.devmajor}:{m.devminor}", "b": lambda: f"{m.devmajor}:{m.devminor}"}.get(kind, lambda: "")()
    rows.append([m.name, kind, m.mode, m.uid, m.gid, m.mtime, data, m.linkname if m.islnk() else None])
json.dump(rows, sys.stdout)
"#;
    let tar =
        run("bsdtar", &["-cf", "-", "--format", "pax", "--options", "pax:hdrcharset=BINARY", &format!("@{file}")], b"");
    let rows: Vec<Value> = serde_json::from_slice(&run("python3", &["-c", LIST], &tar)).unwrap();
    let bytes = |value: &Value| value.as_str().unwrap().chars().map(|c| c as u8).collect::<Vec<u8>>();
    let number = |value: &Value| value.as_f64().unwrap() as i64;
    let mut found = BTreeMap::new();
    let mut names: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    for row in &rows {
        let name = bytes(&row[0]);
        let name = if name == b"." { Vec::new() } else { name };
        if !row[7].is_null() {
            let first = bytes(&row[7]);
            names.entry(first.clone()).or_insert_with(|| vec![first]).push(name.clone());
        }
        let kind = row[1].as_str().unwrap().chars().next().unwrap();
        let owner = (number(&row[3]) as u32, number(&row[4]) as u32);
        let one = Found { kind, mode: number(&row[2]) as u32, owner, mtime: number(&row[5]), data: bytes(&row[6]) };
        assert!(found.insert(name, one).is_none(), "twice: {row}");
    }
    let sorted = |mut names: Vec<Vec<u8>>| {
        names.sort();
        names
    };
    (found, names.into_values().map(sorted).collect())
}

/// Without what only the kernel reads as it is meant: such a device's number cannot be told in a way that libarchive understands,
/// too; it forgets a slash where a link's target goes on in another field; and libisofs takes targets of some length only.
fn for_everybody(mut machine: Machine) -> Machine {
    machine.tree.retain(|_, placed| match &placed.node.kind {
        Kind::CharDevice { minor, .. } | Kind::BlockDevice { minor, .. } => *minor < 256,
        Kind::Symlink(target) => target.len() < 250,
        _ => true,
    });
    machine
}

#[test]
fn libarchive_reads_back_the_machine() {
    let machine = for_everybody(with_root(hard()));
    let place = tempfile::tempdir().unwrap();
    let (found, names) = listing(&on_disk(place.path(), &image(&machine, &Store::default())));
    let expected = expected(&machine);
    compare(&found, &expected);
    // It sees by a file's place that names are one, and an empty file has none.
    let mut links = links(&machine);
    links.retain(|names| !expected[&names[0]].data.is_empty());
    assert_eq!(names, links);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn libarchive_reads_back_any_machine(machine in any_machine()) {
        // Of a volume without a directory but its root, libarchive does not list even that.
        let machine = Builder(with_root(machine)).file(0, "directory/file", "bytes").0;
        let place = tempfile::tempdir().unwrap();
        let (found, _) = listing(&on_disk(place.path(), &image(&machine, &Store::default())));
        compare(&found, &expected(&machine));
    }
}

#[test]
fn cdrkit_and_xorriso_find_every_name() {
    let machine = for_everybody(with_root(hard()));
    let place = tempfile::tempdir().unwrap();
    let file = on_disk(place.path(), &image(&machine, &Store::default()));
    let lines = |text: &[u8]| text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<BTreeSet<_>>();
    let mut want: BTreeSet<Vec<u8>> = machine.tree.keys().map(|path| [b"/", path.as_bytes()].concat()).collect();
    want.remove(&b"/"[..]);
    let mut found = lines(&run("isoinfo", &["-R", "-f", "-i", &file], b""));
    found.remove(&b""[..]);
    assert!(
        found == want,
        "{:?}",
        found.symmetric_difference(&want).map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>()
    );

    // Plain ISO 9660 has as many names, and all of them are different.
    let plain = lines(&run("isoinfo", &["-f", "-i", &file], b""));
    assert_eq!(plain.len(), want.len() + 1);
    let is_plain = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_./;".contains(byte);
    assert!(plain.iter().flatten().all(is_plain));

    let directories = machine.tree.values().filter(|placed| placed.node.kind == Kind::Directory).count();
    let path_table = text("isoinfo", &["-p", "-i", &file], b"");
    assert_eq!(path_table.lines().filter(|line| line.contains(':')).count(), directories, "{path_table}");

    let said = xorriso(&file, &["-abort_on", "WARNING", "-find", "/", "-exec", "lsdl", "--"]);
    let is_node = |line: &&str| line.starts_with(['d', '-', 'l', 'c', 'b', 'p']) && line.contains(" '/");
    assert_eq!(said.lines().filter(is_node).count(), want.len() + 1, "{said}");
}

/// Loads an ISO into xorriso and gives all that it says.
fn xorriso(file: &str, commands: &[&str]) -> String {
    let output = Command::new("xorriso").args(["-indev", file]).args(commands).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn contents_in_pieces_change_nothing() {
    let machine = hard();
    assert!(image(&machine, &Store::default()) == image(&machine, &Store { piece: 1000, ..Store::default() }));
}

/// If this fails although nothing was meant to change, everybody's images change with this version.
#[test]
fn golden() {
    let mut digests = vec![];
    for machine in [hard(), everything()] {
        digests.push(Digest::of(&image(&machine, &Store::default())).to_string());
    }
    digests.push(Digest::of(&bytes(&medium().image)).to_string());
    assert_eq!(
        digests,
        [
            "sha256:ff80058efe1ba35474c1a7de5f64d4d376ce406029b0ae9dcefb378773f9a4b3",
            "sha256:765ba64f01d5b1aee107eb0afcc976c67da84f92094e841b16e88669fecb7742",
            "sha256:70a0a6156212ffe277a8f67e1c6f79fb0b3c81c54ce93ece6c24bc06e1f67553"
        ]
    );
}

#[test]
fn what_is_too_much_is_refused_by_name() {
    let host = |size| Kind::File(Content::Host { path: "/nonexistent".into(), size, digest: Digest::of(b"") });
    let one = |at: &str, kind: Kind| Builder::new(&[("files[0]", "f")]).node(0, at, kind, |_| {}).0;
    let told = |machine: &Machine| iso::misfits(machine).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told(&one("f", host(399 << 30))), [] as [&str; 0]);
    assert_eq!(
        told(&one("f", host(400 << 30))),
        ["`f` (files[0] name): 429496729600 bytes, 100 times 4 GiB - 2 KiB at most"]
    );
    assert!(told(&one(&"n".repeat(254), Kind::Fifo))[0].ends_with("a name of 254 bytes, 253 at most"));
    assert!(told(&one("l", Kind::Symlink(vec![b'x'; 4096])))[0].contains("4095 at most"));
    let lost = iso::lost_xattrs(&everything());
    assert_eq!(lost, ["`/containers/services/web/rootfs/bin/ping` (security.capability, user.a=b%c)"]);
    let many = (0..25).fold(Builder::new(&[("files[0]", "f")]), |builder, number| {
        builder.node(0, format!("{number}"), host(399 << 30), |_| {})
    });
    let told = told(&many.0);
    assert!(!told.is_empty() && told.iter().all(|text| text.contains("together with the files before it")), "{told:?}");
}

/// Prints a letter on the serial port and ends QEMU: `mov dx,3f8; mov al,LETTER; out dx,al; out f4,al; hlt`.
fn boot_code(letter: u8) -> Vec<u8> {
    vec![0xba, 0xf8, 0x03, 0xb0, letter, 0xee, 0xe6, 0xf4, 0xf4]
}

/// A medium with everything, and the offset of its ESP.
struct Medium {
    image: RawImage,
    esp: u64,
}

/// A medium: a loader for CDs, a small kernel, an ESP of that content; boot code and a GPT for disks.
fn medium_with(esp: RawImage) -> Medium {
    /// A GPT's backup: 32 sectors with entries, and the header.
    const TAIL: u64 = 33 * 512;
    let file = |at: &str, size, alignment| MediaFile { path: path(at), size, alignment };
    let media = Media {
        volume_id: "boot-1".to_owned(),
        files: vec![
            file("boot/loader.bin", 2048, 2048),
            file("boot/kernel", 5000, 2048),
            file("efi.img", esp.size(), 1 << 20),
            file("boot/initrd.img", 0, 2048),
        ],
        bios: Some(BiosEntry { file: 0, segment: 0, sectors: 4 }),
        efi: Some(2),
        tail: TAIL,
    };
    let plan = media.plan();
    let (size, at) = (plan.size(), plan.offset(2));
    assert_eq!((size % 2048, at % (1 << 20), plan.offset(1) % 2048), (0, 0, 0));
    let mut loader = RawImage::new(2048);
    loader.put(0, boot_code(b'C'));
    // What is in a file may tell where another lies.
    let mut kernel = RawImage::new(5000);
    kernel.put(4000, plan.offset(2).to_le_bytes());

    let place = tempfile::tempdir().unwrap();
    let disk = place.path().join("disk");
    File::create(&disk).unwrap().set_len(size).unwrap();
    let partition = format!("1:{}:{}", at / 512, (at + esp.size()) / 512 - 1);
    let arguments = ["-a", "1", "-U", "11111111-2222-4333-8444-555555555555", "-n", &partition, "-t", "1:ef00"];
    let unique = ["-u", "1:66666666-7777-4888-9999-aaaaaaaaaaaa", disk.to_str().unwrap()];
    text("sgdisk", &[&arguments[..], &unique].concat(), b"");
    let disk = fs::read(disk).unwrap();
    let mut system_area = disk[..SYSTEM_AREA as usize].to_vec();
    system_area[..9].copy_from_slice(&boot_code(b'D'));
    let tail = disk[disk.len() - TAIL as usize..].to_vec();
    Medium { image: plan.image(&[loader, kernel, esp, RawImage::new(0)], system_area, tail), esp: at }
}

fn medium() -> Medium {
    let mut esp = RawImage::new(100 << 10);
    esp.put(0, *b"no FAT");
    medium_with(esp)
}

fn bytes(image: &RawImage) -> Vec<u8> {
    let mut out = Vec::new();
    image.write_to(&mut out, &mut Silent).unwrap();
    out
}

#[test]
fn a_medium_is_an_iso_with_a_boot_catalog_and_a_disk_with_a_gpt() {
    let medium = medium();
    let place = tempfile::tempdir().unwrap();
    let file = on_disk(place.path(), &bytes(&medium.image));
    let (found, _) = listing(&file);
    let names: Vec<_> = found.iter().map(|(name, one)| (str::from_utf8(name).unwrap(), one.data.len())).collect();
    assert_eq!(
        names,
        [
            ("", 0),
            ("boot", 0),
            ("boot/initrd.img", 0),
            ("boot/kernel", 5000),
            ("boot/loader.bin", 2048),
            ("efi.img", 100 << 10)
        ]
    );
    assert_eq!(found[&b"boot/kernel"[..]].data[4000..4008], medium.esp.to_le_bytes());
    assert_eq!(found[&b"efi.img"[..]].data[..6], *b"no FAT");

    let said = xorriso(&file, &["-abort_on", "WARNING", "-report_el_torito", "plain", "-report_system_area", "plain"]);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let said: Vec<String> = said.lines().map(words).collect();
    let esp = medium.esp / 2048;
    for want in [
        "El Torito images : N Pltf B Emul Ld_seg Hdpt Ldsiz LBA".to_owned(),
        format!("El Torito boot img : 2 UEFI y none 0x0000 0x00 200 {esp}"),
        "El Torito img path : 1 /boot/loader.bin".to_owned(),
        "El Torito img path : 2 /efi.img".to_owned(),
        "GPT disk GUID : 11111111222233438444555555555555".to_owned(),
        format!("GPT start and size : 1 {} 200", esp * 4),
        "GPT partition path : 1 /efi.img".to_owned(),
    ] {
        assert!(said.contains(&want), "no `{want}` in {said:#?}");
    }
    let said = text("sgdisk", &["-v", &file], b"");
    assert!(said.contains("No problems found"), "{said}");
}

#[test]
fn a_medium_for_one_firmware_has_one_entry() {
    let bios = BiosEntry { file: 0, segment: 0x800, sectors: 4 };
    for (bios, efi, want) in [
        (Some(bios), None, "El Torito boot img :   1  BIOS  y   none  0x0800  0x00      4          24"),
        (None, Some(0), "El Torito boot img :   1  UEFI  y   none  0x0000  0x00      8          24"),
    ] {
        let files = vec![MediaFile { path: path("image"), size: 4096, alignment: 2048 }];
        let media = Media { volume_id: String::new(), files, bios, efi, tail: 0 };
        let image = media.plan().image(&[RawImage::new(4096)], Vec::new(), Vec::new());
        let place = tempfile::tempdir().unwrap();
        let said = xorriso(&on_disk(place.path(), &bytes(&image)), &["-report_el_torito", "plain"]);
        let entries: Vec<_> = said.lines().filter(|line| line.starts_with("El Torito boot img")).collect();
        assert_eq!(entries, [want]);
    }
}

#[test]
fn a_bios_jumps_to_the_loader_on_cd_and_to_the_boot_code_on_disk() {
    let place = tempfile::tempdir().unwrap();
    let file = on_disk(place.path(), &bytes(&medium().image));
    let file = Path::new(&file);
    let qemu = || Qemu::new(32).with(&["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]);
    for (machine, want) in
        [(qemu().cd(file), "C"), (qemu().disk(file, "virtio", true), "D"), (qemu().disk(file, "usb", true), "D")]
    {
        let console = machine.run(None);
        assert!(console.ends_with(want), "{console:?}");
    }
}

#[test]
fn uefi_finds_the_esp_on_cd_and_on_disk() {
    // Over 32 MiB, more than the boot catalog can tell; and systemd's stub, which says that it stands alone.
    const ESP: u64 = 40 << 20;
    const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
    const SAYS: &str = "Unable to locate embedded .linux section";
    let place = tempfile::tempdir().unwrap();
    let esp = place.path().join("esp");
    File::create(&esp).unwrap().set_len(ESP).unwrap();
    let esp_text = esp.to_str().unwrap();
    text("mkfs.vfat", &["-F", "32", "-s", "1", esp_text], b"");
    text("mmd", &["-i", esp_text, "::EFI", "::EFI/BOOT"], b"");
    text("mcopy", &["-i", esp_text, STUB, "::EFI/BOOT/BOOTX64.EFI"], b"");
    let mut content = RawImage::new(ESP);
    content.put_file(0, &Arc::new(File::open(&esp).unwrap()), 0, ESP);
    let file = place.path().join("image.iso");
    let mut out = Holes(File::create(&file).unwrap());
    medium_with(content).image.write_to(&mut out, &mut Silent).unwrap();
    out.flush().unwrap();
    let qemu = || Qemu::new(256).uefi();
    for machine in [qemu().cd(&file), qemu().disk(&file, "virtio", true), qemu().disk(&file, "usb", true)] {
        let console = machine.run(Some(SAYS));
        assert!(console.contains(SAYS), "{console}");
    }
}
