//! EROFS, read by erofs-utils, and both EROFS and ISO 9660 read by the kernel.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::Command;

use bootwright_formats::erofs::{self, Erofs};
use bootwright_formats::iso::MachineIso;
use bootwright_oci::{Content, Digest, Kind, Silent};
use bootwright_rootfs::Machine;
use proptest::prelude::*;

use crate::guest::kernel;
use crate::iso;
use crate::machine::{Builder, Store, everything, path};
use crate::tools::text;
use crate::trees::{
    Found, Holes, Listing, any_machine, by_inode, compare, equal_files, expected, hard, link_counts, sparse, with_root,
};

fn image(machine: &Machine, store: &Store) -> Vec<u8> {
    assert_eq!(erofs::misfits(machine), []);
    let plan = Erofs::plan(machine).unwrap();
    let mut out = Vec::new();
    plan.write(store, &mut out, &mut Silent).unwrap();
    assert_eq!((out.len() as u64, out.len() % 4096), (plan.size(), 0));
    out
}

/// What is in a directory of this machine.
fn listing(root: &Path) -> Listing {
    let mut out = BTreeMap::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let kind = metadata.file_type();
        let device = || {
            let device = metadata.rdev();
            format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device)).into_bytes()
        };
        let (kind, data) = match () {
            () if kind.is_dir() => {
                pending.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                ('d', Vec::new())
            }
            () if kind.is_file() => ('f', fs::read(&path).unwrap()),
            () if kind.is_symlink() => ('l', fs::read_link(&path).unwrap().into_os_string().into_vec()),
            () if kind.is_char_device() => ('c', device()),
            () if kind.is_block_device() => ('b', device()),
            () => ('p', Vec::new()),
        };
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
        let owner = (metadata.uid(), metadata.gid());
        let found = Found { kind, mode: metadata.mode() & 0o7777, owner, mtime: metadata.mtime(), data };
        out.insert(name, found);
    }
    out
}

/// Checks an image with `fsck.erofs` and unpacks it.
fn unpacked(place: &Path, image: &[u8]) -> Listing {
    let file = place.join("image");
    fs::write(&file, image).unwrap();
    let out = place.join("out");
    let said = text("fsck.erofs", &["-d1", &format!("--extract={}", out.display()), file.to_str().unwrap()], b"");
    assert!(said.is_empty() || said.contains("No errors found"), "{said}");
    listing(&out)
}

/// Compares what was unpacked, but for the modes that `fsck.erofs` loses when it gives files their owners, and those of links, which
/// this machine's file systems do not have.
fn compare_unpacked(mut found: Listing, machine: &Machine) {
    let mut expected = expected(machine);
    for found in found.values_mut().chain(expected.values_mut()) {
        match found.kind {
            'd' => {}
            'l' => found.mode = 0o777,
            _ => found.mode &= !0o6000,
        }
    }
    compare(&found, &expected);
}

/// The machine, or as much of it as who runs the tests can unpack.
fn allowed(machine: Machine) -> Option<Machine> {
    if rustix::process::geteuid().is_root() {
        return Some(machine);
    }
    let _ = writeln!(io::stderr(), "SKIPPED: only root can unpack devices and give files their owners");
    None
}

#[test]
fn fsck_finds_nothing_and_unpacks_the_machine() {
    let Some(machine) = allowed(with_root(hard())) else { return };
    let place = tempfile::tempdir().unwrap();
    compare_unpacked(unpacked(place.path(), &image(&machine, &Store::default())), &machine);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fsck_unpacks_any_machine(machine in any_machine()) {
        if let Some(machine) = allowed(with_root(machine)) {
            let place = tempfile::tempdir().unwrap();
            compare_unpacked(unpacked(place.path(), &image(&machine, &Store::default())), &machine);
        }
    }
}

#[test]
fn the_superblock_tells_what_it_is() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("image");
    let bytes = image(&hard(), &Store::default());
    fs::write(&file, &bytes).unwrap();
    let told = text("dump.erofs", &["-s", file.to_str().unwrap()], b"");
    assert!(told.contains("sb_csum mtime") && told.contains(&format!("{}\n", bytes.len() / 4096)), "{told}");
    // One bit of it, and nobody takes it.
    let mut broken = bytes;
    broken[1024 + 37] ^= 1;
    fs::write(&file, &broken).unwrap();
    let ended = Command::new("fsck.erofs").arg(&file).output().unwrap();
    assert!(String::from_utf8_lossy(&ended.stderr).contains("failed to verify superblock checksum"), "{ended:?}");
}

#[test]
fn files_of_the_same_content_share_their_blocks() {
    let content = [7; 100_000];
    let of = |names: &[&str]| {
        let builder = Builder::new(&[("files[0]", "f")]);
        let machine = names.iter().fold(builder, |builder, name| builder.file(0, name, content)).0;
        Erofs::plan(&machine).unwrap().size()
    };
    assert_eq!(of(&["a", "b", "c"]), of(&["a"]));
    let place = tempfile::tempdir().unwrap();
    let machine = ["a", "b"].iter().fold(Builder::new(&[("files[0]", "f")]), |b, name| b.file(0, name, content)).0;
    let found = unpacked(place.path(), &image(&machine, &Store::default()));
    assert!(["a", "b"].iter().all(|name| found[name.as_bytes()].data == content));
}

/// What `dump.erofs` says of a path's inode: its number, how many names it has, and its size on disk.
fn told_of(file: &Path, path: &str) -> (u64, u64, u64) {
    let told = text("dump.erofs", &[&format!("--path=/{path}"), file.to_str().unwrap()], b"");
    let number = |key: &str| -> u64 {
        let (_, rest) = told.split_once(key).unwrap_or_else(|| panic!("no `{key}` in {told}"));
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    (number("NID:"), number("Links:"), number("Inode size:"))
}

#[test]
fn equal_files_of_different_components_are_one_inode() {
    let (machine, want) = equal_files();
    let place = tempfile::tempdir().unwrap();
    let bytes = image(&machine, &Store::default());
    let file = place.path().join("image");
    fs::write(&file, &bytes).unwrap();
    let found = by_inode(&machine, |name| {
        let (number, links, _) = told_of(&file, name);
        (number, links)
    });
    assert_eq!(found, want);
    if let Some(machine) = allowed(with_root(machine)) {
        compare_unpacked(unpacked(place.path(), &image(&machine, &Store::default())), &machine);
    }
}

/// A compact inode counts 65535 of them.
#[test]
fn a_file_may_have_more_names_than_a_compact_inode_counts() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("image");
    let bytes = [7; 16 << 10];
    let mut builder = Builder::new(&[("onboot[0]", "a"), ("services[0]", "b")]);
    for (component, links) in [(0, 40_000), (1, 25_533)] {
        // With the time of the directories, which are more.
        let file = Kind::File(Content::inline(bytes));
        builder = builder.node(component, format!("{component}/file"), file, |meta| meta.mtime = 5);
        for number in 0..links {
            builder = builder.link(component, format!("{component}/{number}"), format!("{component}/file"));
        }
    }
    let found = |machine: &Machine| {
        fs::write(&file, image(machine, &Store::default())).unwrap();
        let [first, other] = ["0/0", "1/file"].map(|name| told_of(&file, name));
        assert_eq!(first, other);
        (first.1, first.2)
    };
    assert_eq!(found(&builder.0), (65_535, 32));
    assert_eq!(found(&builder.link(1, "1/one-more", "1/file").0), (65_536, 64));
}

#[test]
fn contents_in_pieces_change_nothing_and_any_change_changes_the_uuid() {
    let machine = hard();
    let whole = image(&machine, &Store::default());
    assert!(whole == image(&machine, &Store { piece: 1000, ..Store::default() }));
    let uuid = |bytes: &[u8]| bytes[1024 + 48..][..16].to_vec();
    let changed = Builder(machine.clone()).file(5, "etc/motd", "hullo\n").0;
    assert_ne!(uuid(&whole), uuid(&image(&changed, &Store::default())));
    let changed = Builder(machine).node(5, "etc", Kind::Directory, |meta| meta.mtime += 1).0;
    assert_ne!(uuid(&whole), uuid(&image(&changed, &Store::default())));
}

/// If this fails although nothing was meant to change, everybody's images change with this version.
#[test]
fn golden() {
    let digests = [hard(), everything()].map(|machine| Digest::of(&image(&machine, &Store::default())).to_string());
    assert_eq!(
        digests,
        [
            "sha256:aaffed98e41305b2056cf08bd97569bd2d13ec2e108906d6ad26df94de5a06a9",
            "sha256:0239f5004195123347d5e0ec86acb161c02489b3a94aba9b915c103e3e4448c4"
        ]
    );
}

#[test]
fn what_is_too_much_is_refused_by_name() {
    let host = |size| Kind::File(Content::Host { path: "/nonexistent".into(), size, digest: Digest::of(b"") });
    let one = |at: &str, kind: Kind| Builder::new(&[("files[0]", "f")]).node(0, at, kind, |_| {}).0;
    let told = |machine: &Machine| erofs::misfits(machine).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(told(&one("f", host(1 << 40))), [] as [&str; 0]);
    assert!(told(&one("f", host(1 << 44)))[0].starts_with("`f` (files[0] name): 17592186044416 bytes together with"));
    assert!(told(&one(&"n".repeat(256), Kind::Fifo))[0].ends_with("a name of 256 bytes, 255 at most"));
    let mut machine = hard();
    assert_eq!(erofs::lost_xattrs(&machine), [] as [&str; 0]);
    let node = &mut machine.tree.get_mut(&path("etc/motd")).unwrap().node;
    node.meta.xattrs.insert(b"com.apple.quarantine".to_vec(), Vec::new());
    node.meta.xattrs.insert(b"user.a".to_vec(), Vec::new());
    assert_eq!(erofs::lost_xattrs(&machine), ["`/etc/motd` (com.apple.quarantine)"]);
    machine.tree.get_mut(&path("etc/motd")).unwrap().node.meta.xattrs.insert(b"user.b".to_vec(), vec![0; 65_536]);
    assert_eq!(
        told(&machine),
        ["`etc/motd` (files[0] name): 65536 bytes in the extended attribute `user.b`, 65535 at most"]
    );
}

/// What a guest says of a mounted file system: see [`SCRIPT`].
#[derive(Default)]
struct Told {
    found: Listing,
    links: BTreeMap<Vec<u8>, u32>,
    sizes: BTreeMap<Vec<u8>, u64>,
}

fn told_by_guest(text: &[u8]) -> Told {
    let mut told = Told::default();
    let name = |name: &[u8]| name.strip_prefix(b"./").unwrap_or(b"").to_vec();
    for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let fields: Vec<&[u8]> = line.splitn(10, |byte| *byte == b'|').collect();
        let number = |at: usize, radix| i64::from_str_radix(str::from_utf8(fields[at]).unwrap(), radix).unwrap();
        if fields[0] != b"" {
            // The digest of a file, or the target of a link.
            let one = told.found.get_mut(&name(fields[1])).unwrap();
            one.data = fields[2].to_vec();
            continue;
        }
        let mode = number(1, 16) as u32;
        let kind = match mode & 0o170_000 {
            0o040_000 => 'd',
            0o100_000 => 'f',
            0o120_000 => 'l',
            0o020_000 => 'c',
            0o060_000 => 'b',
            _ => 'p',
        };
        let data = match kind {
            'c' | 'b' => format!("{}:{}", number(5, 16), number(6, 16)).into_bytes(),
            _ => Vec::new(),
        };
        let owner = (number(2, 10) as u32, number(3, 10) as u32);
        let one = Found { kind, mode: mode & 0o7777, owner, mtime: number(7, 10), data };
        told.links.insert(name(fields[9]), number(4, 10) as u32);
        told.sizes.insert(name(fields[9]), number(8, 10) as u64);
        told.found.insert(name(fields[9]), one);
    }
    told
}

/// Writes each mounted file system's files, between lines that only they are: first what `stat` says, then digests and targets.
const SCRIPT: &str = r#"
mkdir -p /mnt/iso /mnt/erofs /mnt/big-iso /mnt/big-erofs
mount -t iso9660 -o ro /dev/vda /mnt/iso && mount -t erofs -o ro /dev/vdb /mnt/erofs
mount -t iso9660 -o ro /dev/vdc /mnt/big-iso && mount -t erofs -o ro /dev/vdd /mnt/big-erofs
for kind in iso erofs; do
  cd /mnt/$kind
  find . -exec stat -c '|%f|%u|%g|%h|%t|%T|%Y|%s|%n' {} +
  find . -type f -exec sha256sum {} + | sed 's/\([0-9a-f]*\)  \(.*\)/f|\2|\1/'
  find . -type l | while read -r link; do echo "l|$link|$(readlink -n "$link"; echo .)"; done
  echo =====
done >/listing
cd /mnt/erofs && getfattr -R -h -d -m - -e hex . >>/listing
echo ===== >>/listing
for big in /mnt/big-iso/big /mnt/big-erofs/big; do
  stat -c %s $big; dd if=$big bs=4096 skip=1048576 | sha256sum; dd if=$big bs=4096 skip=1048570 count=8 | sha256sum
done >>/listing
dd if=/listing of=/dev/out bs=4096 conv=notrunc
"#;

#[test]
fn the_kernel_mounts_both_and_reads_back_the_machine() {
    /// Over what one section of an ISO's file and what 32 bits can tell.
    const BIG: u64 = (4 << 30) + 12_345;
    let machine = with_root(hard());
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    let big = Builder::new(&[("files[0]", "f")]).node(0, "big", Kind::File(sparse(&at("sparse"), BIG)), |_| {}).0;
    let store = Store::default();
    fs::write(at("iso"), iso::image(&machine, &store)).unwrap();
    fs::write(at("erofs"), image(&machine, &store)).unwrap();
    let mut out = Holes(File::create(at("big-iso")).unwrap());
    MachineIso::plan(&big, "big").unwrap().write(&store, &mut out, &mut Silent).unwrap();
    out.flush().unwrap();
    let mut out = Holes(File::create(at("big-erofs")).unwrap());
    Erofs::plan(&big).unwrap().write(&store, &mut out, &mut Silent).unwrap();
    out.flush().unwrap();

    let disks = [at("iso"), at("erofs"), at("big-iso"), at("big-erofs")];
    let disks: Vec<&Path> = disks.iter().map(AsRef::as_ref).collect();
    let told = kernel().run(&disks, &["isofs", "erofs"], &["/usr/bin/getfattr"], SCRIPT);
    let end = told.iter().rposition(|byte| *byte != 0).unwrap();
    let told = String::from_utf8_lossy(&told[..=end]).into_owned();
    let [iso, erofs, xattrs, bigs] = told.split("=====\n").collect::<Vec<_>>()[..] else { panic!("{told}") };

    // As the guest tells them: names that are not UTF-8 with a sign for what is not, digests for bytes, a dot behind targets.
    let lossy = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into_bytes();
    let mut want = BTreeMap::new();
    for (name, mut found) in expected(&machine) {
        found.data = match found.kind {
            'f' => Digest::of(&found.data).to_string().trim_start_matches("sha256:").as_bytes().to_vec(),
            'l' => [&found.data[..], b"."].concat(),
            _ => found.data,
        };
        want.insert(lossy(&name), found);
    }
    for told in [erofs, iso] {
        let told = told_by_guest(told.as_bytes());
        compare(&told.found, &want);
        for (name, found) in expected(&machine).into_iter().filter(|(_, found)| matches!(found.kind, 'f' | 'l')) {
            assert_eq!(told.sizes[&lossy(&name)], found.data.len() as u64, "{}", String::from_utf8_lossy(&name));
        }
        // This kernel's isofs has 32 bits for the seconds that it makes of a date.
        want.values_mut().for_each(|found| found.mtime = found.mtime as i32 as i64);
        for (name, count) in link_counts(&machine) {
            assert_eq!(told.links[&lossy(&name)], count, "{}", String::from_utf8_lossy(&name));
        }
    }
    let mut found = Vec::new();
    let mut file = "";
    for line in xattrs.lines() {
        match line.split_once(['=', ':']) {
            Some(("# file", name)) => file = name.trim(),
            // It writes an equals sign of a name as a number.
            Some((name, value)) => {
                found.push(format!("/{file} {} {}", name.replace("\\075", "="), value.trim_start_matches("0x")));
            }
            None if line.is_empty() => {}
            None => found.push(format!("/{file} {line} ")),
        }
    }
    found.sort();
    let mut xattrs: Vec<_> = machine.xattrs().iter().map(|x| format!("{} {} {}", x.path, x.name, x.value)).collect();
    xattrs.sort();
    assert_eq!(found, xattrs);
    let digest = |bytes: &[u8]| Digest::of(bytes).to_string().trim_start_matches("sha256:").to_owned() + "  -\n";
    let tail = [&[0; 12_345 - 7][..], b"the end"].concat();
    let middle = vec![0; 8 * 4096];
    assert_eq!(bigs, format!("{BIG}\n{}{}", digest(&tail), digest(&middle)).repeat(2));
}
