//! What a format cannot carry is refused before anything is read or written.

use bootwright_formats::{Compression, Format, Named, Options, Output};
use bootwright_oci::{Content, Digest, Kind};
use bootwright_rootfs::Machine;
use bootwright_spec::RootKind;

use crate::machine::{Builder, Place};

fn host(size: u64) -> Kind {
    // There is no such file: opening it would be an error of its own.
    Kind::File(Content::Host { path: "/nonexistent".into(), size, digest: Digest::of(b"") })
}

fn one(at: impl AsRef<[u8]>, kind: Kind) -> Machine {
    Builder::new(&[("init[0]", "i"), ("services[0]", "s")]).file(0, "init", "i").node(1, at, kind, |_| {}).0
}

#[test]
fn newcs_limits_name_the_file_its_component_and_a_format_that_would_do() {
    let long = |n: usize| vec!["n".repeat(200); n / 201 + 1].join("/")[..n].to_owned();
    let cases = [
        (one("big", host(1 << 32)), "`big` (services[0] name): 4294967296 bytes, 4 GiB - 1 byte at most"),
        (one("n".repeat(256), Kind::Fifo), ": a name of 256 bytes, 255 at most"),
        (one(long(4096), Kind::Fifo), ": a path of 4096 bytes, 4095 at most"),
        (
            one("l", Kind::Symlink(vec![b'x'; 4096])),
            "`l` (services[0] name): a symbolic link's target of 4096 bytes, 4095 at most",
        ),
        (one("l", Kind::Symlink(Vec::new())), "`l` (services[0] name): a symbolic link to nothing"),
        (one("TRAILER!!!", Kind::Fifo), "`TRAILER!!!` (services[0] name): a name that ends cpio archives"),
        (
            one("d", Kind::CharDevice { major: 4096, minor: 0 }),
            "`d` (services[0] name): device 4096:0, 4095:1048575 at most",
        ),
    ];
    for (machine, want) in cases {
        for format in [Format::KernelInitrd, Format::TarKernelInitrd] {
            let place = Place::new();
            let error = place.build(&machine, &[format], &Options::default()).unwrap_err();
            let start = format!("format `{format}` cannot hold `");
            let text = error.to_string();
            assert!(text.starts_with(&start) && text.ends_with(want), "{text}");
            assert_eq!(error.hint().unwrap(), "format `tar` holds them");
            assert_eq!((place.opened(), place.listing().len()), (0, 0), "nothing was read or written");
        }
    }
}

#[test]
fn just_within_the_limits_all_is_well() {
    let deep = vec!["n".repeat(200); 21].join("/")[..4095].to_owned();
    let machine = Builder::new(&[("init[0]", "i")])
        .file(0, deep, "deep")
        .file(0, "n".repeat(255), "long")
        .file(0, "sub/TRAILER!!!", "not the end")
        .node(0, "l", Kind::Symlink(vec![b'x'; 4095]), |_| {})
        .node(0, "d", Kind::BlockDevice { major: 4095, minor: 1_048_575 }, |_| {})
        .0;
    let place = Place::new();
    place.build(&machine, &[Format::KernelInitrd, Format::Tar], &Options::default()).unwrap();
    let initrd = place.read("m-initrd.img");
    let mut count = 0;
    bootwright_formats::read_initrd(&initrd[..], &mut |_, _, _| {
        count += 1;
        Ok(())
    })
    .unwrap();
    // And the manifest with its three directories.
    assert_eq!(count, machine.tree.len() + 4);
}

#[test]
fn all_misfits_are_told_at_once_but_no_more_than_ten() {
    let mut builder = Builder::new(&[("files[0]", "f")]);
    for i in 0..12 {
        builder = builder.node(0, format!("big{i:02}"), host(1 << 33), |_| {});
    }
    let error = Place::new().build(&builder.0, &[Format::KernelInitrd], &Options::default()).unwrap_err().to_string();
    assert!(error.contains("`big00`") && error.contains("`big09`") && error.ends_with("; and 2 more"), "{error}");
}

#[test]
fn what_is_wrong_with_the_order_is_said_before_the_build() {
    let machine = one("f", Kind::Fifo);
    let directory = Place::new();
    let build = |machine: &Machine, formats: &[Format], options: &Options, output: &Output| {
        bootwright_formats::check(machine, formats, output, options).map_err(|e| (e.to_string(), e.hint()))
    };
    let out = directory.output();
    let options = Options::default();
    let told = |result: Result<Vec<Named>, (String, Option<String>)>| result.unwrap_err().0;
    assert_eq!(told(build(&machine, &[], &options, &out)), "no output format was asked for");
    let (error, hint) = build(&machine, &[Format::Tar, Format::Rpi3], &options, &out).unwrap_err();
    assert_eq!(error, "format `rpi3` is not built yet");
    assert!(hint.unwrap().starts_with("this version builds aws, azure, docker, "));
    let (error, hint) = build(&machine, &[Format::RawEfi], &options, &out).unwrap_err();
    assert_eq!(error, "format `raw-efi` needs the EFI stub, and the spec names no `boot:` image");
    assert!(hint.unwrap().contains("boot: {image: "));
    let squashfs = Options { root: Some(RootKind::Squashfs), ..options.clone() };
    let (error, hint) = build(&machine, &[Format::KernelInitrd], &squashfs, &out).unwrap_err();
    assert_eq!(error, "the root cannot be a squashfs: the init (`i`) does not say that it can mount one");
    assert!(hint.unwrap().contains("initrd root"));
    let verity = Options { verity: true, ..options.clone() };
    assert_eq!(
        told(build(&machine, &[Format::Uki], &verity, &out)),
        "dm-verity checks a root image, and this machine's root is its initrd"
    );
    // What is mounted is checked, or it is not built.
    let mut verified = machine.clone();
    verified.early = Some(Content::inline(*b"#!early"));
    let (error, hint) = build(&verified, &[Format::KernelIso], &verity, &out).unwrap_err();
    assert_eq!(error, "format `kernel+iso` would mount a root that dm-verity does not check: an ISO has no hash tree");
    assert!(hint.unwrap().contains("leave out `root: {verity: true}`"));
    verified.boot.cmdline = "console=ttyS0 root=/dev/vda".to_owned();
    let error = told(build(&verified, &[Format::KernelSquashfs], &verity, &out));
    assert!(error.ends_with("the kernel's command line names another root (`root=`)"), "{error}");
    let mut kernelless = machine.clone();
    kernelless.boot.kernel = None;
    assert_eq!(
        told(build(&kernelless, &[Format::KernelInitrd], &options, &out)),
        "format `kernel+initrd` needs a kernel, and the machine has none"
    );
    assert!(build(&kernelless, &[Format::Tar, Format::Docker], &options, &out).is_ok());
    let level = Options { compression: Compression::Zstd, level: Some(22), ..options.clone() };
    assert_eq!(
        told(build(&machine, &[Format::KernelInitrd], &level, &out)),
        "zstd has no level 22; its levels are 1 to 19"
    );
    let lz4 = Options { compression: Compression::Lz4, level: Some(9), ..options.clone() };
    assert_eq!(told(build(&machine, &[Format::KernelInitrd], &lz4, &out)), "lz4 has no level 9; its levels are 1 to 1");
    for formats in [&[Format::KernelInitrd][..], &[Format::TarKernelInitrd], &[Format::Tar, Format::Docker]] {
        assert_eq!(
            told(build(&machine, formats, &options, &Output::Stdout)),
            "standard output takes exactly one format that is one stream: `docker`, `docker-archive`, `oci` or `tar`"
        );
    }
    assert!(build(&machine, &[Format::Tar], &options, &Output::Stdout).is_ok());
    let missing = Output::Directory { directory: "/nonexistent/out".into(), name: "m".to_owned() };
    assert_eq!(
        told(build(&machine, &[Format::Tar], &options, &missing)),
        "output directory `/nonexistent/out` does not exist"
    );
    let here = Output::File(directory.out());
    assert_eq!(
        told(build(&machine, &[Format::Tar], &options, &here)),
        format!("`{}` is a directory", directory.out().display())
    );
}

#[test]
fn a_broken_tree_is_refused_by_name() {
    let build = |machine: &Machine| {
        Place::new().build(machine, &[Format::KernelInitrd], &Options::default()).unwrap_err().to_string()
    };
    let base = || Builder::new(&[("init[0]", "i")]);
    assert!(build(&base().link(0, "a", "gone").0).contains("broken at `a` (init[0] name): a hard link to nothing"));
    assert!(
        build(&base().node(0, "d", Kind::Directory, |_| {}).link(0, "a", "d").0).contains("something else than a file")
    );
    let mut orphan = base().file(0, "d/f", "f").0;
    orphan.tree.remove(&crate::machine::path("d"));
    assert!(build(&orphan).contains("broken at `d/f` (init[0] name): its parent is missing"));
    assert!(build(&base().file(0, "d", "f").file(0, "d/f", "f").0).contains("its parent is not a directory"));
    assert!(
        build(&base().file(0, "usr/lib/bootwright/manifest.json", "{}").0).contains("this path is the builder's own")
    );
}
