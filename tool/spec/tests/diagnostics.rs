//! What people see when a spec is wrong: every problem in one run, each at its place.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bootwright_spec::{Input, MAX_BYTES, Sources, Spec, load, parse_label, parse_package};
use insta::assert_snapshot;

fn input(name: &str, text: &str) -> Input {
    Input { name: name.into(), text: text.into(), directory: Some(PathBuf::from("dir")) }
}

fn try_load(texts: &[&str]) -> Result<Spec, String> {
    let names = ["spec.yml", "more.yml", "last.yml"];
    let inputs = texts.iter().zip(names).map(|(text, name)| input(name, text)).collect();
    let mut sources = Sources::default();
    load(inputs, None, &mut sources).map_err(|found| found.render(&sources, false))
}

/// The report about a wrong spec.
fn wrong(text: &str) -> String {
    try_load(&[text]).expect_err("the spec is wrong")
}

/// `line:column message [label]` of each problem.
fn brief(text: &str) -> String {
    let mut sources = Sources::default();
    let found = load(vec![input("spec.yml", text)], None, &mut sources).expect_err("the spec is wrong");
    let line = |problem: &bootwright_spec::Diagnostic| {
        let place = problem.span.map_or("-".to_owned(), |span| {
            let (line, column) = sources.location(span);
            format!("{line}:{column}")
        });
        format!("{place} {} [{}]\n", problem.message, problem.label.as_deref().unwrap_or_default())
    };
    found.0.iter().map(line).collect()
}

#[test]
fn six_mistakes_make_six_reports() {
    let text = "\
kernel:
  image: linux
  cmdlin: console=ttyS0
services:
  - name: web
    image: nginx
    capabilities: [CAP_NET_ADMIM]
    readonly: sometimes
    binds:
      - /etc/resolv.conf
      - data:/srv
  - name: web
    image: redis
files:
  - path: ../etc/passwd
    contents: root
";
    assert_snapshot!(wrong(text), @"");
}

#[test]
fn values() {
    for (text, expected) in [("services:\n  - {name: a/b, image: x}\n", "")] {
        assert_eq!(brief(text), expected, "{text}");
    }
}

#[test]
fn what_is_not_yaml_is_explained() {
    let mut all = String::new();
    for text in [
        "init:\n\t- a\n",
        "init: [a, b\n",
        "init:\n - \"a\n",
        "kernel:\n  cmdline: a: b\n",
        "kernel:\n  image: @pkg:x\n",
        "kernel:\n  image: a\n cmdline: b\n",
        "init: *nothing\n",
        "init: [\"\\q\"]\n",
        "init: ['a'b]\n",
        "init:\n- a\n---\ninit:\n- b\n",
        "init: &a [*a]\n",
        "init: !mine [a]\n",
        "",
        "# nothing\n",
        "- a\n",
        "text\n",
        "? [a]\n: b\n",
        "init: [a]\ninit: [b]\n",
        "kernel:\n  <<: text\n  image: x\n",
        "kernel: {image: x, image: y}\n",
        "init: [a]\0\n",
    ] {
        all.push_str(&format!("{text:?}\n{}", brief(text)));
    }
    assert_snapshot!(all, @"");
}
