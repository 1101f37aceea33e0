//! Disks, judged by gdisk, util-linux and the firmware of an EFI machine.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use bootwright_formats::RawImage;
use bootwright_formats::disk::{
    BOOT_CODE, Blob, DiskError, DiskPlan, FatFile, FatPlan, Kind, Partition, SECTOR, Table,
};
use bootwright_oci::{Digest, Hasher, Reporter, Silent};
use serde_json::Value;

use crate::fat::{borrowed, fat, some_files};
use crate::tools::{run, text};

pub const MIB: u64 = 1 << 20;

/// An image in a sparse file, as path.
pub struct Saved(tempfile::TempPath);

impl Saved {
    pub fn new(image: &RawImage) -> Self {
        let (file, path) = tempfile::NamedTempFile::new().unwrap().into_parts();
        file.set_len(image.size()).unwrap();
        let mut buffer = vec![0; MIB as usize];
        for (at, len) in image.runs(SECTOR) {
            for at in (at..at + len).step_by(buffer.len()) {
                let piece = (image.size() - at).min(MIB) as usize;
                image.read_at(at, &mut buffer[..piece]).unwrap();
                file.write_all_at(&buffer[..piece], at).unwrap();
            }
        }
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

/// Digest of all bytes of an image.
pub fn digest(image: &RawImage) -> Digest {
    let mut hasher = Hasher::new(std::io::sink());
    image.write_to(&mut hasher, &mut *Silent.start("", None)).unwrap();
    hasher.finish().1
}

/// What the usual disk holds: a loader, an EFI system partition, a root.
fn partitions(root: u64) -> (Vec<Partition>, Vec<Blob>) {
    let (plan, esp) = fat(&[("EFI/BOOT/BOOTX64.EFI", b"MZ")], 0);
    let mut image = RawImage::new(root);
    image.put(0, *b"hsqs");
    let root_blob = Blob { image, digest: Digest::of(b"a root") };
    let sizes = [(Kind::BiosBoot, 1000), (Kind::Esp, plan.size()), (Kind::root("amd64"), root)];
    let partitions = sizes.into_iter().map(|(kind, size)| Partition { kind, size }).collect();
    (partitions, vec![Blob::of(&b"L".repeat(1000)), esp, root_blob])
}

fn boot_code() -> [u8; BOOT_CODE] {
    std::array::from_fn(|i| i as u8 | 1)
}

fn usual(size: Option<u64>) -> (DiskPlan, RawImage) {
    let (partitions, contents) = partitions(3 * MIB + 4096);
    let plan = DiskPlan::new(Table::Gpt, &partitions, size).unwrap();
    let image = plan.image(Some(&boot_code()), &contents);
    assert_eq!(image.size(), plan.size());
    (plan, image)
}

/// `sfdisk --json`.
fn table(path: &str) -> Value {
    let mut json: Value = serde_json::from_slice(&run("sfdisk", &["--json", path], b"")).unwrap();
    json["partitiontable"].take()
}

#[test]
fn gdisk_and_util_linux_find_a_gpt_without_fault() {
    let (plan, image) = usual(None);
    let saved = Saved::new(&image);
    let said = text("sgdisk", &["-v", saved.path()], b"");
    assert!(said.contains("No problems found") && !said.contains("Caution") && !said.contains("Warning"), "{said}");
    let said = text("sfdisk", &["--verify", saved.path()], b"");
    assert!(said.contains("No errors detected") && said.contains("Using 3 out of 128 partitions"), "{said}");

    // 33 MiB of ESP from 1 MiB on, then 3 MiB and a block of root, and the second table.
    assert_eq!(plan.sectors(), [40, 2048, 69_632]);
    assert_eq!(plan.size(), 38 * MIB);
    let table = table(saved.path());
    assert_eq!((&table["label"], &table["lastlba"]), (&"gpt".into(), &(38 * 2048 - 34).into()));
    let expect = [
        (40, 2008, "21686148-6449-6E6F-744E-656564454649", "BIOS boot", Value::Null),
        (2048, 66_608, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "EFI system", Value::Null),
        (69_632, 6152, "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "root", "GUID:60".into()),
    ];
    for (i, (start, size, kind, name, attributes)) in expect.into_iter().enumerate() {
        let partition = &table["partitions"][i];
        assert_eq!((&partition["start"], &partition["size"]), (&start.into(), &size.into()), "{partition}");
        assert_eq!((&partition["type"], &partition["name"]), (&kind.into(), &name.into()), "{partition}");
        assert_eq!(partition["attrs"], attributes, "{partition}");
        let info = text("sgdisk", &["-i", &(i + 1).to_string(), saved.path()], b"");
        assert!(info.contains(kind) && info.contains(&format!("Partition name: '{name}'")), "{info}");
        // Version 8, and the variant that has versions.
        let guid = partition["uuid"].as_str().unwrap();
        assert!(info.contains(guid) && guid.as_bytes()[14] == b'8' && b"89AB".contains(&guid.as_bytes()[19]), "{guid}");
    }
    let partx = text("partx", &["-o", "START,SECTORS,NAME", "-g", saved.path()], b"");
    let rows: Vec<_> = partx.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(rows, ["40 2008 BIOS boot", "2048 66608 EFI system", "69632 6152 root"]);
    let file = text("file", &["-b", saved.path()], b"");
    assert!(file.contains("partition 1 : ID=0xee, start-CHS (0x0,0,2)"), "{file}");

    // The filesystem is where the table says, and so are the others.
    let at = format!("{}@@1M", saved.path());
    assert_eq!(run("mtype", &["-i", &at, "::/EFI/BOOT/BOOTX64.EFI"], b""), b"MZ");
    let mut bytes = [0; 440];
    image.read_at(0, &mut bytes).unwrap();
    assert_eq!(bytes, boot_code());
    image.read_at(40 * SECTOR, &mut bytes[..4]).unwrap();
    image.read_at(69_632 * SECTOR, &mut bytes[4..8]).unwrap();
    assert_eq!(&bytes[..8], b"LLLLhsqs");
}

#[test]
fn the_second_table_alone_is_enough() {
    let (_, image) = usual(None);
    let saved = Saved::new(&image);
    let before = table(saved.path());
    File::options().write(true).open(saved.path()).unwrap().write_all_at(&[0; 512], SECTOR).unwrap();
    let said = text("sh", &["-c", "sgdisk -p \"$0\" 2>&1", saved.path()], b"");
    assert!(said.contains("invalid main GPT header, but valid backup"), "{said}");
    text("sh", &["-c", "sgdisk -g \"$0\" 2>&1", saved.path()], b"");
    assert_eq!(table(saved.path()), before);
}

#[test]
fn an_mbr_has_one_active_partition_and_the_loader_before_it() {
    let (_, contents) = partitions(MIB);
    let (plan, boot) = fat(&[("kernel", b"k"), ("initrd.img", b"i")], 0);
    let partitions =
        [Partition { kind: Kind::BiosBoot, size: 1000 }, Partition { kind: Kind::Boot, size: plan.size() }];
    let disk = DiskPlan::new(Table::Mbr, &partitions, None).unwrap();
    assert_eq!((disk.sectors(), disk.size()), (vec![40, 2048], 34 * MIB));
    let image = disk.image(Some(&boot_code()), &[contents[0].clone(), boot.clone()]);
    let saved = Saved::new(&image);
    let said = text("sfdisk", &["--verify", saved.path()], b"");
    assert!(said.contains("No errors detected"), "{said}");
    let table = table(saved.path());
    assert_eq!(table["label"], "dos");
    let rows = table["partitions"].as_array().unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((&rows[0]["start"], &rows[0]["size"]), (&2048.into(), &66_608.into()));
    assert_eq!((&rows[0]["type"], &rows[0]["bootable"]), (&"c".into(), &true.into()));
    let file = text("file", &["-b", saved.path()], b"");
    assert!(file.contains("partition 1 : ID=0xc, active"), "{file}");
    let mut loader = [0; 1000];
    image.read_at(40 * SECTOR, &mut loader).unwrap();
    assert_eq!(loader, [b'L'; 1000]);

    // Nothing is active where no BIOS shall boot, and the signature is of the contents.
    let inert = disk.image(None, &[contents[0].clone(), boot]);
    let inert = table_of(&inert);
    assert_eq!(inert["partitions"][0]["bootable"], Value::Null);
    assert!(table["id"] != inert["id"] && inert["id"] != "0x00000000");
}

fn table_of(image: &RawImage) -> Value {
    table(Saved::new(image).path())
}

#[test]
fn room_is_behind_the_last_partition_and_before_the_second_table() {
    let (plan, image) = usual(Some(GIB_AND_SOME));
    assert_eq!(plan.size(), 1025 * MIB, "whole MiB");
    let saved = Saved::new(&image);
    let said = text("sgdisk", &["-v", saved.path()], b"");
    assert!(said.contains("No problems found"), "{said}");
    let table = table(saved.path());
    assert_eq!(table["lastlba"], 1025 * 2048 - 34);
    let places = |table: &Value| -> Vec<u64> {
        table["partitions"].as_array().unwrap().iter().map(|p| p["start"].as_u64().unwrap()).collect()
    };
    assert_eq!(places(&table), [40, 2048, 69_632]);
    // All of it can be given to the last partition.
    let end = text("sgdisk", &["-E", saved.path()], b"");
    assert_eq!(end.trim().lines().last(), Some("2099166"));
    let blocks = fs::metadata(saved.path()).unwrap().blocks();
    assert!(blocks * 512 < 16 * MIB, "{blocks} blocks of a disk that is empty");
}

const GIB_AND_SOME: u64 = (1 << 30) + 1;

#[test]
fn a_disk_one_sector_short_is_refused() {
    for (table, tail) in [(Table::Gpt, 33), (Table::Mbr, 0)] {
        let (partitions, contents) = partitions(4096);
        let needed = (69_632 + 8 + tail) * SECTOR;
        let plan = DiskPlan::new(table, &partitions, Some(needed)).unwrap();
        assert_eq!(plan.size(), 35 * MIB);
        assert_eq!(plan.image(None, &contents).size(), plan.size());
        let error = DiskPlan::new(table, &partitions, Some(needed - SECTOR)).unwrap_err();
        assert_eq!(error, DiskError::TooSmall { size: needed - SECTOR, needed });
        let want = format!(
            "a disk of {} bytes is too small for what it holds, which takes {needed} bytes (35 MiB)",
            needed - SECTOR
        );
        assert_eq!(error.to_string(), want);
    }
    // Nearly to the last sector: the second table takes 33, and partitions end at multiples of 8.
    let full = [Partition { kind: Kind::root("arm64"), size: MIB - 5 * 4096 }];
    let plan = DiskPlan::new(Table::Gpt, &full, None).unwrap();
    assert_eq!(plan.size(), 2 * MIB);
    let content = Blob { image: RawImage::new(full[0].size), digest: Digest::of(b"") };
    let saved = Saved::new(&plan.image(None, &[content]));
    let said = text("sgdisk", &["-v", saved.path()], b"");
    assert!(said.contains("No problems found. 2021 free sectors"), "{said}");
    let full = [Partition { size: full[0].size + 1, ..full[0] }];
    assert_eq!(DiskPlan::new(Table::Gpt, &full, None).unwrap().size(), 3 * MIB);
}

#[test]
fn what_no_disk_can_be_is_refused() {
    let one = |kind, size| [Partition { kind, size }];
    assert_eq!(
        DiskPlan::new(Table::Gpt, &one(Kind::BiosBoot, 1_028_097), None).unwrap_err().to_string(),
        "a boot loader of 1028097 bytes does not fit before the first partition, where it may have 1028096"
    );
    assert!(DiskPlan::new(Table::Gpt, &one(Kind::BiosBoot, 1_028_096), None).is_ok());
    let most = (1 << 41) - MIB;
    let small = one(Kind::Boot, 1);
    assert_eq!(DiskPlan::new(Table::Mbr, &small, Some(most)).unwrap().size(), most);
    assert_eq!(
        DiskPlan::new(Table::Mbr, &small, Some(most + 1)).unwrap_err(),
        DiskError::TooLarge { size: most + 1, most }
    );
    assert!(DiskPlan::new(Table::Mbr, &one(Kind::Boot, most - MIB), None).is_ok());
    for size in [most, u64::MAX] {
        assert!(DiskPlan::new(Table::Mbr, &one(Kind::Boot, size), None).is_err());
    }
    for size in [1 << 63, u64::MAX] {
        assert!(DiskPlan::new(Table::Gpt, &small, Some(size)).is_err());
        assert!(DiskPlan::new(Table::Gpt, &one(Kind::Boot, size), None).is_err());
    }
    assert!(DiskPlan::new(Table::Gpt, &small, Some((1 << 63) - MIB)).is_ok());
}

#[test]
fn ids_are_of_the_contents_and_never_twice_the_same() {
    let (partitions, contents) = partitions(4096);
    let ids = |contents: &[Blob]| -> Vec<String> {
        let plan = DiskPlan::new(Table::Gpt, &partitions, None).unwrap();
        let table = table_of(&plan.image(None, contents));
        let rows = table["partitions"].as_array().unwrap().iter().map(|p| &p["uuid"]);
        rows.chain([&table["id"]]).map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    let before = ids(&contents);
    assert_eq!(ids(&contents), before);
    let mut changed = contents;
    changed[2].digest = Digest::of(b"another root");
    let after = ids(&changed);
    // The root's and the disk's.
    let same: Vec<_> = before.iter().zip(&after).map(|(a, b)| a == b).collect();
    assert_eq!(same, [true, true, false, false]);

    let twins = [Partition { kind: Kind::root("riscv64"), size: 512 }; 2];
    let plan = DiskPlan::new(Table::Gpt, &twins, None).unwrap();
    let saved = Saved::new(&plan.image(None, &[Blob::of(&[1; 512]), Blob::of(&[1; 512])]));
    let said = text("sgdisk", &["-v", saved.path()], b"");
    assert!(said.contains("No problems found"), "{said}");
    let table = table(saved.path());
    assert_ne!(table["partitions"][0]["uuid"], table["partitions"][1]["uuid"]);
}

/// If this fails although nothing was meant to change, everybody's disks change with this version.
#[test]
fn golden() {
    let (_, boot) = fat(&borrowed(&some_files()), 0);
    assert_eq!(digest(&boot.image).hex(), "4fc25dd8ba57340f56bc20871a37156642e4c7bf9690d831e4378cad3084cd34");
    assert_eq!(digest(&usual(None).1).hex(), "d61a9a0a945a35c4809b0dedca4d0a0307b806a48ee2c1e2fff497dfbc51c04f");
    let partitions = [Partition { kind: Kind::Boot, size: boot.image.size() }];
    let plan = DiskPlan::new(Table::Mbr, &partitions, Some(40 * MIB)).unwrap();
    assert_eq!(
        digest(&plan.image(Some(&boot_code()), &[boot])).hex(),
        "569c30c9a35a4898b10d9df3d6e21ee3737a0de7b3feb51a9b3118b08fcf78fd"
    );
}

/// Starts an EFI machine from a disk and waits for words on its serial console.
fn boots_to(disk: &str, words: &str) {
    const FIRMWARE: &str = "/usr/share/OVMF";
    let variables = tempfile::NamedTempFile::new().unwrap();
    fs::copy(format!("{FIRMWARE}/OVMF_VARS_4M.fd"), variables.path())
        .unwrap_or_else(|e| panic!("OVMF is needed here (apt-get install ovmf): {e}"));
    let pflash =
        |file: &str, only: &str| format!("if=pflash,format=raw,unit={},{only}file={file}", only.is_empty() as u8);
    let mut child = Command::new("qemu-system-x86_64")
        .args(["-accel", "tcg", "-m", "256", "-nodefaults", "-no-reboot", "-display", "none", "-serial", "stdio"])
        .args(["-drive", &pflash(&format!("{FIRMWARE}/OVMF_CODE_4M.fd"), "readonly=on,")])
        .args(["-drive", &pflash(variables.path().to_str().unwrap(), "")])
        .args(["-drive", &format!("if=virtio,format=raw,snapshot=on,file={disk}")])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("QEMU is needed here (apt-get install qemu-system-x86): {e}"));
    let mut serial = child.stdout.take().unwrap();
    let (send, received) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = std::io::Read::read(&mut serial, &mut buffer) {
            if send.send(buffer[..n].to_vec()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + Duration::from_secs(180);
    let mut said = Vec::new();
    let found = loop {
        if String::from_utf8_lossy(&said).contains(words) {
            break true;
        }
        match received.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => said.extend_from_slice(&bytes),
            Err(_) => break false,
        }
    };
    child.kill().unwrap();
    child.wait().unwrap();
    drop(received);
    reader.join().unwrap();
    assert!(found, "waited for `{words}`:\n{}", String::from_utf8_lossy(&said));
}

#[test]
fn efi_firmware_starts_a_program_from_the_disk_and_reads_its_long_names() {
    const LOADER: &str = "/usr/lib/systemd/boot/efi/systemd-bootx64.efi";
    let loader = File::open(LOADER).unwrap_or_else(|e| panic!("`{LOADER}` (apt-get install systemd-boot-efi): {e}"));
    let len = loader.metadata().unwrap().len();
    let mut program = RawImage::new(len);
    program.put_file(0, &Arc::new(loader), 0, len);
    // systemd's menu shows titles, which it reads from files of any name.
    let title = "Read from a file with a long name";
    let entry = format!("title {title}\nefi /EFI/Another program.efi\n");
    let files = [
        ("EFI/BOOT/BOOTX64.EFI", Blob { image: program, digest: Digest::of(b"systemd-boot") }),
        ("EFI/Another program.efi", Blob::of(b"MZ")),
        ("loader/loader.conf", Blob::of(b"timeout menu-force\n")),
        ("loader/entries/The name of this entry is long.conf", Blob::of(entry.as_bytes())),
    ];
    let sizes: Vec<_> = files.iter().map(|(path, blob)| FatFile { path, len: blob.image.size() }).collect();
    let plan = FatPlan::new(&sizes, "ESP", 0).unwrap();
    let esp = plan.image(&files.map(|(_, blob)| blob));
    let partitions = [Partition { kind: Kind::Esp, size: plan.size() }];
    let disk = DiskPlan::new(Table::Gpt, &partitions, None).unwrap().image(None, &[esp]);
    boots_to(Saved::new(&disk).path(), title);
}
