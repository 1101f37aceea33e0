//! FAT filesystems, judged by dosfstools, mtools and blkid.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use bootwright_formats::RawImage;
use bootwright_formats::disk::{Blob, FatError, FatFile, FatPlan, SECTOR};
use bootwright_oci::Digest;
use proptest::prelude::*;

use crate::disk::{MIB, Saved, digest};
use crate::tools::{run, text};

/// A filesystem of files, and its plan.
pub fn fat(files: &[(&str, &[u8])], min_size: u64) -> (FatPlan, Blob) {
    let sizes: Vec<_> = files.iter().map(|(path, data)| FatFile { path, len: data.len() as u64 }).collect();
    let plan = FatPlan::new(&sizes, "BOOT", min_size).unwrap();
    let contents: Vec<_> = files.iter().map(|(_, data)| Blob::of(data)).collect();
    let image = plan.image(&contents);
    assert_eq!(image.image.size(), plan.size());
    (plan, image)
}

fn fsck(path: &str) -> String {
    let said = text("sh", &["-c", "fsck.vfat -n -v \"$0\" || echo FAILED", path], b"");
    assert!(!said.contains("FAILED"), "{said}");
    assert!(!said.contains("differences") && !said.contains("Dirty bit"), "{said}");
    said
}

/// What mtools copies out of a filesystem: every file, by path.
fn read_back(path: &str) -> BTreeMap<String, Vec<u8>> {
    fn collect(root: &Path, here: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(here).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().to_str().unwrap();
    run("env", &["LC_ALL=C.UTF-8", "mcopy", "-i", path, "-s", "-n", "-m", "::/*", to], b"");
    let mut found = BTreeMap::new();
    collect(directory.path(), directory.path(), &mut found);
    found
}

pub fn some_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("EFI/BOOT/BOOTX64.EFI", (0..700_001_u32).map(|i| (i >> 3) as u8).collect()),
        ("EFI/Linux/bootwright.efi", b"a".repeat(512)),
        ("kernel", b"k".repeat(1025)),
        ("initrd.img", b"i".repeat(100_000)),
        ("empty", Vec::new()),
        ("loader/entries/A name of more than thirteen units.conf", b"title long\n".to_vec()),
        ("loader/entries/thirteen.conf", b"title thirteen\n".to_vec()),
        ("Größe & Maß.txt", b"not ASCII".to_vec()),
    ]
}

pub fn borrowed<'a>(files: &'a [(&'static str, Vec<u8>)]) -> Vec<(&'a str, &'a [u8])> {
    files.iter().map(|(path, data)| (*path, &data[..])).collect()
}

#[test]
fn a_fat_is_clean_and_holds_what_was_put_into_it() {
    let files = some_files();
    let (plan, blob) = fat(&borrowed(&files), 0);
    let saved = Saved::new(&blob.image);
    let said = fsck(saved.path());
    // 8 files, 5 directories, the root.
    assert!(said.contains(": 14 files, ") && said.contains("/65541 clusters"), "{said}");
    let want: BTreeMap<_, _> = files.iter().map(|(path, data)| ((*path).to_owned(), data.clone())).collect();
    assert!(read_back(saved.path()) == want);

    let blkid = text("blkid", &["-p", "-o", "export", saved.path()], b"");
    for line in ["TYPE=vfat", "VERSION=FAT32", "LABEL=BOOT", "LABEL_FATBOOT=BOOT"] {
        assert!(blkid.lines().any(|l| l == line), "{blkid}");
    }
    let listing = text("mdir", &["-i", saved.path(), "::/EFI/BOOT", "::/"], b"");
    assert!(listing.contains("BOOTX64  EFI    700001 1980-01-01   0:00"), "{listing}");
    assert!(listing.contains("INITRD   IMG    100000 1980-01-01   0:00  initrd.img"), "{listing}");

    // Whoever reads by sector finds the same.
    for ((path, data), sector) in files.iter().zip(plan.sectors()) {
        let Some(sector) = sector else {
            assert_eq!(*path, "empty");
            continue;
        };
        let mut read = vec![0; data.len()];
        blob.image.read_at(sector * SECTOR, &mut read).unwrap();
        assert!(read == *data, "{path}");
    }
}

#[test]
fn both_boot_sectors_summaries_and_tables_are_equal() {
    let (_, blob) = fat(&borrowed(&some_files()), 0);
    let sectors = |at: u64, n: u64| {
        let mut bytes = vec![0; (n * SECTOR) as usize];
        blob.image.read_at(at * SECTOR, &mut bytes).unwrap();
        bytes
    };
    assert_eq!(sectors(0, 2), sectors(6, 2));
    assert_eq!(sectors(38, 513), sectors(38 + 513, 513));
    assert!(sectors(38, 1) != vec![0; 512]);
}

#[test]
fn the_order_of_files_does_not_matter_and_the_volume_id_is_of_names_and_contents() {
    let files = some_files();
    let mut reversed = files.clone();
    reversed.reverse();
    let (_, one) = fat(&borrowed(&files), 0);
    let (_, other) = fat(&borrowed(&reversed), 0);
    assert_eq!(digest(&one.image), digest(&other.image));
    assert_eq!(one.digest, other.digest);

    let id = |files: &[(&str, &[u8])], min_size| {
        let mut id = [0; 4];
        fat(files, min_size).1.image.read_at(67, &mut id).unwrap();
        id
    };
    let ids = [
        id(&[("a", b"1")], 0),
        id(&[("a", b"2")], 0),
        id(&[("b", b"1")], 0),
        id(&[("a", b"1"), ("b", b"")], 0),
        id(&[("a", b"1")], 64 * MIB),
    ];
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len(), "{ids:?}");
    assert_eq!(id(&[("a", b"1")], 0), ids[0]);
}

#[test]
fn directories_may_be_long_and_deep() {
    let deep = vec!["A deep directory"; 20].join("/") + "/file";
    let names: Vec<_> = (0..3000).map(|i| format!("many/a file with a long name, number {i}")).collect();
    let mut files: Vec<_> = names.iter().map(|name| (&name[..], name.as_bytes())).collect();
    files.push((&deep, b"deep"));
    let (_, blob) = fat(&files, 0);
    let saved = Saved::new(&blob.image);
    fsck(saved.path());
    let found = read_back(saved.path());
    assert_eq!(found.len(), files.len());
    assert!(files.iter().all(|(path, data)| found[*path] == *data));
}

#[test]
fn a_file_just_under_4_gib_fits_and_its_clusters_are_larger() {
    // fsck.vfat 4.2 multiplies clusters in 32 bits, so that the very largest file has no length for it.
    for (len, check) in [(u64::from(u32::MAX), false), (u64::from(u32::MAX) - 4096, true)] {
        let plan = FatPlan::new(&[FatFile { path: "big", len }], "BOOT", 0).unwrap();
        // 4 GiB of clusters, the root directory's, and two tables of 4 MiB.
        assert!(plan.size() < (4 << 30) + 9 * MIB, "{}", plan.size());
        let mut content = RawImage::new(len);
        content.put(len - 3, *b"end");
        let blob = plan.image(&[Blob { image: content, digest: Digest::of(b"big") }]);
        let saved = Saved::new(&blob.image);
        if check {
            let said = fsck(saved.path());
            assert!(said.contains("4096 bytes per cluster"), "{said}");
        }
        let listing = text("mdir", &["-i", saved.path(), "::/"], b"");
        assert!(listing.contains(&len.to_string()), "{listing}");
        let blocks = fs::metadata(saved.path()).unwrap().blocks();
        assert!(blocks * 512 < 16 * MIB, "{blocks} blocks of a file that is a hole");
    }
}

#[test]
fn a_fat_has_the_room_that_was_asked_for() {
    let (plan, blob) = fat(&[("a", b"1")], 300 * MIB);
    assert!((300 * MIB..301 * MIB).contains(&plan.size()));
    let saved = Saved::new(&blob.image);
    fsck(saved.path());
    // And it can be used: mtools, which believes the summary of free space, writes into it.
    let data = b"x".repeat(1 << 20);
    run("mcopy", &["-i", saved.path(), "-", "::/more"], &data);
    fsck(saved.path());
    assert!(read_back(saved.path())["more"] == data);
}

#[test]
fn what_a_fat_cannot_hold_is_refused_by_name() {
    let refused = |files: &[(&str, u64)]| {
        let files: Vec<_> = files.iter().map(|(path, len)| FatFile { path, len: *len }).collect();
        FatPlan::new(&files, "BOOT", 0).unwrap_err().to_string()
    };
    assert_eq!(
        refused(&[("kernel", 1 << 32)]),
        "a FAT filesystem cannot hold `kernel` of 4294967296 bytes, 4 GiB - 1 byte at most"
    );
    for (files, want) in [
        (["efi/boot/x", "EFI/boot/y"], "both `EFI` and `efi/boot/x`"),
        (["a/b/c", "a/B/d"], "both `a/B` and `a/b/c`"),
        (["a", "a/b"], "both `a` and `a/b`"),
        (["a", "a"], "both `a` and `a`"),
        (["a/ß", "a/SS"], "both `a/SS` and `a/ß`"),
    ] {
        let want = format!("a FAT filesystem cannot hold {want}; upper and lower case are the same there");
        assert_eq!(refused(&files.map(|path| (path, 1))), want);
    }
    let long = "n".repeat(256);
    for path in ["", "/a", "a/", "a//b", "a/../b", "a.", "a ", "a:b", "a\nb", "a?", "dir./a", &long] {
        let error = refused(&[(path, 1)]);
        assert!(error.starts_with(&format!("a FAT filesystem cannot hold `{path}`: a part of its path ")), "{error}");
    }
    let names: Vec<_> = (0..22_000).map(|i| format!("d/twenty-six units in {i:05}")).collect();
    let files: Vec<_> = names.iter().map(|path| FatFile { path, len: 0 }).collect();
    assert_eq!(
        FatPlan::new(&files, "BOOT", 0).unwrap_err(),
        FatError::Directory { path: "/d".to_owned(), entries: 66_002 }
    );
}

fn names() -> impl Strategy<Value = String> {
    // Dots and spaces are not last; upper case only beside lower case of other letters, so that few names clash.
    "[a-mN-Z0-9 ._~+,;=&äÖ漢]{0,30}[a-mN-Z0-9~]"
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_files_come_back_from_a_clean_fat(
        files in prop::collection::vec((prop::collection::vec(names(), 1..4), 0..5000_usize, any::<u8>()), 0..40)
    ) {
        let mut kept: Vec<(String, Vec<u8>)> = Vec::new();
        for (path, len, byte) in files {
            let path = path.join("/");
            let paths = kept.iter().map(|(path, _)| &path[..]).chain([&path[..]]);
            let sizes: Vec<_> = paths.map(|path| FatFile { path, len: 0 }).collect();
            match FatPlan::new(&sizes, "BOOT", 0) {
                Ok(_) => kept.push((path, vec![byte; len])),
                Err(FatError::Clash { .. }) => {}
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
        let files: Vec<_> = kept.iter().map(|(path, data)| (&path[..], &data[..])).collect();
        let saved = Saved::new(&fat(&files, 0).1.image);
        fsck(saved.path());
        if !kept.is_empty() {
            prop_assert_eq!(read_back(saved.path()), kept.into_iter().collect::<BTreeMap<_, _>>());
        }
    }
}
