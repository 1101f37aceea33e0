//! The recipe `debian` with this repository's own packages, from the machine's real apt and Debian's mirrors.

#![allow(clippy::unwrap_used, reason = "a failure of its own is a failure of the test")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use bootwright_oci::Silent;
use bootwright_oci::archive::{ExportFormat, ExportOptions, export_file};
use support::{Workshop, repository};

/// Where the other user of [`the_same_bytes_whoever_builds_them_and_where`] finds its work.
const OTHER: &str = "BOOTWRIGHT_TEST_OTHER_USER";
const PACKAGES: [&str; 7] =
    ["pkg/busybox", "pkg/dhcp", "pkg/httpd", "pkg/redis", "pkg/getty", "pkg/sysctl", "kernel/debian/cloud"];

fn digests(shop: &Workshop, repository: &Path) -> Vec<String> {
    PACKAGES.iter().map(|p| shop.build(&repository.join(p))).map(|b| format!("{} {}", b.name, b.digest)).collect()
}

/// Copies a package as another user's umask and checkout would have it.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        fs::copy(entry.path(), &target).unwrap();
        let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
        fs::set_permissions(&target, fs::Permissions::from_mode(if executable { 0o775 } else { 0o664 })).unwrap();
    }
}

#[test]
fn the_same_bytes_whoever_builds_them_and_where() {
    let scratch = tempfile::tempdir().unwrap();
    let ours = digests(&Workshop::new(&scratch.path().join("ours")), &repository());

    let theirs = tempfile::Builder::new().prefix("their place ").tempdir().unwrap();
    for package in PACKAGES {
        copy(&repository().join(package), &theirs.path().join("checkout").join(package));
    }
    let program = theirs.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut other = Command::new("sh");
    other.args(["-c", "umask 077; exec \"$0\" --exact --ignored --nocapture the_other_user"]).arg(&program);
    other.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin").env("HOME", theirs.path()).env("TZ", "Asia/Tokyo");
    other.env(OTHER, theirs.path());
    if fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(theirs.path()).status().unwrap().success());
        other.uid(65534).gid(65534);
    }
    let output = other.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Vec<&str> = text.lines().filter(|l| l.starts_with("docker.io/")).collect();
    assert_eq!(theirs, ours);
}

#[test]
#[ignore = "the other user's half of the test above"]
fn the_other_user() {
    let Some(place) = std::env::var_os(OTHER) else { return };
    let place = Path::new(&place);
    println!();
    for line in digests(&Workshop::new(place), &place.join("checkout")) {
        println!("{line}");
    }
}

/// What keeps a script's mounts its own: also where `/` is no mount point (a chroot), and so nothing can be said of it.
const OWN_MOUNTS: &str = r#"
    mount --make-rprivate / 2>/dev/null || for root in "$@"; do
        mount --bind "$root" "$root"
        mount --make-rprivate "$root"
    done
"#;

/// Runs a shell script as root of its own mount and network namespaces, with the unpacked packages as arguments. A user
/// namespace makes anybody root; root needs none, and gets none in a chroot.
fn in_namespaces(script: &str, roots: &[&Path]) -> (i32, String) {
    let mut unshare = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        unshare.arg("--map-root-user");
    }
    unshare.args(["--mount", "--propagation", "unchanged", "--net", "sh", "-euc"]);
    unshare.arg(format!("{OWN_MOUNTS}{script}")).arg("sh").args(roots);
    let output = unshare.output().unwrap_or_else(|e| panic!("unshare (util-linux): {e}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

/// Builds and unpacks packages of this repository.
fn unpacked(scratch: &Path, packages: &[&str]) -> Vec<std::path::PathBuf> {
    let shop = Workshop::new(scratch);
    let build = |name: &&str| {
        let root = scratch.join("roots").join(name);
        shop.unpack(&shop.build(&repository().join("pkg").join(name)).images[0], &root);
        // Where the machine would mount something.
        for mounted in ["dev", "sys", "run", "proc"] {
            fs::create_dir_all(root.join(mounted)).unwrap();
        }
        root
    };
    packages.iter().map(build).collect()
}

#[test]
fn redis_runs_from_its_own_libraries() {
    let scratch = tempfile::tempdir().unwrap();
    let roots = unpacked(scratch.path(), &["redis"]);
    let script = r#"
        ip link set lo up
        mount --rbind /dev "$1/dev"
        mount -t tmpfs none "$1/data"
        chroot "$1" /usr/bin/redis-server --version
        chroot "$1" /usr/bin/redis-server /etc/redis.conf >/dev/null &
        until chroot "$1" /usr/bin/redis-cli set key value 2>/dev/null; do kill -0 $!; done
        chroot "$1" /usr/bin/redis-cli get key
        chroot "$1" /usr/bin/redis-cli shutdown
        wait
    "#;
    let (code, text) = in_namespaces(script, &[&roots[0]]);
    assert!(code == 0 && text.contains("Redis server v=") && text.contains("OK\nvalue"), "{code}\n{text}");
    // Nothing in it is for maintainer scripts, and nothing was left behind for readers.
    for absent in ["usr/share", "var", "usr/bin/perl", "usr/lib/x86_64-linux-gnu/gconv"] {
        assert!(!roots[0].join(absent).exists(), "{absent}");
    }
}

#[test]
fn dhcp_gets_a_lease_and_sets_address_route_and_resolver() {
    let scratch = tempfile::tempdir().unwrap();
    let roots = unpacked(scratch.path(), &["dhcp", "busybox"]);
    let script = r#"
        ip link add veth0 type veth peer name veth1
        ip addr add 10.9.0.1/24 dev veth0
        ip link set veth0 up
        mount --rbind /dev "$1/dev"
        mount -t tmpfs none "$1/run"
        mkdir "$1/run/resolvconf"
        cat >"$1/run/udhcpd.conf" <<CONF
interface veth0
start 10.9.0.50
end 10.9.0.50
max_leases 1
lease_file $1/run/leases
pidfile $1/run/pid
option subnet 255.255.255.0
option router 10.9.0.1
option dns 10.9.0.2 10.9.0.3
option domain example.test
CONF
        : >"$1/run/leases"
        "$2/usr/bin/busybox" udhcpd -f "$1/run/udhcpd.conf" &
        chroot "$1" /usr/sbin/dhcp -1 veth1
        kill $!
        ip -o -4 addr show veth1
        ip route
        cat "$1/run/resolvconf/resolv.conf"
        # A service that takes over keeps the address until it has lost a lease.
        lease() { interface=veth1 chroot "$1" /usr/lib/dhcp/lease deconfig; }
        rm "$1/run/resolvconf/.lost.veth1"
        lease "$1"
        echo "first: $(ip -o -4 addr show veth1 | wc -l)"
        lease "$1"
        echo "then: $(ip -o -4 addr show veth1 | wc -l)"
        if chroot "$1" /usr/sbin/dhcp -1 absent0; then echo "absent0 has a lease"; fi
    "#;
    let (code, text) = in_namespaces(script, &[&roots[0], &roots[1]]);
    assert_eq!(code, 0, "{text}");
    for want in [
        "dhcp: veth1 is 10.9.0.50, gateway 10.9.0.1, dns 10.9.0.2 10.9.0.3\n",
        "inet 10.9.0.50/24 brd 10.9.0.255",
        "default via 10.9.0.1 dev veth1",
        "search example.test\nnameserver 10.9.0.2\nnameserver 10.9.0.3\n",
        "first: 1\nthen: 0\n",
    ] {
        assert!(text.contains(want), "{want}\n---\n{text}");
    }
    assert!(!text.contains("absent0 has a lease"), "{text}");
}

#[test]
fn sysctl_writes_what_the_kernel_has_and_says_what_it_refuses() {
    let scratch = tempfile::tempdir().unwrap();
    let roots = unpacked(scratch.path(), &["sysctl"]);
    let keys = roots[0].join("proc/sys/net");
    fs::create_dir_all(keys.join("odd.name")).unwrap();
    for key in ["one", "two", "odd.name/three"] {
        fs::write(keys.join(key), "").unwrap();
    }
    // A directory takes no value, as a key that refuses one.
    fs::create_dir_all(keys.join("refuses")).unwrap();
    let conf =
        "# comment\n; too\n\n net.one=1\nnet/odd.name/three =  a b  \n-net.refuses = 1\nnet.absent = 1\nnet.two = 2";
    for (conf, want_code, want) in [
        (conf, 0, ""),
        ("net.refuses = 1\nnet.two = 3", 1, "`net.refuses = 1`"),
        ("nonsense\n", 1, "no `=` in `nonsense`"),
    ] {
        let directory = roots[0].join("etc/sysctl.d");
        fs::remove_dir_all(&directory).unwrap();
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("10-test.conf"), conf).unwrap();
        let (code, text) =
            in_namespaces(r#"mount --rbind /dev "$1/dev"; exec chroot "$1" /usr/sbin/apply"#, &[&roots[0]]);
        assert_eq!(code, want_code, "{conf}\n{text}");
        assert!(text.contains(want), "{text}");
    }
    let value = |key: &str| fs::read_to_string(keys.join(key)).unwrap();
    assert_eq!((value("one"), value("odd.name/three"), value("two")), ("1\n".into(), "a b\n".into(), "3\n".into()));
}

#[test]
fn httpd_serves_a_page_and_ends_when_it_is_told_to() {
    let scratch = tempfile::tempdir().unwrap();
    let roots = unpacked(scratch.path(), &["httpd", "busybox"]);
    let script = r#"
        ip link set lo up
        mount --rbind /dev "$1/dev"
        # PID 1 of its own namespace, as in a machine.
        unshare --pid --fork --kill-child chroot "$1" /usr/sbin/serve /srv/www -p 80 &
        until chroot "$2" /bin/wget -q -O - http://127.0.0.1/ 2>/dev/null; do kill -0 $!; done
        pid=$(cat /proc/$!/task/$!/children)
        kill $pid
        wait
    "#;
    let (code, text) = in_namespaces(script, &[&roots[0], &roots[1]]);
    assert!(code == 0 && text.contains("Hello from a bootwright machine"), "{code}\n{text}");
}

#[test]
fn every_link_of_busybox_is_one_of_its_applets() {
    let scratch = tempfile::tempdir().unwrap();
    for root in unpacked(scratch.path(), &["busybox", "getty", "dhcp", "httpd", "sysctl"]) {
        let (code, list) = in_namespaces(r#"chroot "$1" /usr/bin/busybox --list"#, &[&root]);
        assert_eq!(code, 0, "{list}");
        let applets: BTreeSet<&str> = list.lines().collect();
        for directory in ["usr/bin", "usr/sbin"] {
            for entry in fs::read_dir(root.join(directory)).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap();
                let link = fs::read_link(entry.path()).is_ok();
                assert!(!link || applets.contains(name.as_str()), "{} is no applet", entry.path().display());
                assert!(entry.path().exists(), "{} leads nowhere", entry.path().display());
            }
        }
    }
}

#[test]
fn a_kernel_image_has_its_modules_uncompressed_and_listed() {
    let scratch = tempfile::tempdir().unwrap();
    let shop = Workshop::new(scratch.path());
    let built = shop.build(&repository().join("kernel/debian/cloud"));
    let image = &built.images[0];
    assert_eq!(image.label("org.bootwright.kernel.modules"), Some("virtio"));
    let debian: serde_json::Value =
        serde_json::from_str(image.label("org.bootwright.debian.packages").unwrap()).unwrap();
    let names: Vec<&str> = debian.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 2, "the kernel and its metapackage, and not what only its scripts use: {names:?}");
    assert!(debian.as_array().unwrap().iter().all(|p| p["sha256"].as_str().unwrap().len() == 64));
    let files: Vec<String> = shop.listing(image).into_keys().collect();
    assert_eq!(files, ["config", "kernel", "kernel.tar"]);
    let root = scratch.path().join("root");
    shop.unpack(image, &root);
    assert_eq!(fs::read(root.join("kernel")).unwrap()[0x202..0x206], *b"HdrS", "a bzImage");
    assert!(fs::read_to_string(root.join("config")).unwrap().contains("CONFIG_VIRTIO_BLK=m\n"));
    let mut paths = Vec::new();
    let mut dependencies = String::new();
    for entry in tar::Archive::new(fs::File::open(root.join("kernel.tar")).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        if path.ends_with("/modules.dep") {
            std::io::Read::read_to_string(&mut entry, &mut dependencies).unwrap();
        }
        paths.push(path);
    }
    assert!(paths.is_sorted());
    let holds = |end: &str| assert!(paths.iter().any(|p| p.ends_with(end)), "no {end}");
    ["virtio_blk.ko", "squashfs.ko", "overlay.ko", "modules.alias", "modules.builtin"].into_iter().for_each(holds);
    let compressed = |p: &&String| [".xz", ".gz", ".zst"].iter().any(|end| p.ends_with(end));
    assert_eq!(paths.iter().find(compressed), None);
    assert!(
        dependencies.contains("kernel/drivers/net/virtio_net.ko: kernel/net/core/failover.ko")
            || dependencies.contains("virtio_net.ko: kernel/drivers/net/net_failover.ko"),
        "{}",
        &dependencies[..400]
    );

    // What another tool says about the archive that `make packages` writes.
    let archive = scratch.path().join("kernel.oci.tar");
    let name = built.name.parse().unwrap();
    let options = ExportOptions { format: ExportFormat::Oci, platform: None, name: None };
    export_file(&shop.store, &name, &options, &archive, &Silent).unwrap();
    let skopeo =
        Command::new("skopeo").arg("inspect").arg(format!("oci-archive:{}", archive.display())).output().unwrap();
    assert!(skopeo.status.success(), "{}", String::from_utf8_lossy(&skopeo.stderr));
    let seen: serde_json::Value = serde_json::from_slice(&skopeo.stdout).unwrap();
    let floor = seen["Labels"]["org.bootwright.kernel.memory"].as_str().and_then(|mib| mib.parse::<u32>().ok());
    assert!(floor.is_some_and(|mib| mib > 0), "{seen}");
    assert_eq!(seen["Architecture"], "amd64");
}
