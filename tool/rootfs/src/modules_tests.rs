//! Choosing modules: a trimmed kernel in depmod's own formats, and (where one is given) a real one.

use std::io::Write as _;

use super::*;
use crate::testing::{Memory, text, tree};

/// Dependencies, aliases and oddities as Debian's 6.1 cloud kernel has them, cut down.
fn kernel() -> Tree {
    let dep = "\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci_modern_dev.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_modern_dev.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_balloon.ko.zst: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/net/core/failover.ko:
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko
kernel/drivers/md/dm-mod.ko:
kernel/drivers/md/dm-verity.ko: kernel/drivers/md/dm-mod.ko
kernel/drivers/net/ethernet/intel/e1000/e1000.ko.xz:
kernel/drivers/net/ethernet/intel/ixgbevf/ixgbevf.ko.gz:
kernel/fs/btrfs/btrfs.ko: kernel/lib/raid6/raid6_pq.ko
kernel/lib/raid6/raid6_pq.ko:
kernel/crypto/xxhash_generic.ko:
kernel/crypto/blake2b_generic.ko:
kernel/fs/xfs/xfs.ko:
kernel/drivers/usb/gadget/dummy_hcd.ko:
";
    let alias = "\
# Aliases extracted from modules themselves.
alias virtio:d00000001v* virtio_net
alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000
alias fs-btrfs btrfs
alias devname:btrfs-control btrfs
alias fs-xfs xfs
alias crypto-xxhash64 xxhash_generic
alias xxhash64 xxhash_generic
alias blake2b-256 blake2b_generic
alias crypto-blake2b-256 blake2b_generic
";
    let soft = "\
# Soft dependencies extracted from modules themselves.
softdep btrfs pre: blake2b-256
softdep btrfs pre: xxhash64
softdep btrfs pre: sha256
";
    let mut lines: Vec<String> =
        dep.lines().map(|l| format!("lib/modules/6.1.0/{}=ELF", l.split(':').next().unwrap())).collect();
    for (name, content) in [
        ("dep", dep),
        ("alias", alias),
        ("softdep", soft),
        ("symbols", "# s\nalias symbol:xfs_x xfs\nalias symbol:virtio_x virtio\n"),
        ("devname", "# Device nodes to trigger on-demand module loading.\nbtrfs btrfs-control c10:234\n"),
        ("order", "kernel/fs/xfs/xfs.ko\nkernel/drivers/virtio/virtio.ko\n"),
        ("builtin", "kernel/fs/ext4/ext4.ko\n"),
        ("builtin.modinfo", "ext4.alias=fs-ext4\0sha256_generic.alias=sha256\0"),
        ("dep.bin", "x"),
        ("alias.bin", "x"),
        ("symbols.bin", "x"),
        ("odd.bin", "x"),
        ("builtin.bin", "x"),
    ] {
        lines.push(format!("lib/modules/6.1.0/modules.{name}={content}"));
    }
    lines.push("lib/modules/6.1.0/build->/usr/src/linux".to_owned());
    lines.push("lib/firmware/x=fw".to_owned());
    tree(&lines.iter().map(String::as_str).collect::<Vec<_>>())
}

fn chosen(words: &[&str]) -> (Tree, Vec<String>, Vec<String>) {
    let mut tree = kernel();
    let wanted: Vec<_> = words.iter().map(|w| text(w)).collect();
    let mut problems = Problems::default();
    let out = choose(&mut tree, &wanted, &Memory::default(), &mut problems);
    assert_eq!(out, Chosen::Some { version: "6.1.0".to_owned() });
    let mut names: Vec<_> = tree.iter().filter_map(|(p, _)| module_name(p.file_name())).collect();
    names.sort();
    let errors = problems.finish().0.into_iter().map(|d| [vec![d.message], d.hints].concat().join("; ")).collect();
    (tree, names, errors)
}

const BOOTED: [&str; 9] = [
    "dm_mod",
    "dm_verity",
    "failover",
    "net_failover",
    "virtio",
    "virtio_net",
    "virtio_pci",
    "virtio_pci_modern_dev",
    "virtio_ring",
];

#[test]
fn presets_names_and_globs_choose_with_all_that_is_needed() {
    let with = |more: &[&str]| {
        let mut all: Vec<String> = BOOTED.iter().chain(more).map(|n| (*n).to_owned()).collect();
        all.sort();
        all
    };
    for (words, more) in [
        (&[][..], &[][..]),
        (&["virtio"], &["virtio_balloon"]),
        (&["cloud"], &["virtio_balloon", "e1000", "ixgbevf"]),
        (&["e1*"], &["e1000"]),
        (&["net/ethernet/*"], &[]),
        (&["drivers/net/ethernet/*"], &["e1000", "ixgbevf"]),
        (&["ixgbe[u-w]f"], &["ixgbevf"]),
        (&["dm-verity", "ext4", "dummy-hcd"], &["dummy_hcd"]),
        // The first soft dependency is named by alias, the last is built in.
        (&["btrfs"], &["btrfs", "raid6_pq", "xxhash_generic", "blake2b_generic"]),
    ] {
        let (_, names, errors) = chosen(words);
        let fails = words == ["net/ethernet/*"];
        assert_eq!((names, errors.len()), (with(more), usize::from(fails)), "{words:?}");
    }
}

#[test]
fn all_stays_as_it_is() {
    let (tree, _, errors) = chosen(&["all", "nonsense"]);
    assert_eq!((tree, errors.len()), (kernel(), 0));
}

#[test]
fn unknown_names_are_answered_with_the_nearest() {
    let (_, _, errors) = chosen(&["e100", "virtoi", "zz*"]);
    assert_eq!(errors.len(), 3);
    assert_eq!(errors[0], "this kernel has no module `e100`; did you mean `e1000`?");
    assert!(errors[1].ends_with("did you mean `virtio`?"), "{}", errors[1]);
    assert!(errors[2].contains("`zz*`; names and globs"), "{}", errors[2]);
}

#[test]
fn what_speaks_of_modules_speaks_of_those_kept() {
    let (tree, ..) = chosen(&["virtio"]);
    let read = |name: &str| {
        let node = tree.get(&TreePath::new(format!("lib/modules/6.1.0/{name}")).unwrap())?;
        let Kind::File(content) = &node.kind else { return None };
        Some(String::from_utf8(read_all(&Memory::default(), content, 1 << 20).unwrap()).unwrap())
    };
    assert!(!read("modules.dep").unwrap().contains("btrfs"));
    assert_eq!(read("modules.dep").unwrap().lines().count(), 10);
    let alias = read("modules.alias").unwrap();
    assert_eq!(alias, "# Aliases extracted from modules themselves.\nalias virtio:d00000001v* virtio_net\n");
    assert_eq!(read("modules.symbols").unwrap(), "# s\nalias symbol:virtio_x virtio\n");
    assert!(!read("modules.softdep").unwrap().contains("btrfs"));
    assert_eq!(read("modules.devname").unwrap().lines().count(), 1);
    assert_eq!(read("modules.order").unwrap(), "kernel/drivers/virtio/virtio.ko\n");
    assert_eq!(read("modules.builtin").unwrap(), "kernel/fs/ext4/ext4.ko\n");
    // What is built in stays true; of an index that we cannot write nobody knows what it says.
    assert_eq!((read("modules.odd.bin"), read("modules.builtin.bin")), (None, Some("x".to_owned())));
    for gone in ["kernel/fs", "kernel/fs/xfs", "build"] {
        assert!(tree.get(&TreePath::new(format!("lib/modules/6.1.0/{gone}")).unwrap()).is_none(), "{gone}");
    }
    assert!(tree.get(&TreePath::new("lib/firmware/x").unwrap()).is_some());
    let left = bootwright_bundle::LeftOut::parse(&read(LEFT_OUT).unwrap());
    assert_eq!(left.for_filesystem("xfs"), Some("xfs"));
    assert_eq!(left.for_alias("pci:v00008086d0000100Esv1sd1bc02sc00i00").collect::<Vec<_>>(), ["e1000"]);
    assert!(left.has_module("raid6_pq") && !left.has_module("virtio_net"));
}

#[test]
fn a_tree_without_modules_dep_is_refused_and_one_without_modules_is_said_to_be() {
    let mut problems = Problems::default();
    let mut bare = tree(&["lib/modules/6.1.0/kernel/a.ko=x"]);
    choose(&mut bare, &[text("virtio")], &Memory::default(), &mut problems);
    assert!(problems.finish().0[0].hints[0].contains("depmod"));
    let mut problems = Problems::default();
    let none = choose(&mut tree(&["boot/x=y"]), &[text("virtio")], &Memory::default(), &mut problems);
    assert_eq!((none, problems.finish().has_errors()), (Chosen::NoModules, false));
}

/// kmod reads nothing but the binary indexes, so it is the judge of them.
#[test]
fn kmod_finds_what_is_kept_and_nothing_else() {
    if !std::process::Command::new("modprobe").arg("--version").output().is_ok_and(|o| o.status.success()) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: no modprobe here");
        return;
    }
    let (tree, ..) = chosen(&["virtio", "btrfs"]);
    let root = tempfile::tempdir().unwrap();
    for (path, node) in tree.iter() {
        let at = root.path().join(path.to_string());
        match &node.kind {
            Kind::Directory => std::fs::create_dir_all(&at).unwrap(),
            Kind::File(c) => std::fs::write(&at, read_all(&Memory::default(), c, 1 << 20).unwrap()).unwrap(),
            other => panic!("{path} is {other:?}"),
        }
    }
    let modprobe = |args: &[&str]| {
        let mut command = std::process::Command::new("modprobe");
        let out =
            command.arg("-d").arg(root.path()).args(["-S", "6.1.0", "-C", "/dev/null"]).args(args).output().unwrap();
        String::from_utf8(out.stdout)
            .unwrap()
            .lines()
            .map(str::trim)
            .map(|l| l.rsplit('/').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(modprobe(&["--show-depends", "virtio_net"]), ["failover.ko", "net_failover.ko", "virtio_net.ko"]);
    assert_eq!(modprobe(&["--resolve-alias", "virtio:d00000001v00001AF4"]), ["virtio_net"]);
    assert_eq!(modprobe(&["--resolve-alias", "crypto-xxhash64"]), ["xxhash_generic"]);
    assert_eq!(modprobe(&["--resolve-alias", "symbol:virtio_x"]), ["virtio"]);
    assert_eq!(modprobe(&["--resolve-alias", "fs-xfs"]), [""; 0]);
    assert_eq!(modprobe(&["--show-depends", "e1000"]), [""; 0]);
}

/// The figures of `kernel-boot.md` section 11, on a kernel unpacked and run through depmod:
/// `BOOTWRIGHT_TEST_MODULES=/path/to/lib/modules/VERSION`.
#[test]
fn a_real_kernels_boot_set_is_19_modules() {
    let Some(home) = std::env::var_os("BOOTWRIGHT_TEST_MODULES").map(std::path::PathBuf::from) else {
        let _ = writeln!(std::io::stderr(), "SKIPPED: BOOTWRIGHT_TEST_MODULES names no kernel's modules");
        return;
    };
    let version = home.file_name().unwrap().to_str().unwrap().to_owned();
    let mut tree = Tree::default();
    let mut pending = vec![home.clone()];
    let top = TreePath::new(format!("lib/modules/{version}")).unwrap();
    while let Some(directory) = pending.pop() {
        let below = directory.strip_prefix(&home).unwrap().to_str().unwrap().to_owned();
        tree.nodes_mut().insert(top.join(&TreePath::new(below).unwrap()), crate::merge::directory(0o755));
        for entry in std::fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                pending.push(path);
                continue;
            }
            let below = path.strip_prefix(&home).unwrap().to_str().unwrap().to_owned();
            let node = crate::merge::file(0o644, std::fs::read(&path).unwrap());
            tree.nodes_mut().insert(top.join(&TreePath::new(below).unwrap()), node);
        }
    }
    let whole = tree.len();
    // Of all modules our indexes are depmod's own, byte by byte.
    let text = |name: &str| std::fs::read_to_string(home.join(name)).unwrap();
    let index = Index::parse(&text("modules.dep"), "", "", "", "");
    for name in ["modules.dep", "modules.alias", "modules.symbols"] {
        let theirs = std::fs::read(home.join(format!("{name}.bin"))).unwrap();
        assert!(index.binary(name, &text(name)).unwrap() == theirs, "{name}.bin");
    }
    let mut problems = Problems::default();
    choose(&mut tree, &[], &Memory::default(), &mut problems);
    let size = |tree: &Tree, modules: bool| -> u64 {
        let of = |(path, node): (&TreePath, &bootwright_oci::Node)| match &node.kind {
            Kind::File(c) if module_name(path.file_name()).is_some() == modules => c.size(),
            _ => 0,
        };
        tree.iter().map(of).sum()
    };
    let count = tree.iter().filter(|(p, _)| module_name(p.file_name()).is_some()).count();
    println!("{count} modules of {whole} nodes: {} bytes, others {}", size(&tree, true), size(&tree, false));
    assert_eq!((count, problems.finish().0.len()), (19, 0));
    assert!((1_800_000..2_200_000).contains(&size(&tree, true)));
}
