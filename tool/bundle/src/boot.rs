//! What a component that makes disks boot holds, and where: the contract between `pkg/boot`, `pkg/grub` and the builder.
//!
//! Another component may take their place, if it has the label and the files. A component has a BIOS loader, ours or GRUB, or
//! the EFI stub, or both.

/// Image label of a component with boot loaders; its value is the version of this contract, 1.
pub const BOOT_LABEL: &str = "org.bootwright.boot";
/// Stage 1 of the BIOS loader: the boot code of an MBR, or the start of a CD's boot image.
pub const BIOS_STAGE1: &str = "/bios/stage1.bin";
/// Stage 2 of the BIOS loader.
pub const BIOS_STAGE2: &str = "/bios/stage2.bin";
/// Directory of GRUB for BIOS, as Debian's `grub-pc-bin` has it. A component with GRUB has `kernel.img` there.
pub const GRUB_DIRECTORY: &str = "/usr/lib/grub/i386-pc";

/// The EFI stub that a kernel, an initrd and a command line become one PE file with, of an architecture as OCI names it.
/// The paths are those of Debian's `systemd-boot-efi`.
#[must_use]
pub fn efi_stub(architecture: &str) -> Option<&'static str> {
    match architecture {
        "amd64" => Some("/usr/lib/systemd/boot/efi/linuxx64.efi.stub"),
        "arm64" => Some("/usr/lib/systemd/boot/efi/linuxaa64.efi.stub"),
        _ => None,
    }
}
