//! The recipe `debian` with this repository's own packages, from the machine's real apt and Debian's mirrors.

#![allow(clippy::unwrap_used, reason = "a failure of its own is a failure of the test")]

mod support;

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use support::{Workshop, repository};

/// Where the other user of [`the_same_bytes_whoever_builds_them_and_where`] finds its work.
const OTHER: &str = "BOOTWRIGHT_TEST_OTHER_USER";
const PACKAGES: [&str; 7] =
    ["pkg/busybox", "pkg/dhcp", "pkg/httpd", "pkg/redis", "pkg/getty", "pkg/sysctl", "kernel/debian/cloud"];

fn digests(shop: &Workshop, repository: &Path) -> Vec<String> {
    PACKAGES.iter().map(|p| shop.build(&repository.join(p))).map(|b| format!("{} {}", b.name, b.digest)).collect()
}

/// Copies a package as another user's umask and checkout would have it.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        fs::copy(entry.path(), &target).unwrap();
        let executable = entry.metadata().unwrap().permissions().mode() & 0o100 != 0;
        fs::set_permissions(&target, fs::Permissions::from_mode(if executable { 0o775 } else { 0o664 })).unwrap();
    }
}

#[test]
fn the_same_bytes_whoever_builds_them_and_where() {
    let scratch = tempfile::tempdir().unwrap();
    let ours = digests(&Workshop::new(&scratch.path().join("ours")), &repository());

    let theirs = tempfile::Builder::new().prefix("their place ").tempdir().unwrap();
    for package in PACKAGES {
        copy(&repository().join(package), &theirs.path().join("checkout").join(package));
    }
    let program = theirs.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mut other = Command::new("sh");
    other.args(["-c", "umask 077; exec \"$0\" --exact --ignored --nocapture the_other_user"]).arg(&program);
    other.current_dir("/").env_clear().env("PATH", "/usr/bin:/bin").env("HOME", theirs.path()).env("TZ", "Asia/Tokyo");
    other.env(OTHER, theirs.path());
    if fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0) {
        assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(theirs.path()).status().unwrap().success());
        other.uid(65534).gid(65534);
    }
    let output = other.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let theirs: Vec<&str> = text.lines().filter(|l| l.starts_with("docker.io/")).collect();
    assert_eq!(theirs, ours);
}

#[test]
#[ignore = "the other user's half of the test above"]
fn the_other_user() {
    let Some(place) = std::env::var_os(OTHER) else { return };
    let place = Path::new(&place);
    println!();
    for line in digests(&Workshop::new(place), &place.join("checkout")) {
        println!("{line}");
    }
}
