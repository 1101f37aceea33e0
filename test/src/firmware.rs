//! Machines that UEFI firmware starts: OVMF with a fresh store of variables, and an ESP with one program on it.
//!
//! Keys are enrolled as a vendor does it in the factory, by writing them into the store: its format is that of EDK II
//! (`MdeModulePkg/Include/Guid/VariableFormat.h`), the keys' lists are those of the UEFI specification (2.10, section 32.4.1).
//! With a platform key the firmware checks signatures; the build of OVMF that does so needs SMM, which protects the store.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Serial, run};

/// Firmware and its empty store, of Debian's package `ovmf`.
const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Offset of the first variable: behind the headers of the volume (72 bytes) and of the store (28).
const FIRST_VARIABLE: usize = 100;
/// Stored, valid, protected by signatures with times: `VAR_ADDED`, and `NV`, `BS`, `RT` and `TIME_BASED_AUTHENTICATED_WRITE_ACCESS`.
const VARIABLE_ID: [u8; 2] = [0xaa, 0x55];
const ADDED: u8 = 0x3f;
const ATTRIBUTES: u32 = 0x27;
/// `EFI_GLOBAL_VARIABLE`, 8be4df61-93ca-11d2-aa0d-00e098032b8c.
const GLOBAL: [u8; 16] = [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0, 0xe0, 0x98, 3, 0x2b, 0x8c];
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`, d719b2cb-3d3a-4596-a3bc-dad00e67656f.
const DATABASE: [u8; 16] =
    [0xcb, 0xb2, 0x19, 0xd7, 0x3a, 0x3d, 0x96, 0x45, 0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f];
/// `EFI_CERT_X509_GUID`, a5c059a1-94e4-4aa7-87b5-ab155c2bf072.
const X509: [u8; 16] = [0xa1, 0x59, 0xc0, 0xa5, 0xe4, 0x94, 0xa7, 0x4a, 0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72];

/// A machine with OVMF that is still off.
#[derive(Debug)]
pub struct Firmware {
    dir: TempDir,
    esp: PathBuf,
    variables: PathBuf,
}

impl Firmware {
    /// With a disk that is an ESP, on which the program lies where firmware looks for one.
    pub fn with_program(program: &[u8]) -> Self {
        let dir = TempDir::with_prefix("bootwright-firmware-").expect("a temporary directory");
        let (esp, variables) = (dir.path().join("esp.img"), dir.path().join("variables.fd"));
        let file = dir.path().join("program.efi");
        fs::write(&file, program).expect("the directory is ours");
        let kib = (program.len() >> 10) + 8192;
        run(Command::new("mkfs.vfat").args(["-F", "32", "-C"]).arg(&esp).arg(kib.max(40 << 10).to_string()));
        run(Command::new("mmd").arg("-i").arg(&esp).args(["::/EFI", "::/EFI/BOOT"]));
        run(Command::new("mcopy").arg("-i").arg(&esp).arg(&file).arg("::/EFI/BOOT/BOOTX64.EFI"));
        fs::copy(VARIABLES, &variables)
            .unwrap_or_else(|e| panic!("{VARIABLES} is needed here (apt-get install ovmf): {e}"));
        Self { dir, esp, variables }
    }

    /// With Secure Boot on, and this certificate (PEM) as the only one that the firmware knows.
    pub fn trusting(self, certificate: &Path) -> Self {
        let der = self.dir.path().join("certificate.der");
        run(Command::new("openssl").args(["x509", "-outform", "DER", "-in"]).arg(certificate).arg("-out").arg(&der));
        let list = signature_list(&fs::read(der).expect("openssl wrote it"));
        let mut store = fs::read(&self.variables).expect("it was copied");
        let mut at = FIRST_VARIABLE;
        for (name, vendor) in [("PK", GLOBAL), ("KEK", GLOBAL), ("db", DATABASE)] {
            let variable = variable(name, vendor, &list);
            let place = &mut store[at..at + variable.len()];
            assert!(place.iter().all(|byte| *byte == 0xff), "the store is not empty");
            place.copy_from_slice(&variable);
            at = (at + variable.len()).next_multiple_of(4);
        }
        fs::write(&self.variables, store).expect("the directory is ours");
        self
    }

    /// Starts it.
    pub fn start(self) -> FirmwareRun {
        let drive = |path: &Path, rest: &str| format!("file={},format=raw,{rest}", path.display());
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35,smm=on", "-cpu", "max", "-m", "256"])
            .args(["-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1"])
            .args(["-drive", &drive(Path::new(CODE), "if=pflash,unit=0,readonly=on")])
            .args(["-drive", &drive(&self.variables, "if=pflash,unit=1")])
            .args(["-drive", &drive(&self.esp, "if=none,id=esp"), "-device", "virtio-blk-pci,drive=esp"]);
        FirmwareRun { serial: Serial::of(qemu), _dir: self.dir }
    }
}

/// A machine with OVMF that runs; it ends when it is dropped.
#[derive(Debug)]
pub struct FirmwareRun {
    serial: Serial,
    _dir: TempDir,
}

impl FirmwareRun {
    /// Waits until the console says one of these, and returns which.
    #[track_caller]
    pub fn says<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        self.serial.sees_one(texts)
    }

    /// Waits until it is off, and returns what the console said.
    #[track_caller]
    pub fn ends(mut self) -> String {
        self.serial.ends();
        self.console()
    }

    /// What the console said so far.
    pub fn console(&self) -> String {
        self.serial.said().join("\n")
    }
}

/// An `EFI_SIGNATURE_LIST` of one certificate.
fn signature_list(certificate: &[u8]) -> Vec<u8> {
    let owner = [0; 16];
    let len = owner.len() + certificate.len();
    let mut list = X509.to_vec();
    for field in [28 + len, 0, len] {
        list.extend_from_slice(&(field as u32).to_le_bytes());
    }
    list.extend_from_slice(&owner);
    list.extend_from_slice(certificate);
    list
}

/// An `AUTHENTICATED_VARIABLE_HEADER` with name and data.
fn variable(name: &str, vendor: [u8; 16], data: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let mut bytes = VARIABLE_ID.to_vec();
    bytes.extend_from_slice(&[ADDED, 0]);
    bytes.extend_from_slice(&ATTRIBUTES.to_le_bytes());
    // A count, a time and the index of a key, none of which was ever used.
    bytes.extend_from_slice(&[0; 28]);
    bytes.extend_from_slice(&(name.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&(data.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&vendor);
    bytes.extend_from_slice(&name);
    bytes.extend_from_slice(data);
    bytes
}
