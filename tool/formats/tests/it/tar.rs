//! The tars, read by Python's tarfile (PAX records and all) and by GNU tar.

use bootwright_formats::{Compression, Format, Options};
use bootwright_oci::{Content, Kind, Metadata, Node};
use serde_json::Value;

use crate::machine::{Builder, Place, everything, path, with};
use crate::tools::{run, text};
use crate::trees::equal_files;

const LIST: &str = r#"
import io, json, sys, tarfile
tar = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), mode="r:", errors="surrogateescape")
raw = lambda s: s.encode("utf-8", "surrogateescape").decode("latin-1")
rows = []
for m in tar:
    data = tar.extractfile(m).read() if m.isfile() else b""
    rows.append({"name": raw(m.name), "type": m.type.decode(), "mode": m.mode, "uid": m.uid, "gid": m.gid, "size": m.size,
        "mtime": m.mtime, "link": raw(m.linkname), "major": m.devmajor, "minor": m.devminor, "data": data[:64].decode("latin-1"),
        "pax": {k: raw(v) for k, v in m.pax_headers.items()}})
json.dump(rows, sys.stdout)
"#;

fn list(tar: &[u8]) -> Vec<Value> {
    serde_json::from_slice(&run("python3", &["-c", LIST], tar)).unwrap()
}

fn named<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    let mut found = rows.iter().filter(|row| row["name"] == name);
    let row = found.next().unwrap_or_else(|| panic!("no {name}"));
    assert!(found.next().is_none(), "{name} twice");
    row
}

fn build(machine: &bootwright_rootfs::Machine, format: Format) -> Vec<u8> {
    let place = Place::new();
    place.build(machine, &[format], &Options::default()).unwrap();
    place.read(&format.files("m")[0])
}

#[test]
fn every_entry_is_what_it_was_and_says_who_put_it_there() {
    let machine = everything();
    let rows = list(&build(&machine, Format::Tar));
    // boot, cmdline and kernel are not of the tree.
    assert_eq!(rows.len(), machine.tree.len() + 3);
    let latin1 = |bytes: &[u8]| bytes.iter().map(|b| char::from(*b)).collect::<String>();
    for (path, placed) in &machine.tree {
        let name = if path.is_root() { ".".to_owned() } else { latin1(path.as_bytes()) };
        let row = named(&rows, &name);
        let meta = &placed.node.meta;
        let component = &machine.components[placed.component];
        assert_eq!(row["pax"]["LINUXKIT.source"], component.source.as_str(), "{path}");
        assert_eq!(row["pax"]["LINUXKIT.location"], component.location.as_str(), "{path}");
        assert_eq!(
            (&row["mode"], &row["uid"], &row["gid"]),
            (&meta.mode.into(), &meta.uid.into(), &meta.gid.into()),
            "{path}"
        );
        assert_eq!(row["mtime"].as_f64(), Some(meta.mtime as f64), "{path}");
        let (kind, data) = match &placed.node.kind {
            Kind::Directory => ("5", String::new()),
            Kind::File(_) | Kind::HardLink(_) if row["type"] == "1" => ("1", String::new()),
            Kind::File(Content::Inline(bytes)) => ("0", latin1(&bytes[..bytes.len().min(64)])),
            Kind::HardLink(target) => match &machine.tree[target].node.kind {
                Kind::File(Content::Inline(bytes)) => ("0", latin1(&bytes[..bytes.len().min(64)])),
                other => panic!("{other:?}"),
            },
            Kind::Symlink(target) => {
                assert_eq!(row["link"], latin1(target));
                ("2", String::new())
            }
            Kind::CharDevice { .. } => ("3", String::new()),
            Kind::BlockDevice { .. } => ("4", String::new()),
            Kind::Fifo => ("6", String::new()),
            other => panic!("{other:?}"),
        };
        assert_eq!((row["type"].as_str(), row["data"].as_str()), (Some(kind), Some(&data[..])), "{path}");
    }
    let device = named(&rows, "dev/vda");
    assert_eq!((&device["major"], &device["minor"]), (&254.into(), &300.into()));
}

#[test]
fn what_boots_comes_first_under_linuxkits_names() {
    let mut machine = everything();
    machine.boot.ucode = Some(Content::inline(*b"070701"));
    let rows = list(&build(&machine, Format::Tar));
    let first: Vec<_> = rows[..4].iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(first, ["boot", "boot/cmdline", "boot/kernel", "boot/ucode.cpio"]);
    for row in &rows[..4] {
        assert_eq!(row["pax"]["LINUXKIT.location"], "kernel");
        assert_eq!(row["pax"]["LINUXKIT.source"], "kernel:6.1");
        assert_eq!(row["mtime"], 1_492_533_000.0);
    }
    assert_eq!(rows[1]["data"], "console=ttyS0");
    assert_eq!(rows[2]["data"], "\x7fELF a kernel");

    // A kernel image's device trees are not of the root, but of the tar.
    let file = |kind| Node { meta: Metadata { mode: 0o644, ..Metadata::default() }, kind };
    machine.boot.files.insert(path("dtb"), file(Kind::Directory));
    machine.boot.files.insert(path("dtb/a.dtb"), file(Kind::HardLink(path("dtb/b.dtb"))));
    machine.boot.files.insert(path("dtb/b.dtb"), file(Kind::File(Content::inline(*b"tree"))));
    let rows = list(&build(&machine, Format::Tar));
    let first: Vec<_> = rows[3..7].iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(first, ["boot/ucode.cpio", "boot/dtb", "boot/dtb/a.dtb", "boot/dtb/b.dtb"]);
    assert_eq!((&rows[5]["data"], &rows[6]["link"]), (&"tree".into(), &"boot/dtb/a.dtb".into()));
    assert_eq!(rows[6]["pax"]["LINUXKIT.location"], "kernel");
    machine.boot.files.clear();

    machine.boot.kernel = None;
    let rows = list(&build(&machine, Format::Tar));
    assert!(rows.iter().all(|r| !r["name"].as_str().unwrap().starts_with("boot")), "no kernel, no boot");
}

#[test]
fn of_a_file_with_several_names_the_first_has_the_data() {
    let machine = Builder::new(&[("init[0]", "i")]).file(0, "z", "data").link(0, "a", "z").link(0, "m", "z").0;
    let rows = list(&build(&machine, Format::Tar));
    assert_eq!((&named(&rows, "a")["type"], &named(&rows, "a")["data"]), (&"0".into(), &"data".into()));
    for name in ["m", "z"] {
        assert_eq!((&named(&rows, name)["type"], &named(&rows, name)["link"]), (&"1".into(), &"a".into()));
    }
}

#[test]
fn equal_files_of_different_components_stay_what_they_are() {
    let rows = list(&build(&equal_files().0, Format::Tar));
    let links: Vec<_> = rows.iter().filter(|row| row["type"] == "1").map(|row| &row["name"]).collect();
    assert_eq!(links, ["2/tool"], "the further name of `2/alias`");
}

#[test]
fn extended_attributes_and_odd_names_are_records() {
    let rows = list(&build(&everything(), Format::Tar));
    let ping = &named(&rows, "containers/services/web/rootfs/bin/ping")["pax"];
    assert_eq!(ping["SCHILY.xattr.security.capability"], "\x01\0\0\x02\0\n\u{ff}");
    assert_eq!(ping["SCHILY.xattr.user.a%3Db%25c"], "x");
    assert_eq!(named(&rows, "containers/services/web/rootfs/latin-\u{e4}")["pax"]["hdrcharset"], "BINARY");
    assert_eq!(named(&rows, "containers/services/web/rootfs/old")["pax"]["mtime"], "-86400");
    assert_eq!(named(&rows, "containers/services/web/rootfs/big-id")["pax"]["uid"], "3000000");
}

#[test]
fn gnu_tar_reads_it_without_a_word() {
    let listing = text(
        "tar",
        &["-tv", "--numeric-owner", "--full-time", "--quoting-style=escape", "--warning=no-unknown-keyword", "-f", "-"],
        &build(&everything(), Format::Tar),
    );
    let squeezed: Vec<String> = listing.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    for want in [
        "drwx--x--x 0/0 0 2001-09-09 01:46:40 ./",
        "-rwsr-xr-x 0/0 2 2001-09-09 01:46:40 bin/su",
        "hrw-r--r-- 0/0 0 2001-09-09 01:46:40 bin/cat link to bin/busybox",
        "lrwxrwxrwx 0/0 0 2001-09-09 01:46:40 bin/sh -> /bin/busybox",
        "crw------- 0/0 5,1 2001-09-09 01:46:40 dev/console",
        "prw-r--r-- 0/0 0 2001-09-09 01:46:40 run/pipe",
        "-rw-r--r-- 0/0 3 1969-12-31 00:00:00 containers/services/web/rootfs/old",
        "-rw-r--r-- 0/0 3 2242-03-16 12:56:32 containers/services/web/rootfs/far",
        "-rw-r--r-- 3000000/4294967294 2 2001-09-09 01:46:40 containers/services/web/rootfs/big-id",
        "-rw-r--r-- 0/0 5 2001-09-09 01:46:40 containers/services/web/rootfs/latin-\\344",
    ] {
        assert!(squeezed.iter().any(|line| line == want), "no `{want}` in\n{listing}");
    }
}

#[test]
fn a_docker_context_has_a_dockerfile_that_starts_what_is_there() {
    for (with_rc_init, entrypoint) in [(true, "/bin/rc.init"), (false, "/init")] {
        let mut builder = Builder::new(&[("init[0]", "i")]).file(0, "init", "i");
        if with_rc_init {
            builder = builder.file(0, "bin/rc.init", "rc");
        }
        let rows = list(&build(&builder.0, Format::Docker));
        assert_eq!(
            named(&rows, "Dockerfile")["data"],
            format!("FROM scratch\nCOPY . /\nENTRYPOINT [\"{entrypoint}\"]\n")[..].chars().take(64).collect::<String>()
        );
        assert_eq!(named(&rows, ".dockerignore")["data"], "Dockerfile\n.dockerignore\n");
        assert_eq!(named(&rows, "init")["data"], "i");
    }
    let clash = Builder::new(&[("files[0]", "f")]).file(0, "Dockerfile", "FROM x").0;
    let error = Place::new().build(&clash, &[Format::Docker], &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the machine's tree is broken at `Dockerfile` (files[0] name): this path is the format's own"
    );
    let warnings = Place::new().build(&Builder::new(&[]).0, &[Format::Docker], &Options::default()).unwrap().warnings;
    assert_eq!(warnings, ["the machine has neither `/bin/rc.init` nor `/init`: a container of it will not start"]);
}

#[test]
fn tar_kernel_initrd_holds_the_same_files_as_kernel_and_initrd() {
    let mut machine = everything();
    machine.boot.ucode = Some(Content::inline(*b"070701 microcode"));
    let place = Place::new();
    place.build(&machine, &[Format::KernelInitrd, Format::TarKernelInitrd], &with(Compression::Zstd)).unwrap();
    let tar = place.read("m-initrd.tar");
    let names: Vec<_> = list(&tar).iter().map(|r| r["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["kernel", "initrd.img", "cmdline", "ucode.cpio"]);
    let member = |name: &str| run("tar", &["-xO", "-f", "-", name], &tar);
    assert_eq!(member("kernel"), place.read("m-kernel"));
    assert_eq!(member("cmdline"), place.read("m-cmdline"));
    assert_eq!(member("ucode.cpio"), b"070701 microcode");
    // There the microcode is a file of its own; here it is the initrd's beginning.
    assert_eq!([&b"070701 microcode"[..], &member("initrd.img")].concat(), place.read("m-initrd.img"));
}
