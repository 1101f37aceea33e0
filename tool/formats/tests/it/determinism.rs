//! The same machine gives the same bytes: on every run, however many threads there are, whatever the umask and the directory, and
//! in whichever pieces its content is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZero;
use std::path::Path;

use bootwright_formats::{Compression, Format, Options, Output, write};
use bootwright_oci::{Content, Derived, Digest, Kind, Silent};
use bootwright_rootfs::{BiosLoader, Machine};

use crate::bios::stages;
use crate::machine::{Builder, Place, Store, everything, names, path};
use crate::output::{child, child_directory};
use crate::uki;

/// Formats that a machine has whose root is an initrd.
const PLAIN: &[Format] = &[Format::KernelInitrd, Format::Tar, Format::Docker, Format::TarKernelInitrd];

/// Every format that is built.
fn all() -> Vec<Format> {
    Format::built().collect()
}

/// Everything, with what the formats need that boot: a kernel as far as loaders look at it, and loaders that no update of Debian
/// changes.
fn bootable(mut machine: Machine) -> Machine {
    let [stage1, stage2] = stages().map(Content::inline);
    machine.boot.kernel = Some(Content::inline(uki::bios_kernel()));
    machine.boot.vmlinux = Some(Content::inline(*b"\x7fELF a kernel"));
    machine.boot.loader.bios = Some(BiosLoader::Ours { stage1, stage2 });
    machine.boot.loader.stub = Some(Content::inline(uki::small_stub(0x8664)));
    machine.early = Some(Content::inline(*b"#!early"));
    machine
}

/// Everything, and enough of it that threads and pieces could matter.
fn machine() -> Machine {
    let mut machine = bootable(everything());
    let mut state = 7u32;
    let mut bytes = |len: usize| -> Vec<u8> {
        let mut next = |i: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if i.is_multiple_of(2) { (state >> 24) as u8 } else { (i >> 9) as u8 }
        };
        (0..len).map(&mut next).collect()
    };
    for (at, len) in [("init", 300_000), ("lib/modules/6.1/virtio.ko", 700_000), ("etc/motd", 100_001)] {
        machine.tree.get_mut(&path(at)).unwrap().node.kind = Kind::File(Content::inline(bytes(len)));
    }
    // The reader is only asked for what is not in memory.
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let content = fs::read(&file).unwrap();
    let host = Content::Host { path: file, size: content.len() as u64, digest: Digest::of(&content) };
    machine.tree.get_mut(&path("bin/busybox")).unwrap().node.kind = Kind::File(host);
    // Equal files, which a root image has once.
    let mut builder = Builder(machine);
    for (component, at) in [(3, "onboot/000-dhcp"), (4, "services/web")] {
        builder = builder.file(component, format!("containers/{at}/rootfs/bin/busybox"), [5; 50_000]);
    }
    builder.0
}

fn build(
    machine: &Machine,
    formats: &[Format],
    directory: &Path,
    options: &Options,
    piece: usize,
) -> BTreeMap<String, Digest> {
    let out = directory.join("out");
    fs::create_dir_all(&out).unwrap();
    let output = Output::Directory { directory: out.clone(), name: "m".to_owned() };
    let store = Store { piece, ..Store::default() };
    write(machine, formats, &output, options, &store, &Derived::new(directory.join("cache")), &Silent).unwrap();
    names(&out).into_iter().map(|name| (name.clone(), Digest::of(&fs::read(out.join(name)).unwrap()))).collect()
}

#[test]
fn threads_pieces_and_a_warm_cache_change_nothing() {
    let machine = machine();
    for compression in Compression::ALL {
        let options = |threads| Options { compression, threads: NonZero::new(threads), ..Options::default() };
        let want = build(&machine, PLAIN, Place::new().dir.path(), &options(1), 0);
        assert_eq!(want.len(), 6);
        for (threads, piece) in [(2, 1000), (3, 0), (4, 70_000)] {
            let place = Place::new();
            for run in ["cold", "warm"] {
                let got = build(&machine, PLAIN, place.dir.path(), &options(threads), piece);
                assert_eq!(got, want, "{compression}, {threads} threads, pieces of {piece}, {run}");
            }
        }
    }
}

#[test]
fn threads_change_no_format() {
    let machine = machine();
    let options = |threads| Options { threads: NonZero::new(threads), ..Options::default() };
    let built = |threads| build(&machine, &all(), Place::new().dir.path(), &options(threads), 0);
    let want = built(1);
    assert!(want.len() > all().len());
    for threads in [2, 8] {
        assert_eq!(built(threads), want, "{threads} threads");
    }
}

/// An OVA once recorded the memory that another format of its build needed, a renamed UKI another name inside.
#[test]
fn no_format_depends_on_those_beside_it() {
    let machine = Machine { kernel_floor_mib: 250, ..machine() };
    let together = build(&machine, &all(), Place::new().dir.path(), &Options::default(), 0);
    let together: BTreeSet<_> = together.into_values().collect();
    for format in all() {
        // Firecracker's configuration has the names of its files in it.
        let alone = build(&machine, &[format], Place::new().dir.path(), &Options::default(), 0);
        for (name, digest) in alone {
            let same = together.contains(&digest);
            assert!(same || name.ends_with("-firecracker.json"), "{name} is another when it is built alone");
        }
    }
}

#[test]
fn neither_umask_nor_directory_nor_locale_matters() {
    let mut results = Vec::new();
    for shell in [
        "umask 000; cd /; unset LC_ALL TZ",
        "umask 077; cd \"$BOOTWRIGHT_TEST_DIR\"; export LC_ALL=tr_TR TZ=Asia/Tokyo",
    ] {
        let directory = tempfile::tempdir().unwrap();
        let ended = child("determinism::child_builds", shell, directory.path());
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
        results.push(fs::read_to_string(directory.path().join("digests")).unwrap());
    }
    assert_eq!(results[0], results[1]);
    assert!(results[0].lines().all(|line| line.starts_with("644 ")), "{}", results[0]);
}

#[test]
#[ignore = "run by another test"]
fn child_builds() {
    let directory = child_directory();
    let digests = build(&machine(), &all(), &directory, &Options::default(), 0);
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(directory.join("out").join(name)).unwrap().permissions().mode() & 0o7777
    };
    let lines: Vec<_> = digests.iter().map(|(name, digest)| format!("{:o} {name} {digest}\n", mode(name))).collect();
    fs::write(directory.join("digests"), lines.concat()).unwrap();
}

/// If this fails although nothing was meant to change, everybody's images change with this version. If a compression library was
/// updated, that is so; raise `WRITER_VERSION` (`initrd/plan.rs`) then, so that caches do not mix old bytes with new.
#[test]
fn golden() {
    let golden = include_str!("golden");
    let mut got = String::new();
    for compression in Compression::ALL {
        let place = Place::new();
        let options = Options { compression, ..Options::default() };
        for (name, digest) in build(&everything(), PLAIN, place.dir.path(), &options, 0) {
            got += &format!("{compression} {name} {digest}\n");
        }
    }
    let place = Place::new();
    for (name, digest) in build(&bootable(everything()), &all(), place.dir.path(), &Options::default(), 0) {
        got += &format!("bootable {name} {digest}\n");
    }
    assert_eq!(got, golden);
}
