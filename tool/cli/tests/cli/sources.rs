//! Where specs come from: files, standard input, servers; and several of them at once.

use std::io::{Read, Write};
use std::net::TcpListener;

use insta::assert_snapshot;

use crate::desk::Desk;
use crate::support::Registry;

/// A server that answers every request with one text, or with 404 where the path says so.
fn serve(text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let missing = request[..read].starts_with(b"GET /missing");
            let status = if missing { "404 Not Found" } else { "200 OK" };
            let length = text.len();
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}");
        }
    });
    port
}

#[test]
fn files_standard_input_and_servers_merge_from_left_to_right() {
    let desk = Desk::new();
    let port = serve("services: [{name: third, image: three}]\nkernel: {cmdline: from the server}\n");
    desk.write(
        "first.yml",
        "kernel: {image: k, cmdline: first}\nservices: [{name: first, image: one}]\nx-note: ignored\n",
    );
    let line = format!("build --dry-run first.yml - http://127.0.0.1:{port}/spec.yml");
    let done =
        desk.fed(&line, b"services:\n  - name: second\n    image: two\n    command: [\"@at\", \"1.10\", \"no\"]\n");
    assert_eq!(done.code, 0, "{}", done.err);
    assert_snapshot!(done.out, @r#"
    kernel:
      image: k
      cmdline: from the server
    services:
      - name: first
        image: one
      - name: second
        image: two
        command:
          - "@at"
          - "1.10"
          - "no"
      - name: third
        image: three
    "#);
    assert_eq!(done.err, "");
    // What is printed means the same.
    let again = desk.fed("build --dry-run -", done.out.as_bytes());
    assert_eq!(again.out, done.out);
}

#[test]
fn a_spec_that_cannot_be_read_is_named() {
    let desk = Desk::new();
    let port = serve("not here");
    let done = desk.run(&format!("build http://127.0.0.1:{port}/missing.yml"));
    assert_snapshot!(done.err, @"
    error: reading the spec `http://127.0.0.1:[port]/missing.yml`
      caused by: `http://127.0.0.1:[port]/missing.yml` cannot be read: the server answers 404 Not Found
    ");
    assert_snapshot!(desk.run("build missing.yml").err, @"
    error: reading the spec `missing.yml`
      caused by: No such file or directory (os error 2)
    hint: give the path of a YAML file, `-` for standard input, or an http(s) URL
    ");
    desk.write("binary.yml", [0xff, 0xfe, 0]);
    assert_snapshot!(desk.run("build binary.yml").err, @"error: `binary.yml` is not UTF-8 text");
    assert_snapshot!(desk.run("build home").err, @"
    error: reading the spec `home`
      caused by: Is a directory (os error 21)
    ");
    desk.write("large.yml", vec![b' '; 9 << 20]);
    assert_snapshot!(desk.run("build large.yml").err, @"error: `large.yml` is larger than 4 MiB: not a spec");
}

#[test]
fn https_wants_a_certificate_that_is_trusted() {
    // What a registry answers at its root, `{}`, is a spec too.
    let (registry, _directory, certificate) = Registry::with_tls();
    let desk = Desk::new();
    let url = format!("https://127.0.0.1:{}/v2/", registry.port);
    let done = desk.run(&format!("build --dry-run {url}"));
    assert_eq!(done.code, 3, "{}", done.err);
    let done = desk.run(&format!("build --dry-run --cert-file {} {url}", certificate.display()));
    assert_eq!(done.code, 0, "{}", done.err);
}

#[test]
fn paths_start_at_the_file_that_names_them() {
    let desk = Desk::with_machine();
    desk.ok("pkg build --archive archives app");
    desk.write(
        "deep/a.yml",
        "services: [{name: a, image: \"oci-archive:../archives/app.tar\"}]\nfiles: [{path: t, source: text}]\n",
    );
    desk.write("deep/text", "deep");
    desk.write(
        "b.yml",
        "services: [{name: b, image: \"oci-archive:archives/app.tar\"}, {name: c, image: \"@pkg:app\"}]\n",
    );
    desk.ok("build --format tar --offline deep/a.yml b.yml");
    assert_eq!(desk.run("build --format tar --offline b.yml").code, 0);
    // Standard input counts as a file in the working directory.
    let spec = b"init: [\"oci-archive:archives/app.tar\", \"@pkg:init\"]\nfiles: [{path: t, source: deep/text}]\n";
    let done = desk.fed("build --format tar --offline -", spec);
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(desk.path("moby.tar").exists(), "LinuxKit's name for standard input");
    desk.write("wrong/a.yml", "services: [{name: a, image: \"oci-archive:archives/app.tar\"}]\n");
    let done = desk.run("build --format tar --offline wrong/a.yml");
    assert_eq!(done.code, 1);
    assert_snapshot!(done.err, @r#"
    error: the image `oci-archive:archives/app.tar` cannot be had
     --> wrong/a.yml:1:29
      |
    1 | services: [{name: a, image: "oci-archive:archives/app.tar"}]
      |                             ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    error: the image `oci-archive:wrong/archives/app.tar` cannot be read
      caused by: `wrong/archives/app.tar` cannot be read
      caused by: No such file or directory (os error 2)
    hint: give its path from the folder of `wrong/a.yml`, where relative paths start
    "#);
    for (image, from) in [
        ("oci:none", Some("the working directory")),
        ("docker-archive:none.tar:x", Some("the working directory")),
        ("@pkg:none", Some("the working directory")),
        ("oci-archive:/none.tar", None),
        ("@pkg:/none", None),
    ] {
        let spec = format!("services: [{{name: a, image: \"{image}\"}}]\n");
        let done = desk.fed("build --offline -", spec.as_bytes());
        assert_eq!(done.code, 1, "{}", done.err);
        let hint = from.map(|from| format!("hint: give its path from {from}, where relative paths start"));
        assert_eq!(done.err.lines().find(|line| line.starts_with("hint: ")), hint.as_deref(), "{image}: {}", done.err);
    }
}
