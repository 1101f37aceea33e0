//! What a service costs: CPU seconds of starting ten more, the memory that a machine with ten idle ones takes, and PID 1's own.

use bootwright_test::{Entry, Running, Story};

use crate::median;

/// Idle services beside the one that looks.
const IDLE: usize = 10;
/// The last line of the one that looks.
const SEEN: &str = "look: that is all";

pub(crate) fn services(runs: usize) {
    let [few, many] = [0, IDLE].map(|idle| {
        let look =
            "grep -E 'MemTotal|MemAvailable' /proc/meminfo; grep -E 'VmRSS|RssAnon' /proc/1/status; echo that is all";
        let look = Entry::shell("look", &format!("{look}; exec sleep 100000")).key("pid", "host");
        let names: Vec<String> = (0..idle).map(|n| format!("idle{n}")).collect();
        let look = look.key("after", &format!("[{}]", names.join(", ")));
        let idle = |story: Story, name: &String| story.service(Entry::shell(name, "exec sleep 100000"));
        names.iter().fold(Story::new(), idle).service(look).build()
    });
    let mut costs = (Vec::new(), Vec::new());
    let mut taken = Default::default();
    for _ in 0..runs {
        let [few, many] = [&few, &many].map(|built| {
            let machine = built.boot().memory(512).start();
            machine.sees(SEEN);
            (machine.cpu_seconds(), machine)
        });
        costs.0.push((many.0 - few.0) / IDLE as f64 * 1000.0);
        costs.1.push(many.0);
        taken = [&few.1, &many.1].map(memory);
    }
    println!("## Services ({runs} runs in turns, -m 512, one CPU, TCG)\n");
    println!("- each of {IDLE} more idle services: {} ms of QEMU's CPU", median(costs.0));
    for (count, [used, rss, anonymous]) in [1, 1 + IDLE].into_iter().zip(taken) {
        println!("- with {count}: {used} KiB taken of the machine, PID 1 has {rss} KiB, {anonymous} of them its own");
    }
    println!();
}

/// What is not available, PID 1's resident set, and what of that is anonymous, in KiB.
fn memory(machine: &Running) -> [u64; 3] {
    let lines = machine.lines();
    let number = |field: &str| -> u64 {
        let line = lines.iter().find(|line| line.contains(field)).map(String::as_str).unwrap_or_default();
        let number = line.split_ascii_whitespace().find_map(|word| word.parse().ok());
        number.unwrap_or_else(|| panic!("no {field} in {lines:?}"))
    };
    [number("MemTotal:") - number("MemAvailable:"), number("VmRSS:"), number("RssAnon:")]
}
