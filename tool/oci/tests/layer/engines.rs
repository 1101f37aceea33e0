//! Archives as the world's tools write them: GNU tar in its four formats, Python's tarfile, and the `tar` crate.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use bootwright_oci::{Content, Digest, Kind, Tree};

use crate::archive::{Cache, content, node, run};

/// A directory of everything that a user without privileges can make.
fn sample(root: &Path, long: bool) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::write(root.join("dir/file"), b"content").unwrap();
    fs::write(root.join("empty"), b"").unwrap();
    fs::write(root.join("dir/sub/block"), [7; 512]).unwrap();
    fs::set_permissions(root.join("dir/file"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("dir/sub"), fs::Permissions::from_mode(0o1777)).unwrap();
    symlink("../empty", root.join("dir/link")).unwrap();
    fs::hard_link(root.join("dir/file"), root.join("dir/sub/again")).unwrap();
    run(Command::new("mkfifo").arg(root.join("pipe")));
    if long {
        let deep = root.join(["directory-with-a-long-name"; 8].join("/"));
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f".repeat(200)), b"long").unwrap();
        symlink("t/".repeat(150), deep.join("link")).unwrap();
        fs::hard_link(deep.join("f".repeat(200)), deep.join("again")).unwrap();
        fs::write(root.join("naïve \u{1f980}"), b"utf-8").unwrap();
    }
    let file = File::options().write(true).open(root.join("empty")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_millis(86_400_500)).unwrap();
}

/// Every file of the directory is in the tree as it is, and nothing else is.
fn assert_same(cache: &Cache, tree: &Tree, root: &Path, case: &str) {
    let mut count = 0;
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        count += 1;
        let name = path.strip_prefix(root).unwrap().display().to_string();
        let (found, meta) = (node(tree, &name), fs::symlink_metadata(&path).unwrap());
        let ids = (found.meta.mode, found.meta.uid, found.meta.gid);
        assert_eq!(ids, (meta.mode() & 0o7777, meta.uid(), meta.gid()), "{case}: {name}");
        assert_eq!(found.meta.mtime, meta.mtime(), "{case}: {name}");
        if meta.is_dir() {
            assert_eq!(found.kind, Kind::Directory, "{case}: {name}");
            todo.extend(fs::read_dir(&path).unwrap().map(|child| child.unwrap().path()));
        } else if meta.is_symlink() {
            let target = fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes();
            assert_eq!(found.kind, Kind::Symlink(target), "{case}: {name}");
        } else if meta.is_file() {
            assert_eq!(content(tree, &name).digest(), Digest::of(&fs::read(&path).unwrap()), "{case}: {name}");
            cache.read(tree, &name);
        } else {
            assert_eq!(found.kind, Kind::Fifo, "{case}: {name}");
        }
    }
    assert_eq!(tree.len(), count, "{case}");
}

/// Archives the directory `root` of the cache's directory with GNU tar.
fn gnu_tar(cache: &Cache, options: &[&str]) -> Tree {
    let archive = cache.directory.path().join("archive");
    let mut command = Command::new("tar");
    command.arg("-C").arg(cache.directory.path().join("root")).arg("-cf").arg(&archive).args(options).arg(".");
    run(&mut command);
    cache.tree(&[fs::read(archive).unwrap()]).unwrap()
}

#[test]
fn gnu_tar_s_formats_and_compressions_are_read() {
    let cases: [(&[&str], bool); 9] = [
        (&["--format=v7", "--exclude=./pipe"], false),
        (&["--format=oldgnu"], true),
        (&["--format=gnu"], true),
        (&["--format=ustar"], false),
        (&["--format=pax"], true),
        (&["--format=pax", "--pax-option=exthdr.name=x,delete=atime,delete=ctime"], true),
        (&["--format=gnu", "--gzip"], true),
        (&["--format=pax", "--zstd"], true),
        (&["--format=gnu", "--blocking-factor=1"], true),
    ];
    for (options, long) in cases {
        let cache = Cache::new();
        let root = cache.directory.path().join("root");
        sample(&root, long);
        if options.contains(&"--exclude=./pipe") {
            fs::remove_file(root.join("pipe")).unwrap();
        }
        assert_same(&cache, &gnu_tar(&cache, options), &root, &options.join(" "));
    }
}

#[test]
fn gnu_tar_s_sparse_files_are_read() {
    let cases: [&[&str]; 5] = [
        &["--format=gnu"],
        &["--format=oldgnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ];
    for options in cases {
        let cache = Cache::new();
        let root = cache.directory.path().join("root");
        fs::create_dir(&root).unwrap();
        // More runs than fit into a header, and into two further blocks of an old map.
        let holes = File::create(root.join("holes")).unwrap();
        for n in 0..60 {
            holes.write_all_at(format!("run {n}").as_bytes(), n * 100_000 + 4096).unwrap();
        }
        holes.set_len(7_000_001).unwrap();
        let tail = File::create(root.join("data-at-the-end")).unwrap();
        tail.write_all_at(b"end", 1 << 20).unwrap();
        File::create(root.join("one-hole")).unwrap().set_len(1 << 20).unwrap();
        fs::write(root.join("dense"), [1; 5000]).unwrap();
        File::create(root.join("f".repeat(120))).unwrap().set_len(300_000).unwrap();
        let tree = gnu_tar(&cache, &[&["--sparse"], options].concat());
        assert_same(&cache, &tree, &root, &options.join(" "));
        let Content::Layer { extents, .. } = content(&tree, "holes") else { panic!("not in the layer") };
        assert!(extents.len() >= 60, "{options:?}: the holes were lost: {extents:?}");
    }
}

#[test]
fn gnu_tar_s_extended_attributes_and_file_capabilities_are_read() {
    let cache = Cache::new();
    let root = cache.directory.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(root.join("ping"), b"binary").unwrap();
    run(Command::new("setfattr").args(["-n", "user.note", "-v", "0s//4A"]).arg(root.join("ping")));
    run(Command::new("setfattr").args(["-n", "user.dir", "-v", "x=y\n"]).arg(&root));
    let tree = gnu_tar(&cache, &["--format=pax", "--xattrs", "--xattrs-include=*"]);
    assert_eq!(node(&tree, "ping").meta.xattrs[&b"user.note"[..]], [0xff, 0xfe, 0]);
    assert_eq!(node(&tree, "").meta.xattrs[&b"user.dir"[..]], b"x=y\n");

    // Only root may give a file capabilities; what tar makes of them is the same kind of record.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    run(Command::new("setcap").arg("cap_net_raw+ep").arg(root.join("ping")));
    let tree = gnu_tar(&cache, &["--format=pax", "--xattrs", "--xattrs-include=*"]);
    // VFS_CAP_REVISION_2 with the effective flag, permitted: bit 13.
    let want = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(node(&tree, "ping").meta.xattrs[&b"security.capability"[..]], want);
}

#[test]
fn python_s_archives_are_read() {
    const SCRIPT: &str = r#"
import io, sys, tarfile
for format, name in [(tarfile.PAX_FORMAT, "pax"), (tarfile.GNU_FORMAT, "gnu")]:
    with tarfile.open(name + ".tar", "w", format=format) as tar:
        def add(name, data=b"", **fields):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
        add("n" * 120 + "/" + "m" * 130, b"long", mode=0o2755, mtime=-5, uid=3000000, gid=2 ** 31)
        add("caf\u00e9", b"accent", mtime=1.75)
        add("dev/sda", type=tarfile.BLKTYPE, devmajor=8, devminor=0)
        add("dev/tty", type=tarfile.CHRTYPE, devmajor=5, devminor=0, mode=0o620)
        add("link", type=tarfile.SYMTYPE, linkname="x" * 140)
        if format == tarfile.PAX_FORMAT:
            add("ping", b"x", pax_headers={"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"})
"#;
    let cache = Cache::new();
    run(Command::new("python3").current_dir(cache.directory.path()).args(["-c", SCRIPT]));
    for name in ["pax", "gnu"] {
        let blob = fs::read(cache.directory.path().join(format!("{name}.tar"))).unwrap();
        let tree = cache.tree(&[blob]).unwrap();
        let long = format!("{}/{}", "n".repeat(120), "m".repeat(130));
        let meta = &node(&tree, &long).meta;
        assert_eq!((meta.mode, meta.mtime, meta.uid, meta.gid), (0o2755, -5, 3_000_000, 1 << 31), "{name}");
        assert_eq!(cache.read(&tree, &long), b"long", "{name}");
        assert_eq!(cache.read(&tree, "café"), b"accent", "{name}");
        assert_eq!(node(&tree, "café").meta.mtime, 1, "{name}");
        assert_eq!(node(&tree, "dev/sda").kind, Kind::BlockDevice { major: 8, minor: 0 }, "{name}");
        assert_eq!(node(&tree, "dev/tty").kind, Kind::CharDevice { major: 5, minor: 0 }, "{name}");
        assert_eq!(node(&tree, "dev/tty").meta.mode, 0o620, "{name}");
        assert_eq!(node(&tree, "link").kind, Kind::Symlink(b"x".repeat(140)), "{name}");
        if name == "pax" {
            assert_eq!(node(&tree, "ping").meta.xattrs[&b"security.capability"[..]], b"\x01\0\0\x02");
        }
    }
}

#[test]
fn the_tar_crate_s_archives_are_read() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o600);
    header.set_uid(0xffff_fff0);
    header.set_mtime(1_700_000_000);
    builder.append_pax_extensions([("SCHILY.xattr.user.a", &b"\0\x01"[..])]).unwrap();
    builder.append_data(&mut header, "d/".repeat(100) + "file", &b"data"[..]).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "link", "t".repeat(200)).unwrap();
    let cache = Cache::new();
    let tree = cache.tree(&[builder.into_inner().unwrap()]).unwrap();
    let path = "d/".repeat(100) + "file";
    let meta = &node(&tree, &path).meta;
    assert_eq!((meta.mode, meta.uid, meta.mtime), (0o600, 0xffff_fff0, 1_700_000_000));
    assert_eq!(meta.xattrs[&b"user.a"[..]], [0, 1]);
    assert_eq!(cache.read(&tree, &path), b"data");
    assert_eq!(node(&tree, "link").kind, Kind::Symlink(b"t".repeat(200)));
}
