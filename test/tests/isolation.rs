//! What keeps containers apart, seen from inside: devices, limits, namespaces, volumes, Landlock. Many containers per boot,
//! each of which says a few lines.

use bootwright_test::{Entry, Running, Story, words};

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
                .key("resources", "{memory: {limit: 20971520}}"),
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
    machine.sees(&format!("{}signal 9 (SIGKILL)", words::ended("service", "eater")));
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
