//! The unchanged `config.json` under Debian's runc: that it starts, and that the defaults let the shapes of LinuxKit's
//! labels (sysctl, dhcpcd, binfmt, swap) do what they are for, and nobody else.
//!
//! Needs root, runc and a static busybox; says so loudly where they are missing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use bootwright_oci::{Content, Kind, Metadata, Node, ReadContent, Tree};
use bootwright_spec::{ContainerConfig, Namespaces};
use serde_json::json;

use crate::testing::{Bench, bind, command, container, path, spanned, text, texts, tree};

const BUSYBOX: &str = "/bin/busybox";

fn able() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let runc = Command::new("runc").arg("--version").output().is_ok_and(|o| o.status.success());
    // Not by `eprintln!`, which the test harness keeps to itself where a test passes.
    // runc makes `/` private, which the kernel refuses in a chroot.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mounted = mounts.lines().any(|line| line.split(' ').nth(4) == Some("/"));
    let able = root && runc && mounted && Path::new(BUSYBOX).exists();
    if !able {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: this test needs root (have: {root}), runc (have: {runc}), {BUSYBOX}, and a `/` that is a mount \
             point, as it is not in a chroot (is: {mounted}); test/tests/foreign_init.rs runs runc in a machine"
        );
    }
    able
}

fn busybox() -> Tree {
    let mut out = tree(&["bin/", "etc/", "tmp/"]);
    let meta = Metadata { mode: 0o755, ..Metadata::default() };
    let content = Content::inline(fs::read(BUSYBOX).unwrap());
    out.nodes_mut().insert(path("bin/busybox"), Node { meta: meta.clone(), kind: Kind::File(content) });
    out.nodes_mut().insert(path("bin/sh"), Node { meta, kind: Kind::Symlink(b"busybox".to_vec()) });
    out
}

/// Writes a machine's tree to a directory.
fn write(machine: &crate::Machine, store: &dyn ReadContent, to: &Path) {
    for (name, placed) in &machine.tree {
        let at = to.join(name.to_string());
        match &placed.node.kind {
            Kind::Directory => fs::create_dir(&at).unwrap(),
            Kind::Symlink(target) => symlink(std::str::from_utf8(target).unwrap(), &at).unwrap(),
            Kind::File(content) => {
                std::io::copy(&mut store.open(content).unwrap(), &mut fs::File::create(&at).unwrap()).unwrap();
            }
            other => panic!("{name} is {other:?}"),
        }
        if !matches!(placed.node.kind, Kind::Symlink(_)) {
            fs::set_permissions(&at, fs::Permissions::from_mode(placed.node.meta.mode)).unwrap();
        }
    }
}

/// Runs a script in a read-only container of that configuration, in namespaces that keep the test off this machine.
fn run(config: ContainerConfig, script: &str) -> Output {
    let mut bench = Bench::new();
    bench.image("busybox", &json!({"Labels": {"org.mobyproject.config": "{}"}}), busybox());
    let new = || Some(text("new"));
    let namespaces = Namespaces { net: new(), uts: new(), ipc: new(), ..config.namespaces.clone() };
    let config = ContainerConfig {
        command: command(&["/bin/sh", "-c", &format!("busybox --install -s /tmp; PATH=/tmp; {script}")]),
        tmpfs: config.tmpfs.clone().or_else(|| {
            Some(vec![bootwright_spec::Mount {
                destination: text("/tmp"),
                kind: "tmpfs".into(),
                source: text("tmpfs"),
                options: vec![],
            }])
        }),
        readonly: Some(spanned(true)),
        namespaces,
        ..config
    };
    bench.spec.services = vec![container("test", "busybox", config)];
    let machine = bench.machine();
    let place = tempfile::tempdir().unwrap();
    write(&machine, &bench.store, place.path());
    let bundle = place.path().join("containers/services/test");
    let id = format!("bootwright-test-{}-{:?}", std::process::id(), std::thread::current().id());
    let id: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let state = place.path().join("state");
    let out = Command::new("runc").arg("--root").arg(&state).args(["run", "--bundle"]).arg(&bundle).arg(&id).output();
    let out = out.unwrap();
    println!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    out
}

fn said(out: &Output) -> String {
    assert!(out.status.success(), "{out:?}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn caps(names: &[&str]) -> ContainerConfig {
    ContainerConfig { capabilities: texts(names), ..ContainerConfig::default() }
}

#[test]
fn a_container_without_capabilities_is_shut_in() {
    if !able() {
        return;
    }
    let out = said(
        &run(
            caps(&[]),
            "grep -E '^(Seccomp|NoNewPrivs|CapBnd):' /proc/self/status; cat /etc/hosts | head -n 1; \
         (echo 1 > /proc/sys/kernel/domainname) 2>&1; cat /proc/keys | wc -c; chroot / true 2>&1; touch /x 2>&1",
        )
        .tolerate(),
    );
    for part in [
        "Seccomp:\t2",
        "NoNewPrivs:\t1",
        "CapBnd:\t0000000000000000",
        "localhost",
        "Read-only file system",
        "chroot: can't",
    ] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
}

#[test]
fn a_container_with_net_admin_has_seccomp_and_may_write_its_networks_settings() {
    if !able() {
        return;
    }
    let out = said(&run(
        caps(&["CAP_NET_ADMIN", "CAP_NET_RAW"]),
        "grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status; ip link set lo up; \
         echo 1 > /proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward",
    ));
    for part in ["Seccomp:\t2", "NoNewPrivs:\t0", "CapEff:\t0000000000003000", "\n1\n"] {
        assert!(out.contains(part), "{part:?} in {out}");
    }
}

#[test]
fn linuxkits_sysctl_writes_settings() {
    if !able() {
        return;
    }
    let out = said(&run(
        caps(&["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]),
        "sysctl -w kernel.domainname=example net.ipv4.ip_forward=1 && cat /proc/sys/kernel/domainname",
    ));
    assert!(out.ends_with("example\n"), "{out}");
}

#[test]
fn linuxkits_dhcpcd_opens_packet_sockets_and_sets_addresses() {
    if !able() {
        return;
    }
    let out = said(&run(
        caps(&["CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_ADMIN"]),
        "ip link add v0 type dummy 2>/dev/null || true; ip link set lo up; ip addr add 10.9.8.7/24 dev lo && \
         (udhcpc -i lo -n -q -t 1 -T 1 -s /bin/true 2>&1 || true); ip addr show dev lo",
    ));
    assert!(out.contains("10.9.8.7/24") && out.contains("broadcasting discover"), "{out}");
}

#[test]
fn linuxkits_binfmt_mounts() {
    if !able() {
        return;
    }
    let out =
        said(&run(caps(&["CAP_SYS_ADMIN"]), "mount -t tmpfs none /proc/sys/fs && grep -c /proc/sys/fs /proc/mounts"));
    assert!(out.trim().ends_with('1'), "{out}");
}

#[test]
fn linuxkits_swap_makes_nodes_and_reaches_swapon() {
    if !able() {
        return;
    }
    let device = bootwright_spec::Device { path: text("all"), kind: "b".into(), major: 0, minor: 0, mode: None };
    let config = ContainerConfig {
        devices: Some(vec![device]),
        binds: Some(vec![bind("/dev:/dev")]),
        ..caps(&["CAP_SYS_ADMIN", "CAP_MKNOD"])
    };
    // What is no swap space is told so by the kernel (EINVAL), not by a filter (ENOSYS, EPERM).
    let script = "mknod /tmp/node b 7 200 && dd if=/dev/zero of=/tmp/swap bs=4096 count=10 2>/dev/null; swapon /tmp/swap 2>&1; true";
    let out = said(&run(config, script));
    assert!(out.contains("swapon: /tmp/swap: Invalid argument"), "{out}");
    // Whoever lacks the capability is refused, by whichever of filter and kernel comes first.
    let script = "dd if=/dev/zero of=/tmp/swap bs=4096 count=10 2>/dev/null; swapon /tmp/swap 2>&1; true";
    let out = said(&run(caps(&["CAP_CHOWN"]), script));
    assert!(out.contains("swapon: /tmp/swap: Operation not permitted"), "{out}");
}

#[test]
fn a_privileged_container_is_not_confined() {
    if !able() {
        return;
    }
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let own = status.lines().find_map(|l| l.strip_prefix("CapBnd:\t")).unwrap();
    let own = u64::from_str_radix(own.trim(), 16).unwrap();
    let all = (1 << bootwright_spec::capabilities().len()) - 1;
    if own & all != all {
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED: this machine lacks some of the capabilities that `all` asks for (have: {own:x})"
        );
        return;
    }
    let out = said(&run(
        caps(&["all"]),
        "grep -E '^(Seccomp|CapEff):' /proc/self/status; grep ' /sys/fs/cgroup ' /proc/mounts",
    ));
    assert!(out.contains("Seccomp:\t0"), "{out}");
    assert!(!out.contains("CapEff:\t0000000000000000"), "{out}");
}

/// What a foreign init does with `runtime.json`, as shell.
fn mounts(machine: &crate::Machine, bundle: &str) -> String {
    let runtime: bootwright_bundle::Runtime =
        serde_json::from_str(&crate::testing::read(machine, &format!("containers/{bundle}/runtime.json"))).unwrap();
    let line = |m: &bootwright_bundle::Mount| {
        let layers = m.options.iter().filter_map(|o| o.strip_prefix("upperdir=").or(o.strip_prefix("workdir=")));
        let made: String = layers.map(|l| format!("mkdir -p {l}\n")).collect();
        match m.options.first().map(String::as_str) {
            Some("remount") => format!("mount --make-private {}\n", m.destination),
            Some("bind") => format!("mount --bind {} {}\n", m.source, m.destination),
            _ => {
                let options = if m.options.is_empty() { "rw".to_owned() } else { m.options.join(",") };
                format!("{made}mount -t {} -o {options} {} {}\n", m.kind, m.source, m.destination)
            }
        }
    };
    runtime.mounts.unwrap().iter().map(line).collect()
}

#[test]
fn a_writable_and_a_readonly_container_share_an_image_and_a_volume_as_a_foreign_init_mounts_them() {
    if !able() {
        return;
    }
    let mut bench = Bench::new();
    bench.image("busybox", &json!({"Labels": {"org.mobyproject.config": "{}"}}), busybox());
    bench.image("data", &json!({}), tree(&["hello=from the volume"]));
    bench.spec.volumes = vec![bootwright_spec::Volume {
        name: text("data"),
        image: Some(text("data")),
        readonly: true,
        size: None,
        format: bootwright_spec::VolumeFormat::Filesystem,
        platforms: vec![],
    }];
    let config = |script: &str, readonly| ContainerConfig {
        command: command(&["/bin/busybox", "sh", "-c", script]),
        binds: Some(vec![bind("data:/data")]),
        readonly: Some(spanned(readonly)),
        ..ContainerConfig::default()
    };
    let write_all = "(echo mine > /etc/mark) 2>&1; (echo x > /data/new) 2>&1; cat /etc/mark /data/hello 2>&1; true";
    bench.spec.services = vec![
        container("writable", "busybox", config(write_all, false)),
        container("readonly", "busybox", config(write_all, true)),
    ];
    let machine = bench.machine();
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("machine");
    fs::create_dir(&root).unwrap();
    write(&machine, &bench.store, &root);
    // In a mount namespace and a root of its own, where `/containers` is what it is in a machine.
    let new = place.path().join("root");
    fs::create_dir(&new).unwrap();
    let volume = "/containers/volumes/data";
    let script = format!(
        "set -e\nmount -t tmpfs none {new}\ncd {new}\n\
         for d in bin sbin lib lib64 usr etc proc sys dev run; do\n\
           [ -e /$d ] || continue\n\
           if [ -L /$d ]; then cp -a /$d $d; else mkdir $d; mount --rbind /$d $d; fi\n\
         done\n\
         mkdir tmp containers\nmount --bind {root}/containers containers\n\
         exec chroot . sh -e -c '\n\
         mount --bind {volume}/lower {volume}/merged\n{first}{second}\
         for name in writable readonly; do\n\
           echo \"== $name\"; runc --root /tmp/state run --bundle /containers/services/$name {id}-$name\n\
         done'\n",
        new = new.display(),
        root = root.display(),
        first = mounts(&machine, "services/writable"),
        second = mounts(&machine, "services/readonly"),
        id = format_args!("bootwright-shared-{}", std::process::id()),
    );
    let out = Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    let text = said(&out);
    let (writable, readonly) = text.split_once("== readonly\n").unwrap();
    assert!(writable.contains("mine\n") && writable.contains("from the volume"), "{text}");
    assert!(writable.contains("/data/new: Read-only file system"), "{text}");
    assert!(readonly.contains("/etc/mark: Read-only file system"), "{text}");
    assert!(!readonly.contains("mine\n") && readonly.contains("from the volume"), "{text}");
    assert!(!root.join("containers/services/writable/lower/etc/mark").exists());
}

trait Tolerate {
    /// Takes any exit status: the script's last command is meant to fail.
    fn tolerate(self) -> Self;
}

impl Tolerate for Output {
    fn tolerate(mut self) -> Self {
        self.status = std::os::unix::process::ExitStatusExt::from_raw(0);
        self
    }
}
