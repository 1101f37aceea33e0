//! Unified kernel images under UEFI firmware: one boots from an ESP, and what Secure Boot makes of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bootwright_formats::RawImage;
use bootwright_formats::authenticode::Signer;
use bootwright_formats::uki::{Uki, UkiContent, os_release};
use bootwright_oci::{Platform, Silent};
use bootwright_test::{Entry, Firmware, Story, repository};

const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";
/// The image's command line.
const CMDLINE: &str = "console=ttyS0 panic=-1 told=by-the-image";
/// What the service says of it before it asks for the end.
const UP: &str = "service: up, told=by-the-image";
/// What OVMF says of a program that it does not start.
const DENIED: &str = "Access Denied";

/// A machine with Debian's cloud kernel that comes up and powers off, as an EFI program.
fn machine() -> Uki {
    let script = "echo up, $(sed 's/.* //' /proc/cmdline); busybox poweroff; exec sleep 1000";
    let built = Story::new().service(Entry::shell("service", script).key("pid", "host")).build();
    let artefact = built.artefact();
    let file = |path: &Path| {
        let file = File::open(path).expect("the build made it");
        let len = file.metadata().expect("it is open").len();
        RawImage::of_file(&Arc::new(file), 0, len)
    };
    let content = UkiContent {
        os_release: &os_release("story", None),
        cmdline: CMDLINE,
        uname: None,
        initrd: &file(artefact.initrd().expect("the build made one")),
        kernel: &file(artefact.kernel().expect("the build made one")),
    };
    let stub = fs::read(STUB).unwrap_or_else(|e| panic!("{STUB} is needed here (make setup-test): {e}"));
    Uki::plan(&stub, &Platform::linux("amd64"), &content).expect("the kernel and the stub are Debian's")
}

/// A pair that is published, and so signs nothing that anybody should trust.
fn pair() -> (PathBuf, PathBuf) {
    let keys = repository().join("tool/formats/tests/it/keys");
    (keys.join("test-only.key"), keys.join("test-only.crt"))
}

fn bytes(image: &RawImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut bytes, &mut Silent).expect("the files are whole");
    bytes
}

#[test]
fn firmware_boots_a_uki_and_with_secure_boot_only_one_that_is_signed_and_untouched() {
    let uki = machine();
    let unsigned = bytes(&uki.image);
    let (key, certificate) = pair();
    let signed = bytes(&Signer::read(&key, &certificate).unwrap().sign(&uki.image, &mut Silent).unwrap());

    let mut open = Firmware::with_program(&unsigned).start();
    open.says(&[UP]);
    let console = open.ends();
    assert!(!console.contains("Secure boot enabled"), "{console}");

    let mut locked = Firmware::with_program(&signed).trusting(&certificate).start();
    assert_eq!(locked.says(&[UP, DENIED]), UP, "{}", locked.console());
    let console = locked.ends();
    assert!(console.contains("Secure boot enabled"), "{console}");

    let flipped = |at: u64| {
        let mut image = signed.clone();
        image[at as usize] ^= 1;
        image
    };
    for (what, program) in [
        ("unsigned", unsigned),
        ("another initrd", flipped(uki.initrd.at + uki.initrd.len / 2)),
        ("another command line", flipped(uki.cmdline.at)),
    ] {
        let mut refused = Firmware::with_program(&program).trusting(&certificate).start();
        assert_eq!(refused.says(&["Linux version", UP, DENIED]), DENIED, "{what}: {}", refused.console());
    }
}
