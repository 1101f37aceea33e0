//! Bytes as the files of a key and of a certificate: refused in words, or a pair that signs.

#![no_main]

use std::path::Path;

use bootwright_formats::authenticode::Signer;
use libfuzzer_sys::fuzz_target;

const KEY: &[u8] = include_bytes!("../../tool/formats/tests/it/keys/test-only.key");
const CERTIFICATE: &[u8] = include_bytes!("../../tool/formats/tests/it/keys/test-only.crt");

fuzz_target!(|bytes: &[u8]| {
    for (key, certificate) in [(KEY, bytes), (bytes, CERTIFICATE)] {
        if let Err(error) = Signer::new((Path::new("key"), key), (Path::new("certificate"), certificate)) {
            drop((error.to_string(), error.hint()));
        }
    }
});
