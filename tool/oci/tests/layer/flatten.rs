//! Layers upon layers, one rule of the specification after the other.

use bootwright_oci::{Kind, Tree};

use crate::archive::{Cache, entry, link, node, path};

/// The entries of a layer.
type Layer = Vec<Vec<u8>>;

fn dir(name: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'5', b"")
}

/// A file whose content is its layer's number, so that it is seen where a file comes from.
fn file(name: &str, content: &str) -> Vec<u8> {
    entry(name.as_bytes(), b'0', content.as_bytes())
}

fn soft(name: &str, target: &str) -> Vec<u8> {
    link(name.as_bytes(), b'2', target.as_bytes())
}

fn hard(name: &str, target: &str) -> Vec<u8> {
    link(name.as_bytes(), b'1', target.as_bytes())
}

/// A tree as one line: `d/`, `f=content`, `l->target`, `h==first name`.
fn shape(cache: &Cache, tree: &Tree) -> String {
    let line = tree.iter().map(|(path, node)| match &node.kind {
        Kind::Directory => format!("{path}/"),
        Kind::File(_) => format!("{path}={}", String::from_utf8(cache.read(tree, &path.to_string())).unwrap()),
        Kind::HardLink(target) => format!("{path}=={target}"),
        Kind::Symlink(target) => format!("{path}->{}", String::from_utf8_lossy(target)),
        other => format!("{path}:{other:?}"),
    });
    line.collect::<Vec<_>>().join(" ")
}

#[test]
fn layers_are_applied_as_the_specification_says() {
    let cases: Vec<(&str, Vec<Layer>, &str)> = vec![
        ("a whiteout removes a file", vec![vec![file("a", "1"), file("b", "1")], vec![file(".wh.a", "")]], "b=1"),
        (
            "a whiteout removes a directory",
            vec![vec![file("d/x/y", "1"), file("d-e", "1")], vec![file(".wh.d", "")]],
            "d-e=1",
        ),
        ("a whiteout of nothing is nothing", vec![vec![file("a", "1")], vec![file("d/.wh.x", "")]], "a=1"),
        ("a whiteout spares its own layer", vec![vec![file("a", "1")], vec![file("a", "2"), file(".wh.a", "")]], "a=2"),
        ("and also before it", vec![vec![file("d/a", "1")], vec![file(".wh.d", ""), file("d/b", "2")]], "d/ d/b=2"),
        ("a whiteout in the first layer is nothing", vec![vec![file(".wh.a", ""), file("a", "1")]], "a=1"),
        (
            "a removed file may come back",
            vec![vec![file("a", "1")], vec![file(".wh.a", "")], vec![file("a", "3")]],
            "a=3",
        ),
        (
            "opaque, before its siblings",
            vec![vec![file("a/b/c/bar", "1")], vec![dir("a"), file("a/.wh..wh..opq", ""), file("a/b/c/foo", "2")]],
            "a/ a/b/ a/b/c/ a/b/c/foo=2",
        ),
        (
            "opaque, behind its siblings",
            vec![vec![file("a/b/c/bar", "1")], vec![dir("a"), file("a/b/c/foo", "2"), file("a/.wh..wh..opq", "")]],
            "a/ a/b/ a/b/c/ a/b/c/foo=2",
        ),
        (
            "opaque spares its neighbours",
            vec![vec![file("a/x", "1"), file("a-b", "1"), file("a0", "1")], vec![file("a/.wh..wh..opq", "")]],
            "a/ a-b=1 a0=1",
        ),
        (
            "an opaque root",
            vec![vec![file("a/x", "1"), file("b", "1")], vec![file(".wh..wh..opq", ""), file("c", "2")]],
            "c=2",
        ),
        (
            "AUFS's own files are passed over",
            vec![vec![file("a", "1")], vec![file(".wh..wh.aufs", ""), dir(".wh..wh.plnk")]],
            "a=1",
        ),
        ("a file replaces a directory", vec![vec![file("d/x", "1")], vec![file("d", "2")]], "d=2"),
        ("a directory replaces a file", vec![vec![file("d", "1")], vec![dir("d"), file("d/x", "2")]], "d/ d/x=2"),
        ("also when it is not said", vec![vec![file("d", "1")], vec![file("d/x", "2")]], "d/ d/x=2"),
        ("a directory keeps what is in it", vec![vec![file("d/x", "1")], vec![dir("d")]], "d/ d/x=1"),
        (
            "a directory replaces a link",
            vec![vec![dir("e"), soft("d", "e")], vec![dir("d"), file("d/x", "2")]],
            "d/ d/x=2 e/",
        ),
        ("a file does not follow a link", vec![vec![file("e", "1"), soft("d", "e")], vec![file("d", "2")]], "d=2 e=1"),
        ("the root as kaniko writes it", vec![vec![dir("/"), file("a", "1")]], "/ a=1"),
        ("the last of a name counts", vec![vec![file("a", "1"), file("a", "2")]], "a=2"),
        (
            "below a link",
            vec![vec![dir("usr/lib"), soft("lib", "usr/lib")], vec![file("lib/x", "2")]],
            "lib->usr/lib usr/ usr/lib/ usr/lib/x=2",
        ),
        (
            "below a link, in one layer",
            vec![vec![dir("run"), soft("var/run", "/run"), file("var/run/x", "1")]],
            "run/ run/x=1 var/ var/run->/run",
        ),
        (
            "below a link with dots",
            vec![vec![dir("run"), soft("var/run", "./../run/."), file("var/run/x", "1")]],
            "run/ run/x=1 var/ var/run->./../run/.",
        ),
        (
            "below a link to a link",
            vec![vec![dir("c"), soft("a", "b"), soft("b", "c"), file("a/x", "1")]],
            "a->b b->c c/ c/x=1",
        ),
        ("below a link to what is not there", vec![vec![soft("a", "b/c"), file("a/x", "1")]], "a->b/c b/ b/c/ b/c/x=1"),
        (
            "below a link to a file of a lower layer",
            vec![vec![file("f", "1"), soft("a", "f")], vec![file("a/x", "2")]],
            "a->f f/ f/x=2",
        ),
        (
            "a whiteout below a link",
            vec![vec![file("usr/lib/x", "1"), soft("lib", "usr/lib")], vec![file("lib/.wh.x", "")]],
            "lib->usr/lib usr/ usr/lib/",
        ),
        (
            "links that lead out are no harm by themselves",
            vec![vec![soft("a", "../../etc/passwd"), soft("b", "/etc/passwd")]],
            "a->../../etc/passwd b->/etc/passwd",
        ),
        ("a hard link", vec![vec![file("b", "1"), hard("a", "b")]], "a=1 b==a"),
        ("a hard link to a hard link", vec![vec![file("a", "1"), hard("b", "a"), hard("c", "b")]], "a=1 b==a c==a"),
        ("a hard link to a lower layer", vec![vec![file("a", "1")], vec![hard("b", "./a")]], "a=1 b==a"),
        (
            "a hard link outlives its target",
            vec![vec![file("a", "1"), hard("b", "a"), hard("c", "a")], vec![file(".wh.a", "")]],
            "b=1 c==b",
        ),
        (
            "a replaced target leaves the link alone",
            vec![vec![file("a", "1"), hard("b", "a")], vec![file("a", "2")]],
            "a=2 b=1",
        ),
        (
            "a replaced link leaves the target alone",
            vec![vec![file("a", "1"), hard("b", "a")], vec![file("b", "2")]],
            "a=1 b=2",
        ),
        ("also in one layer", vec![vec![file("a", "1"), hard("b", "a"), file("a", "2")]], "a=2 b=1"),
        (
            "a target whose directory goes",
            vec![vec![file("d/a", "1"), hard("b", "d/a")], vec![file("d", "2")]],
            "b=1 d=2",
        ),
        (
            "a hard link replaces the directory of its target",
            vec![vec![file("d/a", "1")], vec![hard("d", "d/a")]],
            "d=1",
        ),
        ("a hard link to itself stays", vec![vec![file("a", "1"), hard("a", "a")]], "a=1"),
        ("a hard link to a symbolic link", vec![vec![soft("a", "x"), hard("b", "a")]], "a->x b->x"),
        (
            "a hard link below a link",
            vec![vec![file("d/a", "1"), soft("l", "d"), hard("b", "l/a")]],
            "b=1 d/ d/a==b l->d",
        ),
        (
            "a hard link to a name of a whiteout's layer",
            vec![vec![file("a", "1"), hard("b", "a")], vec![file(".wh.a", ""), hard("c", "b")]],
            "b=1 c==b",
        ),
    ];
    for (name, layers, want) in cases {
        let cache = Cache::new();
        let layers: Vec<_> = layers.iter().map(|layer| layer.concat()).collect();
        let tree = cache.tree(&layers).unwrap_or_else(|error| panic!("{name}: {}", crate::archive::chain(&error)));
        assert_eq!(shape(&cache, &tree), want, "{name}");
    }
}

#[test]
fn a_hard_link_to_a_device_is_a_second_device() {
    let mut null = crate::archive::header(b"dev/null", b'3', &crate::archive::octal(0));
    null[329..345].copy_from_slice(b"0000001\x000000003\0");
    let archive = [crate::archive::seal(null).to_vec(), hard("nought", "dev/null")].concat();
    let tree = Cache::new().tree(&[archive]).unwrap();
    assert_eq!(node(&tree, "nought"), node(&tree, "dev/null"));
}

#[test]
fn a_directory_of_an_upper_layer_brings_its_metadata() {
    let mut upper = crate::archive::header(b"tmp/", b'5', &crate::archive::octal(0));
    upper[100..108].copy_from_slice(b"0001777\0");
    let tree = Cache::new().tree(&[file("tmp/x", "1"), crate::archive::seal(upper).to_vec()]).unwrap();
    assert_eq!(node(&tree, "tmp").meta.mode, 0o1777);
    assert!(tree.get(&path("tmp/x")).is_some());
}

#[test]
fn a_link_s_metadata_is_its_target_s() {
    let mut second = crate::archive::header(b"b", b'1', &crate::archive::octal(0));
    second[157] = b'a';
    second[100..108].copy_from_slice(b"0000777\0");
    let tree = Cache::new().tree(&[[file("a", "1"), crate::archive::seal(second).to_vec()].concat()]).unwrap();
    assert_eq!(node(&tree, "a").meta, node(&tree, "b").meta);
    assert_eq!(node(&tree, "b").meta.mode, 0o644);
}
