//! `bootwright run`, the verb: what its exit code says of how the machine ended, and the arguments on the kernel's command
//! line that decide it.

use bootwright_test::{Entry, ImageBuilder, Story, words};

/// Words for the kernel, the verb's arguments, its exit code, what it says itself, what the console says.
type Case<'a> = (&'a str, &'a [&'a str], i32, &'a str, &'a [&'a str]);

/// The onboot container fails and the service asks for the end, when the kernel's command line has the word.
#[test]
fn the_exit_code_says_how_the_machine_ended() {
    let word = |word: &str, then: &str| format!("case \" $(cat /proc/cmdline) \" in *\" {word} \"*) {then};; esac");
    // Zeros pack to nothing and unpack to more than the kernel's root takes with little memory, so that init is reached.
    let story = Story::new();
    let image = ImageBuilder::busybox().file("zeros", 0o644, vec![0; 40 << 20]).write(story.dir(), "zeros");
    let built = story
        .onboot(Entry::new("zeros", &image).script("echo zeros"))
        .onboot(Entry::shell("broken", &word("fail", "echo why; exit 7")))
        .service(
            Entry::shell("asker", &format!("echo up; {}; exec sleep 1000", word("off", "busybox poweroff")))
                .key("pid", "host"),
        )
        .build_with(&["--root", "initrd"]);
    let too_little = (built.memory_mib() - 1).to_string();
    let banner = [words::BANNER, "exit code 7", "bootwright:   | why", "powering off in 1 s", "end: onboot-failed"];
    let little = [&format!("{too_little} MiB present"), "MiB needed", "end: memory"];
    let cases: &[Case] = &[
        ("off", &["--mem", "256", "--cpus", "2"], 0, "powered off", &[words::READY, "asker: up", "end: poweroff"]),
        ("off fail bootwright.onfail=continue", &[], 0, "powered off", &["exit code 7", words::READY]),
        ("fail bootwright.onfail.delay=1", &[], 10, "onboot", &banner),
        ("fail bootwright.onfail=poweroff", &[], 10, "onboot", &["exit code 7", "end: onboot-failed"]),
        ("rdinit=/none", &[], 11, "panicked", &["Kernel panic"]),
        ("fail bootwright.onfail=reboot", &[], 12, "rebooted", &["exit code 7", "end: reboot"]),
        ("", &["--timeout", "3s"], 13, "timeout", &[]),
        ("", &["--mem", &too_little], 14, "memory", &little),
    ];
    for (append, arguments, code, note, says) in cases {
        let ran = built.run_verb(&[&["--append", append], *arguments].concat());
        assert_eq!(ran.code, Some(*code), "{append} {arguments:?}: {}\n{}", ran.notes, ran.console);
        assert!(ran.notes.contains(note), "{append} {arguments:?}: {}", ran.notes);
        for text in *says {
            assert!(ran.console.contains(text), "{append} {arguments:?}: no {text:?} in\n{}", ran.console);
        }
        let services = *code == 0;
        assert!(*code == 13 || ran.console.contains("asker: ") == services, "{append} {arguments:?}:\n{}", ran.console);
    }
}

/// A root image's machine has the figure on its command line: the verb reads it there, and starts nothing.
#[test]
fn too_little_memory_is_refused_before_the_start() {
    let story = Story::new().service(Entry::shell("app", "echo up; exec sleep 1000"));
    let built = story.build_with(&["--root", "squashfs"]);
    let (needed, given) = (built.memory_mib(), built.memory_mib() - 1);
    let ran = built.run_verb(&["--mem", &given.to_string()]);
    assert_eq!(ran.code, Some(14), "{}", ran.notes);
    let sentence = format!("the machine needs {needed} MiB and gets {given} MiB");
    assert!(ran.notes.contains(&sentence) && ran.notes.contains(&format!("--mem {needed}")), "{}", ran.notes);
    assert_eq!(ran.console, "");
}
