//! A user with a home, a store, a working directory and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The user.
pub struct Desk {
    directory: TempDir,
}

/// How a command ended.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// The smallest machine: a kernel that is none, an init and a service that are programs by their header only.
pub const SPEC: &str = "\
kernel:
  image: \"@pkg:kern\"
  cmdline: console=ttyS0
  tar: none
init: [\"@pkg:init\"]
services:
  - {name: app, image: \"@pkg:app\"}
";

/// A static program for this machine's architecture, as far as its header goes.
fn program() -> Vec<u8> {
    let machine: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(16, 0);
    elf.extend(2u16.to_le_bytes());
    elf.extend(machine.to_le_bytes());
    elf.extend(1u32.to_le_bytes());
    for word in [0x40_1000u64, 64, 0] {
        elf.extend(word.to_le_bytes());
    }
    elf.extend(0u32.to_le_bytes());
    for half in [64u16, 56, 1, 64, 0, 0] {
        elf.extend(half.to_le_bytes());
    }
    elf.extend(1u32.to_le_bytes());
    elf.extend(5u32.to_le_bytes());
    for word in [0u64, 0x40_0000, 0x40_0000, 120, 120, 0x1000] {
        elf.extend(word.to_le_bytes());
    }
    elf
}

impl Desk {
    /// An empty one.
    pub fn new() -> Self {
        let desk = Self { directory: tempfile::tempdir().unwrap() };
        // Other users of a test may look in.
        fs::set_permissions(desk.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(desk.path("home")).unwrap();
        desk
    }

    /// One with packages `kern`, `init` and `app` and the spec `m.yml` that uses them.
    pub fn with_machine() -> Self {
        let desk = Self::new();
        desk.machine("");
        desk
    }

    /// The same below a directory.
    pub fn machine(&self, below: &str) {
        let at = |name: &str| format!("{below}{name}");
        self.write(
            &at("kern/build.yml"),
            "image: kern\nfiles:\n  - {path: kernel, contents: kernel, mode: \"0644\"}\n",
        );
        self.write(&at("init/build.yml"), "image: init\nfiles:\n  - {path: init, source: elf, mode: \"0755\"}\n");
        let config = "config: {capabilities: []}\nprocess: {cmd: [/bin/app]}\n";
        let app = format!("image: app\n{config}files:\n  - {{path: bin/app, source: elf, mode: \"0755\"}}\n");
        self.write(&at("app/build.yml"), &app);
        self.write(&at("init/elf"), program());
        self.write(&at("app/elf"), program());
        self.write(&at("m.yml"), SPEC);
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// Names in a directory, sorted.
    pub fn list(&self, name: &str) -> Vec<String> {
        list(&self.path(name))
    }

    /// The program, with this user's environment.
    pub fn command(&self) -> Command {
        self.dress(Command::new(env!("CARGO_BIN_EXE_bootwright")))
    }

    /// Any command in this user's environment.
    pub fn dress(&self, mut command: Command) -> Command {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("BOOTWRIGHT_CACHE", self.path("cache"))
            .current_dir(self.path(""))
            .stdin(Stdio::null());
        command
    }

    /// Runs the program with the words of a line.
    pub fn run(&self, line: &str) -> Done {
        self.finish(self.command().args(line.split_whitespace()))
    }

    /// Runs a command that must go well and returns its standard output.
    pub fn ok(&self, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(done.code, 0, "{line}: {}", done.err);
        done.out
    }

    pub fn finish(&self, command: &mut Command) -> Done {
        let Output { status, stdout, stderr } = command.output().unwrap();
        let code = status.code().unwrap_or(-1);
        Done { code, out: self.clean(&stdout), err: self.clean(&stderr) }
    }

    /// Runs the program with something on its standard input.
    pub fn fed(&self, line: &str, input: &[u8]) -> Done {
        self.write("stdin", input);
        let stdin = fs::File::open(self.path("stdin")).unwrap();
        self.finish(self.command().args(line.split_whitespace()).stdin(stdin))
    }

    /// What was said, without what differs from run to run: this directory, ports, digests.
    fn clean(&self, text: &[u8]) -> String {
        let text =
            String::from_utf8_lossy(text).replace(self.path("").to_str().unwrap().trim_end_matches('/'), "[here]");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit() || ('a'..='f').contains(&c)) {
            let (before, word) = rest.split_at(at);
            out += before;
            let len = word.find(|c: char| !c.is_ascii_hexdigit() || c.is_ascii_uppercase()).unwrap_or(word.len());
            let whole = out.chars().last().is_none_or(|c| !c.is_alphanumeric());
            out += match len {
                12.. if whole => "[hash]",
                _ if out.ends_with("127.0.0.1:") => "[port]",
                _ => &word[..len],
            };
            rest = &word[len..];
        }
        out + rest
    }
}

/// Names in a directory, sorted.
pub fn list(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(directory).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
