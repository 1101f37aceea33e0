//! Machines that file systems shall hold, and what a reader must find of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use bootwright_oci::{Content, Digest, Kind, Metadata};
use bootwright_rootfs::Machine;
use proptest::prelude::*;

use crate::machine::{Builder, everything, path};

/// What a reader says of one path: kind, permissions, owner, time, and what the kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub kind: char,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: i64,
    /// Bytes of a file, target of a symbolic link, `major:minor` of a device.
    pub data: Vec<u8>,
}

/// What is found, by path; the root is empty.
pub type Listing = BTreeMap<Vec<u8>, Found>;

/// The names of each file that has several.
pub type Names = BTreeSet<Vec<Vec<u8>>>;

/// What must be found.
pub fn expected(machine: &Machine) -> Listing {
    let mut out = BTreeMap::new();
    for (path, placed) in &machine.tree {
        let node = match &placed.node.kind {
            Kind::HardLink(target) => &machine.tree[target].node,
            _ => &placed.node,
        };
        let (kind, data) = match &node.kind {
            Kind::Directory => ('d', Vec::new()),
            Kind::File(Content::Inline(bytes)) => ('f', bytes.to_vec()),
            Kind::File(Content::Host { path, .. }) => ('f', std::fs::read(path).unwrap()),
            Kind::Symlink(target) => ('l', target.clone()),
            Kind::CharDevice { major, minor } => ('c', format!("{major}:{minor}").into_bytes()),
            Kind::BlockDevice { major, minor } => ('b', format!("{major}:{minor}").into_bytes()),
            Kind::Fifo => ('p', Vec::new()),
            other => panic!("{other:?}"),
        };
        let Metadata { mode, uid, gid, mtime, .. } = node.meta;
        out.insert(path.as_bytes().to_vec(), Found { kind, mode, owner: (uid, gid), mtime, data });
    }
    out
}

/// The names of each file that has several.
pub fn links(machine: &Machine) -> Names {
    let mut names: BTreeMap<&[u8], Vec<Vec<u8>>> = BTreeMap::new();
    for (path, placed) in &machine.tree {
        if let Kind::HardLink(target) = &placed.node.kind {
            let target = target.as_bytes();
            names.entry(target).or_insert_with(|| vec![target.to_vec()]).push(path.as_bytes().to_vec());
        }
    }
    let sorted = |mut names: Vec<Vec<u8>>| {
        names.sort();
        names
    };
    names.into_values().map(sorted).collect()
}

/// Names of each inode; of a directory, two and one per directory in it.
pub fn link_counts(machine: &Machine) -> BTreeMap<Vec<u8>, u32> {
    let mut counts: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for (path, placed) in &machine.tree {
        let is_directory = placed.node.kind == Kind::Directory;
        counts.insert(path.as_bytes().to_vec(), if is_directory { 2 } else { 1 });
        if let Some(parent) = path.parent().filter(|_| is_directory) {
            *counts.get_mut(parent.as_bytes()).unwrap() += 1;
        }
    }
    for names in links(machine) {
        let count = names.len() as u32;
        counts.extend(names.into_iter().map(|name| (name, count)));
    }
    counts
}

/// A file of this machine: holes, and some bytes at its end.
pub fn sparse(path: &Path, size: u64) -> Content {
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(b"the end", size - 7).unwrap();
    Content::Host { path: path.to_owned(), size, digest: Digest::of(b"never looked at") }
}

/// A file that keeps zeros as holes.
pub struct Holes(pub File);

impl Write for Holes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        let bytes = &bytes[..bytes.len().min(ZEROS.len())];
        if *bytes == ZEROS[..bytes.len()] {
            self.0.seek(io::SeekFrom::Current(bytes.len() as i64))?;
            return Ok(bytes.len());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        let len = self.0.stream_position()?;
        self.0.set_len(len)
    }
}

/// Complains about the first path that is not as it must be, rather than printing two trees.
pub fn compare(found: &Listing, expected: &Listing) {
    let short = |found: &Found| Found { data: found.data[..found.data.len().min(80)].to_vec(), ..found.clone() };
    for (path, want) in expected {
        let path_text = String::from_utf8_lossy(path);
        let got = found.get(path).unwrap_or_else(|| panic!("`{path_text}` is missing"));
        assert!(got == want, "`{path_text}`: {:?}, not {:?}", short(got), short(want));
    }
    let more: Vec<_> = found.keys().filter(|path| !expected.contains_key(*path)).collect();
    assert!(more.is_empty(), "{more:?}");
}

/// One of everything, and what has to do with sizes and blocks: directories of many entries, deep ones, long names, files and
/// links around the length of a block.
pub fn hard() -> Machine {
    let mut builder = Builder(everything());
    let mut meta = |at: &str, change: &dyn Fn(&mut Metadata)| {
        change(&mut builder.0.tree.get_mut(&path(format!("containers/services/web/rootfs/{at}"))).unwrap().node.meta);
    };
    meta("far", &|meta| meta.mtime = 1 << 32);
    // The kernel shows no capabilities that are none: revision 2, effective, `cap_net_raw`.
    let capability = [&[1, 0, 0, 2, 0, 0x20][..], &[0; 14]].concat();
    meta("bin/ping", &|meta| drop(meta.xattrs.insert(b"security.capability".to_vec(), capability.clone())));
    for len in [
        1, 2047, 2048, 2049, 4031, 4032, 4033, 4064, 4065, 4095, 4096, 4097, 8191, 8192, 65_535, 65_536, 65_537, 70_001,
    ] {
        let bytes: Vec<u8> = (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        builder = builder.file(1, format!("sizes/{len}"), bytes);
    }
    for number in 0..600 {
        builder = builder.file(4, format!("many/{number}"), format!("{number}"));
    }
    let deep = (0..40).map(|level| format!("level-{level:02}/")).collect::<String>();
    builder = builder.file(4, format!("{deep}file"), "deep");
    let absolute = format!("/{}", ["x".repeat(200), "y".repeat(255), "z".repeat(30)].join("/"));
    let targets = ["a/".repeat(2047) + "b", "n".repeat(4000), absolute, "../..//a/./b/".to_owned(), "/".to_owned()];
    for (number, target) in targets.into_iter().enumerate() {
        builder = builder.node(4, format!("links/{number}"), Kind::Symlink(target.into_bytes()), |_| {});
    }
    for len in [100, 127, 128, 200, 247, 248, 253] {
        builder = builder.file(4, "n".repeat(len), format!("{len}")).link(4, "m".repeat(len), "n".repeat(len));
    }
    // Names that are one to plain ISO 9660, and names before and behind `.` and `..`.
    for name in ["Readme.txt", "README.TXT", "readme.TXT", "readme_txt", "!", "-", "...", "~", ".a", "+"] {
        builder = builder.file(4, format!("names/{name}"), name);
    }
    let acl = [&[2, 0, 0, 0][..], &[1, 0, 6, 0], &[0xff; 4], &[4, 0, 4, 0], &[0xff; 4], &[0x20, 0, 4, 0], &[0xff; 4]]
        .concat();
    for (name, xattrs) in [
        ("acl", vec![("system.posix_acl_access", acl.clone())]),
        ("long", vec![("user.long", (0..6000u32).map(|i| (i % 251) as u8).collect()), ("user.short", b"s".to_vec())]),
        ("trusted", vec![("trusted.overlay.opaque", b"y".to_vec()), ("user.empty", Vec::new())]),
    ] {
        let file = Kind::File(Content::inline(name.as_bytes()));
        let set = |meta: &mut Metadata| {
            meta.xattrs = xattrs.into_iter().map(|(name, value)| (name.as_bytes().to_vec(), value)).collect();
        };
        builder = builder.node(4, format!("xattrs/{name}"), file, set);
    }
    builder
        .node(4, "xattrs/acl-directory", Kind::Directory, |meta| {
            drop(meta.xattrs.insert(b"system.posix_acl_default".to_vec(), acl))
        })
        .node(4, "empty", Kind::Directory, |_| {})
        .node(4, "dev/tty300", Kind::CharDevice { major: 4, minor: 0xfffff }, |_| {})
        .node(4, "dev/null", Kind::CharDevice { major: 1, minor: 3 }, |_| {})
        .0
}

/// Files that are equal, and files that nearly are; and the names that are one file in an image that nobody can write to.
pub fn equal_files() -> (Machine, Names) {
    type Change = (&'static str, fn(&mut Metadata));
    const BYTES: [u8; 16 << 10] = [7; 16 << 10];
    let file = || Kind::File(Content::inline(BYTES));
    let mut builder = Builder::new(&[("init[0]", "i"), ("onboot[0]", "a"), ("services[0]", "b")]);
    for component in 0..3 {
        builder = builder
            .file(component, format!("{component}/tool"), BYTES)
            .file(component, format!("{component}/short"), &BYTES[1..])
            .file(component, format!("{component}/empty"), "");
    }
    builder = builder.file(1, "1/twin", BYTES).file(2, "2/twin", BYTES).link(2, "2/alias", "2/tool");
    let changes: [Change; 5] = [
        ("mode", |meta| meta.mode = 0o755),
        ("uid", |meta| meta.uid = 1),
        ("gid", |meta| meta.gid = 1),
        ("mtime", |meta| meta.mtime += 1),
        ("xattrs", |meta| drop(meta.xattrs.insert(b"user.a".to_vec(), Vec::new()))),
    ];
    // Each in a component of its own: as the first of its kind there, it would be one with those of all others.
    for (component, (name, change)) in (3..).zip(changes) {
        builder = builder.node(component, name, file(), change);
    }
    builder = builder.file(8, "content", [8; 16 << 10]);
    let together: [&[&str]; 2] = [&["0/tool", "1/tool", "2/alias", "2/tool"], &["1/twin", "2/twin"]];
    let alone = ["mode", "uid", "gid", "mtime", "xattrs", "content"].map(str::to_owned);
    let small = (0..3).flat_map(|component| ["short", "empty"].map(|name| format!("{component}/{name}")));
    let alone = small.chain(alone).map(|name| vec![name.into_bytes()]);
    let together = together.map(|names| names.iter().map(|name| name.as_bytes().to_vec()).collect());
    (builder.0, alone.chain(together).collect())
}

/// The names of each file, where an inode's number and link count are known by name; the count must be right.
pub fn by_inode(machine: &Machine, inode: impl Fn(&str) -> (u64, u64)) -> Names {
    let mut names: BTreeMap<(u64, u64), Vec<Vec<u8>>> = BTreeMap::new();
    for (path, _) in machine.tree.iter().filter(|(_, placed)| placed.node.kind != Kind::Directory) {
        names.entry(inode(&path.to_string())).or_default().push(path.as_bytes().to_vec());
    }
    names.iter().for_each(|((_, links), names)| assert_eq!(*links, names.len() as u64, "{names:?}"));
    names.into_values().collect()
}

/// Small machines of any shape.
pub fn any_machine() -> impl Strategy<Value = Machine> {
    let name = proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'.'), Just(b'B'), any::<u8>()], 1..40);
    let kind = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..9000).prop_map(|bytes| Kind::File(Content::inline(bytes))),
        2 => Just(Kind::Directory),
        1 => proptest::collection::vec(prop_oneof![Just(b'/'), Just(b'.'), 1..=255u8], 1..80).prop_map(Kind::Symlink),
        1 => Just(Kind::Fifo),
    ];
    let node = (
        name,
        any::<proptest::sample::Index>(),
        kind,
        0..0o10000u32,
        any::<(u16, u32)>(),
        -2_000_000_000i64..5_000_000_000,
    );
    proptest::collection::vec(node, 0..60).prop_map(|nodes| {
        let mut builder = Builder::new(&[("files[0]", "f")]);
        let mut directories: Vec<Vec<u8>> = vec![Vec::new()];
        for (name, parent, kind, mode, (uid, gid), mtime) in nodes {
            let name: Vec<u8> = name.into_iter().filter(|byte| !matches!(byte, 0 | b'/')).collect();
            let at = [parent.get(&directories), &b"/"[..], &name].concat();
            let Ok(path) = bootwright_oci::TreePath::new(&at) else { continue };
            if name.is_empty() || name == b"." || builder.0.tree.contains_key(&path) {
                continue;
            }
            if kind == Kind::Directory {
                directories.push(path.as_bytes().to_vec());
            }
            builder = builder.node(0, at, kind, |meta| {
                *meta = Metadata { mode, uid: uid.into(), gid, mtime, ..Metadata::default() };
            });
        }
        builder.0
    })
}

/// With a root of its own.
pub fn with_root(machine: Machine) -> Machine {
    Builder(machine).node(0, "", Kind::Directory, |meta| (meta.mode, meta.mtime) = (0o711, 77)).0
}
