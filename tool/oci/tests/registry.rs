//! The registry client against a real `docker-registry`, with `skopeo` as the other client, and against one that lies,
//! stumbles and hangs up.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::error::Error as _;
use std::fmt::Write as _;

use bootwright_oci::archive::ExportFormat;
use bootwright_oci::manifest::Descriptor;
use bootwright_oci::registry::{PushOptions, Pushed, RegistryOptions};
use bootwright_oci::{FetchOptions, Fetcher, Image, Platform, Silent, Store};
use support::*;

/// Everything that a user could see of an error.
fn shown(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error}\n{error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(text, "\n{error}\n{error:?}").unwrap();
        cause = error.source();
    }
    text
}

/// Puts a two-platform image into a registry by skopeo.
fn publish(registry: &Registry, name: &str) -> Descriptor {
    let (directory, store) = store();
    let descriptor = two_platforms(&store, "local/image");
    let archive = directory.path().join("image.tar");
    export(&store, "local/image", ExportFormat::Oci, &archive);
    let (from, to) = (format!("oci-archive:{}", archive.display()), format!("docker://{}", registry.name(name)));
    skopeo(&["copy", "--all", "--dest-tls-verify=false", &from, &to]);
    descriptor
}

fn fetch(store: &Store, options: FetchOptions, name: &str) -> Result<Image, bootwright_oci::FetchError> {
    Fetcher::new(store, options).fetch(name, &Silent)
}

#[test]
fn only_the_wanted_platform_is_downloaded_and_a_hit_asks_nobody() {
    let registry = Registry::start();
    let index = publish(&registry, "some/image:1");
    let proxy = Proxy::start(registry.port, |_| Action::Forward);
    let name = proxy.name("some/image:1");
    let (_directory, store) = store();
    let image = fetch(&store, options("amd64"), &name).unwrap();
    assert_eq!(flattened(&store, &image, "arch"), "this is amd64");
    assert_eq!(proxy.count(Request::is_blob), 3, "two layers and a configuration of one platform");
    assert_eq!(proxy.count(Request::is_manifest), 2, "the index and one manifest");
    let root = store.find(&reference(&name)).unwrap().unwrap();
    assert_eq!(root.digest, index.digest, "the index is kept whole");

    // Again, by name, by digest under another name, and offline: from the store.
    let asked = proxy.count(|_| true);
    fetch(&store, options("amd64"), &name).unwrap();
    let pinned = format!("{}@{}", proxy.name("other/name:2"), index.digest);
    assert_eq!(fetch(&store, options("amd64"), &pinned).unwrap().digest, image.digest);
    fetch(&store, FetchOptions { offline: true, ..options("amd64") }, &name).unwrap();
    assert_eq!(proxy.count(|_| true), asked, "a store hit makes no request");

    // The other platform comes to the same index and shares the layer.
    let error = fetch(&store, FetchOptions { offline: true, ..options("arm64") }, &name).unwrap_err();
    assert!(error.to_string().contains("not the image for linux/arm64"), "{error}");
    let other = fetch(&store, options("arm64"), &name).unwrap();
    assert_eq!(flattened(&store, &other, "arch"), "this is arm64");
    assert_eq!(proxy.count(Request::is_blob), 5, "one layer and a configuration more");
    let error = fetch(&store, options("riscv64"), &name).unwrap_err();
    assert!(error.source().unwrap().to_string().contains("it offers linux/amd64, linux/arm64"), "{}", shown(&error));

    // `--pull` asks, but downloads nothing that is there.
    let blobs = proxy.count(Request::is_blob);
    fetch(&store, FetchOptions { pull: true, ..options("amd64") }, &name).unwrap();
    assert_eq!(proxy.count(Request::is_blob), blobs);
    assert!(proxy.count(Request::is_manifest) > 3);
    assert_eq!(store.verify(&Silent).unwrap().problems, Vec::<String>::new());
}

#[test]
fn several_images_come_side_by_side_and_all_platforms_on_demand() {
    let registry = Registry::start();
    publish(&registry, "a");
    let proxy = Proxy::start(registry.port, |_| Action::Forward);
    skopeo(&[
        "copy",
        "--all",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        &format!("docker://{}", registry.name("a")),
        &format!("docker://{}", registry.name("b")),
    ]);
    let (_directory, store) = store();
    let fetcher = Fetcher::new(&store, options("amd64"));
    let names: Vec<String> = ["a", "b", "none", "a"].iter().map(|n| proxy.name(n)).collect();
    let images = fetcher.fetch_all(&names, &Silent);
    assert_eq!(images.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false, true]);
    assert_eq!(proxy.count(Request::is_blob), 3, "shared layers are downloaded once");
    let (_, all) = fetcher.pull_all(&names[0], &Silent).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(store.list().unwrap().len(), 2);
}

#[test]
fn what_we_push_skopeo_reads() {
    let registry = Registry::start();
    let (directory, store) = store();
    let index = two_platforms(&store, &registry.name("pushed:1"));
    let fetcher = Fetcher::new(&store, options("amd64"));
    let name = reference(&registry.name("pushed:1"));
    let push = |options: &PushOptions| fetcher.registry().push(&store, &name, options, &Silent).unwrap();
    let plain = PushOptions::default();
    assert_eq!(push(&plain), Pushed::Done(index.digest));
    assert_eq!(push(&plain), Pushed::Same(index.digest));
    let image = format!("docker://{name}");
    let inspected = skopeo(&["inspect", "--tls-verify=false", "--override-arch=arm64", &image]);
    assert!(inspected.contains(&index.digest.to_string()) && inspected.contains("arm64"), "{inspected}");
    // Out again by skopeo, in by us: both kinds of archive and a directory.
    for (transport, prefix) in [("oci", "oci"), ("oci-archive", "oci-archive"), ("docker-archive", "docker-archive")] {
        let path = directory.path().join(transport);
        let to = format!("{transport}:{}:x/y:1", path.display());
        skopeo(&["copy", "--src-tls-verify=false", "--override-arch=amd64", &image, &to]);
        for tail in ["", ":x/y:1"] {
            let from = format!("{prefix}:{}{tail}", path.display());
            let image = fetch(&store, options("amd64"), &from).unwrap_or_else(|e| panic!("{from}: {}", shown(&e)));
            assert_eq!(flattened(&store, &image, "arch"), "this is amd64");
        }
        let error = fetch(&store, options("arm64"), &format!("{prefix}:{}", path.display())).unwrap_err();
        assert!(shown(&error).contains("it offers linux/amd64"), "{}", shown(&error));
    }

    // A tag that is taken stays, unless told otherwise; then the platforms are merged.
    let riscv = support::image(&store, "r", &Platform::linux("riscv64"), &[&[("arch", b"this is riscv64")]]);
    store.write_index(&name.to_string(), &[riscv]).unwrap();
    assert_eq!(push(&plain), Pushed::Kept(index.digest));
    let merge = PushOptions { overwrite: true, with_arch_tags: true, ..PushOptions::default() };
    assert!(matches!(push(&merge), Pushed::Done(_)));
    let raw = skopeo(&["inspect", "--raw", "--tls-verify=false", &image]);
    for platform in ["amd64", "arm64", "riscv64"] {
        assert!(raw.contains(platform), "{raw}");
    }
    let tags = skopeo(&["list-tags", "--tls-verify=false", &format!("docker://{}", registry.name("pushed"))]);
    assert!(tags.contains("\"1-riscv64\""), "{tags}");
    let renamed = PushOptions { remote_name: Some(reference(&registry.name("renamed:2"))), ..PushOptions::default() };
    assert!(matches!(push(&renamed), Pushed::Done(_)));
    skopeo(&["inspect", "--raw", "--tls-verify=false", &format!("docker://{}", registry.name("renamed:2"))]);
}

#[test]
fn a_password_is_used_when_asked_for_and_never_shown() {
    let registry = Registry::with_password("user", "hunter2");
    let (directory, store) = store();
    let authority = format!("127.0.0.1:{}", registry.port);
    two_platforms(&store, &registry.name("private/image:1"));
    let name = reference(&registry.name("private/image:1"));
    let with = |config| FetchOptions {
        registry: RegistryOptions { docker_config: config, ..registry_options() },
        ..options("amd64")
    };
    let good = docker_config(directory.path(), &authority, "user", "hunter2");
    let fetcher = Fetcher::new(&store, with(Some(good.clone())));
    fetcher.registry().push(&store, &name, &PushOptions::default(), &Silent).unwrap();

    let (_other, fresh) = support::store();
    let error = fetch(&fresh, with(None), &name.to_string()).unwrap_err();
    assert!(error.to_string().contains("none are configured for it"), "{error}");
    assert!(error.hint().unwrap().contains(&format!("docker login {authority}")));
    let wrong = tempfile::tempdir().unwrap();
    let wrong = docker_config(wrong.path(), &authority, "user", "hunter3");
    let error = fetch(&fresh, with(Some(wrong)), &name.to_string()).unwrap_err();
    assert!(error.to_string().contains("config.json were refused"), "{error}");
    assert!(!shown(&error).contains("hunter"), "{}", shown(&error));
    let image = fetch(&fresh, with(Some(good)), &name.to_string()).unwrap();
    assert_eq!(flattened(&fresh, &image, "arch"), "this is amd64");
    assert!(!format!("{fetcher:?}").contains("hunter"));
}

#[test]
fn a_token_is_fetched_for_the_repository_and_renewed_when_it_has_run_out() {
    let registry = Registry::start();
    publish(&registry, "team/image:1");
    // The token server gives a fresh token each time, to who knows the password; the registry takes only the newest
    // and forgets it once.
    let tokens = Proxy::start(0, |request| {
        use base64::Engine as _;
        let basic = base64::engine::general_purpose::STANDARD.encode("user:hunter2");
        if request.headers.get("authorization") != Some(&format!("Basic {basic}")) {
            return Action::Answer(401, vec![], br#"{"details":"who are you"}"#.to_vec());
        }
        let asked =
            request.path.contains("scope=repository%3Ateam%2Fimage%3Apull") && request.path.contains("service=tests");
        assert!(asked, "{}", request.path);
        Action::Answer(200, vec![], format!(r#"{{"token":"secret-token-{}"}}"#, request.before).into_bytes())
    });
    let realm = format!("http://127.0.0.1:{}/token", tokens.port);
    let forgets = std::sync::atomic::AtomicBool::new(false);
    let front = Proxy::start(registry.port, move |request| {
        let valid = request.headers.get("authorization").is_some_and(|a| a.starts_with("Bearer secret-token-"));
        let first_blob = request.is_blob() && !forgets.swap(true, std::sync::atomic::Ordering::Relaxed);
        if valid && !first_blob {
            return Action::Forward;
        }
        let challenge = format!(r#"Bearer realm="{realm}",service="tests""#);
        Action::Answer(401, vec![("WWW-Authenticate", challenge)], b"{}".to_vec())
    });
    let (directory, store) = store();
    let name = front.name("team/image:1");
    let with = |config| FetchOptions {
        registry: RegistryOptions { docker_config: config, ..registry_options() },
        ..options("amd64")
    };
    let error = fetch(&store, with(None), &name).unwrap_err();
    assert!(error.to_string().contains("says `who are you`"), "{error}");
    let config = docker_config(directory.path(), &format!("127.0.0.1:{}", front.port), "user", "hunter2");
    let fetcher = Fetcher::new(&store, with(Some(config)));
    let image = fetcher.fetch(&name, &Silent).unwrap();
    assert_eq!(flattened(&store, &image, "arch"), "this is amd64");
    assert!(!format!("{fetcher:?}").contains("secret-token"));
    // A realm on another machine without TLS gets nothing.
    let evil = Proxy::start(registry.port, |_| {
        let challenge = r#"Bearer realm="http://192.0.2.1/token""#.to_owned();
        Action::Answer(401, vec![("WWW-Authenticate", challenge)], b"{}".to_vec())
    });
    let error = fetch(&store, with(None), &evil.name("x:1")).unwrap_err();
    assert!(error.to_string().contains("not encrypted"), "{error}");
}

#[test]
fn a_stumbling_registry_is_survived() {
    let registry = Registry::start();
    publish(&registry, "image:1");
    for (what, rule) in [
        (
            "drops blobs half-way",
            (|r| if r.is_blob() && r.before < 3 { Action::Cut(70_000) } else { Action::Forward })
                as fn(&Request) -> Action,
        ),
        ("knows no ranges", |r| if r.is_blob() && r.before == 0 { Action::Cut(100_000) } else { Action::Whole }),
        (
            "drops manifests half-way",
            |r| if r.is_manifest() && r.before == 0 { Action::Cut(50) } else { Action::Forward },
        ),
        ("answers 500", |r| if r.before < 2 { Action::Answer(500, vec![], vec![]) } else { Action::Forward }),
        ("is busy", |r| {
            if r.before < 1 { Action::Answer(429, vec![("Retry-After", "0".into())], vec![]) } else { Action::Forward }
        }),
        ("hangs up", |r| if r.before < 2 { Action::Hangup } else { Action::Forward }),
    ] {
        let proxy = Proxy::start(registry.port, rule);
        let (_directory, store) = store();
        let image =
            fetch(&store, options("amd64"), &proxy.name("image:1")).unwrap_or_else(|e| panic!("{what}: {}", shown(&e)));
        assert_eq!(flattened(&store, &image, "arch"), "this is amd64", "{what}");
        if what.contains("drops blobs") {
            let resumed = proxy.count(|r| r.is_blob() && r.headers.get("range").is_some_and(|r| r != "bytes=0-"));
            assert!(resumed >= 3, "it goes on where it was: {resumed}");
        }
    }
}

#[test]
fn a_lying_registry_is_refused_with_a_sentence() {
    fn flip(mut body: Vec<u8>) -> Vec<u8> {
        let middle = body.len() / 2;
        body[middle] ^= 1;
        body
    }
    let registry = Registry::start();
    publish(&registry, "image:1");
    for (what, want, rule) in [
        (
            "wrong bytes",
            "are those of",
            (|r| if r.is_blob() { Action::Alter(flip) } else { Action::Forward }) as fn(&Request) -> Action,
        ),
        ("too few", "is only", |r| {
            if r.is_blob() { Action::Alter(|b| b[..b.len() - 1].to_vec()) } else { Action::Forward }
        }),
        (
            "too many",
            "is longer",
            |r| if r.is_blob() { Action::Alter(|b| [b, vec![0]].concat()) } else { Action::Forward },
        ),
        ("another manifest", "but sends", |r| {
            if r.is_manifest() { Action::Alter(|b| [b, vec![b' ']].concat()) } else { Action::Forward }
        }),
        ("no blob", "has not the blob", |r| {
            if r.is_blob() { Action::Answer(404, vec![], vec![]) } else { Action::Forward }
        }),
        ("always 500", "answers 500", |_| Action::Answer(500, vec![], vec![])),
        ("a web page", "is not a manifest", |r| {
            if r.is_manifest() { Action::Answer(200, vec![], b"<html>".to_vec()) } else { Action::Forward }
        }),
        ("a huge manifest", "more than the", |r| {
            if r.is_manifest() { Action::Answer(200, vec![], vec![b' '; 5 << 20]) } else { Action::Forward }
        }),
        ("forbidden", "says `go away`", |r| {
            if r.is_manifest() {
                Action::Answer(403, vec![], br#"{"errors":[{"message":"go\u001b away"}]}"#.to_vec())
            } else {
                Action::Forward
            }
        }),
        ("a circle", "redirects more than", |r| {
            if r.is_manifest() {
                Action::Answer(307, vec![("Location", r.path.clone())], vec![])
            } else {
                Action::Forward
            }
        }),
        ("to nowhere", "without saying where", |r| {
            if r.is_manifest() { Action::Answer(307, vec![], vec![]) } else { Action::Forward }
        }),
        ("always drops", "broke in the middle", |r| if r.is_manifest() { Action::Cut(10) } else { Action::Forward }),
    ] {
        let proxy = Proxy::start(registry.port, rule);
        let (_directory, store) = store();
        let error = fetch(&store, options("amd64"), &proxy.name("image:1")).unwrap_err();
        let text = error.to_string();
        assert!(text.replace("go  away", "go away").contains(want), "{what}: {text}");
        assert!(!text.contains('\u{1b}'), "{what}");
        assert!(store.list().unwrap().is_empty(), "{what}: nothing is named");
        assert_eq!(store.verify(&Silent).unwrap().problems, Vec::<String>::new(), "{what}: nothing wrong is kept");
    }
}

#[test]
fn a_redirect_to_another_host_carries_no_authorization() {
    let registry = Registry::start();
    publish(&registry, "image:1");
    let elsewhere = Proxy::start(registry.port, |r| {
        assert!(!r.headers.contains_key("authorization"), "credentials were sent to another host");
        Action::Forward
    });
    let port = elsewhere.port;
    let front = Proxy::start(registry.port, move |r| {
        if !r.headers.contains_key("authorization") {
            return Action::Answer(401, vec![("WWW-Authenticate", "Basic realm=x".into())], vec![]);
        }
        if r.is_blob() {
            let location = format!("http://127.0.0.1:{port}{}?signature=secret", r.path);
            return Action::Answer(307, vec![("Location", location)], vec![]);
        }
        Action::Forward
    });
    let (directory, store) = store();
    let config = docker_config(directory.path(), &format!("127.0.0.1:{}", front.port), "user", "hunter2");
    let registry = RegistryOptions { docker_config: Some(config), ..registry_options() };
    let image = fetch(&store, FetchOptions { registry, ..options("amd64") }, &front.name("image:1")).unwrap();
    assert_eq!(flattened(&store, &image, "arch"), "this is amd64");
    assert_eq!(elsewhere.count(Request::is_blob), 3);
}

#[test]
fn mirrors_are_asked_in_order_and_the_error_names_every_place() {
    let registry = Registry::start();
    publish(&registry, "library/redis:7");
    let prefixed = Proxy::start(registry.port, |r| match r.path.strip_prefix("/cache/v2/") {
        Some(_) => Action::Answer(500, vec![], vec![]),
        None => Action::Answer(404, vec![], vec![]),
    });
    let good = Proxy::start(registry.port, |_| Action::Forward);
    let mirrors = |list: &[String]| RegistryOptions {
        mirrors: list.iter().map(|m| m.parse().unwrap()).collect(),
        retries: 1,
        ..registry_options()
    };
    let broken = format!("docker.io=http://127.0.0.1:{}/cache", prefixed.port);
    let working = format!("http://127.0.0.1:{}", good.port);
    let (_directory, store) = store();
    let with = FetchOptions { registry: mirrors(&[broken.clone(), working.clone()]), ..options("amd64") };
    let image = fetch(&store, with, "redis:7").unwrap();
    assert_eq!(image.name, "docker.io/library/redis:7");
    assert!(prefixed.count(|r| r.path.starts_with("/cache/v2/")) > 0, "the mirror's path is kept");

    let dead = format!(
        "http://127.0.0.1:{}",
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
    );
    let name = good.name("none:1");
    let with = FetchOptions { registry: mirrors(std::slice::from_ref(&dead)), ..options("amd64") };
    let error = fetch(&store, with, &name).unwrap_err();
    assert!(error.hint().unwrap().starts_with("check the spelling of its name and tag"), "{:?}", error.hint());
    let error = error.to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert!(lines[0].contains(&format!("`{name}` was not found")), "{error}");
    assert!(lines[1].contains("the image store at") && lines[1].contains("no such name"), "{error}");
    assert!(lines[2].contains(&dead) && lines[2].contains("cannot be reached"), "{error}");
    assert!(lines[3].contains(&format!("has no `{name}`")), "{error}");

    // What TLS and the resolver say is known by their words alone. (A label has 63 letters at most, so no server is asked.)
    let nobody = format!("{}.example", "a".repeat(64));
    let encrypted = format!("https://127.0.0.1:{}", registry.port);
    for (mirror, name, expected) in [
        (&encrypted, "127.0.0.1:1/none:1", format!("--mirror 127.0.0.1:1=http://127.0.0.1:{}", registry.port)),
        (&dead, &format!("{nobody}/none:1"), format!("the spelling of `{nobody}`")),
    ] {
        let with = FetchOptions { registry: mirrors(std::slice::from_ref(mirror)), ..options("amd64") };
        let hint = fetch(&store, with, name).unwrap_err().hint().unwrap();
        assert!(hint.contains(&expected), "{hint}");
    }
}

#[test]
fn a_registry_with_its_own_authority_is_believed_only_with_its_file() {
    let (registry, _directory, certificate) = Registry::with_tls();
    let (_store_directory, store) = store();
    let name = registry.name("secure:1");
    let index = two_platforms(&store, &name);
    let error = fetch(&store, FetchOptions { pull: true, ..options("amd64") }, &name).unwrap_err();
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(error.hint().unwrap().contains("--cert-file"), "{:?}", error.hint());
    let trusting = RegistryOptions { ca_files: vec![certificate], ..registry_options() };
    let fetcher = Fetcher::new(&store, FetchOptions { pull: true, registry: trusting, ..options("amd64") });
    let pushed = fetcher.registry().push(&store, &reference(&name), &PushOptions::default(), &Silent).unwrap();
    assert_eq!(pushed, Pushed::Done(index.digest), "pushing trusts the same authorities as pulling");
    fetcher.fetch(&name, &Silent).unwrap();
}
