//! What a squashfs cannot hold is refused or told, by name, before anything is read.

use bootwright_formats::SquashfsOptions;
use bootwright_oci::{Content, Digest, Kind};

use super::{OnDisk, bytes, image, try_pack};
use crate::machine::{Builder, Place};

#[test]
fn names_up_to_256_bytes_of_anything_but_slashes() {
    let mut builder = Builder::new(&[("init[0]", "i")]);
    // Linux opens names of up to 255 bytes, and lists the longest.
    let name = |len: usize| -> Vec<u8> {
        (0..len).map(|i| (i as u8).max(1)).filter(|b| *b != b'/').chain([b'~'; 9]).take(len).collect()
    };
    for len in [1, 254, 255, 256] {
        builder = builder.file(0, [b"names/", &name(len)[..]].concat(), "x");
    }
    let machine = builder.0;
    let disk = OnDisk::new(&image(&machine, &SquashfsOptions::default()));
    if let Some(mounted) = disk.mount() {
        use std::os::unix::ffi::OsStrExt;
        let directory = std::path::Path::new(&mounted.0).join("names");
        let mut lens: Vec<usize> =
            std::fs::read_dir(&directory).unwrap().map(|e| e.unwrap().file_name().as_bytes().len()).collect();
        lens.sort_unstable();
        assert_eq!(lens, [1, 254, 255, 256]);
        for len in [1, 254, 255] {
            let file = directory.join(std::ffi::OsStr::from_bytes(&name(len)));
            assert_eq!(std::fs::read(file).unwrap(), b"x");
        }
    }
}

#[test]
fn what_cannot_be_held_is_refused_with_its_name() {
    let huge = Content::Host { path: "/nowhere".into(), size: 1 << 62, digest: Digest::of(b"") };
    let machine = Builder::new(&[("init[0]", "i")])
        .file(0, "n".repeat(257), "")
        .node(0, "attribute", Kind::Fifo, |m| {
            m.xattrs.insert(b"user.x".to_vec(), vec![0; 65_537]);
        })
        .node(0, "attribute-name", Kind::Fifo, |m| {
            m.xattrs.insert(format!("user.{}", "x".repeat(251)).into_bytes(), Vec::new());
        })
        .node(0, "device", Kind::CharDevice { major: 4096, minor: 0 }, |_| {})
        .node(0, "empty-link", Kind::Symlink(Vec::new()), |_| {})
        .node(0, "huge", Kind::File(huge), |_| {})
        .node(0, "long-link", Kind::Symlink(vec![b'x'; 4096]), |_| {})
        .0;
    let place = Place::new();
    let error = try_pack(&place, &machine, &SquashfsOptions::default()).unwrap_err().to_string();
    for what in [
        "`attribute` (init[0] name): extended attribute `user.x` of 65537 bytes, 65536 at most",
        "`attribute-name` (init[0] name): an extended attribute's name of 256 bytes, 255 at most",
        "`device` (init[0] name): device 4096:0, 4095:1048575 at most",
        "`empty-link` (init[0] name): a symbolic link to nothing",
        "`huge` (init[0] name): from here on more names and blocks than an image has at most (2 GiB of tables)",
        "`long-link` (init[0] name): a symbolic link's target of 4096 bytes, 4095 at most",
        "(init[0] name): a name of 257 bytes, 256 at most",
    ] {
        assert!(error.contains(what), "no {what} in {error}");
    }
    assert_eq!(place.opened(), 0);
}

#[test]
fn owners_and_groups_up_to_65535_different_ones() {
    let mut builder = Builder::new(&[("init[0]", "i")]);
    for id in 1..=65_534 {
        builder = builder.node(0, format!("many/{id}"), Kind::Fifo, |m| (m.uid, m.gid) = (id, 0));
    }
    // 65534 owners and root.
    let machine = builder.0.clone();
    let listing = OnDisk::new(&image(&machine, &SquashfsOptions::default())).unsquashfs(&["-lln", "-d", ""]);
    assert!(listing.lines().any(|l| l.starts_with("prw-r--r-- 65534/0") && l.ends_with("/many/65534")), "{listing}");
    let machine = builder.node(0, "one-more", Kind::Fifo, |m| m.gid = 70_000).0;
    let error = try_pack(&Place::new(), &machine, &SquashfsOptions::default()).unwrap_err().to_string();
    assert!(
        error.contains("`one-more` (init[0] name): one more owner or group than the 65535 different ones"),
        "{error}"
    );
}

#[test]
fn attributes_without_a_place_are_told() {
    let machine = Builder::new(&[("init[0]", "i")])
        .node(0, "acl", Kind::Fifo, |m| {
            m.xattrs.insert(b"system.posix_acl_access".to_vec(), vec![2, 0, 0, 0]);
            m.xattrs.insert(b"user.".to_vec(), vec![1]);
        })
        .0;
    let squashfs = try_pack(&Place::new(), &machine, &SquashfsOptions::default()).unwrap();
    let want = "extended attributes are lost (a squashfs holds `user.`, `trusted.` and `security.`): \
                `/acl` (system.posix_acl_access, user.)";
    assert_eq!(squashfs.warnings, [want]);
    assert!(OnDisk::new(&bytes(&squashfs)).unsquashfs(&["-s"]).contains("Xattrs are not stored"));
}
