//! What specs mean: every key arrives, files merge, labels give way, and what is written back reads the same.

use std::path::{Path, PathBuf};

use bootwright_spec::{
    ContainerConfig, FileContents, Input, MetadataFormat, OnFail, Owner, Package, Severity, Sources, Spec,
    VolumeFormat, load, markdown, parse_label, parse_package, schema, to_json, to_metadata, to_yaml,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn input(name: &str, text: &str, directory: &str) -> Input {
    Input { name: name.into(), text: text.into(), directory: Some(PathBuf::from(directory)) }
}

fn load_all(texts: &[&str]) -> Spec {
    let inputs = texts.iter().enumerate().map(|(i, text)| input(&format!("{i}.yml"), text, "dir")).collect();
    let mut sources = Sources::default();
    load(inputs, Some(Path::new("/home/me")), &mut sources)
        .unwrap_or_else(|found| panic!("{}", found.render(&sources, false)))
}

fn merged(texts: &[&str]) -> Value {
    serde_json::from_str(&to_json(&load_all(texts))).expect("JSON")
}

fn label(text: &str) -> ContainerConfig {
    let mut sources = Sources::default();
    parse_label("label", text, &mut sources).unwrap_or_else(|found| panic!("{}", found.render(&sources, false)))
}

fn package(text: &str) -> Package {
    let mut sources = Sources::default();
    parse_package(input("build.yml", text, "pkg"), None, &mut sources)
        .unwrap_or_else(|found| panic!("{}", found.render(&sources, false)))
}

/// A spec without its places: Debug shows everything else.
fn placeless(spec: &Spec) -> String {
    let mut spec = spec.clone();
    spec.warnings.clear();
    spec.written_sources.clear();
    let text = format!("{spec:?}");
    let mut parts = text.split("Span { ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |out, part| out + part.split_once(" }").map_or("", |(_, rest)| rest))
}

/// Every key of LinuxKit's YAML and every one of ours.
const EVERY_KEY: &str = include_str!("data/every-key.yml");

#[test]
fn every_key_arrives() {
    let document = merged(&[EVERY_KEY]);
    assert_eq!(format!("{document:#}\n"), include_str!("data/every-key.json"));
}

#[test]
fn ignored_keys_are_named() {
    let warnings: Vec<_> = load_all(&[EVERY_KEY]).warnings.into_iter().map(|w| (w.severity, w.message)).collect();
    let ignored: Vec<_> = [
        "memory.kernel",
        "memory.useHierarchy",
        "memory.checkBeforeUpdate",
        "memory.kernelTCP",
        "memory.disableOOMKiller",
        "memory.swappiness",
        "cpu.realtimeRuntime",
        "cpu.realtimePeriod",
        "blockio.leafweight",
        "blockio.weightDevice[0].leafWeight",
        "network.classID",
        "network.priorities",
        "rdma",
    ]
    .into_iter()
    .map(|key| format!("`onboot[1].resources.{key}` is ignored"))
    .chain(["`trust` is ignored".to_owned()])
    .map(|message| (Severity::Warning, message))
    .collect();
    assert_eq!(warnings, ignored);
    for (text, message) in [
        ("init: [a]\nkernel: {cmdline: x}\n", "`kernel` without an image: the machine gets no kernel"),
        (
            "onboot: [{name: a, image: x, capabilities: [CAP_BPF], capabilities.add: [CAP_KILL]}]",
            "`capabilities.add` does nothing beside `capabilities`",
        ),
        (
            "volumes: [{name: a, image: x, platforms: [linux/amd64]}]",
            "`platforms` does nothing for a `filesystem` volume",
        ),
        ("files: [{path: a, contents: \"@pkg:x\"}]", "`@pkg:` is resolved only where an image is named"),
        (
            "onboot: [{name: a, image: x, mounts: [{type: tmpfs, destination: /x, uidmappings: []}]}]",
            "`onboot[0].mounts[0].uidmappings` is ignored",
        ),
    ] {
        let messages: Vec<_> = load_all(&[text]).warnings.into_iter().map(|warning| warning.message).collect();
        assert_eq!(messages, [message], "{text}");
    }
}

#[test]
fn owners_and_modes_are_what_was_meant() {
    let spec = load_all(&[EVERY_KEY]);
    let config = &spec.onboot[1].config;
    assert_eq!(config.uid.as_ref().unwrap().value, Owner::Id(1000));
    assert_eq!(config.gid.as_ref().unwrap().value, Owner::Name("redis".into()));
    assert_eq!(config.onfail.unwrap().value, OnFail::Continue);
    let modes: Vec<_> = spec.files.iter().map(|file| file.mode).collect();
    assert_eq!(modes, [Some(0o755), Some(0o644), None, Some(0o400), None, None, None]);
    assert_eq!(spec.volumes[1].size, Some(64 << 20));
    assert_eq!(spec.volumes[2].format, VolumeFormat::Oci);
    let FileContents::Source(key) = &spec.files[3].contents else { panic!("a source") };
    assert_eq!(key.value, Path::new("/home/me/.ssh/key"));
    let FileContents::Source(conf) = &spec.files[4].contents else { panic!("a source") };
    assert_eq!(conf.value, Path::new("dir/conf"));
    assert_eq!(spec.kernel.unwrap().image.unwrap().value, "@pkg:dir/../kernel");
}

#[test]
fn scalars_are_the_text_that_was_written() {
    let document = merged(&[
        "kernel: {image: no, cmdline: 1.10}\ninit: [1e3, 0x10]\nservices: [{name: 0123, image: ~x, command: [yes, 5, true, \"@daily\"], env: [A=on]}]\nfiles: [{path: a, contents: \"@x\"}]\n",
    ]);
    let expected = json!({
        "kernel": {"image": "no", "cmdline": "1.10"},
        "init": ["1e3", "0x10"],
        "services": [{"name": "0123", "image": "~x", "command": ["yes", "5", "true", "@daily"], "env": ["A=on"]}],
        "files": [{"path": "a", "contents": "@x"}],
    });
    assert_eq!(document, expected);
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let document = merged(&[
        "x-base: &base {image: x, net: host, env: &env [A=1]}\nx-more: &more {net: new, pid: host}\nservices:\n  - {name: a, <<: *base, env: *env}\n  - <<: [*more, *base]\n    name: b\n    image: y\n",
    ]);
    let expected = json!({"services": [
        {"name": "a", "image": "x", "env": ["A=1"], "net": "host"},
        {"name": "b", "image": "y", "env": ["A=1"], "net": "new", "pid": "host"},
    ]});
    assert_eq!(document, expected);
}

#[test]
fn empty_lists_and_later_documents_that_hold_nothing_are_fine() {
    let text = "---\ninit: [a]\nonboot:\nservices: []\nfiles: # none yet\nkernel:\n...\n---\n";
    assert_eq!(merged(&[text]), json!({"init": ["a"]}));
}

#[test]
fn files_merge_from_left_to_right() {
    let base = "kernel: {image: k, cmdline: a, tar: none}\ninit: [i]\nvolumes: [{name: v}]\nservices: [{name: a, image: x}]\nfiles: [{path: f, contents: one}]\n";
    let more = "kernel: {cmdline: b, binary: bz, tar: \"\"}\nboot: {image: b}\nroot: {kind: initrd, verity: yes}\ncontrol: {socket: true, allow: [logs]}\nlogging: {files: never, forward: [{to: \"tcp://[::1]:5\"}]}\ninit: [j]\nonboot: [{name: a, image: x}, {name: a, image: x, binds: [\"v:/v\"]}]\nservices: [{name: b, image: y, mounts: [{type: bind, source: w, destination: /w}]}]\n";
    let last = "kernel: {image: \"\", ucode: u}\nboot: {image: c}\nroot: {kind: squashfs, corruption: eio}\ncontrol: {allow: []}\nlogging: {files: auto}\nvolumes: [{name: w}]\nonshutdown: [{name: z, image: z}]\nfiles: [{path: f, contents: two}]\n";
    let expected = json!({
        "kernel": {"image": "k", "cmdline": "b", "binary": "bz", "tar": "", "ucode": "u"},
        "boot": {"image": "c"},
        "root": {"kind": "squashfs", "verity": true, "corruption": "eio"},
        "init": ["i", "j"],
        "volumes": [{"name": "v"}, {"name": "w"}],
        "onboot": [{"name": "a", "image": "x"}, {"name": "a", "image": "x", "binds": ["v:/v"]}],
        "onshutdown": [{"name": "z", "image": "z"}],
        "services": [
            {"name": "a", "image": "x"},
            {"name": "b", "image": "y", "mounts": [{"type": "bind", "source": "w", "destination": "/w"}]},
        ],
        "files": [{"path": "f", "contents": "one"}, {"path": "f", "contents": "two"}],
        "control": {"socket": true, "allow": []},
        "logging": {"files": "auto", "forward": [{"to": "tcp://[::1]:5", "format": "syslog"}]},
    });
    assert_eq!(merged(&[base, more, last]), expected);
}

/// What a container becomes when its entry is laid over a label.
fn over(entry: &str, of_label: &str) -> Value {
    let spec = load_all(&[&format!("services: [{{name: a, image: x, {entry}}}]")]);
    let mut service = spec.services[0].clone();
    service.config = service.config.over(label(of_label));
    let text = to_json(&Spec { services: vec![service], ..Spec::default() });
    let mut service = serde_json::from_str::<Value>(&text).expect("JSON")["services"][0].take();
    let map = service.as_object_mut().expect("a map");
    map.remove("name");
    map.remove("image");
    service
}

#[test]
fn the_entry_wins_over_the_label() {
    for (entry, label, expected) in [
        ("net: new", r#"{"net": "host", "pid": "host"}"#, json!({"net": "new", "pid": "host"})),
        ("command: [a]", "command: [b, c]\n", json!({"command": ["a"]})),
        ("binds: []", r#"{"binds": ["/a:/a"], "binds.add": ["/b:/b"]}"#, json!({"binds": []})),
        (
            r#"binds.add: ["/c:/c"]"#,
            r#"{"binds": ["/a:/a"], "binds.add": ["/b:/b"]}"#,
            json!({"binds": ["/a:/a"], "binds.add": ["/b:/b", "/c:/c"]}),
        ),
        (
            "capabilities.add: [CAP_BPF]",
            r#"{"capabilities": ["all"]}"#,
            json!({"capabilities": ["all"], "capabilities.add": ["CAP_BPF"]}),
        ),
        (
            "capabilities: [none]",
            r#"{"capabilities": ["CAP_BPF"], "capabilities.add": ["CAP_KILL"]}"#,
            json!({"capabilities": ["none"]}),
        ),
        (
            "sysctl: {a: b}",
            r#"{"sysctl": {"c": "d"}, "annotations": {"e": "f"}}"#,
            json!({"sysctl": {"a": "b"}, "annotations": {"e": "f"}}),
        ),
        (
            "runtime: {mkdir: [/a], bindNS: {net: /n}}",
            r#"{"runtime": {"mkdir": ["/b"], "cgroups": ["c"], "bindNS": {"net": "/m", "pid": "/p"}}}"#,
            json!({"runtime": {"mkdir": ["/a"], "cgroups": ["c"], "bindNS": {"net": "/n", "pid": "/p"}}}),
        ),
        ("net: \"\"", r#"{"net": "host"}"#, json!({"net": "host"})),
        (
            "resources: {pids: {limit: 1}}",
            r#"{"resources": {"memory": {"limit": 1}}}"#,
            json!({"resources": {"pids": {"limit": 1}}}),
        ),
        ("readonly: false", "readonly: true", json!({"readonly": false})),
    ] {
        assert_eq!(over(entry, label), expected, "{entry} over {label}");
    }
}

#[test]
fn labels_are_json_or_yaml() {
    // Tabs between tokens and surrogate pairs are JSON, but not YAML.
    let tabs = label("{\n\t\"env\": [\"A=\\ud83d\\ude00\"],\n\t\"readonly\":\ttrue\n}");
    assert_eq!(tabs.env.unwrap()[0].value, "A=\u{1f600}");
    assert!(tabs.readonly.unwrap().value);
    assert!(label("net: host\n").namespaces.net.is_some());
    assert!(label("{}").env.is_none());
    assert!(label(" \n").env.is_none());
    assert!(label(r#"{"env": null, "runtime": {"mkdir": null}}"#).env.is_none());
}

#[test]
fn packages_are_read() {
    let package = package(
        r#"
image: web
arches: [amd64]
config: {capabilities: [CAP_NET_BIND_SERVICE], devices: [{path: /dev/null, type: c, mode: 0666}], readonly: yes}
cargo: {package: web, path: /usr/bin/web, links: [/bin/w], features: [a]}
debian: {packages: [busybox-static], depends: false, exclude: ["usr/share/**"]}
kernel: {source: linux-source-6.12, config: [base.config, ../x86.config]}
files: [{path: etc, source: etc}]
process: {entrypoint: [/usr/bin/web], env: [A=1], workdir: /srv}
labels: {org.example: "1"}
network: true
buildArgs: [A=1]
depends: {docker-images: {list: [x], target: y.tar}}
"#,
    );
    assert_eq!((package.image.value.as_str(), package.org.as_str()), ("web", "bootwright"));
    assert_eq!(package.arches.len(), 1);
    let config = json!({"capabilities": ["CAP_NET_BIND_SERVICE"], "readonly": true, "devices": [{"path": "/dev/null", "type": "c", "major": 0, "minor": 0, "mode": "0666"}]});
    assert_eq!(package.config, Some(config));
    let cargo = &package.cargo[0];
    assert_eq!(
        (cargo.path.value.as_str(), cargo.profile.as_str(), cargo.libc.as_str()),
        ("usr/bin/web", "image", "musl")
    );
    assert_eq!(cargo.links, ["bin/w"]);
    let debian = package.debian.unwrap();
    assert!(!debian.depends && !debian.kernel);
    let kernel = package.kernel.unwrap();
    assert_eq!(kernel.source.value, "linux-source-6.12");
    let fragments: Vec<&Path> = kernel.config.iter().map(|fragment| fragment.value.as_path()).collect();
    assert_eq!(fragments, [Path::new("pkg/base.config"), Path::new("pkg/../x86.config")]);
    let FileContents::Source(source) = &package.files[0].contents else { panic!("a source") };
    assert_eq!(source.value, Path::new("pkg/etc"));
    assert_eq!(package.process.workdir.as_deref(), Some("/srv"));
    assert_eq!(package.labels, [("org.example".to_owned(), "1".to_owned())]);
}

#[test]
fn a_package_may_have_several_binaries() {
    let package = package(
        "image: init\ncargo:\n  - {package: init, target: gnu, path: init}\n  - {package: early, path: usr/lib/early}\n",
    );
    let read: Vec<_> = package.cargo.iter().map(|c| (&*c.package.value, &*c.libc, &*c.path.value)).collect();
    assert_eq!(read, [("init", "gnu", "init"), ("early", "musl", "usr/lib/early")]);
}

/// What is written back reads the same.
fn round_trip(spec: &Spec) {
    let yaml = to_yaml(spec);
    for text in [&yaml, &to_json(spec)] {
        let mut sources = Sources::default();
        let again = load(vec![input("again.yml", text, "")], None, &mut sources)
            .unwrap_or_else(|found| panic!("{}\n{text}", found.render(&sources, false)));
        assert_eq!(placeless(&again), placeless(spec), "{text}");
        assert_eq!(to_yaml(&again), yaml);
    }
}

#[test]
fn what_is_written_back_reads_the_same() {
    round_trip(&load_all(&[EVERY_KEY]));
    round_trip(&load_all(&["init: []\n"]));
}

#[test]
fn metadata_does_not_show_where_it_was_built() {
    let text = "files:\n  - {path: a, source: ./conf}\n  - {path: b, source: ~/.ssh/key}\n  - {path: c, source: /abs}\n  - {path: d, metadata: yaml}\ntests: [{name: a}]\n";
    let metadata = |directory: &str, home: &str, format| {
        let spec = load(vec![input("a.yml", text, directory)], Some(Path::new(home)), &mut Sources::default());
        to_metadata(&spec.expect("a spec"), format)
    };
    for format in [MetadataFormat::Yaml, MetadataFormat::Json] {
        assert_eq!(metadata("/build/one", "/home/a", format), metadata("two", "/root", format));
    }
    let document: Value = serde_json::from_str(&metadata("x", "/root", MetadataFormat::Json)).expect("JSON");
    assert!(document.get("tests").is_none(), "what is asked of a machine must not change it");
    let sources: Vec<_> =
        document["files"].as_array().expect("files").iter().map(|file| file["source"].clone()).collect();
    assert_eq!(sources, [json!("./conf"), json!("~/.ssh/key"), json!("/abs"), Value::Null]);
}

#[test]
fn written_yaml_is_readable() {
    let text = "kernel: {image: k, cmdline: \"console=ttyS0 a=b\"}\ninit: [\"a:1\", \"yes\", \"-x\"]\nfiles:\n  - {path: etc/x, contents: \"#!/bin/sh\\n\\n\\techo  hi \\n\"}\n  - {path: y, contents: \" lead\\n\", uid: 5, mode: \"04755\"}\n  - {path: z, contents: \"\"}\nservices: [{name: a b, image: x, sysctl: {}, binds: [\"/a:/b\"], command: []}]\n";
    insta::assert_snapshot!(to_yaml(&load_all(&[text])), @r##"
    kernel:
      image: k
      cmdline: console=ttyS0 a=b
    init:
      - a:1
      - "yes"
      - "-x"
    services:
      - name: a b
        image: x
        command: []
        binds:
          - /a:/b
        sysctl: {}
    files:
      - path: etc/x
        contents: |
          #!/bin/sh

          	echo  hi 
      - path: "y"
        contents: " lead\n"
        mode: "4755"
        uid: 5
      - path: z
        contents: ""
    "##);
}

/// Texts of every kind that could go wrong in YAML.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z]{1,8}",
        2 => "[ -~]{0,12}",
        1 => "[ \\t\\n#:a'\"|>-]{0,12}",
        1 => "\\PC{0,8}",
        1 => proptest::collection::vec(any::<char>().prop_filter("no NUL", |c| *c != '\0'), 0..6).prop_map(|chars| chars.into_iter().collect()),
        1 => proptest::sample::select(vec!["true", "no", "null", "~", "1.10", "0x1f", "---", "...", "<<", "=", "-", "?", "a: b", "a #b", "\u{feff}", "\u{2028}", "\u{85}", "|\n x", "@pkg"]).prop_map(str::to_owned),
    ]
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9_. -]{0,6}[a-z]"
}

fn any_config() -> impl Strategy<Value = Value> {
    let keys = vec![
        ("command", proptest::collection::vec(any_text(), 0..4).prop_map(|list| json!(list)).boxed()),
        ("env", proptest::collection::vec(any_text().prop_map(|value| format!("A={value}")), 0..3).prop_map(|list| json!(list)).boxed()),
        ("cwd", any_text().prop_map(|text| json!(format!("/{text}"))).boxed()),
        ("hostname", any_text().prop_map(|text| json!(text)).boxed()),
        ("net", proptest::sample::select(vec!["host", "new", "none", "/run/x"]).prop_map(|word| json!(word)).boxed()),
        ("readonly", any::<bool>().prop_map(|flag| json!(flag)).boxed()),
        ("uid", prop_oneof![(0..u32::MAX).prop_map(|id| json!(id)), "[a-z]{1,8}".prop_map(|name| json!(name))].boxed()),
        ("oomScoreAdj", (-1000..1000).prop_map(|value| json!(value)).boxed()),
        ("capabilities", proptest::sample::subsequence(vec!["CAP_KILL", "CAP_BPF", "CAP_CHOWN"], 0..3).prop_map(|list| json!(list)).boxed()),
        ("tmpfs", any::<bool>().prop_map(|plain| if plain { json!(["/t"]) } else { json!(["/t:size=1m,ro"]) }).boxed()),
        ("sysctl", proptest::collection::btree_map(any_text(), any_text(), 0..3).prop_map(|map| json!(map)).boxed()),
        ("annotations", proptest::collection::btree_map(any_text(), any_text(), 0..3).prop_map(|map| json!(map)).boxed()),
        ("devices", (0u32..0o7777, 0i64..300).prop_map(|(mode, major)| json!([{"path": "/dev/x", "type": "c", "major": major, "mode": format!("{mode:o}")}])).boxed()),
        ("rlimits", (0u64..9, 9u64..).prop_map(|(soft, hard)| json!([format!("nofile,{soft},{hard}")])).boxed()),
        ("mounts", any_text().prop_map(|text| json!([{"type": "tmpfs", "destination": format!("/{text}")}, {"type": "proc"}])).boxed()),
        ("runtime", proptest::collection::vec(any_text().prop_filter("filled", |text| !text.is_empty()), 0..3).prop_map(|list| json!({"mkdir": list, "bindNS": {"net": "/n"}})).boxed()),
        ("resources", (0i64.., any_text()).prop_map(|(limit, cpus)| json!({"memory": {"limit": limit}, "cpu": {"cpus": cpus}, "blockio": {}})).boxed()),
        ("onfail", proptest::sample::select(vec!["continue", "retry", "shell"]).prop_map(|word| json!(word)).boxed()),
        ("restart", prop_oneof![Just(json!("never")), (1u32..100_000).prop_map(|n| json!({"delay": format!("{n}ms"), "limit": 3}))].boxed()),
        ("stop", (1i32..64, 1u32..1000).prop_map(|(signal, n)| json!({"signal": signal, "grace": format!("{n}m")})).boxed()),
        ("ready", prop_oneof![Just(json!({"notify": true})), (1u16..).prop_map(|port| json!({"tcp": port}))].boxed()),
    ];
    let each: Vec<_> = keys
        .into_iter()
        .map(|(key, value)| proptest::option::weighted(0.3, value).prop_map(move |value| (key, value)))
        .collect();
    each.prop_map(|pairs| {
        pairs
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    })
}

fn any_spec() -> impl Strategy<Value = Value> {
    let container = (name(), any_config()).prop_map(|(name, mut config)| {
        config["name"] = json!(name);
        config["image"] = json!("x");
        config
    });
    let file = (name(), any_text(), proptest::option::of(0u32..0o7777)).prop_map(|(path, contents, mode)| {
        let mut file = json!({"path": format!("f/{path}"), "contents": contents});
        if let Some(mode) = mode {
            file["mode"] = json!(format!("{mode:04o}"));
        }
        file
    });
    let containers = proptest::collection::vec(container, 0..3);
    (any_text(), containers, proptest::collection::vec(file, 0..3))
        .prop_map(|(cmdline, onboot, files)| json!({"kernel": {"image": "k", "cmdline": cmdline}, "onboot": onboot, "files": files}))
}

proptest! {
    #[test]
    fn any_spec_written_back_reads_the_same(spec in any_spec()) {
        round_trip(&load_all(&[&spec.to_string()]));
    }

    #[test]
    fn any_text_is_refused_or_read(text in "[a-z:\\- \\n\\[\\]{}\"'&*<|>!%@#,?]{0,80}") {
        let mut sources = Sources::default();
        match load(vec![input("a.yml", &text, "")], None, &mut sources) {
            Ok(spec) => round_trip(&spec),
            Err(found) => prop_assert!(found.render(&sources, true).contains("error")),
        }
    }
}

#[test]
fn the_schema_is_made_of_the_same_table() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], json!(false));
    assert_eq!(schema["patternProperties"], json!({"^x-": {}}));
    let container = &schema["definitions"]["container"];
    assert_eq!(container["required"], json!(["name", "image"]));
    assert_eq!(container["properties"]["onfail"]["enum"][0], "continue");
    assert!(container["properties"]["env"]["description"].as_str().unwrap().contains("name by name"));
    // Every reference leads somewhere.
    let text = schema.to_string();
    for target in text.split("\"#/definitions/").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(schema["definitions"][target].is_object(), "{target}");
    }
}

/// The names of all keys of a document.
fn names(value: &Value, into: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            into.insert(key.clone());
            names(value, into);
        }),
        Value::Array(list) => list.iter().for_each(|value| names(value, into)),
        _ => {}
    }
}

#[test]
fn every_row_of_the_table_is_read_and_written() {
    let mut written = std::collections::BTreeSet::new();
    names(&merged(&[EVERY_KEY]), &mut written);
    let schema = schema();
    let shapes = schema["definitions"].as_object().expect("a map").iter().filter(|(name, _)| *name != "trust");
    for (shape, definition) in shapes {
        for (key, property) in definition["properties"].as_object().expect("a map") {
            // All-lower-case spellings stand beside the real name, which is their title.
            let known = property["title"] == json!(key) && property.get("deprecated").is_none();
            assert!(!known || written.contains(key), "`{key}` of {shape} does not arrive");
        }
    }
}

#[test]
fn what_is_generated_is_up_to_date() {
    for (name, text) in [("docs/spec.md", markdown()), ("docs/spec.schema.json", format!("{:#}\n", schema()))] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
        if std::env::var_os("BOOTWRIGHT_REWRITE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == text,
            "{name} is out of date: BOOTWRIGHT_REWRITE=1 cargo test -p bootwright-spec writes it"
        );
    }
}
