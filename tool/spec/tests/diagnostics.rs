//! What people see when a spec is wrong: every problem in one run, each at its place.

use std::path::PathBuf;

use bootwright_spec::{Input, Sources, Spec, load, parse_label, parse_package};
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
    assert_snapshot!(wrong(text), @r##"
    error: unknown key `cmdlin` in `kernel`
     --> spec.yml:3:3
      |
    3 |   cmdlin: console=ttyS0
      |   ^^^^^^ did you mean `cmdline`?
      = hint: allowed here: `binary`, `cmdline`, `image`, `modules`, `tar`, `ucode`

    error: `services[0].capabilities[0]`: unknown capability `CAP_NET_ADMIM`
     --> spec.yml:7:20
      |
    7 |     capabilities: [CAP_NET_ADMIM]
      |                    ^^^^^^^^^^^^^ did you mean `CAP_NET_ADMIN`?

    error: `services[0].readonly` must be `true` or `false`
     --> spec.yml:8:15
      |
    8 |     readonly: sometimes
      |               ^^^^^^^^^ this is a string

    error: `services[0].binds[0]`: `/etc/resolv.conf` is not a bind
      --> spec.yml:10:9
       |
    10 |       - /etc/resolv.conf
       |         ^^^^^^^^^^^^^^^^ 1 part, expected `source:destination[:options]`

    error: there is no volume `data`
      --> spec.yml:11:9
       |
    11 |       - data:/srv
       |         ^^^^^^^^^ no `volumes:` are defined
       = hint: a source that does not start with `/` names a volume

    error: two services are named `web`
      --> spec.yml:12:11
       |
    12 |   - name: web
       |           ^^^ the first is at spec.yml:5:11

    error: `files[0].path`: `../etc/passwd` leads out of where it starts
      --> spec.yml:15:11
       |
    15 |   - path: ../etc/passwd
       |           ^^^^^^^^^^^^^ no `..` in the path of a file
    "##);
}

#[test]
fn bad_values_are_named() {
    let container = |keys: &str| format!("onboot:\n  - {{name: a, image: x, {keys}}}\n");
    let mut all = String::new();
    for keys in [
        "capabilities: [net_admin]",
        "capabilities: [all, CAP_BPF]",
        "capabilities: CAP_BPF",
        "command: sh -c true",
        "rlimits: [\"NOFILES,1,2\"]",
        "rlimits: [\"nofile,2,1\"]",
        "rlimits: [\"nofile,many,1\"]",
        "binds: [\"/a:\"]",
        "binds: [\"/a:/b:ro,,x\"]",
        "binds: [\"Data:/b\"]",
        "tmpfs: [\":ro\"]",
        "env: [PATH]",
        "cwd: srv",
        "net: hots",
        "net: bridge",
        "pid: none",
        "uid: -1",
        "uid: 4294967295",
        "uid: 010",
        "uid: 1.5",
        "uid: \"a b\"",
        "oomScoreAdj: 2000",
        "oomScoreAdj: \"5\"",
        "readonly: \"true\"",
        "mounts: [{type: tmpfs}]",
        "mounts: [{destination: /x}]",
        "mounts: [{type: tmpfs, destination: \"\"}]",
        "mounts: [{type: bind, destination: /x}]",
        "mounts: [{type: tmpfs, destination: /x, options: [\"a,b\"]}]",
        "devices: [{path: /dev/null, type: c}]",
        "devices: [{path: /dev/null, mode: \"0666\"}]",
        "devices: [{path: /dev/null, type: x, mode: \"0666\"}]",
        "devices: [{path: /dev/null, type: c, mode: 666}]",
        "devices: [{path: dev/null, type: c, mode: \"0888\"}]",
        "uidMappings: [{hostID: 1, size: 1}]",
        "uidMappings: [{hostID: 1, containerID: -1, size: 0}]",
        "resources: {memory: {limit: 64M}}",
        "resources: {memory: {limits: 64}}",
        "resources: {cpu: {idle: 2}}",
        "resources: {cpu: {shares: 1, Shares: 2}}",
        "seccomp: docker",
        "onfail: restart",
        "restart: sometimes",
        "restart: [always]",
        "restart: {policy: always, delay: 10}",
        "restart: {delay: 0s, limit: 0, window: 5000h}",
        "ready: {}",
        "ready: {tcp: 80, file: /x}",
        "ready: {notify: false}",
        "ready: {http: {port: 80}}",
        "ready: {tpc: 80}",
        "ready: {exec: []}",
        "health: {http: {path: x}}",
        "stop: {signal: SIGTEMR, grace: ten}",
        "after: web",
        "rootfsPropagation: share",
        "runtime: {bindNS: {network: /x}}",
        "runtime: {interfaces: [{add: veth}]}",
        "sysctl: {a: [b]}",
        "sysctl: [a]",
        "maskedPaths: [proc]",
        "hostname: ",
        "command: [sh, ~]",
        "env: [\"A=\\0\"]",
    ] {
        all.push_str(&format!("{keys}\n  {}", brief(&container(keys)).replace("\n", "\n  ").trim_end_matches("  ")));
    }
    assert_snapshot!(all, @r##"
    capabilities: [net_admin]
      2:40 `onboot[0].capabilities[0]`: unknown capability `net_admin` [did you mean `CAP_NET_ADMIN`?]
    capabilities: [all, CAP_BPF]
      2:40 `onboot[0].capabilities`: `all` stands beside other capabilities [it says what the whole list is]
    capabilities: CAP_BPF
      2:39 `onboot[0].capabilities` must be a list of strings [this is a string]
    command: sh -c true
      2:34 `onboot[0].command` must be a list of strings [this is a string]
    rlimits: ["NOFILES,1,2"]
      2:35 `onboot[0].rlimits[0]`: unknown limit `NOFILES` [did you mean `RLIMIT_NOFILE`?]
    rlimits: ["nofile,2,1"]
      2:35 `onboot[0].rlimits[0]`: the soft limit of `nofile` is above its hard limit [`name,soft,hard`: soft comes first]
    rlimits: ["nofile,many,1"]
      2:35 `onboot[0].rlimits[0]`: `many` is not a limit [a number or `unlimited`]
    binds: ["/a:"]
      2:33 `onboot[0].binds[0]`: an empty destination [a path in the container must stand here]
    binds: ["/a:/b:ro,,x"]
      2:33 `onboot[0].binds[0]`: `` is not a mount option [one option per entry, without commas and spaces]
    binds: ["Data:/b"]
      2:33 `onboot[0].binds[0]`: `Data` is not the source of a bind [neither a path that starts with `/` nor a volume's name]
    tmpfs: [":ro"]
      2:33 `onboot[0].tmpfs[0]`: an empty destination [a path in the container must stand here]
    env: [PATH]
      2:31 `onboot[0].env[0]`: `PATH` sets no variable [expected `NAME=value`]
    cwd: srv
      2:30 `onboot[0].cwd`: `srv` is not an absolute path [it must start with `/`]
    net: hots
      2:30 `onboot[0].net`: `hots` is not a namespace [did you mean `host`?]
    net: bridge
      2:30 `onboot[0].net`: `bridge` is not a namespace [allowed here: `host`, `new`, `none`, `root`, or an absolute path]
    pid: none
      2:30 `onboot[0].pid`: `none` is not a namespace [allowed here: `host`, `new`, `root`, or an absolute path]
    uid: -1
      2:30 `onboot[0].uid`: `-1` is not an id [ids go from 0 to 4294967294]
    uid: 4294967295
      2:30 `onboot[0].uid`: `4294967295` is not an id [ids go from 0 to 4294967294]
    uid: 010
      2:30 `onboot[0].uid`: the id `010` starts with a zero [octal or decimal? write it without]
    uid: 1.5
      2:30 `onboot[0].uid`: `1.5` is not an id [a whole decimal number, or a name]
    uid: "a b"
      2:30 `onboot[0].uid`: `a b` is not the name of a user or group [a number or a name]
    oomScoreAdj: 2000
      2:38 `onboot[0].oomScoreAdj`: `2000` is out of range [from -1000 to 1000]
    oomScoreAdj: "5"
      2:38 `onboot[0].oomScoreAdj` must be a whole number, from -1000 to 1000 [this is a string]
    readonly: "true"
      2:35 `onboot[0].readonly` must be `true` or `false` [this is a string]
    mounts: [{type: tmpfs}]
      2:35 a mount without a destination [`tmpfs` has no usual place]
    mounts: [{destination: /x}]
      2:35 a mount without a type [`type` is missing, and nothing else says what it is]
    mounts: [{type: tmpfs, destination: ""}]
      2:61 `onboot[0].mounts[0].destination`: an empty string [something must stand here]
    mounts: [{type: bind, destination: /x}]
      2:35 a bind mount without a source [`source` is missing: a path, or the name of a volume]
    mounts: [{type: tmpfs, destination: /x, options: ["a,b"]}]
      2:75 `onboot[0].mounts[0].options[0]`: `a,b` is not a mount option [one option per entry, without commas and spaces]
    devices: [{path: /dev/null, type: c}]
      2:42 `mode` of the device `/dev/null` is missing [only `path: all` does without]
    devices: [{path: /dev/null, mode: "0666"}]
      2:42 `type` of the device `/dev/null` is missing [only `path: all` does without]
    devices: [{path: /dev/null, type: x, mode: "0666"}]
      2:59 `onboot[0].devices[0].type`: unknown value `x` [allowed here: `c`, `b`, `u`, `p`, `a`]
    devices: [{path: /dev/null, type: c, mode: 666}]
      2:68 `onboot[0].devices[0].mode`: the mode `666` is a decimal number [write "0666" for octal]
    devices: [{path: dev/null, type: c, mode: "0888"}]
      2:42 `onboot[0].devices[0].path`: `dev/null` is not a device [a path below `/dev`, or `all`]
      2:67 `onboot[0].devices[0].mode`: `0888` is not a file mode [octal digits up to "7777", such as "0644"]
    uidMappings: [{hostID: 1, size: 1}]
      2:40 `containerID` is missing in `onboot[0].uidMappings[0]` [an id mapping needs it]
    uidMappings: [{hostID: 1, containerID: -1, size: 0}]
      2:64 `onboot[0].uidMappings[0].containerID`: `-1` is out of range [from 0 to 4294967295]
      2:74 `onboot[0].uidMappings[0].size`: `0` is out of range [from 1 to 4294967295]
    resources: {memory: {limit: 64M}}
      2:53 `onboot[0].resources.memory.limit`: `64M` is not a whole number [decimal digits are expected]
    resources: {memory: {limits: 64}}
      2:46 unknown key `limits` in `onboot[0].resources.memory` [did you mean `limit`?]
    resources: {cpu: {idle: 2}}
      2:49 `onboot[0].resources.cpu.idle`: `2` is out of range [from 0 to 1]
    resources: {cpu: {shares: 1, Shares: 2}}
      2:54 the key `shares` is given twice in `onboot[0].resources.cpu` [in another letter case before]
    seccomp: docker
      2:34 `onboot[0].seccomp`: unknown seccomp profile `docker` [allowed here: `default`, `unconfined`]
    onfail: restart
      2:33 `onboot[0].onfail`: unknown value `restart` [allowed here: `continue`, `retry`, `stop`, `reboot`, `poweroff`, `shell`]
    restart: sometimes
      2:34 `onboot[0].restart`: unknown value `sometimes` [allowed here: `always`, `on-failure`, `never`]
    restart: [always]
      2:35 `onboot[0].restart` must be one of `always`, `on-failure`, `never`, or a map with the keys of `restart` [this is a list]
    restart: {policy: always, delay: 10}
      2:58 `onboot[0].restart.delay`: `10` is not a duration [a whole number and its unit: `500ms`, `10s`, `2m`, `1h`]
    restart: {delay: 0s, limit: 0, window: 5000h}
      2:42 `onboot[0].restart.delay`: `0s` is no time at all [at least `1ms`]
      2:53 `onboot[0].restart.limit`: `0` is out of range [from 1 to 10000]
      2:64 `onboot[0].restart.window`: the duration `5000h` is too long [at most `1000h`]
    ready: {}
      2:32 `ready` does not say what to look for [needs one of `exec`, `tcp`, `file`, `notify`]
    ready: {tcp: 80, file: /x}
      2:48 `ready` says more than once what to look for [only one of `exec`, `tcp`, `file`, `notify`]
    ready: {notify: false}
      2:33 `ready` does not say what to look for [needs one of `exec`, `tcp`, `file`, `notify`]
    ready: {http: {port: 80}}
      2:33 unknown key `http` in `onboot[0].ready` [not a key of `ready`]
    ready: {tpc: 80}
      2:33 unknown key `tpc` in `onboot[0].ready` [did you mean `tcp`?]
    ready: {exec: []}
      2:39 `ready.exec` is empty [a command and its arguments are expected]
    health: {http: {path: x}}
      2:41 `port` is missing in `onboot[0].health.http` [`http` needs it]
      2:47 `onboot[0].health.http.path`: `x` is not the path of a page [it starts with `/` and holds no white space]
    stop: {signal: SIGTEMR, grace: ten}
      2:40 `onboot[0].stop.signal`: unknown signal `SIGTEMR` [did you mean `SIGTERM`?]
      2:56 `onboot[0].stop.grace`: `ten` is not a duration [a whole number and its unit: `500ms`, `10s`, `2m`, `1h`]
    after: web
      2:32 `onboot[0].after` must be a list of strings [this is a string]
    rootfsPropagation: share
      2:44 `onboot[0].rootfsPropagation`: unknown value `share` [did you mean `shared`?]
    runtime: {bindNS: {network: /x}}
      2:44 unknown key `network` in `onboot[0].runtime.bindNS` [did you mean `net`?]
    runtime: {interfaces: [{add: veth}]}
      2:49 `name` is missing in `onboot[0].runtime.interfaces[0]` [an interface needs it]
    sysctl: {a: [b]}
      2:38 `onboot[0].sysctl.a` must be a string [this is a list]
    sysctl: [a]
      2:34 `onboot[0].sysctl` must be a map [this is a list]
    maskedPaths: [proc]
      2:39 `onboot[0].maskedPaths[0]`: `proc` is not an absolute path [it must start with `/`]
    hostname: 
      2:25 `onboot[0].hostname` must be a string [this is nothing: the value is missing]
    command: [sh, ~]
      2:39 `onboot[0].command[1]` must be a string [this is nothing: the value is missing]
    env: ["A=\0"]
      2:31 `onboot[0].env[0]`: a NUL character [no string of the machine can hold one]
    "##);
}

#[test]
fn names_references_volumes_and_files_are_checked() {
    let mut all = String::new();
    for text in [
        "services: [{name: a/b, image: x}]",
        "services: [{name: .., image: x}]",
        "services: [{name: \"\", image: x}]",
        "services: [{name: \"a\\nb\", image: x}]",
        "services: [{name: a}]",
        "services: [{name: a, imgae: x}]",
        "services: [{image: x}]",
        "services: [x]",
        "services: {name: a, image: x}",
        "init: [\"\"]",
        "init: [\"a b\"]",
        "init: [\"@pkg:\"]",
        "init: [\"@tag:x\"]",
        "init: image",
        "volumes: [{name: A}]",
        "volumes: [{name: \"\"}]",
        "volumes: [{name: a}, {name: a}]",
        "volumes: [{name: a, format: oci}]",
        "volumes: [{name: a, image: x, format: ocy}]",
        "volumes: [{name: a, image: x, format: oci, platforms: [amd64]}]",
        "volumes: [{name: data}]\nonboot: [{name: a, image: x, binds: [\"date:/d\"]}]",
        "volumes: [{name: data, readonly: true}]\nonboot: [{name: a, image: x, binds: [\"data:/d\"]}]",
        "volumes: [{name: data, readonly: true}]\nonboot: [{name: a, image: x, binds.add: [\"data:/d:rw\"]}]",
        "volumes: [{name: data, readonly: true}]\nonboot: [{name: a, image: x, mounts: [{type: bind, source: data, destination: /d}]}]",
        "volumes: []\nonboot: [{name: a, image: x, mounts: [{type: bind, source: data, destination: /d}]}]",
        "files: [{path: a}]",
        "files: [{path: a, contents: x, symlink: y}]",
        "files: [{path: a, directory: true, contents: x}]",
        "files: [{path: a/../b, contents: x}]",
        "files: [{path: /, directory: true}]",
        "files: [{path: a, metadata: toml}]",
        "files: [{path: a, contents: x, mode: 644}]",
        "files: [{path: a, contents: x, mode: \"0999\"}]",
        "files: [{path: a, contents: x, mode: \"10000\"}]",
        "files: [{path: a, contents: [x]}]",
        "files: [{contents: x}]",
        "files: [{path: a, source: ~/x}]",
        "kernel: {image: x, modules: [\"a.ko\"]}",
        "kernel: {image: x, tar: }",
        "kernels: {image: x}",
        "something: else",
    ] {
        all.push_str(&format!("{text}\n  {}", brief(text).replace("\n", "\n  ").trim_end_matches("  ")));
    }
    assert_snapshot!(all, @r##"
    services: [{name: a/b, image: x}]
      1:19 `services[0].name`: `a/b` cannot name a container [the name becomes a directory: no `/`]
    services: [{name: .., image: x}]
      1:19 `services[0].name`: `..` cannot name a container [the name becomes a directory of its own]
    services: [{name: "", image: x}]
      1:19 `services[0].name`: an empty name [a container needs a name]
    services: [{name: "a\nb", image: x}]
      1:19 `services[0].name`: `a b` cannot name a container [it holds control characters]
    services: [{name: a}]
      1:13 `image` is missing in `services[0]` [a container needs it]
    services: [{name: a, imgae: x}]
      1:22 unknown key `imgae` in `services[0]` [did you mean `image`?]
    services: [{image: x}]
      1:13 `name` is missing in `services[0]` [a container needs it]
    services: [x]
      1:12 `services[0]` must be a map with the keys of a container [this is a string]
    services: {name: a, image: x}
      1:12 `services` must be a list of maps [this is a map]
    init: [""]
      1:8 `init[0]`: an empty image reference [the name of an image must stand here]
    init: ["a b"]
      1:8 `init[0]`: `a b` is not an image reference [it holds white space]
    init: ["@pkg:"]
      1:8 `init[0]`: `@pkg:` without a directory [the directory of a package must follow]
    init: ["@tag:x"]
      1:8 `init[0]`: unknown template `@tag:x` [only `@pkg:DIRECTORY` is known]
    init: image
      1:7 `init` must be a list of strings [this is a string]
    volumes: [{name: A}]
      1:18 `volumes[0].name`: `A` cannot name a volume [lower-case letters, digits, `_` and `-` are allowed]
    volumes: [{name: ""}]
      1:18 `volumes[0].name`: `` cannot name a volume [lower-case letters, digits, `_` and `-` are allowed]
    volumes: [{name: a}, {name: a}]
      1:29 two volumes are named `a` [the first is at spec.yml:1:18]
    volumes: [{name: a, format: oci}]
      1:29 an `oci` volume needs an image [there is no `image` to keep as a layout]
    volumes: [{name: a, image: x, format: ocy}]
      1:39 `volumes[0].format`: unknown value `ocy` [did you mean `oci`?]
    volumes: [{name: a, image: x, format: oci, platforms: [amd64]}]
      1:56 `volumes[0].platforms[0]`: `amd64` is not a platform [expected `os/architecture`, such as `linux/arm64`]
    volumes: [{name: data}]
    onboot: [{name: a, image: x, binds: ["date:/d"]}]
      2:38 there is no volume `date` [did you mean `data`?]
    volumes: [{name: data, readonly: true}]
    onboot: [{name: a, image: x, binds: ["data:/d"]}]
      2:38 the volume `data` is read-only [bound here so that it could be written]
    volumes: [{name: data, readonly: true}]
    onboot: [{name: a, image: x, binds.add: ["data:/d:rw"]}]
      2:42 the volume `data` is read-only [bound here so that it could be written]
    volumes: [{name: data, readonly: true}]
    onboot: [{name: a, image: x, mounts: [{type: bind, source: data, destination: /d}]}]
      2:60 the volume `data` is read-only [bound here so that it could be written]
    volumes: []
    onboot: [{name: a, image: x, mounts: [{type: bind, source: data, destination: /d}]}]
      2:60 there is no volume `data` [no `volumes:` are defined]
    files: [{path: a}]
      1:10 an entry of `files` does not say what the file is [needs one of `directory: true`, `symlink`, `contents`, `source` or `metadata`]
    files: [{path: a, contents: x, symlink: y}]
      1:29 an entry of `files` says twice what the file is: `symlink`, `contents` [`contents` cannot stand beside the others]
    files: [{path: a, directory: true, contents: x}]
      1:30 an entry of `files` says twice what the file is: `contents`, `directory` [`directory` cannot stand beside the others]
    files: [{path: a/../b, contents: x}]
      1:16 `files[0].path`: `a/../b` leads out of where it starts [no `..` in the path of a file]
    files: [{path: /, directory: true}]
      1:16 `files[0].path`: `/` names no file [a path below `/` must stand here]
    files: [{path: a, metadata: toml}]
      1:29 `files[0].metadata`: unknown value `toml` [did you mean `yaml`?]
    files: [{path: a, contents: x, mode: 644}]
      1:38 `files[0].mode`: the mode `644` is a decimal number [write "0644" for octal]
    files: [{path: a, contents: x, mode: "0999"}]
      1:38 `files[0].mode`: `0999` is not a file mode [octal digits up to "7777", such as "0644"]
    files: [{path: a, contents: x, mode: "10000"}]
      1:38 `files[0].mode`: `10000` is not a file mode [octal digits up to "7777", such as "0644"]
    files: [{path: a, contents: [x]}]
      1:30 `files[0].contents` must be a string [this is a list]
    files: [{contents: x}]
      1:10 `path` is missing in `files[0]` [a file needs it]
    files: [{path: a, source: ~/x}]
      1:27 the source `~/x` has nothing to be relative to [there is no home directory]
    kernel: {image: x, modules: ["a.ko"]}
      1:30 `kernel.modules[0]`: `a.ko` is not a module [a name without `.ko`, a glob, or `virtio`, `cloud` or `all`]
    kernel: {image: x, tar: }
      1:20 `kernel.tar` must be a string [this is nothing: the value is missing]
    kernels: {image: x}
      1:1 unknown key `kernels` [did you mean `kernel`?]
    something: else
      1:1 unknown key `something` [not a key of a spec]
    "##);
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
        "kernel:\n  cmdline: \"a b\n\ninit: []\n",
        "init:\n - a\n  - b\n- c\n",
    ] {
        all.push_str(&format!("{text:?}\n{}", brief(text)));
    }
    assert_snapshot!(all, @r##"
    "init:\n\t- a\n"
    2:2 not valid YAML: a tab stands where only spaces may [tabs disallowed within this context (block indentation)]
    "init: [a, b\n"
    2:1 not valid YAML: brackets do not match, or a comma is missing [while parsing a flow sequence, expected ',' or ']']
    "init:\n - \"a\n"
    2:4 not valid YAML: a quote is opened and never closed [while scanning a quoted scalar, found unexpected end of stream]
    "kernel:\n  cmdline: a: b\n"
    2:13 not valid YAML: a `:` stands where no key can be [mapping values are not allowed in this context]
    "kernel:\n  image: @pkg:x\n"
    2:10 not valid YAML: a value cannot start with this character [unexpected character: `@']
    "kernel:\n  image: a\n cmdline: b\n"
    3:2 not valid YAML: the indentation does not fit, or a `:` is missing after a key [while parsing a block mapping, did not find expected key]
    "init: *nothing\n"
    1:7 not valid YAML: an alias names an anchor that was not set before [while parsing node, found unknown anchor]
    "init: [\"\\q\"]\n"
    1:8 not valid YAML: unknown escape in a double-quoted string [while parsing a quoted scalar, found unknown escape character]
    "init: ['a'b]\n"
    1:11 not valid YAML: text follows a closing quote [invalid trailing content after quoted scalar]
    "init:\n- a\n---\ninit:\n- b\n"
    4:1 more than one YAML document in the file [the second document starts here]
    "init: &a [*a]\n"
    1:11 an alias inside of what it names [this would never end]
    "init: !mine [a]\n"
    1:7 the tag `!mine` means nothing in a spec [the tagged value]
    ""
    1:1 the file is empty [nothing but white space and comments]
    "# nothing\n"
    1:1 the file is empty [nothing but white space and comments]
    "- a\n"
    1:3 the document must be a map with the keys of a spec [this is a list]
    "text\n"
    1:1 the document must be a map with the keys of a spec [this is a string]
    "? [a]\n: b\n"
    1:3 a key must be a string [this is a list]
    "init: [a]\ninit: [b]\n"
    2:1 the key `init` is given twice [it was given first at 1:1]
    "kernel:\n  <<: text\n  image: x\n"
    2:7 `<<` merges a map or a list of maps [this is a string]
    "kernel: {image: x, image: y}\n"
    1:20 the key `image` is given twice [it was given first at 1:10]
    "init: [a]\0\n"
    1:10 not valid YAML: a character that YAML does not allow [found unprintable character]
    "kernel:\n  cmdline: \"a b\n\ninit: []\n"
    2:12 not valid YAML: a quote is opened and never closed [invalid indentation in quoted scalar]
    "init:\n - a\n  - b\n- c\n"
    4:3 not valid YAML: the indentation does not fit, or a `:` is missing after a key [while parsing a block mapping, did not find expected key]
    "##);
}

#[test]
fn problems_of_all_files_come_together() {
    let report = try_load(&[
        "volumes: [{name: a}]\nservices: [{name: web, image: x}]\n",
        "volumes: [{name: a}]\nservices: [{name: web, image: y, cdw: /}]\n",
        "init: [a\n",
    ]);
    assert_snapshot!(report.unwrap_err(), @r##"
    error: two volumes are named `a`
     --> more.yml:1:18
      |
    1 | volumes: [{name: a}]
      |                  ^ the first is at spec.yml:1:18

    error: two services are named `web`
     --> more.yml:2:19
      |
    2 | services: [{name: web, image: y, cdw: /}]
      |                   ^^^ the first is at spec.yml:2:19

    error: unknown key `cdw` in `services[0]`
     --> more.yml:2:34
      |
    2 | services: [{name: web, image: y, cdw: /}]
      |                                  ^^^ did you mean `cwd`?
      = hint: allowed here: `additionalGids`, `after`, `ambient`, `annotations`, `binds`, `binds.add`,
              `capabilities`, `capabilities.add`, `cgroupns`, `cgroupsPath`, `command`, `cwd`,
              `devices`, `env`, `gid`, `gidMappings`, `health`, `hostname`, `image`, `ipc`, `landlock`,
              `maskedPaths`, `mounts`, `name`, `net`, `noNewPrivileges`, `onfail`, `oomScoreAdj`,
              `parallel`, `pid`, `readonly`, `readonlyPaths`, `ready`, `requires`, `resources`,
              `restart`, `rlimits`, `rootfsPropagation`, `runtime`, `seccomp`, `stop`, `sysctl`,
              `tmpfs`, `uid`, `uidMappings`, `userns`, `uts`

    error: not valid YAML: brackets do not match, or a comma is missing
     --> last.yml:2:1
      |
    2 | 
      | ^ while parsing a flow sequence, expected ',' or ']'
      = hint: the innermost open list starts at 1:7
      = hint: put quotes around values that hold `: ` or ` #` or that start with one of `@ ` * & ! % { [
              | > ' "`
    "##);
}

#[test]
fn places_are_right_whatever_the_characters() {
    let cases = [
        ("\u{feff}init: [a]\nx: 1\n", "2:1"),
        ("# é日本\r\ninit: [\"ö\"]\r\nx: 1\r\n", "3:1"),
        ("# é\ninit: [\"日本\", [x]]\n", "2:15"),
        (&format!("# {}\ninit: [\"日本\", [x]]\n", "é".repeat(300)), "2:15"),
    ];
    for (text, place) in cases {
        assert!(brief(text).starts_with(place), "{text:?}: {}", brief(text));
    }
}

#[test]
fn a_relative_path_needs_a_directory() {
    let text = "init: [\"@pkg:init\", \"@pkg:/abs\"]\nfiles:\n  - {path: a, source: b}\n  - {path: b, source: /c}\n";
    let mut sources = Sources::default();
    let found = load(vec![Input { name: "<stdin>".into(), text: text.into(), directory: None }], None, &mut sources);
    let messages: Vec<_> = found.unwrap_err().0.into_iter().map(|problem| problem.message).collect();
    assert_eq!(messages, ["`@pkg:` has nothing to be relative to", "the source `b` has nothing to be relative to"]);
}

#[test]
fn labels_are_checked_by_the_same_table() {
    let mut sources = Sources::default();
    let label = r#"{"name": "x", "capability": ["CAP_BPF"], "net": "hots"}"#;
    let found = parse_label("label org.mobyproject.config of nginx", label, &mut sources).unwrap_err();
    assert_snapshot!(found.render(&sources, false), @r##"
    error: unknown key `name`
     --> label org.mobyproject.config of nginx:1:2
      |
    1 | {"name": "x", "capability": ["CAP_BPF"], "net": "hots"}
      |  ^^^^^^ belongs into the spec that uses the image
      = hint: allowed here: `additionalGids`, `after`, `ambient`, `annotations`, `binds`, `binds.add`,
              `capabilities`, `capabilities.add`, `cgroupns`, `cgroupsPath`, `command`, `cwd`,
              `devices`, `env`, `gid`, `gidMappings`, `health`, `hostname`, `ipc`, `landlock`,
              `maskedPaths`, `mounts`, `net`, `noNewPrivileges`, `onfail`, `oomScoreAdj`, `parallel`,
              `pid`, `readonly`, `readonlyPaths`, `ready`, `requires`, `resources`, `restart`,
              `rlimits`, `rootfsPropagation`, `runtime`, `seccomp`, `stop`, `sysctl`, `tmpfs`, `uid`,
              `uidMappings`, `userns`, `uts`

    error: unknown key `capability`
     --> label org.mobyproject.config of nginx:1:15
      |
    1 | {"name": "x", "capability": ["CAP_BPF"], "net": "hots"}
      |               ^^^^^^^^^^^^ did you mean `capabilities`?

    error: `net`: `hots` is not a namespace
     --> label org.mobyproject.config of nginx:1:49
      |
    1 | {"name": "x", "capability": ["CAP_BPF"], "net": "hots"}
      |                                                 ^^^^^^ did you mean `host`?
    "##);
}

#[test]
fn packages_are_checked_by_the_same_table() {
    let mut sources = Sources::default();
    let text = "image: web\ndockerfile: Dockerfile\nconfig:\n  image: x\n  capabilities: [CAP_NET]\narches: [x86]\n";
    let found = parse_package(input("build.yml", text), None, &mut sources).unwrap_err();
    assert_snapshot!(found.render(&sources, false), @r##"
    warning: `dockerfile` is ignored
     --> build.yml:2:1
      |
    2 | dockerfile: Dockerfile
      | ^^^^^^^^^^ it belongs to packages made by a Dockerfile

    error: the package has no recipe: packages made by a Dockerfile are not built yet
     --> build.yml:2:13
      |
    2 | dockerfile: Dockerfile
      |             ^^^^^^^^^^ nothing here says how it is made
      = hint: give one of `cargo:`, `debian:`, `kernel:` and `files:`, or several

    error: unknown key `image` in `config`
     --> build.yml:4:3
      |
    4 |   image: x
      |   ^^^^^ belongs into the spec that uses the image
      = hint: allowed here: `additionalGids`, `after`, `ambient`, `annotations`, `binds`, `binds.add`,
              `capabilities`, `capabilities.add`, `cgroupns`, `cgroupsPath`, `command`, `cwd`,
              `devices`, `env`, `gid`, `gidMappings`, `health`, `hostname`, `ipc`, `landlock`,
              `maskedPaths`, `mounts`, `net`, `noNewPrivileges`, `onfail`, `oomScoreAdj`, `parallel`,
              `pid`, `readonly`, `readonlyPaths`, `ready`, `requires`, `resources`, `restart`,
              `rlimits`, `rootfsPropagation`, `runtime`, `seccomp`, `stop`, `sysctl`, `tmpfs`, `uid`,
              `uidMappings`, `userns`, `uts`

    error: `config.capabilities[0]`: unknown capability `CAP_NET`
     --> build.yml:5:18
      |
    5 |   capabilities: [CAP_NET]
      |                  ^^^^^^^ did you mean `CAP_NET_RAW`?

    error: `arches[0]`: unknown architecture `x86`
     --> build.yml:6:10
      |
    6 | arches: [x86]
      |          ^^^ allowed here: `amd64`, `arm64`, `riscv64`, `s390x`, `ppc64le`
    "##);
}

#[test]
fn several_binaries_of_a_package_are_checked_one_by_one() {
    let check = |cargo: &str| {
        let mut sources = Sources::default();
        let text = format!("image: web\ncargo: {cargo}\n");
        let found = parse_package(input("build.yml", &text), None, &mut sources).unwrap_err();
        found.render(&sources, false)
    };
    assert_snapshot!(check("[{package: a, path: a, links: [c]}, {package: b, path: /c}, {package: d, path: a}]"), @r#"
    error: `cargo` puts two things at `c`
     --> build.yml:2:63
      |
    2 | …rgo: [{package: a, path: a, links: [c]}, {package: b, path: /c}, {package: d, path: a}]
      |                                                              ^^ something is there already
      = hint: every `path` and every one of `links` is a place of its own

    error: `cargo` puts two things at `a`
     --> build.yml:2:87
      |
    2 | … a, links: [c]}, {package: b, path: /c}, {package: d, path: a}]
      |                                                              ^ something is there already
      = hint: every `path` and every one of `links` is a place of its own
    "#);
    assert_snapshot!(check("[{package: a, path: a}, {package: b}]"), @r#"
    error: `path` is missing in `cargo[1]`
     --> build.yml:2:33
      |
    2 | cargo: [{package: a, path: a}, {package: b}]
      |                                 ^^^^^^^ `cargo` needs it
      = hint: `path`: Where the binary goes
    "#);
    assert_snapshot!(check("[]"), @r#"
    error: `cargo` must be a map with the keys of `cargo`
     --> build.yml:2:8
      |
    2 | cargo: []
      |        ^^ this is a list
    "#);
}

#[test]
fn a_flood_of_warnings_hides_no_error() {
    let files = "  - {path: a, contents: \"@pkg:x\"}\n".repeat(500);
    assert!(brief(&format!("files:\n{files}  - {{path: a}}\n")).contains("does not say what the file is"));
}

#[test]
fn tests_are_checked_like_everything_else() {
    let text = "\
services:
  - {name: web, image: nginx}
onboot:
  - {name: dhcp, image: dhcp}
tests:
  - name: one
    memroy: 96M
    checks:
      - exec: {service: wbe, command: [id]}
      - file: {service: dhcp, path: /etc/hostname}
      - service: {name: dhcp, state: don}
      - http: {port: 80, header: nonsense}
        tcp: {port: 80, contains: a}
      - within: 5s
      - http: {port: 80, header: nonsense}
      - file: {path: /a, contains: a, absent: true}
      - exec: {service: web, command: []}
      - reboot: false
      - services: {name: web}
  - name: one
";
    assert_snapshot!(brief(text), @r"
    7:5 unknown key `memroy` in `tests[0]` [did you mean `memory`?]
    9:25 there is no service `wbe` [did you mean `web`?]
    10:25 there is no service `dhcp` [there are `web`]
    11:38 `tests[0].checks[2].service.state`: unknown value `don` [did you mean `down`?]
    12:9 a check looks at one thing, and this one at 2 [make an entry of each]
    14:9 a check does not say what to look at [needs one of `exec`, `http`, `tcp`, `console`, `file`, `service`, `reboot`]
    15:34 `nonsense` is no header [`NAME: TEXT` is expected]
    16:16 `file` says more than once what it must be [only one of `contains`, `equals` and `absent`]
    17:39 `exec.command` is empty [a program and its arguments are expected]
    18:9 a check does not say what to look at [needs one of `exec`, `http`, `tcp`, `console`, `file`, `service`, `reboot`]
    19:9 unknown key `services` in `tests[0].checks[9]` [did you mean `service`?]
    20:11 two tests are named `one` [the first is at spec.yml:6:11]
    ");
}
