//! Documents and headers as a registry may send them: indexes, manifests, configurations, challenges, references.
//!
//! Whatever comes, the answer is a value or an error; and what is understood is understood the same way again.
#![no_main]

use bootwright_oci::manifest::{Document, canonical_json, config_platform, parse_config};
use bootwright_oci::registry::{Challenge, Mirror, endpoints};
use bootwright_oci::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let (media_type, bytes) = match data.iter().position(|b| *b == b'\n') {
        Some(at) => (std::str::from_utf8(&data[..at]).unwrap_or_default(), &data[at + 1..]),
        None => ("", data),
    };
    for media_type in ["", media_type] {
        match Document::parse(bytes, media_type) {
            Ok(Document::Index(index)) => {
                for platform in index.offers() {
                    drop(index.candidates(&platform));
                }
                let written = canonical_json(&index).expect("what was JSON is JSON");
                assert!(matches!(Document::parse(&written, ""), Ok(Document::Index(_))));
            }
            Ok(Document::Manifest(manifest)) => {
                drop(manifest.image_layers());
                let written = canonical_json(&manifest).expect("what was JSON is JSON");
                assert!(matches!(Document::parse(&written, ""), Ok(Document::Manifest(_))));
            }
            Err(error) => drop(error.to_string()),
        }
    }
    for layers in 0..2 {
        if let Ok(config) = parse_config(bytes, layers) {
            drop(config_platform(&config).to_string());
            let written = canonical_json(&config).expect("what was JSON is JSON");
            assert_eq!(parse_config(&written, layers).expect("and the same").rootfs(), config.rootfs());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(Challenge::parse(text.lines()));
        if let Ok(reference) = text.parse::<Reference>() {
            assert_eq!(reference.to_string().parse::<Reference>().expect("normal form"), reference);
        }
        if let Ok(mirror) = text.parse::<Mirror>() {
            assert!(endpoints("docker.io", &[mirror]).len() <= 2);
        }
    }
});
