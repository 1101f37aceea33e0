//! dm-verity's hash tree, judged by cryptsetup; and root images, which have one.

use std::fs::{self, File};
use std::io::Write as _;
use std::num::NonZero;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bootwright_bundle::{Corruption, ROOT_BLOCK, RootFilesystem, RootId, RootMark};
use bootwright_formats::verity::{hash_tree, tree_len};
use bootwright_formats::{RawImage, RootImage};
use bootwright_oci::{Digest, Silent};

use crate::memory::peak_kib;
use crate::output::{child, child_directory};
use crate::tools::text;

fn threads(number: usize) -> NonZero<usize> {
    NonZero::new(number).unwrap()
}

/// Blocks that differ, each third of zeros.
fn data(blocks: u64) -> RawImage {
    let mut image = RawImage::new(blocks * ROOT_BLOCK);
    for block in (0..blocks).filter(|block| block % 3 != 2) {
        image.put(block * ROOT_BLOCK + block % 4000, block.to_le_bytes());
    }
    image
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(image: &RawImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut bytes, &mut Silent).unwrap();
    bytes
}

/// Whether `veritysetup` accepts a file whose superblock follows so many blocks.
fn is_verified(file: &Path, blocks: u64, root_hash: &str) -> bool {
    let offset = format!("--hash-offset={}", blocks * ROOT_BLOCK);
    let mut command = Command::new("veritysetup");
    command.arg("verify").args([file, file]).args([root_hash, &offset]);
    command.output().expect("`veritysetup` is needed here (apt-get install cryptsetup-bin)").status.success()
}

#[test]
fn veritysetup_makes_the_same_bytes_and_verifies_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("image");
    for blocks in [1, 2, 127, 128, 129, 257, 16_384, 16_385] {
        let data = data(blocks);
        let tree = hash_tree(&data, threads(2), &mut Silent).unwrap();
        assert_eq!((tree.data_blocks, tree.image.size()), (blocks, tree_len(blocks)));
        let root_hash = hex(&tree.root_hash);

        let ours = bytes(&tree.image);
        fs::write(&file, [bytes(&data), ours.clone()].concat()).unwrap();
        assert!(is_verified(&file, blocks, &root_hash), "{blocks} blocks");
        let path = file.to_str().unwrap();
        let offset = format!("--hash-offset={}", blocks * ROOT_BLOCK);
        let dump = text("veritysetup", &["dump", path, &offset], b"");
        let count = format!("Data blocks:     \t{blocks}\n");
        for line in ["Hash type:       \t1\n", "Hash algorithm:  \tsha256\n", "Salt:            \t-\n", &count] {
            assert!(dump.contains(line), "no {line:?} in {dump}");
        }
        let uuid = dump.lines().find_map(|line| line.strip_prefix("UUID:")).unwrap().trim();

        fs::write(&file, bytes(&data)).unwrap();
        let uuid = format!("--uuid={uuid}");
        let said = text("veritysetup", &["format", path, path, &offset, "--salt=-", &uuid], b"");
        assert!(said.contains(&root_hash), "{blocks} blocks: {root_hash}\n{said}");
        let theirs = fs::read(&file).unwrap();
        // It writes no more than the superblock's 512 bytes where no tree follows.
        let (written, rest) = ours.split_at(theirs.len() - (blocks * ROOT_BLOCK) as usize);
        assert!(theirs.ends_with(written) && rest.iter().all(|byte| *byte == 0), "{blocks} blocks");
    }
}

#[test]
fn veritysetup_refuses_one_flipped_bit_of_data_or_tree() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("image");
    let blocks = 300;
    let data = data(blocks);
    let tree = hash_tree(&data, threads(2), &mut Silent).unwrap();
    fs::write(&path, [bytes(&data), bytes(&tree.image)].concat()).unwrap();
    let root_hash = hex(&tree.root_hash);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let tree_at = (blocks + 1) * ROOT_BLOCK;
    for at in [
        0,
        7 * ROOT_BLOCK + 4095,
        (blocks - 1) * ROOT_BLOCK,
        tree_at + 5,
        tree_at + ROOT_BLOCK,
        tree_at + 3 * ROOT_BLOCK,
    ] {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
        assert!(!is_verified(&path, blocks, &root_hash), "byte {at}");
        file.write_all_at(&byte, at).unwrap();
    }
    assert!(is_verified(&path, blocks, &root_hash));
    let other = hex(&[7; 32]);
    assert!(!is_verified(&path, blocks, &other));
}

#[test]
fn the_tree_is_the_same_whatever_the_number_of_threads() {
    let data = data(1000);
    let want = hash_tree(&data, threads(1), &mut Silent).unwrap();
    let golden = "sha256:80b91f54e926c15fcc819825ee2fd710928ac1b2c52a4654b44698a83ae26ade";
    assert_eq!(Digest::of(&bytes(&want.image)).to_string(), golden);
    for number in [2, 3, 64] {
        let tree = hash_tree(&data, threads(number), &mut Silent).unwrap();
        assert_eq!((tree.root_hash, bytes(&tree.image)), (want.root_hash, bytes(&want.image)), "{number} threads");
    }
}

#[test]
fn an_error_of_one_thread_is_the_error() {
    let file = Arc::new(tempfile::tempfile().unwrap());
    file.set_len(300 * ROOT_BLOCK).unwrap();
    let data = RawImage::of_file(&file, 0, 1000 * ROOT_BLOCK);
    for number in [1, 3] {
        let error = hash_tree(&data, threads(number), &mut Silent).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

/// A file that begins as a squashfs of so many bytes, and goes on behind it.
fn squashfs(len: u64) -> Arc<File> {
    let mut file = tempfile::tempfile().unwrap();
    let mut bytes: Vec<u8> = (0..len + 100).map(|at| (at % 251) as u8).collect();
    bytes[..4].copy_from_slice(b"hsqs");
    bytes[40..48].copy_from_slice(&len.to_le_bytes());
    file.write_all(&bytes).unwrap();
    Arc::new(file)
}

#[test]
fn a_root_image_is_found_by_its_mark_and_verified_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root.img");
    for len in [700_001, 700_416] {
        let make = |verity| {
            RootImage::new(&RawImage::of_file(&squashfs(len), 0, len), verity, threads(2), &mut Silent).unwrap()
        };
        let (plain, verity) = (make(false), make(true));
        let all = bytes(&verity.image);
        fs::write(&path, &all).unwrap();

        let (kind, filesystem) = RootFilesystem::of(&all[..4096]).unwrap();
        assert_eq!((kind, filesystem), (RootFilesystem::Squashfs, 700_416));
        let (filesystem_bytes, rest) = all.split_at(filesystem as usize);
        assert!(filesystem_bytes[len as usize..].iter().all(|byte| *byte == 0), "padded with zeros");
        let mut id = RootId([0; 16]);
        id.0.copy_from_slice(&Digest::of(filesystem_bytes).bytes()[..16]);
        let blocks = filesystem / ROOT_BLOCK + 1;
        let mark = RootMark { id, filesystem, verity: tree_len(blocks) };
        assert_eq!(RootMark::decode(rest), Some(mark));
        assert_eq!((verity.id, verity.filesystem_len), (id, filesystem));
        assert_eq!(verity.image.size(), filesystem + ROOT_BLOCK + mark.verity);
        let root_hash = hex(&verity.verity.unwrap());
        assert!(is_verified(&path, blocks, &root_hash));
        let argument = verity.device_argument("/dev/vda", Corruption::Eio).unwrap();
        assert!(argument.contains(&format!(" {blocks} {} sha256 {root_hash} -\"", blocks + 1)), "{argument}");

        let without = RootMark { verity: 0, ..mark };
        assert_eq!(bytes(&plain.image), [filesystem_bytes, &without.encode()].concat());
        assert_eq!((plain.id, plain.verity, plain.device_argument("/dev/vda", Corruption::Eio)), (id, None, None));
    }
}

const LARGE: u64 = 1 << 30;

#[test]
fn hashing_a_gigabyte_takes_little_memory() {
    let directory = tempfile::tempdir().unwrap();
    let ended = child("verity::child_hashes", ":", directory.path());
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    let peak: u64 = fs::read_to_string(directory.path().join("peak")).unwrap().parse().unwrap();
    eprintln!("a hash tree over 1 GiB: {} MiB", peak >> 10);
    assert!(peak >> 10 < 24, "{} MiB", peak >> 10);
}

#[test]
#[ignore = "run by another test"]
fn child_hashes() {
    let file = Arc::new(tempfile::tempfile().unwrap());
    file.set_len(LARGE).unwrap();
    hash_tree(&RawImage::of_file(&file, 0, LARGE), threads(2), &mut Silent).unwrap();
    fs::write(child_directory().join("peak"), peak_kib().to_string()).unwrap();
}
