//! The container engine's path, against a small engine on a unix socket that answers as Docker does.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bootwright_oci::archive::{ExportFormat, ExportOptions, export};
use bootwright_oci::{FetchOptions, Fetcher, Platform, Silent};
use support::*;

/// An engine with one image, `foo:1`, whose archive ends early if told so.
fn engine(directory: &std::path::Path, cut: bool) -> (PathBuf, Arc<Mutex<Vec<String>>>) {
    let (_store_directory, store) = store();
    let image = image(&store, "foo:1", &Platform::linux("amd64"), &[&[("from", b"the engine")]]);
    store.write_index("foo:1", &[image]).unwrap();
    let mut archive = Vec::new();
    let options = ExportOptions { format: ExportFormat::Docker, platform: Some(Platform::linux("amd64")), name: None };
    export(&store, &reference("foo:1"), &options, &mut archive, &Silent).unwrap();
    let socket = directory.join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap().to_owned();
            while line.trim_end() != "" {
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            seen.lock().unwrap().push(path.clone());
            match path.as_str() {
                "/images/docker.io/library/foo:1/json" => {
                    let body = r#"{"Id":"sha256:0123","Os":"linux"}"#;
                    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
                }
                "/images/docker.io/library/foo:1/get" => {
                    // In chunks, as Go's server writes what it does not know the length of.
                    write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
                    for chunk in archive.chunks(1000).take(if cut { 3 } else { usize::MAX }) {
                        write!(stream, "{:x}\r\n", chunk.len()).unwrap();
                        stream.write_all(chunk).and_then(|()| stream.write_all(b"\r\n")).unwrap();
                    }
                    if !cut {
                        write!(stream, "0\r\n\r\n").unwrap();
                    }
                }
                _ => {
                    let body = r#"{"message":"No such image"}"#;
                    write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
                }
            }
        }
    });
    (socket, log)
}

#[test]
fn an_image_comes_from_the_engine_once_and_is_not_mistaken_for_that_of_the_registry() {
    let (directory, store) = store();
    let (socket, log) = engine(directory.path(), false);
    let with = FetchOptions { docker: true, offline: true, engine: Some(socket), ..options("amd64") };
    let fetcher = Fetcher::new(&store, with.clone());
    for reference in ["foo:1", "foo:1", "docker-daemon:foo:1"] {
        let image = fetcher.fetch(reference, &Silent).unwrap();
        assert_eq!(flattened(&store, &image, "from"), "the engine");
    }
    let archives = log.lock().unwrap().iter().filter(|path| path.ends_with("/get")).count();
    assert_eq!(archives, 1, "the same id is not transferred again");
    let without = Fetcher::new(&store, FetchOptions { docker: false, ..with.clone() });
    let error = without.fetch("foo:1", &Silent).unwrap_err().to_string();
    assert!(error.contains("no such name"), "{error}");
    let error = fetcher.fetch("bar", &Silent).unwrap_err().to_string();
    let lines: Vec<&str> = error.lines().collect();
    assert!(
        lines[1].contains("container engine") && lines[1].contains("has no `docker.io/library/bar:latest`"),
        "{error}"
    );
    assert!(lines[2].contains("image store"), "{error}");
    assert!(lines[3].contains("--offline"), "{error}");
    let arm = Fetcher::new(&store, FetchOptions { platform: Platform::linux("arm64"), ..with });
    let error = arm.fetch("docker-daemon:foo:1", &Silent).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("it offers linux/amd64"), "{error:?}");
}

#[test]
fn an_engine_that_breaks_off_or_is_not_there_is_told_so() {
    let (directory, store) = store();
    let (socket, _log) = engine(directory.path(), true);
    let with = |engine| FetchOptions { engine: Some(engine), ..options("amd64") };
    let error = Fetcher::new(&store, with(socket)).fetch("docker-daemon:foo:1", &Silent).unwrap_err();
    assert!(format!("{error:?}").contains("UnexpectedEof"), "{error:?}");
    assert!(store.list().unwrap().is_empty());
    let nobody = directory.path().join("nobody.sock");
    let error = Fetcher::new(&store, with(nobody)).fetch("docker-daemon:foo:1", &Silent).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("nobody.sock` cannot be reached"), "{cause}");
}

/// Needs a Docker engine, which CI machines cannot run: `BOOTWRIGHT_TEST_ENGINE=/path/docker.sock cargo test --test engine
/// -- --ignored`, with the `docker` client in the path. Its image repeats a layer, which Docker before 25 saves as a link.
#[test]
#[ignore = "needs a running Docker engine"]
fn a_real_engine_loads_what_we_export_and_gives_it_back() {
    let socket = PathBuf::from(std::env::var("BOOTWRIGHT_TEST_ENGINE").unwrap());
    let (directory, from) = store();
    let same: &[(&str, &[u8])] = &[("twice", b"the same")];
    let large = noise(5, 100_000);
    let layers = [&[("from", &b"a real engine"[..])][..], same, &[("last", &large[..])][..], same];
    let image = image(&from, "bootwright/test:1", &Platform::linux("amd64"), &layers);
    from.write_index("bootwright/test:1", &[image]).unwrap();
    let path = directory.path().join("image.tar");
    let docker = ExportOptions { format: ExportFormat::Docker, platform: Some(Platform::linux("amd64")), name: None };
    let name = reference("bootwright/test:1");
    bootwright_oci::archive::export_file(&from, &name, &docker, &path, &Silent).unwrap();
    run("docker", &["-H", &format!("unix://{}", socket.display()), "load", "-i", path.to_str().unwrap()]);
    let (_directory, to) = store();
    let with = FetchOptions { docker: true, offline: true, engine: Some(socket), ..options("amd64") };
    let fetcher = Fetcher::new(&to, with);
    for reference in ["bootwright/test:1", "docker-daemon:bootwright/test:1"] {
        let image = fetcher.fetch(reference, &Silent).unwrap();
        assert_eq!(image.layers.len(), 4);
        assert_eq!(flattened(&to, &image, "from"), "a real engine");
        assert_eq!(flattened(&to, &image, "twice"), "the same");
    }
}
