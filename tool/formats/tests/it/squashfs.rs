//! The squashfs, read back by `unsquashfs` and by the kernel.

mod cache;
mod large;
mod limits;
mod tree;

use std::io::{self, Write as _};
use std::num::NonZero;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use bootwright_formats::{
    Error, SQUASHFS_SEGMENT_KIND, Squashfs, SquashfsCompression, SquashfsOptions, SquashfsOptionsError, pack_squashfs,
};
use bootwright_oci::{Content, Digest, Kind, Silent};
use bootwright_rootfs::Machine;
use tempfile::TempDir;

use crate::machine::{Builder, Place, everything, names, path};
use crate::tools::text;
use crate::trees::{by_inode, equal_files, expected};
use tree::assert_same_tree;

fn with(compression: SquashfsCompression) -> SquashfsOptions {
    SquashfsOptions { compression, ..SquashfsOptions::default() }
}

fn try_pack(place: &Place, machine: &Machine, options: &SquashfsOptions) -> Result<Squashfs, Error> {
    pack_squashfs(machine, options, &place.store, &place.derived(), &Silent)
}

fn bytes(squashfs: &Squashfs) -> Vec<u8> {
    let mut bytes = Vec::new();
    squashfs.write_to(&mut bytes, &mut Silent).unwrap();
    assert_eq!(bytes.len() as u64, squashfs.size(), "the size is known before");
    assert_eq!(bytes.len() % 4096, 0);
    bytes
}

/// Packs a machine at a fresh place.
fn image(machine: &Machine, options: &SquashfsOptions) -> Vec<u8> {
    bytes(&try_pack(&Place::new(), machine, options).unwrap())
}

/// An image in a file, with a directory beside it to unpack to or to mount at.
struct OnDisk {
    directory: TempDir,
}

impl OnDisk {
    fn new(image: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("image"), image).unwrap();
        Self { directory }
    }

    fn image(&self) -> String {
        self.directory.path().join("image").to_str().unwrap().to_owned()
    }

    fn unsquashfs(&self, arguments: &[&str]) -> String {
        text("unsquashfs", &[arguments, &[&self.image()]].concat(), b"")
    }

    /// Unpacks with owners, devices and attributes, which needs root; none without.
    fn unpack(&self) -> Option<std::path::PathBuf> {
        if !rustix::process::geteuid().is_root() {
            skip("unpacking owners, devices and attributes needs root");
            return None;
        }
        let to = self.directory.path().join("unpacked");
        self.unsquashfs(&["-no-progress", "-quiet", "-strict-errors", "-d", to.to_str().unwrap()]);
        Some(to)
    }

    /// Has the kernel mount it; none where it cannot.
    fn mount(&self) -> Option<Mounted> {
        let at = self.directory.path().join("mounted");
        std::fs::create_dir(&at).unwrap();
        let at = at.to_str().unwrap().to_owned();
        let mount = ["-t", "squashfs", "-o", "loop,ro", &self.image(), &at];
        let ended = Command::new("mount").args(mount).output().unwrap();
        if !ended.status.success() {
            let why = String::from_utf8_lossy(&ended.stderr).into_owned();
            // A kernel that has squashfs and loop devices must take it, from root.
            let has = std::fs::read_to_string("/proc/filesystems").unwrap().contains("squashfs");
            let can = has && Path::new("/dev/loop-control").exists() && rustix::process::geteuid().is_root();
            assert!(!can || why.contains("loop device"), "the kernel refuses the image: {why}");
            skip(&format!("no squashfs can be mounted here: {}", why.trim()));
            return None;
        }
        Some(Mounted(at))
    }
}

fn skip(why: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {why}");
}

struct Mounted(String);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// Everything, and enough of it for several blocks, fragments and directories.
fn machine() -> Machine {
    let mut machine = everything();
    // A value that the kernel takes for one: `cap_net_raw+ep`.
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let ping = machine.tree.get_mut(&path("containers/services/web/rootfs/bin/ping")).unwrap();
    ping.node.meta.xattrs.insert(b"security.capability".to_vec(), capability.to_vec());
    ping.node.meta.xattrs.insert(b"trusted.overlay.opaque".to_vec(), b"y".to_vec());
    let mut noise = noise(7);
    let mut builder = Builder(machine)
        // The tail is a short block of its own; a whole block of zeros is a hole.
        .file(1, "init", noise(300_001))
        .file(0, "lib/modules/6.1/virtio.ko", [noise(131_072), vec![0; 131_072], noise(131_072), vec![0; 5]].concat())
        .file(3, "exactly-one-block", vec![b'x'; 131_072])
        .file(3, "one-less", vec![b'y'; 131_071])
        .file(4, "zeros", vec![0; 1000])
        .file(4, "hole", vec![0; 262_144])
        .node(4, "socket-like", Kind::BlockDevice { major: 4095, minor: 1_048_575 }, |_| {})
        .node(2, "attributes", Kind::Directory, |m| {
            m.mode = 0o3775;
            m.xattrs.insert(b"user.of".to_vec(), b"a directory".to_vec());
        })
        .node(2, "attributes/fifo", Kind::Fifo, |m| {
            m.xattrs.insert(b"trusted.of".to_vec(), Vec::new());
        })
        .node(2, "attributes/link", Kind::Symlink(b"fifo".to_vec()), |m| {
            m.xattrs.insert(b"trusted.of".to_vec(), Vec::new());
        })
        .node(2, "attributes/null", Kind::CharDevice { major: 1, minor: 3 }, |m| {
            m.xattrs.insert(b"trusted.of".to_vec(), vec![7; 2000]);
        });
    for number in 0..40 {
        builder = builder.file(5, format!("etc/many/{number}/file"), noise(10_000));
    }
    builder.0
}

/// Makes bytes of which every other is random.
fn noise(seed: u32) -> impl FnMut(usize) -> Vec<u8> {
    let mut state = seed;
    move |len| {
        let mut next = |i: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i.is_multiple_of(2) { (state >> 24) as u8 } else { (i >> 9) as u8 }
        };
        (0..len).map(&mut next).collect()
    }
}

#[test]
fn unsquashfs_and_the_kernel_read_the_tree_that_was_written() {
    let machine = machine();
    for compression in SquashfsCompression::ALL {
        for block_size in [4096, 128 << 10, 1 << 20] {
            let options = SquashfsOptions { block_size, ..with(compression) };
            let disk = OnDisk::new(&image(&machine, &options));
            if let Some(unpacked) = disk.unpack() {
                assert_same_tree(&machine, &unpacked, false);
            }
            if let Some(mounted) = disk.mount() {
                assert_same_tree(&machine, Path::new(&mounted.0), true);
            }
        }
    }
}

#[test]
fn equal_files_of_different_components_are_one_inode() {
    let (machine, want) = equal_files();
    let disk = OnDisk::new(&image(&machine, &SquashfsOptions::default()));
    let directories = machine.tree.values().filter(|placed| placed.node.kind == Kind::Directory).count();
    let told = disk.unsquashfs(&["-s"]);
    assert!(told.contains(&format!("Number of inodes {}\n", 1 + directories + want.len())), "{told}");
    let (unpacked, mounted) = (disk.unpack(), disk.mount());
    let mounted = mounted.as_ref().map(|mounted| Path::new(&mounted.0));
    for root in unpacked.as_deref().into_iter().chain(mounted) {
        let found = by_inode(&machine, |name| {
            let found = std::fs::metadata(root.join(name)).unwrap();
            (found.ino(), found.nlink())
        });
        assert_eq!(found, want);
        for (name, found) in expected(&machine).into_iter().filter(|(_, found)| found.kind == 'f') {
            let name = String::from_utf8(name).unwrap();
            assert!(std::fs::read(root.join(&name)).unwrap() == found.data, "{name}");
        }
    }
}

/// A listing with one space where there are several.
fn words(listing: &str) -> String {
    listing.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[test]
fn the_listing_is_right_without_root_too() {
    let disk = OnDisk::new(&image(&machine(), &SquashfsOptions::default()));
    let listing = words(&disk.unsquashfs(&["-lln", "-d", ""]));
    for line in [
        "drwx--x--x 0/0 214 2001-09-09 01:46",
        "-rwsr-xr-x 0/0 2 2001-09-09 01:46 /bin/su",
        "lrwxrwxrwx 0/0 12 2001-09-09 01:46 /bin/sh -> /bin/busybox",
        "crw------- 0/0 5, 1 2001-09-09 01:46 /dev/console",
        "prw-r--r-- 0/0 0 2001-09-09 01:46 /run/pipe",
        "drwxrwxrwt 0/0 3 2001-09-09 01:46 /tmp",
        "drwxrwsr-t 0/0 51 2001-09-09 01:46 /attributes",
        "-rw-r--r-- 3000000/4294967294 2 2001-09-09 01:46 /containers/services/web/rootfs/big-id",
        "-rw-r--r-- 0/0 3 1970-01-01 00:00 /containers/services/web/rootfs/old",
        "-rw-r--r-- 0/0 3 2106-02-07 06:28 /containers/services/web/rootfs/far",
    ] {
        assert!(listing.lines().any(|l| l == line), "no `{line}` in\n{listing}");
    }
    let superblock = disk.unsquashfs(&["-s"]);
    for line in [
        "Found a valid SQUASHFS 4:0 superblock",
        "Creation or last append time Tue Apr 18 16:30:00 2017",
        "Compression zstd",
        "Block size 131072",
        "Filesystem is exportable via NFS",
    ] {
        assert!(superblock.contains(line), "no `{line}` in\n{superblock}");
    }
}

#[test]
fn compressors_tell_their_options() {
    let machine = Builder::new(&[("init[0]", "i")]).file(0, "init", "x").0;
    for (compression, level, want) in [
        (SquashfsCompression::Zstd, Some(3), Some("\tcompression-level 3")),
        (SquashfsCompression::Zstd, None, None),
        (SquashfsCompression::Gzip, Some(1), Some("\tcompression-level 1")),
        (SquashfsCompression::Gzip, None, None),
        (SquashfsCompression::Xz, Some(0), None),
        (SquashfsCompression::Lz4, None, None),
    ] {
        let disk = OnDisk::new(&image(&machine, &SquashfsOptions { level, ..with(compression) }));
        let told = disk.unsquashfs(&["-s"]);
        assert!(told.contains(&format!("Compression {compression}")), "{told}");
        assert_eq!(told.lines().find(|line| line.starts_with("\tcompression-level")), want, "{told}");
    }
}

#[test]
fn a_machine_of_nothing_is_a_root_directory() {
    let machine = Builder::new(&[]).0;
    let disk = OnDisk::new(&image(&machine, &SquashfsOptions::default()));
    let listing = words(&disk.unsquashfs(&["-lln", "-d", ""]));
    assert_eq!(listing.trim_end(), "drwxr-xr-x 0/0 3 2017-04-18 16:30");
    if let Some(mounted) = disk.mount() {
        assert_eq!(std::fs::read_dir(&mounted.0).unwrap().count(), 0);
    }
}

#[test]
fn threads_and_pieces_and_a_warm_cache_change_nothing() {
    let machine = machine();
    for compression in SquashfsCompression::ALL {
        let options = |threads| SquashfsOptions { threads: NonZero::new(threads), ..with(compression) };
        let want = Digest::of(&image(&machine, &options(1)));
        for (threads, piece) in [(2, 1000), (8, 70_000)] {
            let mut place = Place::new();
            place.store.piece = piece;
            for run in ["cold", "warm"] {
                let got = Digest::of(&bytes(&try_pack(&place, &machine, &options(threads)).unwrap()));
                assert_eq!(got, want, "{compression}, {threads} threads, {run}");
            }
        }
    }
}

#[test]
fn golden_digests() {
    // A change here is a change of the format or of a library: raise the writer's version with it (`squashfs/plan.rs`).
    let machine = machine();
    let got = SquashfsCompression::ALL
        .map(|compression| format!("{compression} {}", Digest::of(&image(&machine, &with(compression)))));
    assert_eq!(
        got,
        [
            "zstd sha256:f2c0a6ed03541bf6f42998bb5924c08646b8959710fefbf876fcaca593a9a2ac",
            "gzip sha256:cd31614a6884964612fb37a902792f4a853765a03185f30d68b592ea0163a53f",
            "xz sha256:5ed64a84dc8e4795d10d88071a50cbc5186f6afafb3f6be4d95f7e5cba2741fe",
            "lz4 sha256:af73f3f1682280cff8af4c2b2ff5176f1db36f971882bd970dc54dc810c22876",
        ]
    );
}

#[test]
fn names_levels_and_block_sizes_are_checked() {
    for compression in SquashfsCompression::ALL {
        assert_eq!(compression.to_string().parse(), Ok(compression));
        for level in [compression.levels().0 - 1, compression.levels().1 + 1] {
            assert_eq!(compression.level(Some(level)), Err(SquashfsOptionsError::Level { compression, level }));
        }
    }
    let error = "lzo".parse::<SquashfsCompression>().unwrap_err().to_string();
    assert_eq!(error, "squashfs has no compression `lzo`; there are zstd, gzip, xz and lz4");
    let place = Place::new();
    let machine = Builder::new(&[]).0;
    for block_size in [0, 2048, 5000, 2 << 20] {
        let error = try_pack(&place, &machine, &SquashfsOptions { block_size, ..SquashfsOptions::default() });
        let want = format!(
            "a squashfs has no blocks of {block_size} bytes; their size is a power of two from 4096 to 1048576"
        );
        assert_eq!(error.unwrap_err().to_string(), want);
    }
}

#[test]
fn a_file_that_is_shorter_than_it_was_is_an_error_and_leaves_nothing() {
    let place = Place::new();
    let file = place.dir.path().join("host");
    std::fs::write(&file, "0123456789").unwrap();
    for size in [11, 300_000] {
        let content = Content::Host { path: file.clone(), size, digest: Digest::of(b"") };
        let machine = Builder::new(&[("files[0]", "f")]).node(0, "file", Kind::File(content), |_| {}).0;
        let error = try_pack(&place, &machine, &SquashfsOptions::default()).unwrap_err();
        assert_eq!(error.to_string(), "cannot read `file` (files[0] name)");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(cause, format!("{size} bytes were announced, fewer came"));
        assert_eq!(names(&place.dir.path().join("cache").join(SQUASHFS_SEGMENT_KIND)), [""; 0]);
    }
}
