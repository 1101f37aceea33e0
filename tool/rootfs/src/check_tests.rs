//! What `check` says, one story per line of its list.

use bootwright_oci::{Platform, Tree};
use bootwright_spec::{ContainerConfig, Namespaces, Owner, RuntimeConfig, Volume, VolumeFormat};
use serde_json::{Value, json};

use crate::testing::{Bench, bind, command, container, spanned, text, texts, tree};

/// An ELF header of a 64-bit amd64 program without an interpreter.
fn program() -> Tree {
    let mut out = tree(&["!bin/sh=", "etc/passwd=web:x:33:33::/:"]);
    let mut elf = vec![0; 64];
    elf[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1]);
    elf[18] = 62;
    let node = out.nodes_mut().get_mut(&crate::testing::path("bin/sh")).unwrap();
    node.kind = bootwright_oci::Kind::File(bootwright_oci::Content::inline(elf));
    out
}

/// What is said of one service with an image configuration and a container configuration.
fn said(image: &Value, config: ContainerConfig) -> Vec<String> {
    let mut bench = Bench::new();
    let mut full = json!({"Cmd": ["sh"], "Labels": {"org.mobyproject.config": "{}"}});
    full.as_object_mut().unwrap().extend(image.as_object().unwrap().clone());
    bench.image("app", &full, program());
    bench.spec.volumes = vec![Volume {
        name: text("data"),
        image: None,
        readonly: false,
        size: None,
        format: VolumeFormat::Filesystem,
        platforms: vec![],
    }];
    bench.spec.services = vec![container("web", "app", config)];
    bench.check()
}

fn plain() -> ContainerConfig {
    ContainerConfig::default()
}

#[test]
fn what_is_right_is_silent() {
    let config = ContainerConfig {
        binds: Some(
            ["/run/x:/x", "/var/lib/x:/y", "/dev:/dev", "/:/host", "data:/z", "/containers/services/web:/me"]
                .map(bind)
                .to_vec(),
        ),
        capabilities: texts(&["CAP_NET_ADMIN"]),
        ..plain()
    };
    assert_eq!(said(&json!({}), config), Vec::<String>::new());
}

#[test]
fn commands_that_cannot_start_are_errors() {
    for (words, image, part) in [
        (Some(&["/usr/bin/mountie"][..]), json!({}), "`/usr/bin/mountie` does not exist in the image"),
        (Some(&["/usr/bin/sh"]), json!({}), "did you mean `/bin/sh`?"),
        (Some(&["sh -c true"]), json!({}), "a command is a list of words"),
        (None, json!({"Env": ["PATH=/nowhere"]}), "`sh` is not in the image's PATH (/nowhere)"),
        (Some(&["/etc/passwd"]), json!({}), "is not executable (mode 0644)"),
    ] {
        let lines = said(&image, ContainerConfig { command: words.and_then(command), ..plain() });
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("error: `web` cannot start") && lines[0].contains(part), "{lines:?}");
    }
    // What a bind brings is not in the image.
    let config = ContainerConfig {
        command: command(&["/usr/bin/tool"]),
        binds: Some(vec![bind("/var/bin:/usr/bin")]),
        ..plain()
    };
    assert_eq!(said(&json!({}), config), Vec::<String>::new());
}

#[test]
fn binds_of_what_is_not_there_are_errors_unless_somebody_may_make_it() {
    let of = |binds: &[&str]| ContainerConfig { binds: Some(binds.iter().map(|b| bind(b)).collect()), ..plain() };
    let lines = said(&json!({}), of(&["/etc/nosuch:/x"]));
    assert!(lines[0].starts_with("error: `web` binds `/etc/nosuch`"), "{lines:?}");
    let lines = said(&json!({}), of(&["/etc/nosuch:/x", "/:/host"]));
    assert!(lines[0].starts_with("warning: `web` binds `/etc/nosuch`"), "{lines:?}");
    let made = RuntimeConfig { mkdir: Some(vec![text("/srv/x")]), ..RuntimeConfig::default() };
    let config = ContainerConfig { runtime: made, ..of(&["/srv/x:/x"]) };
    assert_eq!(said(&json!({}), config), Vec::<String>::new());
}

#[test]
fn settings_that_need_a_namespace_of_their_own_are_errors_without() {
    let sysctl = Some(vec![(text("net.ipv4.ip_forward"), text("1"))]);
    let user = Namespaces { user: Some(text("new")), ..Namespaces::default() };
    for (config, part) in [
        (ContainerConfig { hostname: Some(text("h")), ..plain() }, "`uts: new`"),
        (ContainerConfig { sysctl: sysctl.clone(), ..plain() }, "`net: new`"),
        (ContainerConfig { namespaces: user, ..plain() }, "`uidMappings:`"),
    ] {
        let lines = said(&json!({}), config);
        assert!(lines.len() == 1 && lines[0].starts_with("error") && lines[0].contains(part), "{lines:?}");
    }
    let own = Namespaces { net: Some(text("new")), uts: Some(text("new")), ..Namespaces::default() };
    let config = ContainerConfig { hostname: Some(text("h")), sysctl, namespaces: own, ..plain() };
    assert_eq!(said(&json!({}), config), Vec::<String>::new());
}

#[test]
fn state_in_memory_is_noted_with_where_it_ends_up() {
    let image = json!({"Volumes": {"/data": {}}});
    let of = |binds: &[&str]| ContainerConfig { binds: Some(binds.iter().map(|b| bind(b)).collect()), ..plain() };
    for (config, part) in [
        (plain(), Some("note: `web` keeps its data in `/data`: the container's own root, which is memory")),
        (of(&["/var/lib/web:/data"]), Some("`/var/lib/web`, which is memory unless a disk")),
        (of(&["data:/data"]), Some("a volume, whose changes are memory")),
        (
            ContainerConfig { readonly: Some(spanned(true)), ..plain() },
            Some("warning: `web` keeps its data in `/data`, which is read-only"),
        ),
        (of(&["/dev/shm:/data"]), None),
    ] {
        let lines = said(&image, config);
        assert_eq!(lines.len(), usize::from(part.is_some()), "{lines:?}");
        assert!(part.is_none_or(|p| lines[0].contains(p)), "{lines:?}");
    }
}

#[test]
fn an_image_without_a_label_has_no_capabilities_and_a_user_has_no_use_of_them() {
    let lines = said(&json!({"Labels": {}}), plain());
    assert!(lines.len() == 1 && lines[0].starts_with("note: image `docker.io/library/app` has no label"), "{lines:?}");
    let config = ContainerConfig { capabilities: texts(&["CAP_NET_BIND_SERVICE"]), ..plain() };
    assert_eq!(said(&json!({"Labels": {}}), config.clone()), Vec::<String>::new());
    let lines = said(&json!({"User": "web"}), config.clone());
    assert!(lines[0].contains("runs as uid 33, which has no use of CAP_NET_BIND_SERVICE"), "{lines:?}");
    let ambient = ContainerConfig { ambient: texts(&["CAP_NET_BIND_SERVICE"]), ..config.clone() };
    assert_eq!(said(&json!({"User": "web"}), ambient), Vec::<String>::new());
    let root = ContainerConfig { uid: Some(spanned(Owner::Id(0))), ..config };
    assert_eq!(said(&json!({"User": "web"}), root), Vec::<String>::new());
}

#[test]
fn two_services_on_one_port_of_the_machine_are_named() {
    let mut bench = Bench::new();
    let label = json!({"org.mobyproject.config": "{}"});
    bench.image(
        "app",
        &json!({"Cmd": ["sh"], "ExposedPorts": {"80/tcp": {}, "53/udp": {}}, "Labels": label}),
        program(),
    );
    bench.image("other", &json!({"Cmd": ["sh"], "ExposedPorts": {"80": {}}, "Labels": label}), program());
    bench.spec.services = vec![container("a", "app", plain()), container("b", "other", plain())];
    let lines = bench.check();
    assert!(lines.len() == 1 && lines[0].contains("warning: `b` and `a` both listen on port 80/tcp"), "{lines:?}");
    bench.spec.services[1].config.namespaces.net = Some(text("new"));
    assert_eq!(bench.check(), Vec::<String>::new());
}

#[test]
fn a_linuxkit_spec_is_shown_the_lines_to_change() {
    let mut bench = Bench::new();
    bench.image("linuxkit/ca-certificates:v1", &json!({}), tree(&["etc/ssl/x=y"]));
    for name in ["linuxkit/init:abc", "docker.io/linuxkit/runc:abc", "linuxkit/containerd@sha256:00"] {
        bench.image(name, &json!({}), tree(&["!init=#!/init"]));
        bench.spec.init.push(text(name));
    }
    bench.spec.init.push(text("linuxkit/ca-certificates:v1"));
    let lines = bench.check();
    assert_eq!(lines.len(), 1, "{lines:?}");
    for part in [
        "note: this spec boots with LinuxKit's init",
        "replace\n  - linuxkit/init:abc\n  - docker.io/linuxkit/runc:abc\n  - linuxkit/containerd@sha256:00\n",
        "init:\n  - \"@pkg:../pkg/init\"\n  - linuxkit/ca-certificates:v1",
    ] {
        assert!(lines[0].contains(part), "{part:?} in {}", lines[0]);
    }
}

// LinuxKit built an amd64 machine of an arm64 image without a word (13.1, item 4).
#[test]
fn an_image_of_another_architecture_is_an_error() {
    let mut bench = Bench::new();
    bench.image("app", &json!({"Cmd": ["sh"], "Labels": {"org.mobyproject.config": "{}"}}), program());
    bench.images.get_mut("app").unwrap().image.platform = Platform::linux("arm64");
    bench.spec.services = vec![container("web", "app", plain())];
    let lines = bench.check();
    assert!(
        lines.iter().any(|l| l.starts_with("error") && l.contains("is for linux/arm64, the machine is linux/amd64"))
    );
}

#[test]
fn a_kernel_without_an_init_is_warned_of() {
    let mut bench = Bench::new();
    bench.image("kernel", &json!({}), tree(&["kernel=K"]));
    bench.spec.kernel = Some(bootwright_spec::Kernel {
        image: Some(text("kernel")),
        tar: Some(text("none")),
        ..bootwright_spec::Kernel::default()
    });
    assert!(bench.check()[0].contains("the kernel will not find an init"));
}
