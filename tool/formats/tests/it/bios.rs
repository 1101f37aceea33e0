//! The BIOS loader that is committed is what its sources say, and is one that the builder writes into.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootwright_formats::bios::Loader;

/// The stages and where they run.
const STAGES: [(&str, u32); 2] = [("stage1", 0x600), ("stage2", 0x8000)];

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pkg/boot/bios")
}

/// Assembles one stage. The prefix is Debian's, and there for every architecture of the host.
fn assemble(stage: &str, address: u32) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let [object, flat] = ["o", "bin"].map(|end| dir.path().join(stage).with_extension(end));
    let run = |program: &str, arguments: &[&str]| {
        let program = format!("x86_64-linux-gnu-{program}");
        let status = Command::new(&program).args(arguments).status();
        let status = status.unwrap_or_else(|e| panic!("`{program}` (apt-get install binutils-x86-64-linux-gnu): {e}"));
        assert!(status.success(), "{program} {arguments:?}");
    };
    let source = sources().join(stage).with_extension("S");
    let [object, flat_name] = [&object, &flat].map(|path| path.to_str().unwrap());
    run("as", &["--32", "-o", object, source.to_str().unwrap()]);
    let text = format!("-Ttext={address:#x}");
    run("ld", &["-m", "elf_i386", "-N", "--build-id=none", &text, "--oformat=binary", "-o", flat_name, object]);
    fs::read(flat).unwrap()
}

/// `make loader` sets `BOOTWRIGHT_REWRITE`.
#[test]
fn the_binaries_are_what_the_sources_say() {
    for (stage, address) in STAGES {
        let committed = sources().join(stage).with_extension("bin");
        let assembled = assemble(stage, address);
        if std::env::var_os("BOOTWRIGHT_REWRITE").is_some() {
            fs::write(&committed, &assembled).unwrap();
        }
        let same = fs::read(&committed).is_ok_and(|bytes| bytes == assembled);
        assert!(same, "{} is not what {stage}.S says; `make loader` writes it", committed.display());
    }
}

/// The stages as they are committed.
pub fn stages() -> [Vec<u8>; 2] {
    STAGES.map(|(stage, _)| fs::read(sources().join(stage).with_extension("bin")).unwrap())
}

#[test]
fn the_builder_writes_into_them() {
    let [stage1, stage2] = stages();
    // Small is the point of it.
    assert!(stage2.len() < 4096, "{}", stage2.len());
    Loader::ours(&stage1, stage2).unwrap();
}
