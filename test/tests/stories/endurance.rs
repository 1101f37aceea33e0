//! Nothing that a container does, and nothing that is wrong with one, ends the machine: everything at once.

use bootwright_test::{Entry, Story, words};

/// A full /run, which is where init used to keep its own files; thousands of zombies at once; a container that forks without end,
/// and one that eats all memory, neither with a limit of its own; bundles that make no sense. Others go on, what is started late
/// starts, and the machine ends in order.
#[test]
fn nothing_that_a_container_does_ends_the_machine() {
    let fills =
        "dd if=/dev/zero of=/run/fill bs=1M 2> /dev/null || echo no more room; echo 2> /dev/null > /run/more || true";
    // Children that nobody waits for, until their parent is gone and they are init's.
    let zombies = "cd /sys/fs/cgroup; sh -c 'for n in $(seq 2000); do : & done; exec sleep 1000' & \
                   until [ $(cat pids.current) -gt 2000 ]; do usleep 100000; done; echo there are thousands; kill $!; \
                   until [ $(cat pids.current) -lt 10 ]; do usleep 100000; done; echo they are gone";
    // The shell that may not fork any more stays, and so do all its children.
    let forks = "mkfifo /wait; trap 'echo no more processes; echo > /flags/forks; read line < /wait' EXIT; \
                 while :; do sleep 1000 & done 2> /dev/null";
    let eats = "echo > /flags/eats; dd if=/dev/zero of=/dev/null bs=440M count=1; echo ate it all";
    let late = "[ -e /flags/forks ] && [ -e /flags/eats ] && echo starts late || exit 1; exec sleep 1000";
    let broken = |file: &str| format!("{{path: containers/services/{file}, contents: \"{{\", mode: \"0644\"}}");
    let shell = |name: &str, script: &str| Entry::shell(name, script).key("binds", "[\"flags:/flags\", \"/run:/run\"]");
    let fails = |name: &str, script: &str| shell(name, script).key("onfail", "continue");
    let built = Story::new()
        .volume("name: flags")
        .onboot(shell("fills", fills))
        .onboot(shell("zombies", zombies).key("pid", "host").key("resources", "{pids: {limit: 2500}}"))
        .onboot(
            fails("mount", "echo must not run").key("mounts", "[{type: ext4, source: /dev/none, destination: /mnt}]"),
        )
        .service(fails("config", "echo must not run"))
        .service(fails("runtime", "echo must not run"))
        .service(fails("forks", forks))
        .service(fails("eats", eats))
        .service(shell("late", late).key("onfail", "retry"))
        .service(shell("web", "trap 'echo ends in order; exit' TERM; while :; do sleep 1; done"))
        .onshutdown(shell("orderly", "echo done"))
        .file(&broken("config/config.json"))
        .file(&broken("runtime/runtime.json"))
        .build();
    let mut machine = built.boot().start();
    machine.is_ready();
    machine.sees_all(&[
        "forks: no more processes",
        &format!("{}signal 9 (SIGKILL), out of memory", words::ended("service", "eats")),
        "late: starts late",
    ]);
    println!("{:.0} CPU seconds", machine.cpu_seconds());
    machine.powers_off();
    for line in [
        "fills: no more room",
        "zombies: there are thousands",
        "zombies: they are gone",
        "`mount` ended: not started: creating the container",
        "`config` ended: not started: `/containers/services/config/config.json` is not valid",
        "`runtime` ended: not started: `/containers/services/runtime/runtime.json` is not valid",
        "web: ends in order",
        "orderly: done",
    ] {
        assert!(machine.said(line), "{line}");
    }
    for line in ["must not run", "ate it all", "Kernel panic"] {
        assert!(!machine.said(line), "{line}");
    }
}
