//! Whole machines from small images: layout, precedence, and one regression per defect of parity section 13.1.

use std::collections::BTreeMap;

use bootwright_bundle as bundle;
use bootwright_oci::{Content, Digest, Kind, Tree, TreePath};
use bootwright_spec::{
    ContainerConfig, FileContents, FileEntry, Kernel, Landlock, MetadataFormat, Mount, OnFail, Owner, Volume,
    VolumeFormat,
};
use serde_json::{Value, json};

use crate::Support;
use crate::testing::{Bench, bind, command, container, json, path, read, spanned, text, texts, tree};

fn entry(at: &str, contents: FileContents) -> FileEntry {
    FileEntry { path: text(at), contents, mode: None, uid: None, gid: None, optional: false }
}

fn volume(name: &str, readonly: bool) -> Volume {
    Volume { name: text(name), image: None, readonly, size: None, format: VolumeFormat::Filesystem, platforms: vec![] }
}

fn kind<'a>(machine: &'a crate::Machine, at: &str) -> Option<&'a Kind> {
    machine.tree.get(&path(at)).map(|p| &p.node.kind)
}

/// What always holds of a machine's tree.
fn assert_sound(machine: &crate::Machine) {
    for (path, placed) in &machine.tree {
        let parent = path.parent().unwrap();
        let stands = parent.is_root() || machine.tree.get(&parent).is_some_and(|p| p.node.kind == Kind::Directory);
        assert!(stands, "{path} has a parent");
        assert!(placed.component < machine.components.len());
        if let Kind::HardLink(target) = &placed.node.kind {
            let target = machine.tree.get(target).unwrap_or_else(|| panic!("{path} links to {target}"));
            assert!(matches!(target.node.kind, Kind::File(_)) && target.component == placed.component, "{path}");
        }
    }
}

/// A busybox-like image.
fn program() -> Tree {
    tree(&["!bin/sh=#!/bin/sh", "etc/passwd=root:x:0:0::/:\nweb:x:33:34::/:\n", "etc/group=web:x:34:\ndisk:x:6:web\n"])
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.image("app", &json!({"Cmd": ["/bin/sh"], "Env": ["PATH=/app", "A=1"], "User": "web"}), program());
    bench.image("init", &json!({"Labels": {bundle::INIT_LABEL: "1"}}), tree(&["!init=x", "etc/"]));
    bench
}

#[test]
fn bundles_lie_where_foreign_inits_look_and_equal_images_are_there_once() {
    let mut bench = bench();
    let readonly = || ContainerConfig { readonly: Some(spanned(true)), ..ContainerConfig::default() };
    bench.spec.onboot =
        vec![container("first", "app", ContainerConfig::default()), container("first", "app", readonly())];
    bench.spec.onshutdown = vec![container("bye", "app", readonly())];
    let onfail = ContainerConfig { onfail: Some(spanned(OnFail::Reboot)), ..ContainerConfig::default() };
    bench.spec.services = vec![container("web", "app", onfail)];
    let machine = bench.machine();
    assert_sound(&machine);
    assert!(kind(&machine, "containers/onboot/000-first/lower/bin/sh").is_some());
    for once in ["onboot/001-first", "onshutdown/000-bye", "services/web"] {
        for copy in ["lower", "rootfs/bin"] {
            assert!(kind(&machine, &format!("containers/{once}/{copy}")).is_none(), "{once}/{copy}");
        }
        assert_eq!(kind(&machine, &format!("containers/{once}/rootfs")), Some(&Kind::Directory));
    }
    let mounts = |at: &str| json(&machine, &format!("containers/{at}/runtime.json"))["mounts"].clone();
    assert_eq!(
        mounts("services/web"),
        json!([
            {"destination": "/containers/services/web/tmp", "type": "tmpfs", "source": "tmpfs", "options": []},
            {"destination": "/containers/services/web/tmp", "type": "", "source": "", "options": ["remount", "private"]},
            {"destination": "/containers/services/web/rootfs", "type": "overlay", "source": "overlay", "options": [
                "lowerdir=/containers/onboot/000-first/lower",
                "upperdir=/containers/services/web/tmp/upper",
                "workdir=/containers/services/web/tmp/work",
            ]},
        ])
    );
    assert_eq!(
        mounts("onshutdown/000-bye"),
        json!([{
            "destination": "/containers/onshutdown/000-bye/rootfs", "type": "bind",
            "source": "/containers/onboot/000-first/lower", "options": ["bind"],
        }])
    );
    let runtime = json(&machine, "containers/services/web/runtime.json");
    let keys: Vec<_> = runtime.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["cgroups", "mounts", "mkdir", "interfaces", "bindNS", "namespace"]);
    assert_eq!(runtime["bindNS"].as_object().unwrap().len(), 7);
    assert_eq!(json(&machine, "containers/services/web/bootwright.json"), json!({"version": 1, "onfail": "reboot"}));
    assert!(kind(&machine, "containers/onboot/000-first/bootwright.json").is_none());
    let names: Vec<_> = machine.components.iter().map(|c| c.location.as_str()).collect();
    assert_eq!(names, ["onboot[0]", "onboot[1]", "onshutdown[0]", "services[0]"]);
    assert_eq!(machine.components[3].name, "services[0] web");
    assert_eq!(machine.components[3].source, "docker.io/library/app");
}

// LinuxKit's 1000th onboot container ran before its 999th.
#[test]
fn a_thousand_onboot_containers_keep_their_order() {
    let mut bench = bench();
    bench.spec.onboot = (0..1001).map(|n| container(&format!("c{n}"), "app", ContainerConfig::default())).collect();
    let machine = bench.machine();
    let all = TreePath::new("containers/onboot").unwrap();
    let names: Vec<String> = machine
        .tree
        .keys()
        .filter(|p| p.parent().as_ref() == Some(&all))
        .map(|p| String::from_utf8(p.file_name().to_vec()).unwrap())
        .collect();
    assert_eq!(names.len(), 1001);
    for (index, name) in names.iter().enumerate() {
        assert_eq!(*name, format!("{index:04}-c{index}"));
    }
}

#[test]
fn the_configuration_is_what_every_runtime_reads() {
    let mut bench = bench();
    let config = ContainerConfig {
        env: texts(&["A=2", "B=3"]),
        capabilities: texts(&["CAP_NET_ADMIN"]),
        ..ContainerConfig::default()
    };
    bench.spec.services = vec![container("web", "app", config)];
    let machine = bench.machine();
    let raw = read(&machine, "containers/services/web/config.json");
    assert!(
        raw.starts_with("{\n    \"ociVersion\": \"1.2.1\",\n    \"process\": {\n        \"terminal\": false,"),
        "{raw}"
    );
    assert!(raw.ends_with("}") && !raw.contains("noNewPrivileges"));
    // libcontainer's own reader.
    let parsed: oci_spec::runtime::Spec = serde_json::from_str(&raw).unwrap();
    assert_eq!(parsed.process().as_ref().unwrap().args().as_ref().unwrap(), &["/bin/sh"]);
    let config: Value = serde_json::from_str(&raw).unwrap();
    // LinuxKit's `env` replaced the image's, PATH and all.
    assert_eq!(config["process"]["env"], json!(["PATH=/app", "A=2", "B=3"]));
    assert_eq!(config["process"]["user"], json!({"uid": 33, "gid": 34, "additionalGids": [6]}));
    assert_eq!(config["process"]["cwd"], "/");
    assert_eq!(config["root"], json!({"path": "rootfs"}));
    let kinds: Vec<_> = config["linux"]["namespaces"].as_array().unwrap().iter().map(|n| n["type"].clone()).collect();
    assert_eq!(kinds, ["pid", "mount", "cgroup"]);
    let places: Vec<_> = config["mounts"].as_array().unwrap().iter().map(|m| m["destination"].clone()).collect();
    assert_eq!(places, ["/dev", "/dev/pts", "/proc", "/sys", "/sys/fs/cgroup"]);
    assert!(config["linux"]["maskedPaths"].as_array().unwrap().contains(&json!("/proc/kcore")));
    assert!(config["linux"]["readonlyPaths"].is_null(), "CAP_NET_ADMIN writes /proc/sys/net");
    assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
}

#[test]
fn dockers_defaults_bend_where_a_capability_would_be_worth_nothing() {
    let of = |capabilities: &[&str], more: ContainerConfig| {
        let mut bench = bench();
        let config = ContainerConfig { capabilities: texts(capabilities), ..more };
        bench.spec.services = vec![container("web", "app", config)];
        let config = json(&bench.machine(), "containers/services/web/config.json");
        serde_json::from_value::<oci_spec::runtime::Spec>(config.clone()).unwrap();
        config
    };
    let there = |config: &Value, what: &str| match what {
        "nnp" => config["process"]["noNewPrivileges"] == true,
        "rw" => !config["mounts"][4]["options"].as_array().unwrap().contains(&json!("ro")),
        "devices" => config["linux"]["resources"]["devices"][1]["type"] == "a",
        key => !config["linux"][key].is_null(),
    };
    let kept = ["nnp", "maskedPaths", "readonlyPaths", "seccomp", "rw", "devices"];
    for (capabilities, want) in [
        (&[][..], [true, true, true, true, false, false]),
        (&["none"], [true, true, true, true, false, false]),
        (&["CAP_CHOWN"], [false, true, true, true, false, false]),
        (&["CAP_NET_ADMIN"], [false, true, false, true, false, false]),
        (&["CAP_SYS_ADMIN"], [false, false, false, true, false, false]),
        (&["all"], [false, false, false, false, true, true]),
    ] {
        let config = of(capabilities, ContainerConfig::default());
        assert_eq!(kept.map(|what| there(&config, what)), want, "{capabilities:?}");
    }
    let off = ContainerConfig {
        masked_paths: Some(vec![]),
        readonly_paths: texts(&["/x"]),
        no_new_privileges: Some(spanned(false)),
        seccomp: Some(text("unconfined")),
        namespaces: bootwright_spec::Namespaces { cgroup: Some(text("host")), ..Default::default() },
        ..ContainerConfig::default()
    };
    let config = of(&[], off);
    assert_eq!(kept.map(|what| there(&config, what)), [false, false, true, false, false, false]);
    assert_eq!(config["linux"]["readonlyPaths"], json!(["/x"]));
    assert!(!config["linux"]["namespaces"].to_string().contains("cgroup"));
    let on = ContainerConfig { seccomp: Some(text("default")), ..ContainerConfig::default() };
    assert!(there(&of(&["all"], on), "seccomp"));
}

#[test]
fn yaml_counts_over_the_label_and_the_label_over_the_image() {
    let mut bench = bench();
    let label = json!({"capabilities": ["CAP_CHOWN"], "binds": ["/run:/run"], "env": ["A=9"], "readonly": true});
    bench.image(
        "labelled",
        &json!({"Cmd": ["/bin/sh"], "Env": ["A=1"], "Labels": {"org.mobyproject.config": label.to_string()}}),
        program(),
    );
    let yaml = ContainerConfig {
        capabilities_add: texts(&["CAP_KILL", "CAP_CHOWN"]),
        binds_add: Some(vec![bind("/var/x:/run"), bind("/var/y:/y:ro")]),
        ..ContainerConfig::default()
    };
    let clear = ContainerConfig {
        capabilities: Some(vec![]),
        binds: Some(vec![]),
        readonly: Some(spanned(false)),
        ..ContainerConfig::default()
    };
    bench.spec.services = vec![container("more", "labelled", yaml), container("less", "labelled", clear)];
    let machine = bench.machine();
    let more = json(&machine, "containers/services/more/config.json");
    assert_eq!(more["process"]["capabilities"]["effective"], json!(["CAP_CHOWN", "CAP_KILL"]));
    assert_eq!(more["process"]["env"][0], "A=9");
    assert_eq!(more["root"]["readonly"], true);
    let bound = |at: &str| more["mounts"].as_array().unwrap().iter().find(|m| m["destination"] == at).unwrap().clone();
    assert_eq!(bound("/run")["source"], "/var/x");
    assert_eq!(bound("/run")["options"], json!(["rw", "rbind", "rshared"]));
    assert_eq!(bound("/y")["options"], json!(["ro", "rbind"]));
    assert!(bound("/dev")["options"].as_array().unwrap().contains(&json!("ro")));
    let less = json(&machine, "containers/services/less/config.json");
    assert_eq!((&less["process"]["capabilities"], &less["root"]["readonly"]), (&json!({}), &Value::Null));
    assert_eq!(less["mounts"].as_array().unwrap().len(), 5);
    // A read-only root gets its mount points here, since nobody can make them later.
    assert_eq!(kind(&machine, "containers/services/more/rootfs/y"), Some(&Kind::Directory));
}

// The machine's root and a read-only container's cannot be written at boot.
#[test]
fn directories_of_runtime_are_made_where_init_cannot() {
    let mut bench = bench();
    let runtime = bootwright_spec::RuntimeConfig {
        mkdir: texts(&["/srv/a", "/var/b", "inside/c"]),
        mounts: Some(vec![Mount {
            destination: text("/srv/d"),
            kind: "tmpfs".into(),
            source: text("tmpfs"),
            options: vec![],
        }]),
        ..Default::default()
    };
    let config = ContainerConfig { runtime, ..ContainerConfig::default() };
    let readonly = ContainerConfig { readonly: Some(spanned(true)), ..config.clone() };
    bench.spec.services = vec![container("ro", "app", readonly), container("rw", "app", config)];
    let machine = bench.machine();
    for made in ["srv/a", "srv/d", "containers/services/ro/rootfs/inside/c"] {
        assert_eq!(kind(&machine, made), Some(&Kind::Directory), "{made}");
    }
    for left in ["var", "containers/services/rw/rootfs/inside"] {
        assert_eq!(kind(&machine, left), None, "{left}");
    }
    let runtime = json(&machine, "containers/services/ro/runtime.json");
    assert_eq!(runtime["mkdir"], json!(["/srv/a", "/var/b", "inside/c"]));
    assert_eq!(runtime["mounts"][1]["destination"], "/srv/d");
}

// LinuxKit: the name in `mounts:` stayed (13.1, item 6), read-only volumes were writable (item 7).
#[test]
fn what_only_our_init_does_is_in_a_file_of_ours() {
    let mut bench = bench();
    let locked = ContainerConfig {
        landlock: Some(spanned(Landlock { execute: vec!["/bin".into()], ..Landlock::default() })),
        capabilities: texts(&["CAP_NET_ADMIN"]),
        ..ContainerConfig::default()
    };
    let admin = ContainerConfig { capabilities: texts(&["CAP_SYS_ADMIN"]), ..locked.clone() };
    let wrong = ContainerConfig { no_new_privileges: Some(spanned(false)), ..locked.clone() };
    bench.spec.services = vec![container("locked", "app", locked), container("admin", "app", admin)];
    bench.spec.volumes = vec![volume("plain", false), Volume { size: Some(1 << 20), ..volume("small", false) }];
    let machine = bench.machine();
    let of = |at: &str| json(&machine, &format!("containers/{at}"));
    assert_eq!(of("services/locked/bootwright.json"), json!({"version": 2, "landlock": {"execute": ["/bin"]}}));
    assert_eq!(of("volumes/small/bootwright.json"), json!({"version": 1, "size": 1 << 20}));
    assert!(kind(&machine, "containers/volumes/plain/bootwright.json").is_none());
    // The kernel takes Landlock from whoever gave up new privileges, or could mount.
    assert_eq!(of("services/locked/config.json")["process"]["noNewPrivileges"], json!(true));
    assert_eq!(of("services/admin/config.json")["process"].get("noNewPrivileges"), None);
    bench.spec.services = vec![container("wrong", "app", wrong)];
    let errors = bench.assemble().unwrap_err();
    assert!(errors[0].starts_with("error: `landlock` needs `noNewPrivileges: true`"), "{errors:?}");
}

#[test]
fn volumes_resolve_in_both_forms_and_read_only_ones_are() {
    let mut bench = bench();
    bench.image("data", &json!({}), tree(&["index.html=hi"]));
    bench.spec.volumes = vec![volume("rw", false), Volume { image: Some(text("data")), ..volume("ro", true) }];
    let mount = Mount { destination: text("/m"), kind: "bind".into(), source: text("ro"), options: vec![] };
    let config = ContainerConfig {
        binds: Some(vec![bind("rw:/rw"), bind("ro:/ro:nosuid"), bind("ro:/plain")]),
        mounts: Some(vec![mount]),
        ..ContainerConfig::default()
    };
    bench.spec.services = vec![container("web", "app", config)];
    let machine = bench.machine();
    assert_sound(&machine);
    let config = json(&machine, "containers/services/web/config.json");
    let bound = |at: &str| {
        let all = config["mounts"].as_array().unwrap();
        let mount = all.iter().find(|m| m["destination"] == at).unwrap();
        (mount["source"].as_str().unwrap().to_owned(), mount["options"].clone())
    };
    let merged = |name: &str| format!("/containers/volumes/{name}/merged");
    assert_eq!(bound("/rw"), (merged("rw"), json!(["rw", "rbind", "rshared"])));
    assert_eq!(bound("/ro"), (merged("ro"), json!(["ro", "nosuid", "rbind"])));
    assert_eq!(bound("/plain"), (merged("ro"), json!(["ro", "rbind", "rshared"])));
    assert_eq!(bound("/m"), (merged("ro"), json!(["ro", "rbind"])));
    assert!(
        kind(&machine, "containers/volumes/rw/tmp").is_some()
            && kind(&machine, "containers/volumes/rw/lower").is_some()
    );
    assert!(kind(&machine, "containers/volumes/ro/tmp").is_none());
    let faithful: Vec<_> = machine.tree.keys().filter(|p| p.is_within(&path("containers/volumes/ro/lower"))).collect();
    assert_eq!(faithful.len(), 2, "nothing is added to a volume's files: {faithful:?}");

    let mut bad = bench;
    bad.spec.services[0].config.binds = Some(vec![bind("ro:/x:rw"), bind("row:/y"), bind("/a:relative")]);
    let errors = bad.assemble().unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].contains("read-only") && errors[1].contains("did you mean") && errors[2].contains("absolute"));
}

#[test]
fn an_oci_volume_is_a_layout() {
    let mut bench = bench();
    let blob = b"{}".to_vec();
    let digest = Digest::of(&blob);
    let layout = crate::Layout {
        name: "docker.io/library/x:1".into(),
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
        digest,
        size: 2,
        blobs: BTreeMap::from([(digest, Content::inline(blob))]),
    };
    bench.layouts.insert("x:1".into(), layout);
    bench.spec.volumes = vec![Volume { image: Some(text("x:1")), format: VolumeFormat::Oci, ..volume("v", false) }];
    let machine = bench.machine();
    let index = json(&machine, "containers/volumes/v/lower/index.json");
    assert_eq!(index["manifests"][0]["digest"], digest.to_string());
    serde_json::from_value::<oci_spec::image::ImageIndex>(index).unwrap();
    assert_eq!(read(&machine, "containers/volumes/v/lower/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    assert_eq!(read(&machine, &format!("containers/volumes/v/lower/blobs/sha256/{}", digest.hex())), "{}");
    assert_eq!(machine.components[0].location, "volume[0]");
    bench.spec.volumes[0].image = None;
    assert!(bench.assemble().unwrap_err()[0].contains("`format: oci` but no image"));
}

#[test]
fn init_images_lie_over_each_other_and_over_the_kernels_modules() {
    let mut bench = bench();
    // A merged /usr comes after the kernel's lib/modules.
    bench.image(
        "usr",
        &json!({}),
        tree(&["lib->usr/lib", "usr/lib/x=1", "lib/apk/db/installed=a\n", "a=>b", "b=B", "etc/hosts=10.0.0.1 db"]),
    );
    let second = [
        "lib/y=2",
        "lib/apk/db/installed=b\n",
        "b=C",
        "etc/hostname=h",
        "etc/resolv.conf=nameserver 1.1.1.1",
        "boot/x=y",
    ];
    bench.image("second", &json!({}), tree(&second));
    bench.images.get_mut("usr").unwrap().tree.nodes_mut().remove(&path("lib/apk/db/installed"));
    for gone in ["lib/apk/db", "lib/apk"] {
        bench.images.get_mut("usr").unwrap().tree.nodes_mut().remove(&path(gone));
    }
    bench.images.get_mut("usr").unwrap().tree.nodes_mut().insert(
        path("lib"),
        bootwright_oci::Node { meta: Default::default(), kind: Kind::Symlink(b"usr/lib".to_vec()) },
    );
    let tar = Content::inline(&b"tar"[..]);
    bench.store.tars.insert(
        tar.digest(),
        tree(&["lib/modules/6.1.0/kernel/a.ko=x", "boot/dtb/board.dtb=d", "boot/dtb/twin.dtb=>boot/dtb/board.dtb"]),
    );
    bench.image(
        "kernel",
        &json!({"Labels": {bundle::FLOOR_LABEL: "40"}}),
        tree(&["kernel=K", "kernel.tar=tar", "ucode.cpio=U"]),
    );
    bench.spec.kernel = Some(Kernel {
        image: Some(text("kernel")),
        cmdline: Some(text("console=ttyS0 %s")),
        ucode: Some(text("ucode.cpio")),
        ..Kernel::default()
    });
    bench.spec.init = vec![text("init"), text("usr"), text("second")];
    let (machine, said) = bench.assemble().unwrap();
    assert_sound(&machine);
    assert_eq!(kind(&machine, "lib"), Some(&Kind::Symlink(b"usr/lib".to_vec())));
    for moved in ["usr/lib/modules/6.1.0/kernel/a.ko", "usr/lib/x", "usr/lib/y", "usr/lib/apk/db/installed"] {
        assert!(kind(&machine, moved).is_some(), "{moved}");
    }
    let module = machine.tree.get(&path("usr/lib/modules/6.1.0/kernel/a.ko")).unwrap();
    assert_eq!(machine.components[module.component].location, "kernel");
    // The second image's `b` took the file from under the first one's hard link.
    assert_eq!((read(&machine, "a"), read(&machine, "b")), ("B".to_owned(), "C".to_owned()));
    assert_eq!(read(&machine, "etc/hosts"), "10.0.0.1 db");
    assert_eq!(read(&machine, "etc/hostname"), "h");
    assert_eq!(kind(&machine, "etc/resolv.conf"), Some(&Kind::Symlink(b"/run/resolvconf/resolv.conf".to_vec())));
    assert!(said.iter().any(|l| l.contains("gives way")), "{said:?}");
    assert!(["dev", "dev/pts", "proc", "sys", "etc/mtab"].iter().all(|p| kind(&machine, p).is_some()));
    assert!(kind(&machine, "boot").is_none());
    let boot: Vec<String> = machine.boot.files.keys().map(ToString::to_string).collect();
    assert_eq!(boot, ["dtb", "dtb/board.dtb", "dtb/twin.dtb", "x"]);
    assert_eq!(machine.boot.files[&path("dtb/twin.dtb")].kind, Kind::HardLink(path("dtb/board.dtb")));
    assert_eq!(machine.boot.kernel, Some(Content::inline(&b"K"[..])));
    assert_eq!(machine.boot.ucode, Some(Content::inline(&b"U"[..])));
    assert_eq!(machine.boot.cmdline, "console=ttyS0 %s");
    assert!(machine.native_init);
    assert_eq!(machine.kernel_floor_mib, 40);
}

#[test]
fn apks_lists_are_joined() {
    let mut bench = bench();
    bench.image("one", &json!({}), tree(&["lib/apk/db/installed=P:one\n\n"]));
    bench.image("two", &json!({}), tree(&["lib/apk/db/installed=P:two\n\n"]));
    bench.spec.init = vec![text("one"), text("two")];
    let machine = bench.machine();
    assert_eq!(read(&machine, "lib/apk/db/installed"), "P:one\n\nP:two\n\n");
    let placed = &machine.tree[&path("lib/apk/db/installed")];
    assert_eq!((placed.node.meta.mtime, machine.components[placed.component].source.as_str()), (0, "LINUXKIT.apkinit"));
}

/// A kernel without modules (`kernel/tiny`): its tar holds what depmod says of it and nothing to choose from.
#[test]
fn a_kernel_with_everything_built_in_says_what_that_is() {
    let mut bench = bench();
    let tar = Content::inline(&b"tar"[..]);
    let listed = ["lib/modules/6.12.1/modules.dep=", "lib/modules/6.12.1/modules.builtin=kernel/fs/ext4/ext4.ko\n"];
    bench.store.tars.insert(tar.digest(), tree(&listed));
    let members = ["kernel=K", "kernel.tar=tar", "vmlinux=V", "config=CONFIG_EXT4_FS=y\nCONFIG_XFS_FS=m\n"];
    bench.image("kernel", &json!({"Labels": {bundle::MODULES_LABEL: "all"}}), tree(&members));
    let kernel = Kernel { image: Some(text("kernel")), ..Kernel::default() };
    let with = |words| Kernel { modules: texts(words), ..kernel.clone() };
    for fine in [kernel.clone(), with(&["virtio", "cloud"]), with(&["ext4"]), with(&[])] {
        bench.spec.kernel = Some(fine);
        let (machine, said) = bench.assemble().unwrap();
        assert!(said.is_empty(), "{said:?}");
        assert_eq!(machine.boot.vmlinux, Some(Content::inline(&b"V"[..])));
        let config = machine.boot.config.as_ref().unwrap();
        assert_eq!(config.support("CONFIG_EXT4_FS"), Support::BuiltIn);
        assert_eq!(config.support("CONFIG_XFS_FS"), Support::Module);
        assert!(kind(&machine, "lib/modules/6.12.1/modules.builtin").is_some());
    }
    bench.spec.kernel = Some(with(&["xfs"]));
    assert!(bench.assemble().unwrap_err()[0].contains("no module `xfs`"));
    // Without a configuration the modules' lists speak.
    bench.image("kernel", &json!({}), tree(&members[..2]));
    bench.spec.kernel = Some(kernel);
    let boot = bench.machine().boot;
    assert_eq!((boot.vmlinux, boot.config.unwrap().support("EXT4_FS")), (None, Support::BuiltIn));
}

#[test]
fn a_kernels_missing_members_are_all_named() {
    let mut bench = bench();
    bench.image("kernel", &json!({}), tree(&["kernel=K", "kernel.tar=tar", "intel-ucode.cpio=U"]));
    let whole = Kernel { image: Some(text("kernel")), ..Kernel::default() };
    let wrong = Kernel {
        binary: Some(text("kernle")),
        ucode: Some(text("ucode.cpio")),
        tar: Some(text("nosuch.tar")),
        ..whole.clone()
    };
    bench.spec.kernel = Some(wrong);
    let errors = bench.assemble().unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
    assert!(errors[0].contains("`kernle` for the kernel; did you mean `kernel`?"), "{errors:?}");
    // LinuxKit passes over missing microcode in silence.
    assert!(errors[1].contains("`ucode.cpio` for the microcode"), "{errors:?}");
    bench.spec.kernel = Some(Kernel { tar: Some(text("none")), modules: Some(vec![text("virtio")]), ..whole.clone() });
    assert!(bench.assemble().unwrap_err()[0].contains("brings no modules"));
    bench.spec.kernel = Some(Kernel { tar: Some(text("")), ..whole.clone() });
    assert!(bench.machine().tree.is_empty());
    bench.spec.kernel = Some(whole);
    assert!(bench.assemble().unwrap_err()[0].contains("cannot be unpacked: not a tar"));
}

// LinuxKit gave /etc the mode and owner of the first file named below it (13.1, item 3).
#[test]
fn files_never_touch_parents_that_exist() {
    let mut bench = bench();
    bench.spec.init = vec![text("init")];
    bench.spec.services = vec![container("redis", "app", ContainerConfig::default())];
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("here");
    std::fs::write(&source, "from the host").unwrap();
    let missing = place.path().join("not-here");
    bench.spec.files = vec![
        FileEntry {
            mode: Some(0o600),
            uid: Some(spanned(Owner::Name("redis".into()))),
            gid: Some(spanned(Owner::Id(7))),
            ..entry("etc/redis/redis.conf", FileContents::Text("port 1".into()))
        },
        entry("etc/here", FileContents::Source(spanned(source.clone()))),
        FileEntry { optional: true, ..entry("etc/not-here", FileContents::Source(spanned(missing.clone()))) },
        entry("etc/spec.yml", FileContents::Metadata(MetadataFormat::Yaml)),
        entry("etc/link", FileContents::Symlink("/run/x".into())),
        entry("etc/dir", FileContents::Directory),
        entry("etc/spec.yml", FileContents::Text("later wins".into())),
        entry("var/lib/x", FileContents::Text(String::new())),
    ];
    let (machine, said) = bench.assemble().unwrap();
    assert_sound(&machine);
    let meta = |at: &str| {
        let meta = &machine.tree[&path(at)].node.meta;
        (meta.mode, meta.uid, meta.gid)
    };
    assert_eq!(meta("etc"), (0o755, 0, 0));
    assert_eq!(meta("etc/redis"), (0o755, 0, 0));
    assert_eq!(meta("etc/redis/redis.conf"), (0o600, 100, 7));
    assert_eq!((meta("etc/dir").0, meta("etc/here").0), (0o700, 0o600));
    assert_eq!(read(&machine, "etc/spec.yml"), "later wins");
    assert!(matches!(kind(&machine, "etc/here"), Some(Kind::File(Content::Host { size: 13, .. }))));
    assert!(kind(&machine, "etc/not-here").is_none());
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].contains("hidden at boot: init mounts memory over /var"), "{said:?}");
    assert_eq!(machine.components.last().unwrap().location, "files[7]");

    bench.spec.files = vec![
        entry("etc/a", FileContents::Source(spanned(missing))),
        entry("../x", FileContents::Directory),
        entry("etc", FileContents::Text("x".into())),
        entry("init/x", FileContents::Text("x".into())),
        FileEntry { uid: Some(spanned(Owner::Name("rediss".into()))), ..entry("b", FileContents::Directory) },
    ];
    let errors = bench.assemble().unwrap_err();
    assert_eq!(errors.len(), 5, "{errors:?}");
    assert!(errors[3].contains("`/init` is not a directory"), "{errors:?}");
    assert!(errors[4].contains("did you mean `redis`?"), "{errors:?}");
}

#[test]
fn all_problems_come_at_once() {
    let mut bench = bench();
    bench.image("silent", &json!({}), Tree::default());
    bench.image("badlabel", &json!({"Cmd": ["x"], "Labels": {"org.mobyproject.config": "{"}}), Tree::default());
    bench.image("stranger", &json!({"Cmd": ["x"], "User": "nobody"}), Tree::default());
    let config = ContainerConfig {
        capabilities: texts(&["CAP_NET_ADMINN"]),
        seccomp: Some(text("unconfind")),
        command: command(&["/bin/sh"]),
        ..ContainerConfig::default()
    };
    bench.spec.init = vec![text("nosuch")];
    bench.spec.onboot = vec![container("a", "app", config), container("b", "silent", ContainerConfig::default())];
    bench.spec.services = ["badlabel", "stranger"].map(|i| container(i, i, ContainerConfig::default())).to_vec();
    let errors = bench.assemble().unwrap_err();
    for part in [
        "image `nosuch` was not loaded",
        "did you mean `CAP_NET_ADMIN`?",
        "did you mean `unconfined`?",
        "says no command",
        "cannot be used",
        "user `nobody` is not in the image's etc/passwd",
    ] {
        assert!(errors.iter().any(|e| e.contains(part)), "{part}: {errors:?}");
    }
}

#[test]
fn attributes_are_listed_once_per_file() {
    let mut bench = bench();
    let mut files = tree(&["a=x", "b=>a"]);
    for name in ["a", "b"] {
        let meta = &mut files.nodes_mut().get_mut(&path(name)).unwrap().meta;
        meta.xattrs.insert(b"security.capability".to_vec(), vec![1, 0xab]);
    }
    bench.image("caps", &json!({}), files);
    bench.spec.init = vec![text("caps")];
    let want = bundle::Xattr { path: "/a".into(), name: "security.capability".into(), value: "01ab".into() };
    let machine = bench.machine();
    assert_eq!(machine.xattrs(), [want]);
    let per_component: usize = machine.by_component().iter().map(Vec::len).sum();
    assert_eq!(per_component, machine.tree.len());
    assert_eq!(machine.nodes(0).count(), machine.tree.len());
}
