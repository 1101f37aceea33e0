//! Where artefacts go, and what is left behind when something fails.

use std::fs;
use std::io::Write as _;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output as Ended, Stdio};

use bootwright_formats::{Format, Options, Output, write};
use bootwright_oci::{Content, Digest, Kind, Silent};
use rustix::fs::{Mode, OFlags};

use crate::machine::{Builder, Place, everything, names, path};

const BOTH: &[Format] = &[Format::KernelInitrd, Format::Tar];

/// Runs an ignored test of this binary as a program of its own, by a shell that does something first.
pub fn child(test: &str, shell: &str, directory: &Path) -> Ended {
    let exe = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-ec", &format!("{shell}; exec \"$@\""), "sh"])
        .arg(exe)
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .env("BOOTWRIGHT_TEST_DIR", directory)
        .output()
        .unwrap()
}

/// The directory that a child shall work in.
pub fn child_directory() -> std::path::PathBuf {
    std::env::var_os("BOOTWRIGHT_TEST_DIR").expect("run by another test").into()
}

#[test]
fn the_report_tells_what_is_there() {
    let place = Place::new();
    let report = place.build(&everything(), BOTH, &Options::default()).unwrap();
    assert_eq!(place.listing(), ["m-cmdline", "m-initrd.img", "m-kernel", "m.tar"]);
    for artefact in &report.artefacts {
        let path = artefact.path.as_ref().unwrap();
        let bytes = fs::read(path).unwrap();
        assert_eq!((artefact.size, artefact.digest), (bytes.len() as u64, Digest::of(&bytes)), "{path:?}");
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o644);
    }
    assert_eq!(place.read("m-cmdline"), b"console=ttyS0");
    let sizes: Vec<_> = report.components.iter().map(|c| (c.name.as_str(), c.unpacked, c.packed.is_some())).collect();
    assert_eq!(sizes[0], ("kernel name", 5000, true));
    assert_eq!(sizes[2], ("init[1] name", 0, false));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["artefacts"][3]["format"], "tar");
    assert_eq!(json["artefacts"][3]["digest"], report.artefacts[3].digest.to_string());
    assert_eq!(json["components"][0]["cached"], false);
    assert_eq!(json["memory_mib"], report.memory_mib.unwrap());
}

#[test]
fn an_error_leaves_what_was_there_and_nothing_else() {
    let place = Place::new();
    fs::write(place.out().join("m-kernel"), "the old one").unwrap();
    let file = place.dir.path().join("host");
    fs::write(&file, "0123456789").unwrap();
    let mut machine = everything();
    for (size, complaint) in [(11, "fewer"), (9, "more")] {
        // A store that does not keep its word is noticed.
        let content = Content::Host { path: file.clone(), size, digest: Digest::of(b"") };
        machine.tree.get_mut(&path("etc/motd")).unwrap().node.kind = Kind::File(content);
        // The kernel is whole already when the tar fails, and nothing was packed when the initrd does.
        for formats in [&[Format::Docker, Format::Tar][..], BOTH] {
            let result =
                write(&machine, formats, &place.output(), &Options::default(), &Careless, &place.derived(), &Silent);
            let error = result.unwrap_err();
            assert_eq!(error.to_string(), "cannot read `etc/motd` (files[0] name)");
            let source = std::error::Error::source(&error).unwrap().to_string();
            assert_eq!(source, format!("{size} bytes were announced, {complaint} came"));
            assert_eq!(place.listing(), ["m-kernel"]);
        }
    }
    assert_eq!(place.read("m-kernel"), b"the old one");
    // Nor does the cache keep halves.
    assert!(names(&place.dir.path().join("cache/segment")).iter().all(|name| !name.starts_with('.')));
}

/// Gives all of a host file, whatever was announced.
struct Careless;

impl bootwright_oci::ReadContent for Careless {
    fn open(&self, content: &Content) -> std::io::Result<Box<dyn std::io::Read + Send + '_>> {
        Ok(match content {
            Content::Host { path, .. } => Box::new(fs::File::open(path)?),
            Content::Inline(bytes) => Box::new(std::io::Cursor::new(bytes.clone())),
            Content::Layer { .. } => unreachable!(),
        })
    }
}

fn single(place: &Place, output: &Output) -> Result<bootwright_formats::Report, bootwright_formats::Error> {
    write(&everything(), &[Format::Tar], output, &Options::default(), &place.store, &place.derived(), &Silent)
}

#[test]
fn a_single_file_is_replaced_also_behind_a_link() {
    let place = Place::new();
    place.build(&everything(), &[Format::Tar], &Options::default()).unwrap();
    let want = place.read("m.tar");
    let file = place.dir.path().join("any.name");
    fs::write(&file, "old").unwrap();
    let link = place.dir.path().join("link");
    symlink("any.name", &link).unwrap();
    let report = single(&place, &Output::File(link.clone())).unwrap();
    assert_eq!(fs::read(&file).unwrap(), want);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(report.artefacts[0].digest, Digest::of(&want));
    assert_eq!(names(place.dir.path()), ["any.name", "link", "out"]);
}

#[test]
fn a_full_device_is_an_error_with_a_hint() {
    let place = Place::new();
    let error = single(&place, &Output::File("/dev/full".into())).unwrap_err();
    assert_eq!(error.to_string(), "cannot write `/dev/full`");
    assert_eq!(error.hint().unwrap(), "make room there, or write elsewhere; nothing was left behind");
}

#[test]
fn standard_output_gets_the_tar_and_nothing_more() {
    let place = Place::new();
    place.build(&everything(), &[Format::Tar], &Options::default()).unwrap();
    let want = place.read("m.tar");
    let ended = child("output::child_writes_to_standard_output", ":", place.dir.path());
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    // The test harness says something before and behind it.
    let at = ended.stdout.windows(want.len()).position(|bytes| bytes == want);
    assert!(at.is_some_and(|at| ended.stdout[..at].ends_with(b"BEGIN\n")));
    assert!(at.is_some_and(|at| ended.stdout[at + want.len()..].starts_with(b"END\n")));
}

#[test]
#[ignore = "run by another test"]
fn child_writes_to_standard_output() {
    let place = Place::new();
    println!("BEGIN");
    single(&place, &Output::Stdout).unwrap();
    println!("END");
}

#[test]
fn a_killed_build_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let flags = OFlags::TMPFILE | OFlags::WRONLY;
    if rustix::fs::open(directory.path(), flags, Mode::RUSR).is_err() {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: a_killed_build_leaves_nothing needs a file system that has files without names"
        );
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "output::child_never_ends", "--ignored", "--nocapture"])
        .env("BOOTWRIGHT_TEST_DIR", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let in_the_middle = said.into_iter().any(|line| line.ends_with(OPENED));
    assert_eq!(names(directory.path()), [""; 0]);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(in_the_middle);
    assert_eq!(names(directory.path()), [""; 0]);
}

const OPENED: &str = "content is opened";

/// Gives no byte, ever.
struct Stuck;

impl bootwright_oci::ReadContent for Stuck {
    fn open(&self, _: &Content) -> std::io::Result<Box<dyn std::io::Read + Send + '_>> {
        println!("{OPENED}");
        loop {
            std::thread::park();
        }
    }
}

#[test]
#[ignore = "run by another test"]
fn child_never_ends() {
    let content = Content::Host { path: "/x".into(), size: 1, digest: Digest::of(b"") };
    let machine = Builder::new(&[("files[0]", "f")]).node(0, "file", Kind::File(content), |_| {}).0;
    let output = Output::Directory { directory: child_directory(), name: "m".to_owned() };
    write(&machine, &[Format::Tar], &output, &Options::default(), &Stuck, &Place::new().derived(), &Silent).unwrap();
}

#[test]
fn a_full_disk_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("small")).unwrap();
    let probe = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if !probe.is_ok_and(|p| p.status.success()) {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: a_full_disk_leaves_nothing needs root or user namespaces to mount a small tmpfs"
        );
        return;
    }
    let exe = std::env::current_exe().unwrap();
    let script = "mount -t tmpfs -o size=1m none \"$BOOTWRIGHT_TEST_DIR/small\"; exec \"$@\"";
    let ended = Command::new("unshare")
        .args(["-rm", "sh", "-ec", script, "sh"])
        .arg(exe)
        .args(["--exact", "output::child_fills_a_disk", "--ignored", "--nocapture"])
        .env("BOOTWRIGHT_TEST_DIR", directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
#[ignore = "run by another test"]
fn child_fills_a_disk() {
    let small = child_directory().join("small");
    fs::write(small.join("m.tar"), "old").unwrap();
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let noise: Vec<u8> = (0..2 << 20).map(|_| next()).collect();
    let machine = Builder::new(&[("init[0]", "i")]).file(0, "init", noise).0;
    let elsewhere = Place::new();
    let output = Output::Directory { directory: small.clone(), name: "m".to_owned() };
    let options = Options { level: Some(1), ..Options::default() };
    let result = write(&machine, BOTH, &output, &options, &elsewhere.store, &elsewhere.derived(), &Silent);
    let error = result.unwrap_err();
    assert!(
        error.to_string().starts_with("cannot write `") && error.hint().unwrap().starts_with("make room"),
        "{error}"
    );
    assert_eq!(names(&small), ["m.tar"]);
    assert_eq!(fs::read(small.join("m.tar")).unwrap(), b"old");

    // And where the cache lies on the full disk, it is named.
    let derived = bootwright_oci::Derived::new(small.join("cache"));
    let result = write(&machine, BOTH, &elsewhere.output(), &options, &elsewhere.store, &derived, &Silent);
    let error = result.unwrap_err();
    assert!(error.to_string().starts_with("cannot keep the packed files of init[0] name in the cache at `"), "{error}");
    assert!(error.hint().unwrap().contains("--cache"));
    assert_eq!(names(&small.join("cache/segment")), [""; 0]);
    assert_eq!(elsewhere.listing(), [""; 0]);
}
