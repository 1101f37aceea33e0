//! Virtual disks, read back by QEMU, by GNU tar and by Python's tarfile.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootwright_formats::RawImage;
use bootwright_formats::vdisk::DiskKind;
use bootwright_oci::{Digest, Silent};
use proptest::prelude::*;

use crate::output::{child, child_directory};
use crate::tools::{run, text};

pub const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The kinds that QEMU reads, by its names.
const QEMUS: [(DiskKind, &str); 6] = [
    (DiskKind::Qcow2, "qcow2"),
    (DiskKind::CompressedQcow2, "qcow2"),
    (DiskKind::FixedVhd, "vpc"),
    (DiskKind::DynamicVhd, "vpc"),
    (DiskKind::Vhdx, "vhdx"),
    (DiskKind::Vmdk, "vmdk"),
];

pub fn workers(count: usize) -> NonZero<usize> {
    NonZero::new(count).unwrap()
}

/// Bytes that do not compress, or that do, but not to nothing.
fn noise(len: usize, compressible: bool) -> Vec<u8> {
    let mut state = 7u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8 & if compressible { 3 } else { 255 }
    };
    (0..len).map(|_| next()).collect()
}

/// A file without a name.
fn file(bytes: &[u8]) -> Arc<File> {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    Arc::new(file)
}

/// One image per way to go wrong.
fn images() -> Vec<(&'static str, RawImage)> {
    let mut out = Vec::new();
    let mut image = |name, size, pieces: &[(u64, Vec<u8>)]| {
        let mut image = RawImage::new(size);
        for (at, bytes) in pieces {
            image.put_file(*at, &file(bytes), 0, bytes.len() as u64);
        }
        out.push((name, image));
    };
    image("one byte", 1, &[(0, vec![1])]);
    image("an odd size", 3 * MIB + 777, &[(1, noise(1000, false)), (3 * MIB + 700, noise(77, true))]);
    image("data at the very end", 5 * MIB, &[(0, vec![0xfa]), (5 * MIB - 1, vec![0x55])]);
    image("zeros", 10 * MIB, &[(MIB, vec![0; 70_000])]);
    image("dense", 6 * MIB, &[(0, noise(3 << 20, false)), (3 * MIB, noise(3 << 20, true))]);
    // One more granule of each table, on both sides of its border.
    let mut borders: Vec<_> = [512 * MIB, GIB, 2 * GIB, 4 * GIB - 4096]
        .iter()
        .flat_map(|border| [(border - 3, b"abc".to_vec()), (*border, noise(3000, true))])
        .collect();
    borders.push((32 * MIB - 100_000, noise(200_000, true)));
    image("sparse 4 GiB", 4 * GIB + MIB, &borders);
    // A program: code, strings, zeros between sections.
    let program = File::open(std::env::current_exe().unwrap()).unwrap();
    let len = program.metadata().unwrap().len().min(24 * MIB);
    let mut disk = RawImage::new(64 * MIB);
    disk.put(0, noise(512, false));
    disk.put_file(2048 * 512, &Arc::new(program), 0, len);
    out.push(("a program", disk));
    out
}

static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A file whose zeros are holes.
struct Holes(File);

impl Write for Holes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(ZEROS.len())];
        if *bytes == ZEROS[..bytes.len()] {
            self.0.seek(SeekFrom::Current(bytes.len() as i64))?;
        } else {
            self.0.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_to(path: &Path, write: impl FnOnce(&mut dyn Write)) {
    let mut out = io::BufWriter::with_capacity(64 << 10, Holes(File::create(path).unwrap()));
    write(&mut out);
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error).unwrap().0;
    let end = file.stream_position().unwrap();
    file.set_len(end).unwrap();
}

fn write(kind: DiskKind, image: &RawImage, path: &Path) {
    write_to(path, |out| kind.write(image, workers(2), out, &mut Silent).unwrap());
}

pub fn bytes(kind: DiskKind, image: &RawImage, threads: usize) -> Vec<u8> {
    let mut out = Vec::new();
    kind.write(image, workers(threads), &mut out, &mut Silent).unwrap();
    out
}

pub fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The same image as a raw file and in a format, and QEMU's opinion of the two.
fn judge(directory: &Path, kind: DiskKind, format: &str, image: &RawImage) {
    let (raw, disk) = (directory.join("raw"), directory.join("disk"));
    if !raw.exists() {
        write(DiskKind::Raw, image, &raw);
    }
    write(kind, image, &disk);
    let info = run("qemu-img", &["info", "--output=json", "-f", format, name(&disk)], b"");
    let info: serde_json::Value = serde_json::from_slice(&info).unwrap();
    assert_eq!(info["virtual-size"], kind.disk_size(image.size()), "{kind:?}");
    if format != "vpc" {
        let checked = text("qemu-img", &["check", "-f", format, name(&disk)], b"");
        assert!(checked.starts_with("No errors were found on the image."), "{kind:?}: {checked}");
    }
    let compared = text("qemu-img", &["compare", "-f", format, "-F", "raw", name(&disk), name(&raw)], b"");
    assert!(compared.ends_with("Images are identical.\n"), "{kind:?}: {compared}");
}

#[test]
fn qemu_reads_what_was_written() {
    for (what, image) in images() {
        let directory = tempfile::tempdir().unwrap();
        for (kind, format) in QEMUS {
            eprintln!("{what}, {kind:?}");
            judge(directory.path(), kind, format, &image);
            let len = fs::metadata(directory.path().join("disk")).unwrap().len();
            // What is zero is not stored: a few MiB are tables (VHDX) and blocks around single bytes (VHD).
            if kind != DiskKind::FixedVhd && image.size() > GIB {
                assert!(len < 24 * MIB, "{what}, {kind:?}: {len}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn qemu_reads_whatever_is_written(
        size in 1u64..40 * MIB,
        pieces in prop::collection::vec((0u64..40 * MIB, 1usize..300_000, 0u8..3), 0..12),
    ) {
        let mut image = RawImage::new(size);
        let mut free = 0;
        let mut pieces = pieces;
        pieces.sort_unstable();
        for (at, len, kind) in pieces {
            let at = at.max(free);
            let len = len.min(size.saturating_sub(at) as usize);
            free = at + len as u64;
            let bytes = if kind == 0 { vec![0; len] } else { noise(len, kind == 1) };
            image.put(at, bytes);
        }
        let directory = tempfile::tempdir().unwrap();
        for (kind, format) in QEMUS {
            judge(directory.path(), kind, format, &image);
        }
    }
}

/// A fixed image with something of everything.
pub fn golden_image(in_files: bool) -> RawImage {
    let mut image = RawImage::new(70 * MIB + 100);
    for (at, bytes) in [(0, noise(512, false)), (MIB, noise(300_000, true)), (70 * MIB - 10, noise(100, false))] {
        if in_files {
            let (first, second) = bytes.split_at(60);
            image.put_file(at, &file(&[b"x", first].concat()), 1, 60);
            image.put(at + 60, second);
        } else {
            image.put(at, bytes);
        }
    }
    image
}

/// If this fails although nothing was meant to change, everybody's disks change with this version.
#[test]
fn golden() {
    let image = golden_image(false);
    let digests: Vec<_> =
        DiskKind::ALL.iter().map(|kind| format!("{kind:?} {}", Digest::of(&bytes(*kind, &image, 1)).hex())).collect();
    assert_eq!(
        digests,
        [
            "Raw 19071b3a7fc73df0d58ced86012b7749835b19a89dba94728f91efcfdbbb149d",
            "Qcow2 fcb0cea38cd7667533f44f39d7d063e01bfd2acbd5ffba62a24b23777ce91a1c",
            "CompressedQcow2 090b8fab7d8a4da6d50835fed9f519ed54cefff05e813f194558aea9bfac6335",
            "FixedVhd 9a95542dc8a773fb57c6251fca39fd01cd518b59278a51c51bb891820e94dccd",
            "DynamicVhd 706a85d0d409ab309d0693fb47a67090a0ab288035ee99929eb3c90024c4892f",
            "Vhdx 329278d6354a6035ab46b75a4a4e0b824defa7c53eb8c35a1764b5bde2533cdd",
            "Vmdk 99155bc5f1d6d94fdb563efbe23a118bf7cd980f2d54f2bd489a7bf9cdd5828d",
            "Gcp 14d38e9414b2b0197943bdc5b5889469e8924161c0772aea95076b81417564cb",
        ]
    );
}

#[test]
fn neither_threads_nor_pieces_change_a_byte() {
    for kind in DiskKind::ALL {
        let want = Digest::of(&bytes(kind, &golden_image(false), 1));
        for threads in [2, 3] {
            assert!(Digest::of(&bytes(kind, &golden_image(true), threads)) == want, "{kind:?}, {threads} threads");
        }
    }
}

#[test]
fn identifiers_are_of_the_content() {
    let mut other = golden_image(false);
    other.put(5 * MIB, [1]);
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("disk");
    let mut seen = Vec::new();
    for image in [golden_image(false), other] {
        let vhd = bytes(DiskKind::DynamicVhd, &image, 1);
        let fixed = bytes(DiskKind::FixedVhd, &image, 1);
        // The footer is there three times, and its identifier is that of the image in either form.
        assert_eq!(vhd[..512], vhd[vhd.len() - 512..]);
        let footer = &fixed[fixed.len() - 512..];
        assert_eq!(footer[68..84], vhd[68..84]);
        write(DiskKind::Vmdk, &image, &path);
        let info = text("qemu-img", &["info", "-f", "vmdk", name(&path)], b"");
        assert!(info.contains("create type: streamOptimized"), "{info}");
        let id = info.lines().find_map(|line| line.trim().strip_prefix("cid: ")).unwrap().to_owned();
        let vhdx = bytes(DiskKind::Vhdx, &image, 1);
        seen.push((id, footer[68..84].to_vec(), vhdx[(64 << 10) + 16..][..32].to_vec()));
    }
    let [one, other] = &seen[..] else { unreachable!() };
    assert!(one.0 != other.0 && one.1 != other.1 && one.2 != other.2);
}

#[test]
fn vhd_says_what_azure_checks() {
    let image = golden_image(false);
    let fixed = bytes(DiskKind::FixedVhd, &image, 1);
    let footer = &fixed[fixed.len() - 512..];
    assert_eq!((fixed.len() as u64 - 512) % MIB, 0);
    assert_eq!(&footer[..8], b"conectix");
    // Original size, current size, type.
    assert_eq!(footer[40..48], (71 * MIB).to_be_bytes());
    assert_eq!(footer[48..56], (71 * MIB).to_be_bytes());
    assert_eq!(footer[60..64], 2u32.to_be_bytes());
    // 2017-04-18 16:30:00 UTC, from 2000 on.
    let time = u32::from_be_bytes(footer[24..28].try_into().unwrap());
    assert_eq!(text("date", &["-ud", &format!("2000-01-01 {time} seconds"), "+%F %T"], b""), "2017-04-18 16:30:00\n");
    // QEMU's own geometry for this size.
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("qemu.vhd");
    let options = ["create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size=off", name(&path), "71M"];
    run("qemu-img", &options, b"");
    let theirs = fs::read(&path).unwrap();
    let theirs = &theirs[theirs.len() - 512..];
    assert_eq!(&theirs[..8], b"conectix");
    // Theirs is rounded up, as the disk is made of it; ours rounds down within the same heads and sectors.
    assert_eq!(footer[58..60], theirs[58..60]);
}

#[test]
fn compressed_qcow2_is_smaller_where_that_is_possible_and_never_larger() {
    let mut noisy = RawImage::new(4 * MIB);
    noisy.put(0, noise(4 << 20, false));
    let len = |kind, image| bytes(kind, image, 2).len();
    assert_eq!(len(DiskKind::CompressedQcow2, &noisy), len(DiskKind::Qcow2, &noisy));
    let mut text = RawImage::new(4 * MIB);
    text.put(0, noise(4 << 20, true));
    assert!(len(DiskKind::CompressedQcow2, &text) * 2 < len(DiskKind::Qcow2, &text));
}

const LIST_SPARSE: &str = r#"
import sys, tarfile
tar = tarfile.open(sys.argv[1], mode="r:gz")
for m in tar:
    print(m.name, m.type.decode(), m.size, oct(m.mode), m.uid, m.gid, m.mtime, m.issparse())
"#;

#[test]
fn gnu_tar_and_python_unpack_the_disk_for_compute_engine() {
    // More runs than one extension of the header holds, and an offset that octal digits cannot express.
    let mut many = RawImage::new(9 * GIB);
    for at in 0..60 {
        many.put(at * 150 * MIB, noise(100, true));
    }
    let mut full = RawImage::new(GIB);
    full.put(GIB - 1, [1]);
    let odd = images().into_iter().filter(|(_, image)| image.size() < 100 * MIB).map(|(_, image)| image);
    for image in [many, full].into_iter().chain(odd) {
        let directory = tempfile::tempdir().unwrap();
        let path = |file: &str| directory.path().join(file);
        write(DiskKind::Gcp, &image, &path("disk.tar.gz"));
        write(DiskKind::Raw, &image, &path("raw"));
        let size = DiskKind::Gcp.disk_size(image.size());
        assert_eq!(
            text("python3", &["-c", LIST_SPARSE, name(&path("disk.tar.gz"))], b""),
            format!("disk.raw S {size} 0o644 0 0 1492533000 True\n")
        );
        run("tar", &["-xSzf", name(&path("disk.tar.gz")), "-C", name(directory.path())], b"");
        let unpacked = fs::metadata(path("disk.raw")).unwrap();
        assert_eq!(unpacked.len(), size);
        let compared =
            text("qemu-img", &["compare", "-f", "raw", "-F", "raw", name(&path("disk.raw")), name(&path("raw"))], b"");
        assert!(compared.ends_with("Images are identical.\n"), "{compared}");
    }
}

#[test]
fn memory_does_not_grow_with_the_disk() {
    for (test, kinds) in [("vdisk::child_sparse", DiskKind::ALL.len()), ("vdisk::child_dense", DiskKind::ALL.len())] {
        let directory = tempfile::tempdir().unwrap();
        let ended = child(test, ":", directory.path());
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        let peaks = fs::read_to_string(directory.path().join("peak")).unwrap();
        eprintln!("{test}:\n{peaks}");
        assert_eq!(peaks.lines().count(), kinds);
        for line in peaks.lines() {
            let (_, kib) = line.split_once(' ').unwrap();
            assert!(kib.parse::<u64>().unwrap() < 32 << 10, "{test}: {line} KiB");
        }
    }
}

fn peaks(image: &RawImage) {
    let mut lines = String::new();
    for kind in DiskKind::ALL {
        kind.write(image, workers(2), &mut io::sink(), &mut Silent).unwrap();
        lines += &format!("{kind:?} {}\n", crate::memory::peak_kib());
    }
    fs::write(child_directory().join("peak"), lines).unwrap();
}

#[test]
#[ignore = "run by another test"]
fn child_sparse() {
    let (_, image) = images().into_iter().find(|(name, _)| *name == "sparse 4 GiB").unwrap();
    peaks(&image);
}

#[test]
#[ignore = "run by another test"]
fn child_dense() {
    let directory: PathBuf = child_directory();
    let path = directory.join("dense");
    let noise = noise(1 << 20, true);
    let mut file = File::create(&path).unwrap();
    for _ in 0..64 {
        file.write_all(&noise).unwrap();
    }
    let mut image = RawImage::new(64 * MIB);
    image.put_file(0, &Arc::new(File::open(&path).unwrap()), 0, 64 * MIB);
    peaks(&image);
}

#[test]
fn progress_ends_at_the_images_size() {
    struct Count(u64);
    impl bootwright_oci::Task for Count {
        fn advance(&mut self, bytes: u64) {
            self.0 += bytes;
        }
    }
    for (what, image) in images().into_iter().filter(|(_, image)| image.size() < 20 * MIB) {
        for kind in DiskKind::ALL {
            let mut count = Count(0);
            kind.write(&image, workers(1), &mut io::sink(), &mut count).unwrap();
            assert_eq!(count.0, image.size(), "{what}, {kind:?}");
        }
    }
}

#[test]
fn a_file_that_is_shorter_than_it_was_is_an_error() {
    let mut image = RawImage::new(MIB);
    image.put_file(0, &file(b"short"), 0, 1000);
    for kind in DiskKind::ALL {
        let error = kind.write(&image, workers(2), &mut io::sink(), &mut Silent).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{kind:?}");
    }
}
