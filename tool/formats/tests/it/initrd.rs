//! Initrds: what is in them, in which order, and what the cache saves.

use std::collections::BTreeMap;

use bootwright_bundle::{MANIFEST_PATH, Manifest};
use bootwright_formats::{Compression, Format, Member, cpio, read_initrd};
use bootwright_oci::{Content, Kind};
use bootwright_rootfs::Machine;

use crate::machine::{Builder, Place, everything, path, with};
use crate::tools::{run, text};

const FORMATS: &[Format] = &[Format::KernelInitrd];

type Entries = Vec<(usize, cpio::Entry, Vec<u8>)>;

fn entries(initrd: &[u8]) -> (Vec<Member>, Entries) {
    let mut entries = Vec::new();
    let members = read_initrd(initrd, &mut |member, entry, data| {
        let mut bytes = Vec::new();
        data.read_to_end(&mut bytes)?;
        entries.push((member, entry.clone(), bytes));
        Ok(())
    });
    (members.unwrap(), entries)
}

fn build(machine: &Machine, compression: Compression) -> Vec<u8> {
    let place = Place::new();
    place.build(machine, FORMATS, &with(compression)).unwrap();
    place.read("m-initrd.img")
}

fn manifest(entries: &Entries) -> Manifest {
    let entry = entries.iter().find(|(_, e, _)| e.name == MANIFEST_PATH.as_bytes()[1..]).unwrap();
    serde_json::from_slice(&entry.2).unwrap()
}

#[test]
fn one_segment_per_component_with_the_manifest_and_init_first() {
    let machine = everything();
    for compression in Compression::ALL {
        let (members, entries) = entries(&build(&machine, compression));
        assert!(members.iter().all(|m| m.compression == Some(compression) && m.offset % 4 == 0), "{members:?}");
        // The manifest; init[0]; kernel; onboot[0]; services[0]; files[0]. init[1] is empty.
        assert_eq!(members.len(), 6);
        let member_of = |name: &str| entries.iter().find(|(_, e, _)| e.name == name.as_bytes()).unwrap().0;
        for (member, name) in [
            (0, &MANIFEST_PATH[1..]),
            (1, "init"),
            (2, "lib/modules/6.1/virtio.ko"),
            (3, "containers/onboot/000-dhcp/config.json"),
            (4, "containers/services/web/rootfs/zero"),
            (5, "etc/motd"),
        ] {
            assert_eq!(member_of(name), member, "{name}");
        }
        let manifest = manifest(&entries);
        let names: Vec<_> = manifest.segments.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["init[0] name", "kernel name", "onboot[0] name", "services[0] name", "files[0] name"]);
        assert_eq!(manifest.version, 1);
        assert!(manifest.memory_mib > 40, "{}", manifest.memory_mib);
    }
}

#[test]
fn every_segment_begins_with_its_parents_and_every_parent_comes_first() {
    let (members, entries) = entries(&build(&everything(), Compression::Zstd));
    for member in 1..members.len() {
        let mut seen = vec![b".".to_vec()];
        for (_, entry, _) in entries.iter().filter(|(m, ..)| *m == member) {
            let parent = path(&entry.name).parent().unwrap_or_default();
            let parent = if parent.is_root() { b".".to_vec() } else { parent.as_bytes().to_vec() };
            assert!(seen.contains(&parent), "{:?} before its parent", path(&entry.name));
            assert!(entry.name == b"." || !seen.contains(&entry.name), "{:?} twice", path(&entry.name));
            seen.push(entry.name.clone());
        }
    }
    // Another component's directory, with the merged tree's metadata.
    let containers: Vec<_> =
        entries.iter().filter(|(_, e, _)| e.name == b"containers").map(|(m, e, _)| (*m, e.header)).collect();
    assert_eq!(containers.iter().map(|(m, _)| *m).collect::<Vec<_>>(), [3, 4]);
    assert!(containers.iter().all(|(_, h)| h.mode == 0o040_755 && h.mtime == 5));
    assert!(entries.iter().any(|(_, e, _)| e.name == b"." && e.header.mode == 0o040_711));
}

/// Reading what was written gives the tree that was written.
fn assert_same_tree(machine: &Machine, entries: &Entries) {
    let mut inodes: BTreeMap<(usize, u32), Vec<&cpio::Entry>> = BTreeMap::new();
    let mut data: BTreeMap<(usize, u32), &[u8]> = BTreeMap::new();
    let mut found: BTreeMap<Vec<u8>, (usize, &cpio::Entry, &[u8])> = BTreeMap::new();
    for (member, entry, bytes) in entries {
        if entry.header.nlink > 1 && entry.header.mode & cpio::kind::MASK == cpio::kind::FILE {
            inodes.entry((*member, entry.header.ino)).or_default().push(entry);
            if !bytes.is_empty() {
                assert!(data.insert((*member, entry.header.ino), bytes).is_none(), "data comes once");
            }
        }
        let name = if entry.name == b"." { Vec::new() } else { entry.name.clone() };
        found.insert(name, (*member, entry, bytes));
    }
    for names in inodes.values() {
        assert!(names.iter().all(|e| e.header.nlink as usize == names.len()), "{names:?}");
    }
    for (at, placed) in &machine.tree {
        let (member, entry, bytes) = found[at.as_bytes()];
        let (header, meta) = (entry.header, &placed.node.meta);
        let content = match &placed.node.kind {
            Kind::HardLink(target) => &machine.tree[target].node.kind,
            kind => kind,
        };
        let whole = if header.nlink > 1 { data.get(&(member, header.ino)).copied().unwrap_or_default() } else { bytes };
        let kind = match content {
            Kind::Directory => cpio::kind::DIRECTORY,
            Kind::File(Content::Inline(want)) => {
                assert!(whole == &want[..], "{at}");
                cpio::kind::FILE
            }
            Kind::Symlink(target) => {
                assert_eq!(bytes, target);
                cpio::kind::SYMLINK
            }
            Kind::CharDevice { major, minor } => {
                assert_eq!((header.rdev_major, header.rdev_minor), (*major, *minor));
                cpio::kind::CHAR
            }
            Kind::BlockDevice { major, minor } => {
                assert_eq!((header.rdev_major, header.rdev_minor), (*major, *minor));
                cpio::kind::BLOCK
            }
            Kind::Fifo => cpio::kind::FIFO,
            other => panic!("{other:?}"),
        };
        assert_eq!(header.mode, kind | meta.mode, "{at}");
        assert_eq!((header.uid, header.gid), (meta.uid, meta.gid), "{at}");
        assert_eq!(i64::from(header.mtime), meta.mtime.clamp(0, u32::MAX.into()), "{at}");
    }
}

#[test]
fn reading_gives_the_tree_that_was_written() {
    let machine = everything();
    for compression in Compression::ALL {
        let (_, entries) = entries(&build(&machine, compression));
        assert_same_tree(&machine, &entries);
    }
}

#[test]
fn random_trees_survive_writing_and_reading() {
    for seed in 1..60u64 {
        let mut state = seed;
        let mut random = move |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % n
        };
        let mut builder =
            Builder::new(&[("kernel", "k"), ("init[0]", "i"), ("services[0]", "a"), ("services[1]", "b")]);
        let mut files: Vec<(usize, String)> = Vec::new();
        for number in 0..random(60) {
            let component = random(4);
            let depth: String = (0..random(4)).map(|_| format!("d{}/", random(3))).collect();
            let at = format!("{depth}n{number}");
            builder = match random(7) {
                0 => builder.node(component, &at, Kind::Directory, |m| m.mode = 0o700),
                1 => builder.node(component, &at, Kind::Symlink(vec![b'x'; 1 + number]), |_| {}),
                2 => builder.node(component, &at, Kind::CharDevice { major: 1, minor: number as u32 }, |_| {}),
                3 if !files.is_empty() => {
                    let (component, target) = &files[random(files.len())];
                    builder.link(*component, &at, target)
                }
                _ => {
                    files.push((component, at.clone()));
                    let size = [0, 1, 3, 4, 5, 4096, 70_000][random(7)];
                    builder.node(component, &at, Kind::File(Content::inline(vec![number as u8; size])), |m| {
                        m.mtime = number as i64;
                        m.uid = number as u32;
                    })
                }
            };
        }
        let machine = builder.0;
        let (_, entries) = entries(&build(&machine, Compression::ALL[seed as usize % 3]));
        assert_same_tree(&machine, &entries);
        let listed: u64 = manifest(&entries).segments.iter().map(|s| s.count).sum();
        assert_eq!(listed, machine.tree.len() as u64, "every node is listed once");
    }
}

#[test]
fn the_manifest_lists_what_init_must_find() {
    let machine = everything();
    let (_, entries) = entries(&build(&machine, Compression::Gzip));
    let manifest = manifest(&entries);
    for (segment, listing) in manifest.segments.iter().enumerate() {
        assert_eq!(listing.count as usize, listing.files.len() + listing.others.len(), "{segment}");
    }
    let size = |at: &str| manifest.segments.iter().flat_map(|s| &s.files).find(|(p, _)| p == at).map(|(_, size)| *size);
    // All names of a file have its size, whichever of them carries the data.
    for at in ["/bin/busybox", "/bin/cat", "/bin/ls"] {
        assert_eq!(size(at), Some(3000), "{at}");
    }
    assert_eq!(size("/containers/onboot/000-dhcp/rootfs/etc/empty"), Some(0));
    let others: Vec<_> = manifest.segments.iter().flat_map(|s| &s.others).map(String::as_str).collect();
    for at in ["/dev/console", "/bin/sh", "/tmp", "/run/pipe", "/containers"] {
        assert_eq!(others.iter().filter(|o| **o == at).count(), 1, "{at}");
    }
    let named = |name: &[u8]| std::str::from_utf8(name).is_ok();
    let nodes = machine.tree.keys().filter(|p| !p.is_root() && named(p.as_bytes())).count();
    assert_eq!(manifest.segments.iter().map(|s| s.count).sum::<u64>(), nodes as u64);
    let xattrs: Vec<_> = manifest.xattrs.iter().map(|x| (x.path.as_str(), x.name.as_str(), x.value.as_str())).collect();
    let ping = "/containers/services/web/rootfs/bin/ping";
    assert_eq!(xattrs, [(ping, "security.capability", "01000002000aff"), (ping, "user.a=b%c", "78")]);
}

#[test]
fn a_foreign_init_gets_no_manifest_but_its_owner_a_warning() {
    let machine = Machine { native_init: false, ..everything() };
    let place = Place::new();
    let report = place.build(&machine, FORMATS, &with(Compression::Zstd)).unwrap();
    let (members, entries) = entries(&place.read("m-initrd.img"));
    assert_eq!(members.len(), 5);
    assert!(entries.iter().all(|(_, e, _)| e.name != MANIFEST_PATH.as_bytes()[1..]));
    assert_eq!(
        report.warnings,
        ["extended attributes are lost (an initrd has none, and this init sets none): \
          `/containers/services/web/rootfs/bin/ping` (security.capability, user.a=b%c)"]
    );
    let native = Place::new();
    assert!(native.build(&everything(), FORMATS, &with(Compression::Zstd)).unwrap().warnings.is_empty());
}

#[test]
fn only_what_changed_is_opened_and_packed_again() {
    let place = Place::new();
    let options = with(Compression::Zstd);
    let mut machine = everything();
    machine.boot.kernel = Some(Content::inline(*b"kernel"));
    let first = place.build(&machine, FORMATS, &options).unwrap();
    assert!(first.components.iter().all(|c| c.cached != Some(true)));
    let bytes = place.read("m-initrd.img");

    let again = place.build(&machine, FORMATS, &options).unwrap();
    assert!(again.components.iter().all(|c| c.cached != Some(false)), "{again:?}");
    assert_eq!(bytes, place.read("m-initrd.img"));

    // Host files tell what is opened: one that is gone must not matter.
    let gone = Content::Host { path: "/nonexistent".into(), size: 5000, digest: Content::inline([7; 5000]).digest() };
    machine.tree.get_mut(&path("lib/modules/6.1/virtio.ko")).unwrap().node.kind = Kind::File(gone);
    place.opened();
    place.build(&machine, FORMATS, &options).unwrap();
    assert_eq!(place.opened(), 0, "equal digests are equal files");

    machine.tree.get_mut(&path("etc/motd")).unwrap().node.kind = Kind::File(Content::inline(*b"hi\n"));
    let changed = place.build(&machine, FORMATS, &options).unwrap();
    let packed: Vec<_> =
        changed.components.iter().filter(|c| c.cached == Some(false)).map(|c| c.name.as_str()).collect();
    assert_eq!(packed, ["files[0] name"]);

    // The compression and its level are part of the key.
    for options in [with(Compression::Gzip), bootwright_formats::Options { level: Some(3), ..options }] {
        let machine = everything();
        let other = place.build(&machine, FORMATS, &options).unwrap();
        assert!(other.components.iter().all(|c| c.cached != Some(true)));
    }
}

#[test]
fn a_damaged_cache_is_repaired() {
    let place = Place::new();
    let machine = everything();
    place.build(&machine, FORMATS, &with(Compression::Lz4)).unwrap();
    let bytes = place.read("m-initrd.img");
    let cache = place.dir.path().join("cache").join(bootwright_formats::SEGMENT_KIND);
    let damage: [fn(&std::path::Path); 3] = [
        |file| std::fs::write(file, b"").unwrap(),
        |file| std::fs::write(file, [0; 5000]).unwrap(),
        |file| {
            let bytes = std::fs::read(file).unwrap();
            std::fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
        },
    ];
    for damage in damage {
        for file in std::fs::read_dir(&cache).unwrap() {
            damage(&file.unwrap().path());
        }
        let report = place.build(&machine, FORMATS, &with(Compression::Lz4)).unwrap();
        assert!(report.components.iter().all(|c| c.cached != Some(true)));
        assert_eq!(bytes, place.read("m-initrd.img"));
    }
}

#[test]
fn a_link_across_segments_is_a_file_of_its_own() {
    let machine = Builder::new(&[("init[0]", "i"), ("services[0]", "a")]).file(0, "a", "data").link(1, "b", "a").0;
    let (_, entries) = entries(&build(&machine, Compression::Gzip));
    assert_same_tree(&machine, &entries);
    assert!(
        entries.iter().filter(|(_, e, _)| e.name.len() == 1).all(|(_, e, data)| e.header.nlink == 1 && data == b"data")
    );
}

#[test]
fn microcode_is_first_plain_and_padded() {
    let mut ucode = Vec::new();
    let mut writer = cpio::Writer::new(&mut ucode);
    let header = cpio::Header { mode: 0o100_644, nlink: 1, file_size: 3, ..cpio::Header::default() };
    writer.entry(&header, b"kernel/x86/microcode/GenuineIntel.bin").unwrap();
    std::io::Write::write_all(&mut writer, b"abc").unwrap();
    writer.finish().unwrap();
    ucode.extend_from_slice(&[0; 3]);
    let mut machine = everything();
    machine.boot.ucode = Some(Content::inline(ucode.clone()));
    let initrd = build(&machine, Compression::Gzip);
    assert_eq!(initrd[..ucode.len()], ucode);
    let (members, entries) = entries(&initrd);
    assert_eq!((members[0].compression, members[0].entries), (None, 1));
    assert_eq!(members[1].offset % 4, 0);
    assert_same_tree(&machine, &entries);

    machine.boot.ucode = Some(Content::inline(*b"\x1f\x8bnot plain"));
    let report = Place::new().build(&machine, FORMATS, &with(Compression::Gzip)).unwrap();
    assert_eq!(report.warnings, ["the microcode is not a plain cpio archive: the kernel will not find it"]);
}

#[test]
fn gnu_cpio_and_the_compressors_read_the_segments() {
    let machine = everything();
    for (compression, program) in [(Compression::Gzip, "gzip"), (Compression::Zstd, "zstd"), (Compression::Lz4, "lz4")]
    {
        let initrd = build(&machine, compression);
        let (members, _) = entries(&initrd);
        let mut listing = String::new();
        for member in &members {
            let end = (member.offset + member.len) as usize - if compression == Compression::Lz4 { 4 } else { 0 };
            let packed = &initrd[member.offset as usize..end];
            run(program, &["-t", "-q"], packed);
            let plain = run(program, &["-dc", "-q"], packed);
            listing += &text("cpio", &["-itv", "--quiet", "--numeric-uid-gid"], &plain);
        }
        let squeezed: Vec<String> =
            listing.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        for want in [
            "-rw-r--r-- 3 0 0 0 Sep 9 2001 bin/busybox",
            "-rw-r--r-- 3 0 0 3000 Sep 9 2001 bin/ls",
            "-rwsr-xr-x 1 0 0 2 Sep 9 2001 bin/su",
            "drwxrwxrwt 2 0 0 0 Sep 9 2001 tmp",
            "lrwxrwxrwx 1 0 0 12 Sep 9 2001 bin/sh -> /bin/busybox",
            "crw------- 1 0 0 5, 1 Sep 9 2001 dev/console",
            "brw-r--r-- 1 0 0 254, 300 Sep 9 2001 dev/vda",
            "prw-r--r-- 1 0 0 0 Sep 9 2001 run/pipe",
            "-rw-r--r-- 1 0 0 3 Jan 1 1970 containers/services/web/rootfs/old",
            "-rw-r--r-- 1 3000000 4294967294 2 Sep 9 2001 containers/services/web/rootfs/big-id",
        ] {
            assert!(squeezed.iter().any(|line| line == want), "{program}: no `{want}` in\n{listing}");
        }
    }
}

#[test]
fn a_reader_is_as_strict_as_the_kernel() {
    let plain = |name: &[u8]| {
        let mut writer = cpio::Writer::new(Vec::new());
        writer.entry(&cpio::Header { mode: 0o100_644, nlink: 1, ..cpio::Header::default() }, name).unwrap();
        writer.finish().unwrap().0
    };
    let one = plain(b"abc");
    let read = |bytes: &[u8]| read_initrd(bytes, &mut |_, _, _| Ok(())).map(|m| m.len()).map_err(|e| e.to_string());
    assert_eq!(read(b""), Ok(0));
    assert_eq!(read(&[&one[..], &one].concat()), Ok(2));
    assert_eq!(read(&[&one[..], &[0; 4], &one].concat()), Ok(2));
    assert_eq!(
        read(&[&one[..], &[0; 3], &one].concat()),
        Err(format!("the initrd's plain archive at byte {} is not aligned to four bytes", one.len() + 3))
    );
    assert!(read(b"BZh9").is_err());
    let packed = build(&everything(), Compression::Zstd);
    // Cut within the frames; behind the last only its padding may be missing.
    for cut in (1..packed.len() - 4).step_by(37) {
        let (members, _) = entries(&packed);
        let whole =
            members.iter().any(|m| (m.offset + m.len) as usize <= cut && cut <= (m.offset + m.len) as usize + 4);
        assert!(whole || read(&packed[..cut]).is_err(), "{cut}");
    }
}
