//! Building into scratch stores and looking at what came out.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bootwright_oci::{Image, Silent, Store};
use bootwright_packages::{Builder, Built, Error};

/// A store and a cache of their own.
pub struct Workshop {
    pub store: Store,
    pub cache: PathBuf,
    pub epoch: i64,
    pub offline: bool,
}

impl Workshop {
    pub fn new(directory: &Path) -> Self {
        let store = Store::open(directory.join("store")).unwrap();
        Self { store, cache: directory.join("cache"), epoch: 0, offline: false }
    }

    pub fn builder(&self, platforms: &[&str]) -> Builder<'_> {
        Builder {
            store: &self.store,
            cache: self.cache.clone(),
            platforms: platforms.iter().map(|p| p.parse().unwrap()).collect(),
            offline: self.offline,
            force: false,
            epoch: self.epoch,
            reporter: &Silent,
        }
    }

    /// Builds for amd64 and expects that it works.
    pub fn build(&self, package: &Path) -> Built {
        self.builder(&["linux/amd64"]).build(package).unwrap_or_else(|e| panic!("{}", causes(&e)))
    }

    /// An image's entries over all layers: `mode uid:gid mtime what`.
    pub fn listing(&self, image: &Image) -> BTreeMap<String, String> {
        let mut out = BTreeMap::new();
        for layer in &image.layers {
            let blob = self.store.open_blob(layer.digest).unwrap();
            let mut tar = tar::Archive::new(zstd::Decoder::new(blob).unwrap());
            for entry in tar.entries().unwrap() {
                let mut entry = entry.unwrap();
                let path = entry.path().unwrap().display().to_string();
                let link = entry.link_name().unwrap().map(|l| l.display().to_string());
                let header = entry.header().clone();
                let kind = match header.entry_type() {
                    tar::EntryType::Directory => "dir".to_owned(),
                    tar::EntryType::Symlink => format!("-> {}", link.unwrap()),
                    tar::EntryType::Link => format!("= {}", link.unwrap()),
                    tar::EntryType::Regular => {
                        let mut bytes = Vec::new();
                        entry.read_to_end(&mut bytes).unwrap();
                        if bytes.len() < 40 {
                            format!("{:?}", String::from_utf8_lossy(&bytes))
                        } else {
                            "file".to_owned()
                        }
                    }
                    other => format!("{other:?}"),
                };
                let (uid, gid) = (header.uid().unwrap(), header.gid().unwrap());
                let meta = format!("{:o} {uid}:{gid} {} {kind}", header.mode().unwrap(), header.mtime().unwrap());
                out.insert(path, meta);
            }
        }
        out
    }

    /// Unpacks an image, owners aside.
    pub fn unpack(&self, image: &Image, into: &Path) {
        for layer in &image.layers {
            let blob: File = self.store.open_blob(layer.digest).unwrap();
            tar::Archive::new(zstd::Decoder::new(blob).unwrap()).unpack(into).unwrap();
        }
    }
}

/// An error and its causes, a line each, and the hint.
pub fn causes(error: &Error) -> String {
    let mut out = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        out.push_str(&format!("\n{error}"));
        cause = error.source();
    }
    if let Error::Spec { sources, diagnostics, .. } = error {
        out.push_str(&format!("\n{}", diagnostics.render(sources, false)));
    }
    if let Some(hint) = error.hint() {
        out.push_str(&format!("\nhint: {hint}"));
    }
    out
}

/// The root of this repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}
