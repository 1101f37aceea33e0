//! What keeps containers apart, seen from inside: devices, limits, namespaces, volumes, Landlock. Many containers per boot,
//! each of which says a few lines.

use bootwright_test::{Entry, ImageBuilder, Running, Story, words};

/// What a container said, without its name.
fn said(machine: &Running, name: &str) -> Vec<String> {
    let prefix = format!("{name}: ");
    machine
        .lines()
        .iter()
        .filter_map(|line| line.strip_prefix(&prefix))
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Tries to read and to write each of its arguments, which are devices, and says how that went.
const TRY: &str = "try() { for d; do \
    head -c 0 $d 2> /tmp/e && r=read || r=$(sed 's/.*: //' /tmp/e); \
    (: > $d) 2> /tmp/e && w=write || w=$(sed 's/.*: //' /tmp/e); \
    echo $d $r, $w; done; }; ";

/// cgroup v2 has no devices controller: without our program, CAP_MKNOD or a bound /dev was enough to read any disk.
#[test]
fn only_devices_that_are_listed_can_be_used() {
    let disk = "IFS=: read a b < /sys/block/vda/dev; mknod /tmp/disk b $a $b && mknod /tmp/kmsg c 1 11 && echo made; \
                try /tmp/disk /tmp/kmsg /dev/null";
    let entry = |name: &str, script: &str| Entry::shell(name, &format!("{TRY}{script}")).key("tmpfs", "[/tmp]");
    let mknod = "[CAP_MKNOD]";
    let kmsg = "[{path: /dev/kmsg, type: c, major: 1, minor: 11, mode: \"0600\"}]";
    let writes = "{devices: [{allow: true, type: c, major: 1, minor: 11, access: w}]}";
    let built = Story::new()
        .cmdline("lsm=yama")
        .onboot(Entry::shell("locked", "echo runs").key("landlock", "{execute: [/]}").key("onfail", "continue"))
        .onboot(entry("maker", disk).key("capabilities", mknod))
        .onboot(entry("disks", disk).key("capabilities", mknod).key("devices", "[{path: all, type: b}]"))
        .onboot(entry("writer", disk).key("capabilities", mknod).key("resources", writes))
        .onboot(entry("listed", "try /dev/kmsg").key("devices", kmsg).key("capabilities", "[CAP_SYSLOG]"))
        .onboot(entry("bound", "try /dev/vda /dev/null").key("binds", "[\"/dev:/dev\"]"))
        .onboot(entry("trusted", "try /dev/vda").key("binds", "[\"/dev:/dev\"]").key("capabilities", "[all]"))
        .service(Entry::shell("web", "exec sleep 1000"))
        .build();
    let disk = built.dir().join("disk.img");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let mut machine = built.boot().disk(&disk.display().to_string()).start();
    machine.is_ready();
    let no = "Operation not permitted";
    let null = "/dev/null read, write";
    for (name, expected) in [
        (
            "maker",
            vec!["made".to_owned(), format!("/tmp/disk {no}, {no}"), format!("/tmp/kmsg {no}, {no}"), null.into()],
        ),
        ("disks", vec!["made".into(), "/tmp/disk read, write".into(), format!("/tmp/kmsg {no}, {no}"), null.into()]),
        ("writer", vec!["made".into(), format!("/tmp/disk {no}, {no}"), format!("/tmp/kmsg {no}, write"), null.into()]),
        ("listed", vec!["/dev/kmsg read, write".into()]),
        ("bound", vec![format!("/dev/vda {no}, {no}"), null.into()]),
        ("trusted", vec!["/dev/vda read, write".into()]),
    ] {
        assert_eq!(said(&machine, name), expected, "{name}");
    }
    // Without it, a container is not started: this kernel has been told to do without Landlock.
    assert!(machine.said("`locked` ended: not started: it has `landlock`, and this kernel has no Landlock"));
    machine.powers_off();
}

/// Says what each of its arguments, which are files of the container's cgroup, has in it.
const LIMITS: &str = "limits() { cd /sys/fs/cgroup; for f; do echo $f $(cat $f 2> /dev/null || echo none); done; }; ";

/// Limits of OCI, which are cgroup v1's, as the kernel has them; what every container has without a word; and what all of
/// them together leave to init.
#[test]
fn limits_are_the_kernels() {
    let all = "{memory: {limit: 67108864, reservation: 1048576, swap: 100663296}, \
               cpu: {shares: 512, quota: 50000, period: 200000, cpus: \"0\", mems: \"0\"}, pids: {limit: 20}, \
               blockIO: {weight: 500, throttleReadBpsDevice: [{major: 254, minor: 0, rate: 1048576}]}, \
               hugepageLimits: [{pageSize: 2MB, limit: 4194304}], unified: {memory.high: \"50331648\"}}";
    let all_files = "memory.max memory.low memory.swap.max memory.high cpu.weight cpu.max cpuset.cpus cpuset.mems pids.max \
                     io.weight io.max hugetlb.2MB.max";
    let old = "{memory: {limit: 67108864, kernel: 1, kernelTCP: 1, swappiness: 10, disableOOMKiller: true}, \
               cpu: {realtimeRuntime: 1000, realtimePeriod: 1000000}, blockIO: {leafWeight: 20}, \
               network: {classID: 1, priorities: [{name: lo, priority: 1}]}}";
    let default = "limits memory.oom.group memory.max; cd /proc/sys/kernel; \
                   total=$(sort -n pid_max threads-max | head -n 1); \
                   [ $(cat /sys/fs/cgroup/pids.max) = $((total / 4)) ] && echo a quarter of processes";
    let forks = "(for n in $(seq 30); do sleep 1000 > /dev/null 2>&1 & done) 2>&1 | grep -o \"can't fork\"";
    let together = "cd /cg/containers; own=$(cat memory.max); total=$(awk '/MemTotal/ {print $2 * 1024}' /proc/meminfo); \
                    [ $own -lt $total ] && echo less memory; \
                    [ $(cat pids.max) -lt $(cat /proc/sys/kernel/pid_max) ] && echo fewer processes; \
                    ls -d mine/made onboot/*-machine pods/made; grep -x 1 ../cgroup.procs";
    let limits = |name: &str, script: &str| Entry::shell(name, &format!("{LIMITS}{script}"));
    let built = Story::new()
        .onboot(limits("default", default))
        .onboot(limits("limited", &format!("limits {all_files}")).key("resources", all))
        .onboot(limits("old", "limits memory.max").key("resources", old))
        .onboot(
            limits("named", "limits pids.max").key("cgroupsPath", "mine/own").key("resources", "{pids: {limit: 7}}"),
        )
        .onboot(Entry::shell("forks", forks).key("resources", "{pids: {limit: 10}}"))
        .onboot(
            Entry::shell("machine", together)
                .key("binds", "[\"/sys/fs/cgroup:/cg\"]")
                .key("pid", "host")
                .key("runtime", "{cgroups: [mine/made, /pods/made]}"),
        )
        .service(
            Entry::shell("eater", "dd if=/dev/zero of=/dev/null bs=200M count=1; echo ate")
                .key("resources", "{memory: {limit: 20971520}}")
                .key("restart", "never"),
        )
        .service(Entry::shell("web", "trap 'echo ends in order; exit' TERM; while :; do sleep 1; done"))
        .build();
    for key in ["memory.kernel", "memory.kernelTCP", "cpu.realtimeRuntime", "blockIO.leafWeight", "network.classID"] {
        assert!(built.said().contains(&format!("`onboot[2].resources.{key}` is ignored")), "{key}: {}", built.said());
    }
    let disk = built.dir().join("disk.img");
    std::fs::write(&disk, vec![0; 1 << 20]).unwrap();
    let mut machine = built.boot().disk(&disk.display().to_string()).start();
    machine.is_ready();
    // Both processes of the container are killed, or the shell would go on.
    machine.sees(&format!("{}signal 9 (SIGKILL), out of memory", words::ended("service", "eater")));
    for (name, expected) in [
        ("default", &["memory.oom.group 1", "memory.max max", "a quarter of processes"][..]),
        (
            "limited",
            &[
                "memory.max 67108864",
                "memory.low 1048576",
                // What is given is memory and swap together.
                "memory.swap.max 33554432",
                "memory.high 50331648",
                "cpu.weight 59",
                "cpu.max 50000 200000",
                "cpuset.cpus 0",
                "cpuset.mems 0",
                "pids.max 20",
                "io.weight default 4950",
                "io.max 254:0 rbps=1048576 wbps=max riops=max wiops=max",
                "hugetlb.2MB.max 4194304",
            ],
        ),
        ("old", &["memory.max 67108864"]),
        ("named", &["pids.max 7"]),
        ("forks", &["can't fork"]),
        ("machine", &["less memory", "fewer processes", "mine/made", "onboot/005-machine", "pods/made", "1"]),
        ("eater", &[]),
    ] {
        assert_eq!(said(&machine, name), expected, "{name}");
    }
    machine.powers_off();
    assert_eq!(said(&machine, "web"), ["ends in order"]);
}

/// Whatever their users and capabilities are, and what they execute.
#[test]
fn landlock_leaves_the_paths_that_are_listed() {
    let script = "exec 2>&1; awk '/NoNewPrivs/ {print $1, $2}' /proc/self/status; \
                  echo kept > /scratch/file && cat /scratch/file; cp /bin/busybox /scratch/tool; /scratch/tool true; \
                  ls /etc; touch /new; mv /scratch/file /etc; cat /dev/zero; echo end";
    let paths = "{read: [/proc], write: [/scratch, /dev/null], execute: [/bin]}";
    let entry = |name: &str| Entry::shell(name, script).key("tmpfs", "[/scratch]");
    let mut machine = Story::new()
        .onboot(entry("locked").key("landlock", paths))
        .onboot(entry("able").key("landlock", paths).key("capabilities", "[CAP_DAC_OVERRIDE, CAP_SYS_ADMIN]"))
        .onboot(entry("wrong").key("landlock", "{execute: [/bin, /nowhere]}").key("onfail", "continue"))
        .service(
            Entry::shell("web", "exec sleep 1000")
                .key("landlock", "{execute: [/bin], write: [/dev/null]}")
                .key("ready", "{exec: [sh, -c, \"ls /bin && ! ls /etc\"], timeout: 20s}"),
        )
        .build()
        .boot()
        .start();
    // What joins a container is bound as well.
    machine.sees(" ms: web");
    for (name, privileges) in [("locked", "NoNewPrivs: 1"), ("able", "NoNewPrivs: 0")] {
        let expected = [
            privileges,
            "kept",
            "/bin/sh: /scratch/tool: Permission denied",
            "ls: can't open '/etc': Permission denied",
            "touch: /new: Permission denied",
            "mv: can't create '/etc/file': Permission denied",
            "cat: can't open '/dev/zero': Permission denied",
            "end",
        ];
        assert_eq!(said(&machine, name), expected, "{name}");
    }
    let missing = "landlock: `/nowhere`: No such file or directory";
    assert!(
        machine.said(&format!(
            "`wrong` ended: not started: creating the container: failed to create container: {missing}"
        ))
    );
    machine.powers_off();
}

/// In the root from an initrd, whose files could be written: a read-only bind mount is all that would keep volumes from it.
#[test]
fn volumes_are_as_large_and_as_read_only_as_they_say() {
    let story = Story::new();
    let data = ImageBuilder::new().file("seed", 0o644, "seed\n").write(story.dir(), "data");
    let fill = "for d; do head -c 2000000 /dev/zero > $d/big 2> /dev/null && echo $d took || echo $d is full; cat $d/seed 2> /dev/null; done; :";
    let remount = "for how in remount,rw,bind remount,rw; do mount -o $how /f 2> /dev/null; \
                   touch /f/x 2> /dev/null && echo wrote || echo $how leaves it; done; cat /f/seed";
    let used = "used() { set -- $(stat -f -c '%b %f' /); echo $(($1 - $2)) blocks; }; used; ";
    let available = "awk '/MemAvailable/ {print $2}' /proc/meminfo";
    let built = story
        .volume("{name: small, size: 1M}")
        .volume(&format!("{{name: filled, image: {data:?}, size: 1M}}"))
        .volume(&format!("{{name: large, image: {data:?}}}"))
        .volume(&format!("{{name: frozen, image: {data:?}, readonly: true}}"))
        .volume("{name: layout, image: \"@pkg:REPO/pkg/busybox\", format: oci}")
        .volume("{name: nothing, readonly: true}")
        .onboot(
            Entry::shell("filler", &format!("set -- /small /filled /large; {fill}"))
                .key("binds", "[\"small:/small\", \"filled:/filled\", \"large:/large\"]"),
        )
        .onboot(
            Entry::shell("remounter", remount)
                .key("binds", "[\"frozen:/f:ro\"]")
                .key("capabilities", "[CAP_SYS_ADMIN, CAP_DAC_OVERRIDE]"),
        )
        .onboot(
            Entry::shell("reader", "ls /o /n; touch /n/x 2>&1 || true")
                .key("binds", "[\"layout:/o:ro\", \"nothing:/n:ro\"]"),
        )
        .onboot(Entry::shell("before", available))
        .onboot(Entry::shell("eater", &format!("{used} dd if=/dev/zero of=/big bs=1M count=100 2> /dev/null; used")))
        .onboot(Entry::shell("after", available))
        .service(Entry::shell("web", "exec sleep 1000"))
        .build_with(&["--root", "initrd"]);
    let mut machine = built.boot().start();
    machine.is_ready();
    let refused = "leaves it";
    for (name, expected) in [
        ("filler", &["/small is full", "/filled is full", "seed", "/large took", "seed"][..]),
        ("remounter", &[&format!("remount,rw,bind {refused}"), &format!("remount,rw {refused}"), "seed"]),
        ("reader", &["/n:", "", "/o:", "blobs", "index.json", "oci-layout", "touch: /n/x: Read-only file system"]),
        // A root costs nothing until it is written to, and nothing once the container has ended.
        ("eater", &["0 blocks", "25600 blocks"]),
    ] {
        assert_eq!(said(&machine, name), expected, "{name}");
    }
    let [before, after] = ["before", "after"].map(|name| said(&machine, name)[0].parse::<i64>().unwrap());
    assert!(before - after < 8 << 10, "{before} KiB were available, and then {after} KiB");
    machine.powers_off();
}

/// The keys that containers.rs does not look at: namespaces of every kind, joined ones, interfaces, ids, limits, mounts.
#[test]
fn every_key_is_seen_from_inside() {
    let space = "ns() { for n; do [ $(readlink /proc/self/ns/$n) = $(cat /shared/$n) ] && echo $n theirs || echo $n own; \
                 done; }; ";
    let record = "for n in net ipc uts pid user cgroup; do readlink /proc/self/ns/$n > /shared/$n; done; echo recorded; \
                  ls /sys/class/net";
    let all = format!("{space} ns net ipc uts pid user cgroup; ");
    let three = format!("{space} ns net ipc uts; hostname; ls /sys/class/net");
    let inside = "awk '{print $1, $2, $3}' /proc/self/uid_map /proc/self/gid_map; id -u; hostname; \
                  sysctl -n kernel.shmmni net.ipv4.ip_forward; ls /sys/class/net; echo wrote > /file && cat /file";
    let ids = "of() { awk -v key=\"$1:\" '$1 == key {$1 = \"\"; print substr($0, 2)}' /proc/self/status; }; \
               of Uid; of Gid; of Groups; cat /proc/self/oom_score_adj; \
               of CapInh; of CapPrm; of CapEff; of CapBnd; of CapAmb";
    let limits = "awk '/open files|locked memory/ {print $4, $5} /core file/ {print $5, $6}' /proc/self/limits; \
                  env | sort | grep -E '^(A|PATH)='; pwd";
    let passed = "of() { awk -v at=$1 '$5 == at {print at, $6, $7}' /proc/self/mountinfo | cut -d: -f1; }; of";
    let mounts = "of /t; of /m; ls -d /made /also; touch /root/x 2>&1; \
                  [ -c /proc/version ] && [ -z \"$(ls /proc/tty)\" ] && echo masked; of /";
    let maps = "[{hostID: 100000, containerID: 0, size: 1000}]";
    let shared = "[\"/run/shared:/shared\"]";
    let makes = "{mkdir: [/run/shared]}";
    let own_mounts =
        "{mounts: [{type: tmpfs, source: tmpfs, destination: /run/mine}], mkdir: [/run/mine/dir, made, also]}";
    let binds = "{bindNS: {net: /run/ns/net, ipc: /run/ns/ipc, uts: /run/ns/uts, pid: /run/ns/pid, \
                 cgroup: /run/ns/cgroup, mnt: /run/ns/mnt, user: /run/ns/user}, \
                 interfaces: [{name: inside, add: veth, peer: outside}, {name: eth0}, {name: wg0, add: wireguard}, \
                 {name: made, add: veth, peer: made0, createInRoot: true}]}";
    let new = |entry: Entry, name: &str| {
        entry.key("net", "new").key("ipc", "new").key("uts", "new").key("hostname", name).key("binds", shared)
    };
    let built = Story::new()
        .kernel("modules: [virtio, veth, wireguard]")
        .onboot(
            Entry::shell("host", record)
                .key("pid", "host")
                .key("cgroupns", "host")
                .key("runtime", makes)
                .key("binds", shared),
        )
        .onboot(Entry::shell("plain", &format!("{all} {passed} /shared")).key("binds", shared))
        .onboot(
            new(Entry::shell("fresh", &format!("{all} {inside}")), "inside")
                .key("userns", "new")
                .key("uidMappings", maps)
                .key("gidMappings", maps)
                .key("sysctl", "{net.ipv4.ip_forward: \"1\", kernel.shmmni: \"77\"}"),
        )
        .onboot(
            Entry::shell("ids", ids)
                .key("uid", "1000")
                .key("gid", "1001")
                .key("additionalGids", "[5, 7]")
                .key("oomScoreAdj", "123")
                .key("capabilities", "[CAP_CHOWN, CAP_NET_RAW]")
                .key("ambient", "[CAP_NET_RAW]"),
        )
        .onboot(
            Entry::shell("limits", limits)
                .key("rlimits", "[\"RLIMIT_NOFILE,100,200\", \"RLIMIT_CORE,0,unlimited\", \"memlock,4096,8192\"]")
                .key("env", "[\"A=b c\"]")
                .key("cwd", "/proc")
                .key("annotations", "{org.example: x}"),
        )
        .onboot(
            Entry::shell("mounts", &format!("{passed} /bound; {mounts}"))
                .key("binds", "[\"/etc:/bound:ro,nosuid,nodev,noexec,private\"]")
                .key("tmpfs", "[\"/t:size=1m,mode=0700,noexec\"]")
                .key("mounts", "[{type: tmpfs, source: none, destination: /m, options: [nosuid, noatime, size=2m]}]")
                .key("rootfsPropagation", "shared")
                .key("maskedPaths", "[/proc/version, /proc/tty]")
                .key("readonlyPaths", "[/root, /nowhere]")
                .key("runtime", own_mounts),
        )
        .onboot(new(Entry::shell("owner", &three), "owner").key("runtime", binds))
        .onboot(
            Entry::shell("joiner", &three)
                .key("net", "/run/ns/net")
                .key("ipc", "/run/ns/ipc")
                .key("uts", "/run/ns/uts")
                .key("binds", shared),
        )
        .onboot(Entry::shell("left", "ls /sys/class/net; ls /r/ns").key("binds", "[\"/run:/r\"]"))
        .service(Entry::shell("web", "exec sleep 1000"))
        .build();
    let mut machine = built.boot().device("virtio-net-pci").start();
    machine.is_ready();
    let theirs = |kinds: &[&str]| kinds.iter().map(|kind| format!("{kind} theirs")).collect::<Vec<_>>();
    let own = |kinds: &[&str]| kinds.iter().map(|kind| format!("{kind} own")).collect::<Vec<_>>();
    let texts = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let connected = [own(&["net", "ipc", "uts"]), texts(&["owner", "eth0", "inside", "lo", "made", "wg0"])].concat();
    for (name, expected) in [
        ("host", texts(&["recorded", "eth0", "lo"])),
        (
            "plain",
            [
                theirs(&["net", "ipc", "uts"]),
                own(&["pid"]),
                theirs(&["user"]),
                own(&["cgroup"]),
                texts(&["/shared rw,nosuid,nodev,noexec,relatime shared"]),
            ]
            .concat(),
        ),
        (
            "fresh",
            [
                own(&["net", "ipc", "uts", "pid", "user", "cgroup"]),
                texts(&["0 100000 1000", "0 100000 1000", "0", "inside", "77", "1", "lo", "wrote"]),
            ]
            .concat(),
        ),
        (
            "ids",
            texts(&[
                "1000 1000 1000 1000",
                "1001 1001 1001 1001",
                "5 7",
                "123",
                // Inheritable, permitted, effective, bounding, ambient: another user has the ambient ones.
                "0000000000002001",
                "0000000000002000",
                "0000000000002000",
                "0000000000002001",
                "0000000000002000",
            ]),
        ),
        ("limits", texts(&["0 unlimited", "100 200", "4096 8192", "A=b c", "PATH=/usr/sbin:/usr/bin", "/proc"])),
        (
            "mounts",
            texts(&[
                "/bound ro,nosuid,nodev,noexec,relatime -",
                "/t rw,noexec,relatime -",
                "/m rw,nosuid,noatime -",
                "/also",
                "/made",
                "touch: /root/x: Read-only file system",
                "masked",
                "/ rw,relatime shared",
            ]),
        ),
        ("owner", connected.clone()),
        ("joiner", connected),
        ("left", texts(&["lo", "made0", "outside", "cgroup", "ipc", "mnt", "net", "pid", "user", "uts"])),
    ] {
        assert_eq!(said(&machine, name), expected, "{name}");
    }
    machine.powers_off();
}
