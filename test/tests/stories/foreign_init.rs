//! The tool does not depend on our init: Debian's runc and containerd, started by a busybox shell, run what it builds.
//!
//! The foreign init knows LinuxKit's contract and nothing of ours: it mounts what `runtime.json` says, gives every onboot
//! bundle to runc as it lies there, and every service to containerd with its root's path made absolute, as LinuxKit's
//! `service` does (containerd has a bundle directory of its own). The test turns each `runtime.json` into lines of shell.

#![allow(clippy::unwrap_used, reason = "helpers of a test")]

use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use bootwright_test::{Entry, ImageBuilder, NET_BIND_SERVICE, Outcome, Story, file};
use serde_json::Value;

/// Debian's containerd, and what it runs.
const CONTAINERD: [&str; 4] =
    ["/usr/bin/runc", "/usr/bin/containerd", "/usr/bin/ctr", "/usr/bin/containerd-shim-runc-v2"];

#[test]
fn debians_runc_and_containerd_run_our_bundles_unchanged() {
    let story = Story::new();
    let init = foreign_init().write(story.dir(), "init");
    let app = ImageBuilder::busybox()
        .file("motd", 0o644, "from the image\n")
        .file_with_xattr("able", 0o755, b"x".to_vec(), "security.capability", &NET_BIND_SERVICE)
        .write(story.dir(), "app");
    let head = format!(
        "kernel:\n  image: \"@pkg:REPO/kernel/debian/cloud\"\n  cmdline: \"console=ttyS0 quiet panic=-1\"\ninit:\n  - {init:?}\n"
    );
    let status = "grep -E '^(Seccomp|CapEff|NoNewPrivs):' /proc/self/status";
    let story = story
        .head(&head)
        .onboot(
            Entry::new("first", &app)
                .script(&format!("{status}; echo onboot done"))
                .key("capabilities", "[CAP_NET_ADMIN]"),
        )
        .service(
            Entry::new("writable", &app)
                .script("echo mine > /mine && cat /mine /motd; echo kept > /store/it && cat /store/it; exec sleep 1000")
                .key("binds", "[\"store:/store\"]"),
        )
        .service(
            Entry::new("readonly", &app)
                .script(&format!(
                    "{status}; cat /motd; touch /mine 2> /dev/null || echo the root is read-only; exec sleep 1000"
                ))
                .key("readonly", "true"),
        )
        .volume("name: store");
    let script = boot_script(&story.build_tar());
    let built = story.file(&file("etc/boot", "0755", &script)).build();
    // Nobody would read a manifest, and what it would have kept is named.
    assert!(built.segments().iter().flatten().all(|entry| !entry.name.starts_with("usr/lib/bootwright")));
    let said = built.said();
    assert!(said.contains("extended attributes are lost") && said.contains("/able"), "{said}");

    let mut machine = built.boot().memory(1536).start();
    for line in ["CapEff:\t0000000000001000", "NoNewPrivs:\t0", "Seccomp:\t2", "onboot done"] {
        machine.sees(line);
    }
    machine.sees_all(&["mine", "kept", "the root is read-only", "NoNewPrivs:\t1", "foreign init waits"]);
    let lines = machine.lines();
    assert_eq!(lines.iter().filter(|line| *line == "from the image").count(), 2, "each service has its image");
    assert_eq!(lines.iter().filter(|line| *line == "Seccomp:\t2").count(), 2, "each container has its filter");
    machine.types("off\n");
    assert_eq!(machine.ends(), Outcome::PoweredOff);
}

/// What containerd's service runs: as in Docker's own image, its processes leave the root of its cgroup, so that there can be
/// others below.
const NESTED: &str = "
    export PATH=/usr/bin:/bin
    cd /sys/fs/cgroup && mkdir init && while read pid; do echo $pid > init/cgroup.procs; done < cgroup.procs
    sed 's/^/+/; s/ / +/g' cgroup.controllers > cgroup.subtree_control
    containerd -c /containerd.toml -l error & served=$!
    until ctr version > /tmp/version 2>&1; do sleep 0.1; done
    ctr images import --base-name local/app /app.tar
    ctr run --rm --memory-limit 33554432 local/app:latest inner \
      sh -c 'cat /motd; echo pid $$ of $(id -u); echo mine > /mine && cat /mine; sleep 1' &
    until grep -qs 33554432 default/inner/memory.max; do sleep 0.1; done; echo it is bounded
    wait $!; echo inner ended with $?
    trap 'kill $served; wait $served; echo containerd ends; exit 0' TERM; echo up; wait";

/// containerd as a service, in the form that LinuxKit's examples have for Docker.
#[test]
fn containerd_is_a_service_container_and_runs_others() {
    let story = Story::new();
    ImageBuilder::busybox().file("motd", 0o644, "from the inner image\n").write(story.dir(), "app");
    let app = story.dir().join("app.tar");
    let bytes = std::fs::read(&app).unwrap();
    std::fs::remove_file(app).unwrap();
    let config = "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";
    let image = ImageBuilder::busybox()
        .programs(&CONTAINERD)
        .file("app.tar", 0o644, bytes)
        .file("containerd.toml", 0o644, config)
        .write(story.dir(), "containerd");
    let mut machine = story
        .service(
            Entry::new("containerd", &image)
                .script(NESTED)
                .key("capabilities", "[all]")
                .key("net", "host")
                .key("mounts", "[{type: cgroup, options: [rw, nosuid, noexec, nodev, relatime]}]")
                .key("devices", "[{path: all, type: c}, {path: all, type: b}]")
                .key("tmpfs", "[/run, /tmp]")
                .key("binds", "[\"/var/lib/containerd:/var/lib/containerd\"]")
                .key("runtime", "{mkdir: [/var/lib/containerd]}"),
        )
        .build()
        .boot()
        .memory(1024)
        .start();
    machine.sees_all(&[
        "containerd: from the inner image",
        "containerd: pid 1 of 0",
        "containerd: mine",
        "containerd: it is bounded",
        "containerd: inner ended with 0",
        "containerd: up",
    ]);
    machine.powers_off();
    assert!(machine.said("containerd: containerd ends"));
}

/// An init image of Debian's runc and containerd with the libraries they need, and a busybox.
fn foreign_init() -> ImageBuilder {
    let enter = "#!/bin/busybox sh\n\
        # runc's pivot_root refuses to leave the initial root: give it an ordinary one, without copying.\n\
        /bin/busybox mount -o bind / /mnt\ncd /mnt\n/bin/busybox mount -o move . /\n\
        exec /bin/busybox chroot . /bin/busybox sh /etc/boot\n";
    let mut image = ImageBuilder::busybox().file("init", 0o755, enter).programs(&CONTAINERD);
    for directory in ["mnt", "proc", "sys", "dev", "run", "tmp", "var", "var/lib", "var/log", "etc", "root"] {
        image = image.directory(directory, 0o755);
    }
    image
}

/// What the foreign init does, for the bundles in this tar.
fn boot_script(tar: &Path) -> String {
    let mut script = String::from(
        "export PATH=/usr/bin:/bin\n\
         mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev\n\
         exec < /dev/console > /dev/console 2>&1\n\
         mkdir -p /dev/pts /dev/shm\n\
         mount -t devpts devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm; mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp\n\
         mount -t cgroup2 cgroup2 /sys/fs/cgroup\n\
         busybox modprobe overlay\n\
         for v in /containers/volumes/*; do\n\
           [ -d $v/merged ] || continue\n\
           mount -t tmpfs tmpfs $v/tmp; mkdir -p $v/tmp/upper $v/tmp/work\n\
           mount -t overlay -o lowerdir=$v/lower,upperdir=$v/tmp/upper,workdir=$v/tmp/work overlay $v/merged\n\
         done\n",
    );
    let bundles = runtimes(tar);
    for (bundle, runtime) in bundles.iter().filter(|(bundle, _)| bundle.starts_with("/containers/onboot/")) {
        prepare(&mut script, bundle, runtime);
        let _ = writeln!(script, "runc run --bundle {bundle} {}", name(bundle));
    }
    script.push_str(
        "printf 'version = 2\\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\\n' > /run/containerd.toml\n\
         containerd -c /run/containerd.toml > /var/log/containerd.log 2>&1 < /dev/null &\n\
         until ctr version > /dev/null 2>&1; do busybox usleep 100000; done\n",
    );
    for (bundle, runtime) in bundles.iter().filter(|(bundle, _)| bundle.starts_with("/containers/services/")) {
        prepare(&mut script, bundle, runtime);
        let name = name(bundle);
        let _ = writeln!(
            script,
            "sed 's#\"path\": *\"rootfs\"#\"path\": \"{bundle}/rootfs\"#' {bundle}/config.json > /run/{name}.json\n\
             ctr -n services.linuxkit run --config /run/{name}.json {name} < /dev/null &"
        );
    }
    script.push_str("echo foreign init waits\nread line\nbusybox poweroff -f\n");
    script
}

fn name(bundle: &str) -> &str {
    bundle.rsplit('/').next().unwrap_or(bundle)
}

/// The `runtime.json` of every bundle, in the order of their paths.
fn runtimes(tar: &Path) -> Vec<(String, Value)> {
    let mut archive = tar::Archive::new(File::open(tar).unwrap());
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let path = format!("/{}", entry.path().unwrap().to_string_lossy().trim_start_matches("./"));
        if let Some(bundle) = path.strip_suffix("/runtime.json") {
            found.push((bundle.to_owned(), serde_json::from_reader(entry).unwrap()));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(found.len(), 3, "one onboot and two services: {found:?}");
    found
}

/// What LinuxKit's init does before a container: mounts, then directories.
fn prepare(script: &mut String, bundle: &str, runtime: &Value) {
    let place = |path: &str| if path.starts_with('/') { path.to_owned() } else { format!("{bundle}/rootfs/{path}") };
    for mount in runtime["mounts"].as_array().into_iter().flatten() {
        let text = |key: &str| mount[key].as_str().unwrap_or_default().to_owned();
        let options: Vec<&str> = mount["options"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let destination = place(&text("destination"));
        for option in &options {
            if let Some((_, path)) = option.split_once('=').filter(|(key, _)| *key == "upperdir" || *key == "workdir") {
                let _ = writeln!(script, "mkdir -p {path}");
            }
        }
        let propagation = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];
        let (kinds, options): (Vec<&str>, Vec<&str>) = options.iter().partition(|option| propagation.contains(option));
        for kind in &kinds {
            let _ = writeln!(script, "mount --make-{kind} {destination}");
        }
        if !kinds.is_empty() && options.iter().all(|option| *option == "remount") {
            continue;
        }
        let kind = match text("type").as_str() {
            "" | "bind" | "none" => String::new(),
            kind => format!("-t {kind} "),
        };
        let options = if options.is_empty() { String::new() } else { format!("-o {} ", options.join(",")) };
        let _ = writeln!(script, "mkdir -p {destination}; mount {kind}{options}{} {destination}", text("source"));
    }
    for directory in runtime["mkdir"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let _ = writeln!(script, "mkdir -p {}", place(directory));
    }
}
