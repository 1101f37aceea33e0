//! Each format of `examples/redis.yml` by itself: size, and the cost of the first build and of another after one service's
//! program was replaced.

use std::fs;
use std::process::Command;

use bootwright_formats::Format;
use bootwright_test::{Story, names, repository, run, tool, unpacked_store};
use tempfile::TempDir;

use crate::boot::example;
use crate::build::Costs;

/// The program in the root: of its two names the first, which has the bytes.
const PROGRAM: &str = "containers/services/redis/rootfs/usr/bin/redis-check-rdb";

pub(crate) fn formats() {
    // Firecracker's, and EROFS and an ISO beside a kernel, take a kernel that has everything built in.
    let text = example("redis").replace("init:\n", "boot:\n  image: \"@pkg:REPO/pkg/boot\"\ninit:\n");
    let tiny = text.replace("kernel/debian/cloud", "kernel/tiny");
    let package = another_redis(&text);
    let changed = |text: &str| text.replace("@pkg:REPO/pkg/redis", &format!("@pkg:{}", package.path().display()));

    println!("## Formats of examples/redis.yml: first build, and after one service's program was replaced\n");
    println!(
        "| format | bytes | on disk | first: cpu s | peak MiB | rebuilt: cpu s | peak MiB |\n|---|---|---|---|---|---|---|"
    );
    for format in Format::built() {
        let text =
            if matches!(format, Format::KernelErofs | Format::KernelIso | Format::Firecracker) { &tiny } else { &text };
        let (first, second) = (spec(text), spec(&changed(text)));
        // The packages of both are there before anything is measured.
        for story in [&first, &second] {
            story.build_tar();
        }
        let (mut cold, mut rebuilt) = (Costs::default(), Costs::default());
        let packed = unpacked_store();
        let out = tempfile::tempdir_in(first.dir()).expect("the directory is ours");
        for (story, costs) in [(&first, &mut cold), (&second, &mut rebuilt)] {
            let mut build = Command::new(tool());
            build
                .args(["build", "--format", format.name(), "--dir"])
                .arg(out.path())
                .arg(story.dir().join("story.yml"));
            costs.add(build.env("BOOTWRIGHT_CACHE", packed.path()));
        }
        let files: Vec<_> = names(out.path())
            .iter()
            .map(|name| fs::metadata(out.path().join(name)).unwrap_or_else(|e| panic!("{e}")))
            .collect();
        let bytes: u64 = files.iter().map(fs::Metadata::len).sum();
        let blocks: u64 = files.iter().map(|file| std::os::unix::fs::MetadataExt::blocks(file) * 512).sum();
        println!("| `{format}` | {bytes} | {blocks} | {cold} | {rebuilt} |");
    }
    println!();
}

fn spec(text: &str) -> Story {
    Story::new().head(text)
}

/// A package of Redis with another `redis-server`, as a new version would have.
fn another_redis(text: &str) -> TempDir {
    let dir = TempDir::with_prefix("redis-").expect("a temporary directory");
    let redis = repository().join("pkg/redis");
    let story = Story::new().head(text);
    let mut program = run(Command::new("tar").arg("-xOf").arg(story.build_tar()).arg(PROGRAM));
    let last = program.last_mut().unwrap_or_else(|| panic!("{PROGRAM} is not in the root"));
    *last ^= 1;
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap_or_else(|e| panic!("{e}"));
    write("redis-server", &program);
    let copy = |name: &str| fs::read(redis.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    write("redis.conf", &copy("redis.conf"));
    let recipe = String::from_utf8_lossy(&copy("build.yml"))
        .replace("    - usr/bin/redis-server\n", "")
        .replace("    - usr/bin/redis-check-rdb\n", "");
    let file = "files:\n  - {path: usr/bin/redis-server, source: redis-server, mode: \"0755\"}\n";
    write("build.yml", recipe.replace("files:\n", file).as_bytes());
    dir
}
