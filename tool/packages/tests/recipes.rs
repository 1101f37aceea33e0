//! The recipes against the real apt, cargo and store.

use std::path::Path;

use bootwright_oci::{Platform, Silent, Store};
use bootwright_packages::{Builder, Built};
use bootwright_spec::{DebianRecipe, Package, ProcessConfig, SourceId, Span, Spanned};

fn s<T>(value: T) -> Spanned<T> {
    Spanned { value, span: Span { source: SourceId(0), start: 0, end: 0 } }
}

fn package(name: &str) -> Package {
    Package {
        image: s(name.to_owned()),
        org: "bootwright".to_owned(),
        arches: vec![s("amd64".to_owned()), s("arm64".to_owned())],
        config: None,
        cargo: None,
        debian: None,
        files: Vec::new(),
        process: ProcessConfig::default(),
        labels: Vec::new(),
    }
}

fn debian(names: &[&str], kernel: bool) -> DebianRecipe {
    DebianRecipe {
        packages: names.iter().map(|n| s((*n).to_owned())).collect(),
        depends: true,
        include: Vec::new(),
        exclude: Vec::new(),
        kernel,
    }
}

fn build(store: &Store, cache: &Path, platform: &str, package: &Package) -> Built {
    let builder = Builder {
        store,
        cache: cache.to_owned(),
        platforms: vec![platform.parse().unwrap()],
        offline: false,
        force: false,
        epoch: 0,
        reporter: &Silent,
    };
    builder.build_package(Path::new("/nowhere"), package).unwrap_or_else(|e| panic!("{e:?}"))
}

#[test]
fn busybox_and_kernel() {
    let cache = Path::new("/tmp/p/cache");
    let store = Store::open("/tmp/p/store").unwrap();
    for (name, packages, kernel) in [
        ("busybox", &["busybox-static"][..], false),
        ("kernel", &["linux-image-cloud-{arch}"], true),
        ("redis", &["redis-server"], false),
    ] {
        let start = std::time::Instant::now();
        let p = Package { debian: Some(debian(packages, kernel)), ..package(name) };
        let built = build(&store, cache, "linux/amd64", &p);
        println!("{} {} {:?} {:?}", built.name, built.digest, built.images[0].layers, start.elapsed());
    }
    let _ = Platform::host();
}
