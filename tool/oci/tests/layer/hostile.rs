//! Archives that must be refused, each by name, with nothing left behind.

use std::io::Write;

use bootwright_oci::layer::{self, Limits};

use crate::archive::{Cache, chain, ended, entry, header, link, octal, padded, pax, seal};

/// Limits that small archives can reach.
fn small() -> Limits {
    Limits {
        unpacked: 1 << 20,
        content: 4 << 20,
        entries: 20,
        devices: 3,
        path: 64,
        name: 32,
        depth: 8,
        link_target: 64,
        xattrs: 4,
        xattr_value: 64,
        extended: 4096,
        extents: 8,
        metadata: 512,
        ratio: 20,
        ratio_floor: 256 << 10,
        absolute_names: false,
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn sparse_1_0(name: &[u8], size: &str, map: &[u8], data: &[u8]) -> Vec<u8> {
    let records: [(&str, &[u8]); 4] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", name),
        ("GNU.sparse.realsize", size.as_bytes()),
    ];
    pax(&records, &entry(b"GNUSparseFile.1/x", b'0', &[padded(map), data.to_vec()].concat()))
}

fn old_sparse(name: &[u8], runs: &[(u64, u64)], more: bool, size: u64, stored: u64) -> Vec<u8> {
    let mut block = header(name, b'S', &octal(stored));
    block[257..265].copy_from_slice(b"ustar  \0");
    for (n, (offset, len)) in runs.iter().enumerate() {
        block[386 + 24 * n..][..12].copy_from_slice(&octal(*offset));
        block[398 + 24 * n..][..12].copy_from_slice(&octal(*len));
    }
    block[482] = more.into();
    block[483..495].copy_from_slice(&octal(size));
    seal(block).to_vec()
}

#[test]
fn hostile_archives_are_refused_by_name_and_leave_nothing() {
    let data = |len: usize| vec![b'x'; len];
    let many = |n: usize, one: &dyn Fn(usize) -> Vec<u8>| (0..n).flat_map(one).collect::<Vec<u8>>();
    let long = "n".repeat(60);
    let file = entry(b"file", b'0', b"data");
    let broken = {
        let mut bytes = file.clone();
        bytes[0] = b'g';
        bytes
    };
    let field = |at: usize, text: &[u8]| {
        let mut block = header(b"fields", b'3', &octal(0));
        block[at..at + text.len()].copy_from_slice(text);
        seal(block).to_vec()
    };
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("absolute name", entry(b"/etc/shadow", b'0', b""), "`/etc/shadow` is an absolute name"),
        ("climbing name", entry(b"a/../../evil", b'0', b""), "`a/../../evil` climbs out"),
        ("climbing in the middle", entry(b"a/../evil", b'0', b""), "`a/../evil` climbs out"),
        ("only dots", entry(b"..", b'5', b""), "`..` climbs out"),
        ("absolute PAX name", pax(&[("path", b"/evil")], &file), "`/evil` is an absolute name"),
        ("climbing PAX name", pax(&[("path", b"x/../../evil")], &file), "`x/../../evil` climbs out"),
        ("PAX name with a NUL", pax(&[("path", b"ev\0il")], &file), "holds a NUL byte"),
        ("climbing GNU name", [entry(b"@", b'L', b"../evil\0"), file.clone()].concat(), "`../evil` climbs out"),
        ("climbing sparse name", sparse_1_0(b"../evil", "0", b"0\n", b""), "`../evil` climbs out"),
        (
            "climbing prefix",
            {
                let mut block = header(b"evil", b'0', &octal(0));
                block[345..347].copy_from_slice(b"..");
                seal(block).to_vec()
            },
            "`../evil` climbs out",
        ),
        ("file in the root's place", entry(b"./", b'0', b""), "`./` names the root"),
        ("no name", entry(b"", b'0', b""), "names the root"),
        (
            "absolute hard link",
            link(b"a", b'1', b"/etc/shadow"),
            "`a` is a hard link to the absolute name `/etc/shadow`",
        ),
        ("climbing hard link", link(b"a", b'1', b"../../etc/shadow"), "`a` is a hard link to `../../etc/shadow`"),
        ("empty symbolic link", link(b"a", b'2', b""), "target of the symbolic link `a`"),
        ("symbolic link with a NUL", pax(&[("linkpath", b"a\0b")], &link(b"a", b'2', b"x")), "symbolic link `a`"),
        ("unknown type", entry(b"dump", b'D', b""), "`dump` is of the unknown type `D`"),
        ("multi-volume", entry(b"part", b'M', b""), "`part` is of the unknown type `M`"),
        ("wrong checksum", broken, "no tar header at byte 0: the checksum does not fit"),
        ("not a tar", data(2048), "no tar header at byte 0"),
        ("half a header", data(100), "no tar header at byte 0: the archive ends inside a header"),
        ("one empty block", [file.clone(), vec![0; 512], file.clone()].concat(), "no tar header at byte 1024"),
        ("size beyond the end", header(b"liar", b'0', &octal(5000)).to_vec(), "ends inside `liar`"),
        (
            "size of 10 GB",
            header(b"liar", b'0', b"\x80\0\0\0\0\0\0\x02\x54\x0b\xe4\0").to_vec(),
            "`liar`: the archive's size is 10000000512",
        ),
        (
            "negative size",
            header(b"liar", b'0', &[0xff; 12]).to_vec(),
            "`liar`: the header's size is not a valid number",
        ),
        ("size of 2^63", header(b"liar", b'0', b"\x80\0\0\0\x80\0\0\0\0\0\0\0").to_vec(), "`liar`: the header's size"),
        ("PAX size that lies", pax(&[("size", b"99999")], &entry(b"liar", b'0', b"x")), "ends inside `liar`"),
        ("negative uid", field(108, &[0xff; 8]), "`fields`: the header's uid"),
        ("letters for a mode", field(100, b"rwxr-xr-"), "`fields`: the header's mode"),
        ("device number of 2^40", field(329, b"\x80\0\x01\0\0\0\0\0"), "`fields`: the header's device number"),
        (
            "GNU name of 10 GB",
            header(b"@", b'L', b"\x80\0\0\0\0\0\0\x02\x54\x0b\xe4\0").to_vec(),
            "the extended header's size is 10000000000",
        ),
        (
            "PAX header of 10 GB",
            header(b"@", b'x', b"\x80\0\0\0\0\0\0\x02\x54\x0b\xe4\0").to_vec(),
            "the extended header's size is 10000000000",
        ),
        (
            "PAX length that lies",
            [entry(b"@", b'x', b"99 path=x\n"), file.clone()].concat(),
            "a length that does not fit",
        ),
        (
            "global name",
            [entry(b"@", b'g', b"10 path=x\n"), file.clone()].concat(),
            "`path`: may only be said about one entry",
        ),
        (
            "too long a path",
            entry(format!("{}/{}/x", "a".repeat(32), "b".repeat(32)).as_bytes(), b'0', b""),
            "the path's length is 67",
        ),
        ("too long a name", entry(long.as_bytes(), b'0', b""), "the name's length is 60"),
        ("too deep a path", entry(b"1/2/3/4/5/6/7/8/9", b'0', b""), "`1/2/3/4/5/6/7/8/9`: the path's depth is 9"),
        (
            "too long a link",
            pax(&[("linkpath", "t".repeat(65).as_bytes())], &link(b"a", b'2', b"x")),
            "`a`: the link target's length is 65",
        ),
        (
            "entry flood",
            many(21, &|n| entry(format!("{n}").as_bytes(), b'0', b"")),
            "`20`: the number of entries is 21",
        ),
        (
            "device flood",
            many(4, &|n| entry(format!("dev{n}").as_bytes(), b"34"[n % 2], b"")),
            "`dev3`: the number of devices is 4",
        ),
        (
            "names flood",
            many(20, &|n| entry(format!("{n:032}").as_bytes(), b'0', b"")),
            "the size of all names and attributes is 544",
        ),
        (
            "attribute flood",
            pax(
                &[
                    ("SCHILY.xattr.user.a", b""),
                    ("SCHILY.xattr.user.b", b""),
                    ("SCHILY.xattr.user.c", b""),
                    ("SCHILY.xattr.user.d", b""),
                    ("SCHILY.xattr.user.e", b""),
                ],
                &file,
            ),
            "`file`: the number of extended attributes is 5",
        ),
        (
            "large attribute",
            pax(&[("SCHILY.xattr.user.a", &data(65))], &file),
            "`file`: an extended attribute's size is 65",
        ),
        ("attribute without a name", pax(&[("SCHILY.xattr.", b"x")], &file), "impossible name"),
        (
            "attribute of overlayfs",
            pax(&[("SCHILY.xattr.trusted.overlay.redirect", b"/etc")], &file),
            "`trusted.overlay.redirect`",
        ),
        (
            "sparse flood",
            old_sparse(b"holes", &[(0, 1), (2, 1), (4, 1), (6, 1)], true, 99, 9)
                .into_iter()
                .chain(padded(&many(9, &|n| [octal(10 + 2 * n as u64), octal(1)].concat())))
                .collect(),
            "the number of runs in sparse files is 13",
        ),
        (
            "endless sparse map",
            [old_sparse(b"holes", &[(0, 1)], true, 99, 1), {
                let mut b = vec![0; 512];
                b[504] = 1;
                b
            }]
            .concat(),
            "an empty block inside the map",
        ),
        (
            "sparse file of 8 EB",
            old_sparse(b"holes", &[(0, 1)], false, (1 << 33) - 1, 1).into_iter().chain(padded(b"x")).collect(),
            "`holes`: the size of all files is 8589934591",
        ),
        (
            "overlapping runs",
            [old_sparse(b"holes", &[(0, 5), (3, 5)], false, 99, 10), padded(&data(10))].concat(),
            "`holes`: sparse map: runs overlap",
        ),
        (
            "runs beyond the end",
            [old_sparse(b"holes", &[(90, 10)], false, 99, 10), padded(&data(10))].concat(),
            "`holes`: sparse map: a run lies beyond",
        ),
        (
            "runs without data",
            [old_sparse(b"holes", &[(0, 9)], false, 99, 5), padded(&data(5))].concat(),
            "`holes`: sparse map: more data than",
        ),
        (
            "data without runs",
            [old_sparse(b"holes", &[(0, 1)], false, 99, 5), padded(&data(5))].concat(),
            "`holes`: sparse map: less data than",
        ),
        ("map in data, too large", sparse_1_0(b"holes", "99", b"9\n", b""), "`holes`: sparse map: more runs than"),
        ("map in data, endless", sparse_1_0(b"holes", "99", b"", b""), "`holes`: sparse map: longer than the data"),
        (
            "map in data, no size",
            pax(&[("GNU.sparse.major", b"1")], &entry(b"holes", b'0', &padded(b"0\n"))),
            "`holes`: sparse map: without the file's real size",
        ),
        (
            "odd map",
            pax(&[("GNU.sparse.size", b"9"), ("GNU.sparse.map", b"0,1,2")], &file),
            "`file`: sparse map: an odd number",
        ),
        (
            "too much data",
            many(3, &|n| entry(format!("{n}").as_bytes(), b'0', &data(400 << 10))),
            "`2`: the archive's size is 1230336",
        ),
        ("garbage behind the end", ended([ended(file.clone()), data(2 << 20)].concat()), "over the limit of 1048576"),
        (
            "gzip bomb",
            gzip(&ended(entry(b"bomb", b'0', &vec![0; 512 << 10]))),
            "`bomb`: the archive's size, which grows like a compression bomb's,",
        ),
        (
            "zstd bomb",
            zstd::bulk::compress(&ended(entry(b"bomb", b'0', &vec![0; 512 << 10])), 19).unwrap(),
            "`bomb`: the archive's size, which grows like a compression bomb's,",
        ),
        ("cut off gzip", gzip(&ended(file.clone()))[..60].to_vec(), "reading or decompressing failed"),
        (
            "gzip with a wrong checksum",
            {
                let mut b = gzip(&ended(file.clone()));
                let n = b.len();
                b[n - 8] ^= 1;
                b
            },
            "reading or decompressing failed",
        ),
        (
            "cut off zstd",
            {
                let b = zstd::bulk::compress(&ended(file.clone()), 3).unwrap();
                b[..b.len() - 6].to_vec()
            },
            "reading or decompressing failed",
        ),
        ("bzip2", b"BZh91AY&SY".to_vec(), "compressed with bzip2"),
        ("xz", b"\xfd7zXZ\0\0\x04".to_vec(), "compressed with xz"),
        (
            "zstd with a window of 2 GiB",
            b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00".to_vec(),
            "reading or decompressing failed",
        ),
    ];
    for (name, blob, want) in cases {
        let cache = Cache::new();
        let Err(error) = cache.unpack_within(&blob, &small()) else { panic!("{name}: was accepted") };
        let text = chain(&error);
        assert!(text.contains(want), "{name}: `{text}` does not say `{want}`");
        assert_eq!(cache.files(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn entries_behind_links_that_leave_the_root_are_refused_when_flattened() {
    let up = |target: &[u8]| [link(b"a/b/out", b'2', target), entry(b"a/b/out/evil", b'0', b"")].concat();
    let cases: Vec<(&str, Vec<Vec<u8>>, &str)> = vec![
        (
            "relative link",
            vec![up(b"../../../etc")],
            "`a/b/out/evil` lies behind the symbolic link `a/b/out`, which leads out",
        ),
        (
            "link to a link",
            vec![[link(b"x", b'2', b"y"), link(b"y", b'2', b"/../z"), entry(b"x/evil", b'0', b"")].concat()],
            "`x/evil` lies behind the symbolic link `y`",
        ),
        (
            "link of a lower layer",
            vec![link(b"x", b'2', b"../.."), entry(b"x/evil", b'0', b"")],
            "`x/evil` lies behind the symbolic link `x`",
        ),
        (
            "hard link",
            vec![[link(b"x", b'2', b".."), link(b"y", b'1', b"x/etc/passwd")].concat()],
            "`y` lies behind the symbolic link `x`",
        ),
        (
            "whiteout",
            vec![link(b"x", b'2', b".."), entry(b"x/.wh.etc", b'0', b"")],
            "`x/.wh.etc` lies behind the symbolic link `x`",
        ),
        (
            "opaque directory",
            vec![link(b"x", b'2', b"/.."), entry(b"x/.wh..wh..opq", b'0', b"")],
            "`x/.wh..wh..opq` lies behind",
        ),
        (
            "link to itself",
            vec![[link(b"x", b'2', b"x"), entry(b"x/y", b'0', b"")].concat()],
            "`x/y` lies behind the symbolic link `x`, which leads nowhere after 41 steps",
        ),
        ("whiteout of nothing", vec![entry(b"d/.wh.", b'0', b"")], "the whiteout `d/.wh.` removes nothing"),
        ("whiteout of the parent", vec![entry(b"d/.wh...", b'0', b"")], "the whiteout `d/.wh...` removes nothing"),
        ("below a file", vec![[entry(b"f", b'0', b""), entry(b"f/x", b'0', b"")].concat()], "`f/x` lies below `f`"),
        ("hard link to nothing", vec![link(b"a", b'1', b"b")], "`a` is a hard link to `b`, which is not there"),
        (
            "hard link to a directory",
            vec![[entry(b"d", b'5', b""), link(b"a", b'1', b"d")].concat()],
            "`a` is a hard link to `d`, which is a directory",
        ),
        ("hard link to itself", vec![link(b"a", b'1', b"a")], "`a` is a hard link to `a`, which is not there"),
    ];
    for (name, layers, want) in cases {
        let cache = Cache::new();
        let Err(error) = cache.tree(&layers) else { panic!("{name}: was accepted") };
        let text = chain(&error);
        assert!(text.contains(want), "{name}: `{text}` does not say `{want}`");
        assert!(cache.files().iter().all(|file| file.starts_with("derived/layer")), "{name}: {:?}", cache.files());
    }
}

#[test]
fn a_maze_of_links_is_refused_in_bounded_time() {
    // Each link doubles the way; forty of them would be a trillion steps.
    let mut archive = link(b"l0", b'2', b".");
    for n in 1..60 {
        let before = format!("l{}", n - 1);
        archive.extend(link(format!("l{n}").as_bytes(), b'2', format!("{before}/{before}").as_bytes()));
    }
    archive.extend(entry(b"l59/x", b'0', b""));
    let error = Cache::new().tree(&[archive]).unwrap_err();
    assert!(chain(&error).contains("`l59/x` lies behind the symbolic link"), "{}", chain(&error));
}

#[test]
fn absolute_names_can_be_allowed() {
    let cache = Cache::new();
    let limits = Limits { absolute_names: true, ..Limits::default() };
    let archive = [entry(b"/ko-app/x", b'0', b"x"), link(b"/y", b'1', b"/ko-app/x")].concat();
    let tree = layer::flatten(&[cache.unpack_within(&archive, &limits).unwrap()]).unwrap();
    assert_eq!(crate::archive::paths(&tree), ["ko-app", "ko-app/x", "y"]);
    let hint = Cache::new().unpack(&archive).unwrap_err().hint();
    assert!(hint.is_some_and(|hint| hint.contains("relative")));
}
