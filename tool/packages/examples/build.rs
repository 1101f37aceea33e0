//! Builds packages into a scratch store: `build ROOT PLATFORM DIR...`.

#![allow(clippy::unwrap_used, reason = "a failure of its own is a failure of the test")]
use bootwright_oci::{Reporter, Silent, Store, Task};
use bootwright_packages::Builder;
struct Loud;
impl Reporter for Loud {
    fn start(&self, _: &str, _: Option<u64>) -> Box<dyn Task> {
        Box::new(Silent)
    }
    fn note(&self, line: &str) {
        eprintln!("{line}");
    }
    fn warn(&self, line: &str) {
        eprintln!("warning: {line}");
    }
}
fn main() {
    let mut args = std::env::args().skip(1);
    let root = std::path::PathBuf::from(args.next().unwrap());
    let platform = args.next().unwrap().parse().unwrap();
    let store = Store::open(root.join("store")).unwrap();
    let builder = Builder {
        store: &store,
        cache: root.join("cache"),
        platforms: vec![platform],
        offline: std::env::var_os("OFFLINE").is_some(),
        force: false,
        epoch: 0,
        reporter: &Loud,
    };
    for dir in args {
        let start = std::time::Instant::now();
        match builder.build(std::path::Path::new(&dir)) {
            Ok(b) => println!(
                "{dir} {} {} {} bytes {:?}",
                b.name,
                b.digest,
                b.images[0].layers.iter().map(|l| l.size).sum::<u64>(),
                start.elapsed()
            ),
            Err(bootwright_packages::Error::Spec { sources, diagnostics, .. }) => {
                println!("{}", diagnostics.render(&sources, false))
            }
            Err(e) => {
                let mut s: Option<&dyn std::error::Error> = Some(&e);
                while let Some(e) = s {
                    println!("{dir}: {e}");
                    s = e.source();
                }
                println!("hint: {:?}", e.hint());
            }
        }
    }
}
