//! Signatures for Secure Boot, judged by sbsigntool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bootwright_formats::RawImage;
use bootwright_formats::authenticode::{Signer, SigningError};
use bootwright_oci::{Digest, Silent};
use tempfile::TempDir;

use crate::uki::{bytes, program, small_stub, systemd_stub, uki};

/// A pair that is published in this repository, and so signs nothing that anybody should trust.
pub fn test_pair() -> (PathBuf, PathBuf) {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/keys");
    (keys.join("test-only.key"), keys.join("test-only.crt"))
}

fn signer() -> Signer {
    let (key, certificate) = test_pair();
    Signer::read(&key, &certificate).unwrap()
}

fn sign(image: &RawImage) -> Vec<u8> {
    bytes(&signer().sign(image, &mut Silent).unwrap())
}

/// A directory with files that openssl makes.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Runs openssl here.
    fn openssl(&self, arguments: &str) {
        let mut command = Command::new("openssl");
        let output = command.args(arguments.split(' ')).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Whether `sbverify` accepts an image.
fn is_verified(image: &Path, certificate: &Path) -> bool {
    let mut command = Command::new("sbverify");
    command.arg("--cert").args([certificate, image]);
    let output = command.output().expect("`sbverify` is needed here (apt-get install sbsigntool)");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!errors.contains("warning"), "{errors}");
    output.status.success()
}

#[test]
fn sbverify_agrees_and_no_longer_when_a_byte_of_any_section_is_another() {
    let files = Files::new();
    let (_, certificate) = test_pair();
    let unsigned = bytes(&uki(&systemd_stub()).image);
    let signed = sign(&uki(&systemd_stub()).image);
    assert!(is_verified(&files.write("signed.efi", &signed), &certificate));

    // Headers, the padding of the last section, and a byte of each section.
    let table = 0x188;
    let sections = (0..usize::from(signed[0x86])).map(|index| table + index * 40);
    let middle = |entry: usize| {
        let field = |at: usize| u32::from_le_bytes(signed[at..at + 4].try_into().unwrap()) as usize;
        (signed[entry..entry + 8].to_vec(), field(entry + 20) + field(entry + 8) / 2)
    };
    let mut places: Vec<(Vec<u8>, usize)> = sections.map(middle).collect();
    assert_eq!(places.len(), 13);
    places.extend([(b"headers".to_vec(), 0x3ff), (b"padding".to_vec(), unsigned.len() - 1)]);
    for (name, at) in places {
        let mut tampered = signed.clone();
        tampered[at] ^= 1;
        let name = String::from_utf8_lossy(&name).into_owned();
        assert!(!is_verified(&files.write("tampered.efi", &tampered), &certificate), "{name}, byte {at}");
    }
    files.openssl("req -new -x509 -newkey rsa:2048 -nodes -subj /CN=other/ -keyout other.key -out other.crt");
    assert!(!is_verified(&files.path("signed.efi"), &files.path("other.crt")));
    assert!(!is_verified(&files.write("unsigned.efi", &unsigned), &certificate));
}

/// sbsigntool writes table, directory entry and checksum around a signature itself.
#[test]
fn sbattach_puts_the_signature_where_we_do() {
    let files = Files::new();
    for unsigned in [bytes(&uki(&systemd_stub()).image), program(0x8664, 0x400, &[(".text", 77_777)])] {
        let signed = sign(&RawImage::of_bytes(unsigned.clone()));
        let (image, signature) = (files.write("image", &signed), files.path("signature"));
        let sbattach = |arguments: &[&str], image: &Path| {
            assert!(Command::new("sbattach").args(arguments).arg(image).output().unwrap().status.success());
        };
        let signature = signature.to_str().unwrap();
        sbattach(&["--detach", signature], &image);
        let again = files.write("again", &unsigned);
        sbattach(&["--attach", signature], &again);
        assert!(fs::read(again).unwrap() == signed);
    }
}

#[test]
fn a_signature_is_the_same_every_time() {
    let image = uki(&small_stub(0x8664)).image;
    let signed = sign(&image);
    assert_eq!(sign(&image), signed);
    assert_eq!(
        Digest::of(&signed).to_string(),
        "sha256:534a51495c06ccc09ab5065d075e2d73932a610c0d2a30a210af8010f8fc1da6"
    );
}

/// What openssl reads in the signature, the time of signing not among it.
#[test]
fn the_signature_says_no_more_than_it_must() {
    let files = Files::new();
    let image = uki(&small_stub(0x8664)).image;
    let signed = sign(&image);
    let at = image.size() as usize;
    files.write("signature", &signed[at + 8..]);
    files.openssl("pkcs7 -inform DER -in signature -print -noout -out text");
    let text = fs::read_to_string(files.path("text")).unwrap();
    let text = text.split_once("auth_attr:").unwrap().1;
    let attributes: Vec<_> = text.lines().filter(|l| l.trim_start().starts_with("object: ")).map(str::trim).collect();
    assert_eq!(
        attributes,
        ["object: contentType (1.2.840.113549.1.9.3)", "object: messageDigest (1.2.840.113549.1.9.4)"]
    );
}

#[test]
fn keys_and_certificates_are_read_in_every_form() {
    let files = Files::new();
    let (key, certificate) = test_pair();
    let copy = |name, from: &Path| drop(files.write(name, fs::read(from).unwrap()));
    copy("pkcs8.pem", &key);
    copy("crt.pem", &certificate);
    files.openssl("pkey -in pkcs8.pem -traditional -out pkcs1.pem");
    files.openssl("pkey -in pkcs8.pem -outform DER -out pkcs1.der -traditional");
    files.openssl("pkcs8 -topk8 -nocrypt -in pkcs8.pem -outform DER -out pkcs8.der");
    files.openssl("x509 -in crt.pem -outform DER -out crt.der");
    files.openssl("x509 -in crt.pem -text -out text.pem");
    let both = [fs::read(&key).unwrap(), fs::read(&certificate).unwrap()].concat();
    files.write("both.pem", String::from_utf8(both).unwrap().replace('\n', "\r\n"));
    let image = uki(&small_stub(0x8664)).image;
    let want = sign(&image);
    for (key, certificate) in
        [("pkcs1.pem", "crt.pem"), ("pkcs1.der", "crt.der"), ("pkcs8.der", "text.pem"), ("both.pem", "both.pem")]
    {
        let signer = Signer::read(&files.path(key), &files.path(certificate)).unwrap();
        assert!(bytes(&signer.sign(&image, &mut Silent).unwrap()) == want, "{key}, {certificate}");
    }
}

#[test]
fn larger_keys_and_chains_of_certificates_are_verified() {
    let files = Files::new();
    files.openssl("req -new -x509 -newkey rsa:2048 -nodes -subj /CN=root/ -keyout root.key -out root.crt");
    files.openssl("req -new -newkey rsa:4096 -nodes -subj /CN=signer/ -keyout signer.key -out signer.csr");
    files.openssl("x509 -req -in signer.csr -CA root.crt -CAkey root.key -set_serial 0x80ff -out signer.crt");
    let chain = ["signer.crt", "root.crt"].map(|name| fs::read(files.path(name)).unwrap()).concat();
    files.write("chain.crt", chain);
    let image = uki(&small_stub(0x8664)).image;
    let signer = Signer::read(&files.path("signer.key"), &files.path("chain.crt")).unwrap();
    let signed = files.write("signed.efi", bytes(&signer.sign(&image, &mut Silent).unwrap()));
    assert!(is_verified(&signed, &files.path("root.crt")));
    files.openssl("req -new -x509 -newkey rsa:3072 -nodes -subj /CN=large/ -keyout large.key -out large.crt");
    let signer = Signer::read(&files.path("large.key"), &files.path("large.crt")).unwrap();
    let signed = files.write("signed.efi", bytes(&signer.sign(&image, &mut Silent).unwrap()));
    assert!(is_verified(&signed, &files.path("large.crt")));
}

#[test]
fn wrong_keys_and_certificates_are_refused_by_name() {
    let files = Files::new();
    let (good_key, good_certificate) = test_pair();
    fs::copy(&good_key, files.path("good.key")).unwrap();
    fs::copy(&good_certificate, files.path("good.crt")).unwrap();
    files.openssl("req -new -x509 -newkey rsa:2048 -nodes -subj /CN=other/ -keyout other.key -out other.crt");
    files.openssl("pkcs8 -topk8 -in good.key -passout pass:secret -out encrypted.key");
    files.openssl("pkcs8 -topk8 -in good.key -passout pass:secret -outform DER -out encrypted.der");
    files.openssl("rsa -in good.key -aes128 -passout pass:secret -traditional -out old.key");
    files.openssl("ecparam -name prime256v1 -genkey -noout -out ec.key");
    files.openssl("pkey -in ec.key -out ec8.key");
    files.openssl("genpkey -algorithm ed25519 -out ed.key");
    files.openssl("genrsa -out small.key 1024");
    files.openssl("pkey -in good.key -pubout -out public.key");
    files.write("text", "no key");
    files.write("empty", "");
    files.write("broken.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let error = |key: &str, certificate: &str| {
        let error = Signer::read(&files.path(key), &files.path(certificate)).unwrap_err();
        let hint = error.hint().unwrap_or_default();
        (error.to_string().replace(&format!("{}/", files.0.path().display()), ""), hint)
    };
    let encrypted = "is encrypted, and bootwright asks for no passwords";
    let not_rsa = "is no RSA key, and Secure Boot's firmware checks RSA signatures only";
    for (key, certificate, want, help) in [
        ("none", "good.crt", "cannot read `none`".to_owned(), ""),
        ("good.key", "none", "cannot read `none`".to_owned(), ""),
        ("encrypted.key", "good.crt", format!("the key in `encrypted.key` {encrypted}"), "openssl pkey -in"),
        ("encrypted.der", "good.crt", format!("the key in `encrypted.der` {encrypted}"), "openssl pkey -in"),
        ("old.key", "good.crt", format!("the key in `old.key` {encrypted}"), "openssl pkey -in"),
        ("ec.key", "good.crt", format!("the key in `ec.key` {not_rsa}"), "openssl req -new -x509 -newkey rsa:2048"),
        ("ec8.key", "good.crt", format!("the key in `ec8.key` {not_rsa}"), "openssl req"),
        ("ed.key", "good.crt", format!("the key in `ed.key` {not_rsa}"), "openssl req"),
        (
            "small.key",
            "good.crt",
            "the RSA key in `small.key` cannot be used: TooSmall; it needs 2048 to 4096 bits".to_owned(),
            "openssl req",
        ),
        ("public.key", "good.crt", "`public.key` holds no private key; it holds `PUBLIC KEY`".to_owned(), "PEM or DER"),
        ("good.crt", "good.crt", "`good.crt` holds no private key; it holds `CERTIFICATE`".to_owned(), "PEM or DER"),
        ("text", "good.crt", "`text` holds no private key; it holds something else".to_owned(), "PEM or DER"),
        ("empty", "good.crt", "`empty` holds no private key; it holds something else".to_owned(), "PEM or DER"),
        ("good.key", "good.key", "`good.key` holds no certificate; it holds `PRIVATE KEY`".to_owned(), "openssl x509"),
        ("good.key", "text", "`text` holds no certificate; it holds something else".to_owned(), "openssl x509"),
        ("good.key", "broken.crt", "certificate 1 in `broken.crt` is no X.509 certificate".to_owned(), "openssl x509"),
        (
            "good.key",
            "other.crt",
            "the key in `good.key` does not belong to the first certificate in `other.crt`".to_owned(),
            "-pubkey",
        ),
    ] {
        let (said, hint) = error(key, certificate);
        assert_eq!(said, want, "{key}, {certificate}");
        assert!(hint.contains(help), "{key}, {certificate}: {hint:?}");
    }
}

#[test]
fn what_cannot_be_signed_is_refused() {
    let sign = |bytes: Vec<u8>| signer().sign(&RawImage::of_bytes(bytes), &mut Silent).unwrap_err();
    assert!(matches!(sign(b"no program".to_vec()), SigningError::Image(_)));
    let whole = program(0x8664, 0x400, &[(".text", 600), (".data", 600)]);
    let mut gap = whole.clone();
    gap[0x58 + 240 + 40 + 20] = 0;
    gap[0x58 + 240 + 40 + 21] = 0xa;
    gap.resize(0x2000, 0);
    assert!(matches!(sign(gap), SigningError::Image(_)));
    let signed = bytes(&signer().sign(&RawImage::of_bytes(whole), &mut Silent).unwrap());
    assert!(matches!(sign(signed), SigningError::Signed));
}

#[test]
fn damaged_keys_and_certificates_are_refused_or_used_but_never_a_panic() {
    let files = Files::new();
    let (key, certificate) = test_pair();
    fs::copy(&certificate, files.path("crt.pem")).unwrap();
    files.openssl("x509 -in crt.pem -outform DER -out crt.der");
    let whole = fs::read(files.path("crt.der")).unwrap();
    let key_bytes = fs::read(&key).unwrap();
    let attempt = |bytes: &[u8]| Signer::new((&key, &key_bytes), (&certificate, bytes)).map(|_| ());
    for at in 0..whole.len() {
        assert!(attempt(&whole[..at]).is_err(), "{at} bytes");
    }
    for at in 0..300 {
        for value in [0, 0x7f, 0x80, 0x84, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = attempt(&bytes);
        }
    }
    let good = fs::read(&certificate).unwrap();
    fs::copy(&key, files.path("key.pem")).unwrap();
    files.openssl("pkey -in key.pem -outform DER -out key.der");
    let whole = fs::read(files.path("key.der")).unwrap();
    for at in 0..whole.len() {
        assert!(Signer::new((&key, &whole[..at]), (&certificate, &good)).is_err(), "{at} bytes");
    }
}
