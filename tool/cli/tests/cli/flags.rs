//! LinuxKit's command line: every flag of `build`, `cache` and `run qemu`, with one dash and with two.

use crate::desk::Desk;

/// A line with its flags written with one dash.
fn one_dash(line: &str) -> String {
    line.split(' ').map(|w| if w.starts_with("--") { &w[1..] } else { w }).collect::<Vec<_>>().join(" ")
}

/// Runs a line both ways; the notice that it must give, if any.
fn both(desk: &Desk, line: &str, code: i32, notice: &str) {
    for line in [line.to_owned(), one_dash(line)] {
        let done = desk.run(&line);
        assert_eq!(done.code, code, "{line}: {}", done.err);
        assert!(done.err.contains(notice), "{line} does not say `{notice}`: {}", done.err);
        let noops = done.err.matches("has no effect").count();
        assert_eq!(noops, usize::from(!notice.is_empty()), "{line}: {}", done.err);
    }
}

#[test]
fn every_flag_of_linuxkit_build() {
    let desk = Desk::with_machine();
    for (flag, notice) in [
        ("--format tar", ""),
        ("--format kernel+initrd", ""),
        ("--name x", ""),
        ("--dir out", ""),
        ("--o x.tar", ""),
        ("--size 512M", "`--size` has no effect"),
        ("--pull", ""),
        ("--pull=false", ""),
        ("--docker", ""),
        ("--decompress-kernel", ""),
        ("--arch amd64", ""),
        ("--input-tar old.tar", "`--input-tar` has no effect"),
        ("--no-sbom", "`--no-sbom` has no effect"),
        ("--sbom-output x.json", "`--sbom-output` has no effect"),
        ("--sbom-current-time", "`--sbom-current-time` has no effect"),
        ("--sbom-current-time=true", "`--sbom-current-time` has no effect"),
        ("--cache elsewhere", ""),
        ("--mirror docker.io=http://127.0.0.1:1", ""),
        ("--mirror http://127.0.0.1:1", ""),
        ("--cert-file ca.pem", ""),
        ("-v 1", ""),
        ("-v 2", ""),
        ("--verbose 3", ""),
        ("-v=1", ""),
    ] {
        std::fs::create_dir_all(desk.path("out")).unwrap();
        both(&desk, &format!("build {flag} --dry-run m.yml"), 0, notice);
    }
    both(&desk, "--quiet build --dry-run m.yml", 0, "");
    both(&desk, "-f tar build", 2, "");
    // Where they are honoured, they are.
    desk.ok("build -format tar -name x -dir out -cache elsewhere m.yml");
    assert!(desk.path("out/x.tar").exists() && desk.path("elsewhere/index.json").exists());
    assert!(!desk.path("cache").exists(), "`--cache` wins over BOOTWRIGHT_CACHE");
    let done = desk.run("build --arch riscv64 --format tar --offline m.yml");
    assert_eq!(done.code, 1, "{}", done.err);
    assert!(done.err.contains("is not made for linux/riscv64"), "{}", done.err);
}

#[test]
fn every_flag_of_linuxkit_cache() {
    let desk = Desk::with_machine();
    desk.ok("pkg build app");
    let app = full_name(&desk);
    for (line, code) in [
        ("cache ls", 0),
        ("cache export --format oci --outfile a.tar APP", 0),
        ("cache export --format docker --outfile b.tar --platform linux/amd64 --name example.org/x:1 APP", 0),
        ("cache export --format filesystem --outfile c.tar APP", 0),
        ("cache import b.tar", 0),
        ("cache rm --published-only=false example.org/x:1", 0),
        ("cache import a.tar", 0),
        ("cache pull 127.0.0.1:1/x", 3),
        ("cache push --remote-name 127.0.0.1:1/x --with-arch-tags --override APP", 3),
        ("cache clean --published-only=false", 0),
        ("cache export --outfile d.tar APP", 1),
    ] {
        for line in [line.to_owned(), one_dash(line)] {
            // What was removed by the first of both ways is put back.
            if line.contains("cache rm") || line.contains("cache clean") {
                assert_eq!(desk.run("cache import b.tar").code, 0);
            }
            let done = desk.run(&line.replace("APP", &app));
            assert_eq!(done.code, code, "{line}: {}", done.err);
        }
    }
    assert_eq!(desk.run("cache rm --published-only 127.0.0.1:1/x").code, 0, "what is not there is not published");
}

/// The one name in the store; `Desk` hides digests.
pub fn full_name(desk: &Desk) -> String {
    let out = desk.command().args(["cache", "ls"]).output().unwrap().stdout;
    String::from_utf8(out).unwrap().split_whitespace().next().unwrap().to_owned()
}

#[test]
fn every_flag_of_linuxkit_run_qemu() {
    let desk = Desk::with_machine();
    // There is no such machine, which is said only after all flags are understood.
    for (flag, notice) in [
        ("--arch x86_64", ""),
        ("--arch aarch64", ""),
        ("--accel kvm:tcg", ""),
        ("--accel tcg", ""),
        ("--kernel", "`--kernel` has no effect"),
        ("--kernel=true", "`--kernel` has no effect"),
        ("--iso", "`--iso` has no effect"),
        ("--squashfs", "`--squashfs` has no effect"),
        ("--uefi", ""),
        ("--fw /usr/share/x.fd", ""),
        ("--data text", "`--data` has no effect"),
        ("--data-file x", "`--data-file` has no effect"),
        ("--networking user", ""),
        ("--networking none", ""),
        ("--networking tap,tap0", ""),
        ("--networking bridge,br0", ""),
        ("--publish 8080:80", ""),
        ("--publish 8080:80/tcp", ""),
        ("--publish 5353:53/udp", ""),
        ("--gui", ""),
        ("--usb", ""),
        ("--device virtio-rng-pci", ""),
        ("--virtiofs /tmp", "`--virtiofs` has no effect"),
        ("--virtiofsd /usr/libexec/virtiofsd", "`--virtiofsd` has no effect"),
        ("--state st", ""),
        ("--qemu /usr/bin/qemu-system-x86_64", ""),
        ("--detached", "`--detached` has no effect"),
        ("--cpus 2", ""),
        ("--mem 512", ""),
        ("--disk x.img", ""),
        ("--disk size=1G", ""),
        ("--disk file=x.img,size=512M,format=raw", ""),
        ("--disk a.img --disk b.img", ""),
        ("-v 2", ""),
    ] {
        both(&desk, &format!("run qemu {flag} nothing"), 1, notice);
        both(&desk, &format!("run {flag} nothing"), 1, notice);
    }
    let done = desk.run("run hyperkit nothing");
    assert_eq!(done.code, 2, "{}", done.err);
    assert_eq!(desk.run("run").code, 2, "LinuxKit panics here");
}

#[test]
fn variables_of_the_environment() {
    let desk = Desk::with_machine();
    let run = |name: &str, value: &str, line: &str| {
        desk.finish(desk.command().env(name, value).args(line.split_whitespace()))
    };
    for (name, value, line, code) in [
        ("LINUXKIT_QEMU_ACCEL", "kvm:tcg", "run nothing", 1),
        ("LINUXKIT_QEMU_ACCEL", "tcg", "run nothing", 1),
        ("LINUXKIT_QEMU_ACCEL", "", "run nothing", 1),
        (
            "LINUXKIT_MIRROR",
            "docker.io=http://127.0.0.1:1 http://127.0.0.1:2,quay.io=http://127.0.0.1:3",
            "cache ls",
            0,
        ),
        ("LINUXKIT_MIRROR", "docker.io=nonsense", "cache pull x", 2),
        ("SOURCE_DATE_EPOCH", "1700000000", "pkg show-tag app", 0),
        ("SOURCE_DATE_EPOCH", "yesterday", "pkg show-tag app", 2),
        ("LINUXKIT_CACHE", "linuxkits", "cache ls", 0),
    ] {
        let done = run(name, value, line);
        assert_eq!(done.code, code, "{name}={value}: {}", done.err);
    }
    assert!(!desk.path("linuxkits").exists(), "LinuxKit's store is another");
    let done = desk.finish(desk.command().env("BOOTWRIGHT_CACHE", "").args(["pkg", "build", "app"]));
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(desk.path("home/.cache/bootwright/index.json").exists(), "an empty variable is none");
    let xdg = desk.path("xdg");
    let mut command = desk.command();
    command.env_remove("BOOTWRIGHT_CACHE").env("XDG_CACHE_HOME", &xdg).args(["cache", "ls"]);
    assert_eq!(desk.finish(&mut command).code, 0);
    assert!(xdg.join("bootwright/index.json").exists());
    let done = desk.finish(desk.command().env_remove("BOOTWRIGHT_CACHE").env_remove("HOME").args(["cache", "ls"]));
    assert_eq!(done.code, 2, "{}", done.err);
}
