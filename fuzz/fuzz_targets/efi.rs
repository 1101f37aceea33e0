//! Bytes as a stub, a kernel and a program to sign: refused, or an image that reads back whole and is signed once.

#![no_main]

use std::path::Path;
use std::sync::LazyLock;

use bootwright_formats::RawImage;
use bootwright_formats::authenticode::{Signer, SigningError};
use bootwright_formats::uki::{Uki, UkiContent};
use bootwright_oci::{Platform, Silent};
use libfuzzer_sys::fuzz_target;

static SIGNER: LazyLock<Signer> = LazyLock::new(|| {
    let key = include_bytes!("../../tool/formats/tests/it/keys/test-only.key");
    let certificate = include_bytes!("../../tool/formats/tests/it/keys/test-only.crt");
    Signer::new((Path::new("key"), key), (Path::new("certificate"), certificate)).expect("they are a pair")
});

fuzz_target!(|bytes: &[u8]| {
    let program = RawImage::of_bytes(bytes);
    sign(&program);
    for platform in ["amd64", "arm64"] {
        let content = UkiContent {
            os_release: "ID=fuzz\n",
            cmdline: "quiet",
            uname: None,
            initrd: &RawImage::of_bytes(*b"initrd"),
            kernel: &program,
        };
        let Ok(uki) = Uki::plan(bytes, &Platform::linux(platform), &content) else { continue };
        for (span, want) in [(uki.cmdline, &b"quiet"[..]), (uki.initrd, b"initrd"), (uki.linux, bytes)] {
            let mut there = vec![0; span.len as usize];
            uki.image.read_at(span.at, &mut there).expect("the image is whole");
            assert_eq!(there, want);
        }
        assert!(sign(&uki.image), "what we lay out can be signed");
    }
});

/// Signs, if it can be.
fn sign(image: &RawImage) -> bool {
    let Ok(signed) = SIGNER.sign(image, &mut Silent) else { return false };
    assert!(matches!(SIGNER.sign(&signed, &mut Silent), Err(SigningError::Signed)));
    true
}
