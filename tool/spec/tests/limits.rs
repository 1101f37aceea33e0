//! Hostile specs are refused in bounded time and memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bootwright_spec::{Input, MAX_BYTES, Sources, load};

fn input(name: &str, text: &str) -> Input {
    Input { name: name.into(), text: text.into(), directory: Some(PathBuf::from("dir")) }
}

/// Text that is refused, and that quickly: the limit is far above what it takes and far below what a defect would take.
fn refused(text: String) -> String {
    let start = Instant::now();
    let mut sources = Sources::default();
    let found = load(vec![input("spec.yml", &text)], None, &mut sources).expect_err("it is refused");
    let report = found.render(&sources, false);
    assert!(
        start.elapsed() < Duration::from_secs(60),
        "took {:?}: {}",
        start.elapsed(),
        &report[..report.len().min(500)]
    );
    assert!(report.len() < 200_000, "a report of {} bytes", report.len());
    // The most that this process, with all tests of this file side by side, ever had.
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let peak =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak").trim().trim_end_matches(" kB");
    assert!(peak.parse::<u64>().expect("a number") < 256 << 10, "peak of {peak} KiB");
    report
}

#[test]
fn deep_nesting_is_refused() {
    for open in ["[", "{a: ", "- ", "? ", "[\n"] {
        let report = refused(format!("onboot: \n {}", open.repeat(100_000)));
        assert!(report.contains("nested too deeply") || report.contains("not valid YAML"), "{report}");
    }
    let indented: String = (0..1000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    assert!(refused(indented).contains("nested too deeply"));
    let aliases: String = (1..100).map(|i| format!("x-{i}: &a{i} [*a{}]\n", i - 1)).collect();
    assert!(refused(format!("x-0: &a0 [x]\n{aliases}")).contains("nested too deeply"));
}

#[test]
fn billion_laughs_under_known_keys_are_refused() {
    let laughs = |key: &str, seed: &str, levels: usize| {
        let mut text = format!("x-0: &a0 {seed}\n");
        for level in 1..levels {
            text += &format!("x-{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
        }
        format!("{text}{key}: *a{}\n", levels - 1)
    };
    for key in ["init", "services", "files"] {
        assert!(refused(laughs(key, "[x, y]", 12)).contains("too large once its aliases are expanded"));
    }
    // Few nodes, much text.
    let large = format!("x-0: &a \"{}\"\ninit: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(1000));
    assert!(refused(large).contains("too large once its aliases are expanded"));
    let merged: String =
        (1..40).map(|i| format!("x-{i}: &a{i} {{<<: [*a{0}, *a{0}], k{i}: *a{0}}}\n", i - 1)).collect();
    assert!(refused(format!("x-0: &a0 {{k: v}}\n{merged}")).contains("too large once its aliases are expanded"));
}

#[test]
fn large_files_are_refused_before_they_are_parsed() {
    let report = refused("# comment\n".repeat(5 << 20));
    assert_eq!(report.lines().next(), Some("error: `spec.yml` is too large for a spec: 52428800 bytes"));
    assert!(report.contains(&format!("at most {MAX_BYTES} bytes")));
}

#[test]
fn a_million_mistakes_are_reported_in_bounded_size() {
    let report = refused("a, ".repeat(80_000) + "b: c\n");
    assert!(report.contains("not valid YAML"), "{report}");
    let report = refused((0..100_000).map(|i| format!("command{i}: x\n")).collect());
    assert!(report.contains("more errors are not shown"));
    let report = refused(format!("init: [{}]\n", "[], ".repeat(200_000)));
    assert!(report.contains("more errors are not shown"));
    let report = refused(format!("services: [{}]\n", "{}, ".repeat(200_000)));
    assert!(report.contains("more errors are not shown"));
    let report = refused(format!("init: [{}]\n", "'', ".repeat(200_000)));
    assert!(report.contains("more errors are not shown"));
}
