//! Unified kernel images, judged by binutils.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use bootwright_formats::RawImage;
use bootwright_formats::uki::{Span, Uki, UkiContent, UkiError, os_release};
use bootwright_oci::{Digest, Platform, Silent};

use crate::tools::{run, text};

/// systemd's stub, of Debian's systemd-boot-efi.
pub const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// systemd's stub for amd64.
pub fn systemd_stub() -> Vec<u8> {
    fs::read(STUB).unwrap_or_else(|e| panic!("{STUB} is needed here (apt-get install systemd-boot-efi): {e}"))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// A small EFI program: headers of `headers` bytes, then sections of names and sizes, in file and memory as they come.
pub fn program(machine: u16, headers: usize, sections: &[(&str, usize)]) -> Vec<u8> {
    let mut bytes = vec![0; headers];
    let mut set = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    set(0, b"MZ");
    set(0x3c, &0x40u32.to_le_bytes());
    set(0x40, b"PE\0\0");
    set(0x44, &machine.to_le_bytes());
    set(0x46, &(sections.len() as u16).to_le_bytes());
    set(0x4c, &0xdead_beef_u32.to_le_bytes());
    set(0x54, &240u16.to_le_bytes());
    set(0x58, &0x20bu16.to_le_bytes());
    set(0x58 + 32, &0x1000u32.to_le_bytes());
    set(0x58 + 36, &0x200u32.to_le_bytes());
    set(0x58 + 60, &(headers as u32).to_le_bytes());
    set(0x58 + 64, &0x1234_5678_u32.to_le_bytes());
    set(0x58 + 68, &10u16.to_le_bytes());
    set(0x58 + 108, &16u32.to_le_bytes());
    let (mut raw, mut memory) = (headers, 0x1000);
    let mut body = Vec::new();
    for (index, (name, size)) in sections.iter().enumerate() {
        let entry = 0x58 + 240 + index * 40;
        let raw_len = size.next_multiple_of(0x200);
        set(entry, name.as_bytes());
        for (field, value) in [*size, memory, raw_len, raw].into_iter().enumerate() {
            set(entry + 8 + 4 * field, &(value as u32).to_le_bytes());
        }
        body.extend((0..*size).map(|at| (at * 7 + index) as u8));
        body.resize(body.len() + raw_len - size, 0);
        raw += raw_len;
        memory += size.next_multiple_of(0x1000);
    }
    bytes.extend_from_slice(&body);
    bytes
}

/// A stub of our own, for digests that no update of systemd changes.
pub fn small_stub(machine: u16) -> Vec<u8> {
    let mut stub = program(machine, 0x400, &[(".text", 0x1234), (".data", 0x321)]);
    if machine == 0xaa64 {
        // As the assembler fills the headers of systemd's.
        stub[0x58 + 240 + 80..0x400].as_chunks_mut().0.fill(0xd503_201f_u32.to_le_bytes());
    }
    stub.extend_from_slice(b"symbols, which nobody needs");
    stub
}

/// The beginning of a bzImage that takes command lines of 100 bytes, as an EFI program.
pub fn kernel() -> Vec<u8> {
    let mut kernel = program(0x8664, 0x400, &[(".text", 10_001)]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&0x20fu16.to_le_bytes());
    kernel[0x238..0x23c].copy_from_slice(&100u32.to_le_bytes());
    kernel
}

/// The same for a BIOS too: loaded high, anywhere, with a command line of 2047 bytes.
pub fn bios_kernel() -> Vec<u8> {
    let mut kernel = kernel();
    kernel[0x1fe..0x200].copy_from_slice(&0xaa55u16.to_le_bytes());
    kernel[0x211] = 1;
    kernel[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    kernel[0x230..0x234].copy_from_slice(&0x20_0000_u32.to_le_bytes());
    kernel[0x234] = 1;
    kernel[0x238..0x23c].copy_from_slice(&2047u32.to_le_bytes());
    kernel[0x258..0x25c].copy_from_slice(&0x100_0000_u32.to_le_bytes());
    kernel[0x260..0x264].copy_from_slice(&0x10_0000_u32.to_le_bytes());
    kernel
}

/// An image of bytes, of which a part comes from a file.
fn in_a_file(bytes: &[u8]) -> RawImage {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"something before").unwrap();
    file.write_all(bytes).unwrap();
    RawImage::of_file(&Arc::new(file), 16, bytes.len() as u64)
}

pub fn bytes(image: &RawImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_to(&mut bytes, &mut Silent).unwrap();
    bytes
}

pub fn amd64() -> Platform {
    Platform::linux("amd64")
}

const CMDLINE: &str = "console=ttyS0 quiet";

/// An image with everything.
pub fn uki(stub: &[u8]) -> Uki {
    let initrd: Vec<u8> = (0..20_000u32).map(|at| (at.wrapping_mul(at) >> 5) as u8).collect();
    let content = UkiContent {
        os_release: &os_release("edge", Some("1")),
        cmdline: CMDLINE,
        uname: Some("6.1.0"),
        initrd: &in_a_file(&initrd),
        kernel: &in_a_file(&kernel()),
    };
    Uki::plan(stub, &amd64(), &content).unwrap()
}

#[test]
fn objcopy_gives_every_section_back() {
    let stub = systemd_stub();
    let uki = uki(&stub);
    let image = bytes(&uki.image);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("uki"), &image).unwrap();
    fs::write(path("stub"), &stub).unwrap();
    let dump = |of: &str, section: &str| {
        let argument = format!("--dump-section={section}={}", path("out"));
        run("objcopy", &[&argument, &path(of), &path("copy")], b"");
        fs::read(path("out")).unwrap()
    };
    let at = |span: Span| image[span.at as usize..(span.at + span.len) as usize].to_vec();
    assert_eq!(dump("uki", ".osrel"), os_release("edge", Some("1")).as_bytes());
    assert_eq!(dump("uki", ".uname"), b"6.1.0");
    for (section, span, len) in [
        (".cmdline", uki.cmdline, CMDLINE.len()),
        (".initrd", uki.initrd, 20_000),
        (".linux", uki.linux, kernel().len()),
    ] {
        assert_eq!((span.at % 4096, span.len), (0, len as u64), "{section}");
        assert!(dump("uki", section) == at(span), "{section}");
    }
    assert_eq!(at(uki.cmdline), CMDLINE.as_bytes());
    assert!(at(uki.linux) == kernel());
    for section in [".text", ".data", ".sbat"] {
        assert!(dump("uki", section) == dump("stub", section), "{section}");
    }
    // Each section begins in memory behind the one before, the kernel last.
    let headers = text("objdump", &["-h", &path("uki")], b"");
    let rows: Vec<Vec<&str>> = headers.lines().map(|l| l.split_whitespace().collect()).collect();
    let rows = rows.iter().filter(|row| row.len() == 7 && row[1].starts_with('.'));
    let sections: Vec<_> = rows.map(|row| (row[1], number(row[3]), number(row[2]))).collect();
    assert!(sections.windows(2).all(|pair| pair[0].1 + pair[0].2 <= pair[1].1), "{headers}");
    assert_eq!(sections.last().unwrap().0, ".linux");
    let private = text("objdump", &["-p", &path("uki")], b"");
    let (_, at, len) = sections.last().unwrap();
    let image_len = private.lines().find_map(|line| line.strip_prefix("SizeOfImage")).unwrap().trim();
    assert_eq!(number(image_len), (at + len).next_multiple_of(0x200));
    assert!(private.contains("CheckSum\t\t00000000\n"), "{private}");
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).unwrap()
}

#[test]
fn no_byte_lies_between_sections_and_nothing_of_the_stub_is_left_behind() {
    let stub = small_stub(0x8664);
    let image = bytes(&uki(&stub).image);
    assert_eq!(u32_at(&image, 0x4c), 0, "pointer to symbols");
    assert_eq!(image.windows(7).position(|w| w == b"symbols"), None);
    let count = usize::from(u16::from_le_bytes([image[0x46], image[0x47]]));
    assert_eq!(count, 7);
    let mut end = 0x400;
    for entry in (0..count).map(|index| 0x58 + 240 + 40 * index) {
        assert_eq!(u32_at(&image, entry + 20), end);
        end += u32_at(&image, entry + 16);
        assert_eq!(end % 0x200, 0);
    }
    assert_eq!(end as usize, image.len());
    assert_eq!(image.len() % 4096, 0);
}

#[test]
fn what_is_not_there_has_no_section_but_a_command_line_is_always_there() {
    let kernel = RawImage::of_bytes(kernel());
    let content =
        UkiContent { os_release: "ID=x\n", cmdline: "", uname: None, initrd: &RawImage::new(0), kernel: &kernel };
    let uki = Uki::plan(&small_stub(0x8664), &amd64(), &content).unwrap();
    let image = bytes(&uki.image);
    assert_eq!(image[0x46], 5);
    assert_eq!(uki.initrd, Span::default());
    assert_eq!((image[uki.cmdline.at as usize], uki.cmdline.len), (b' ', 1));
}

#[test]
fn digests_are_golden() {
    let arm = |kernel: &RawImage| {
        let content =
            UkiContent { os_release: "ID=x\n", cmdline: "quiet", uname: None, initrd: &RawImage::new(0), kernel };
        Uki::plan(&small_stub(0xaa64), &Platform::linux("arm64"), &content).unwrap()
    };
    let images = [uki(&small_stub(0x8664)), arm(&RawImage::of_bytes(program(0xaa64, 0x1000, &[(".text", 5000)])))];
    let digests = images.map(|uki| Digest::of(&bytes(&uki.image)).to_string());
    assert_eq!(
        digests,
        [
            "sha256:b74bdd4b6f00a749b8237b45de31cfe789cd73a6e579b697f844c7e3a8725217",
            "sha256:08dc2e0ca03acc20088b8e1411985d00ae56f277861b13588ee11a66b96e07bd",
        ]
    );
}

#[test]
fn what_would_not_boot_is_refused() {
    let stub = small_stub(0x8664);
    let plan = |stub: &[u8], platform: &str, kernel: &[u8], cmdline: &str| {
        let (kernel, initrd) = (RawImage::of_bytes(kernel), RawImage::of_bytes(*b"initrd"));
        let content = UkiContent { os_release: "ID=x\n", cmdline, uname: None, initrd: &initrd, kernel: &kernel };
        Uki::plan(stub, &Platform::linux(platform), &content).map(|_| ()).map_err(|error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}"));
            format!("{error}{}", cause.unwrap_or_default())
        })
    };
    let refused = |stub: &[u8], want: &str| assert_eq!(plan(stub, "amd64", &kernel(), "").unwrap_err(), want);
    let changed = |at: usize, bytes: &[u8]| {
        let mut stub = stub.clone();
        stub[at..at + bytes.len()].copy_from_slice(bytes);
        stub
    };
    assert_eq!(plan(&stub, "amd64", &kernel(), &"x".repeat(100)), Ok(()));

    let not_pe = "the EFI stub cannot be used: it is no PE image (an EFI program is one)";
    refused(b"", not_pe);
    refused(b"#!/bin/sh", not_pe);
    refused(&b"MZ".repeat(400), not_pe);
    refused(
        &changed(0x58, &0x10bu16.to_le_bytes()),
        "the EFI stub cannot be used: it is a PE image of the 32-bit form, and machines of today need the 64-bit form, PE32+",
    );
    refused(
        &stub[..0x300],
        "the EFI stub cannot be used: its PE headers are broken: a section lies outside of the file",
    );
    refused(&stub[..0x100], "the EFI stub cannot be used: its PE headers are broken: they end early");
    refused(
        &changed(0x58 + 108, &4u32.to_le_bytes()),
        "the EFI stub cannot be used: its PE headers are broken: they have no room for a signature's place",
    );
    refused(
        &changed(0x46, &0u16.to_le_bytes()),
        "the EFI stub cannot be used: its PE headers are broken: they name no sections, or more than there can be",
    );
    refused(
        &changed(0x58 + 36, &0x300u32.to_le_bytes()),
        "the EFI stub cannot be used: its PE headers are broken: their alignments are no powers of two in order",
    );
    refused(
        &changed(0x58 + 60, &0x100u32.to_le_bytes()),
        "the EFI stub cannot be used: its PE headers are broken: their size does not cover them",
    );
    // The second section over the first one, in memory and in the file.
    refused(
        &changed(0x58 + 240 + 52, &0x2000u32.to_le_bytes()),
        "the EFI stub cannot be used: its PE headers are broken: sections overlap in memory",
    );
    refused(
        &changed(0x58 + 240 + 60, &0x1600u32.to_le_bytes()),
        "the EFI stub cannot be used: its sections overlap or leave gaps in the file, which programs that check signatures read differently",
    );
    refused(&small_stub(0xaa64), "the EFI stub is for arm64, and the machine is amd64");
    refused(&small_stub(0x14c), "the EFI stub is for machine 0x014c, and the machine is amd64");
    refused(&program(0x8664, 0x400, &[(".text", 9), (".initrd", 9)]), "the EFI stub has a section `.initrd` already");
    refused(
        &program(0x8664, 0x200, &[(".text", 9)]),
        "the EFI stub's headers have room for 3 more sections, and 4 are needed",
    );

    let kernel_of = |kernel: &[u8]| plan(&stub, "amd64", kernel, "").unwrap_err();
    assert_eq!(
        kernel_of(b"\x7fELF vmlinux"),
        "the kernel is no EFI program: it is no PE image (an EFI program is one)"
    );
    let foreign = program(0xaa64, 0x400, &[(".text", 9)]);
    assert_eq!(kernel_of(&foreign), "the kernel is for arm64, and the machine is amd64");
    let cmdline = |cmdline: &str| plan(&stub, "amd64", &kernel(), cmdline).unwrap_err();
    assert_eq!(cmdline(&"x".repeat(101)), "the kernel's command line has 101 bytes, and the kernel takes 100");
    assert_eq!(cmdline("quiet\0 init=/bin/sh"), "the kernel's command line has a zero byte at 5");
    let platform = plan(&stub, "riscv64", &kernel(), "").unwrap_err();
    assert_eq!(
        platform,
        "unified kernel images are made for linux/amd64 and linux/arm64, and the machine is linux/riscv64"
    );
}

#[test]
fn four_gigabytes_are_too_much() {
    let file = Arc::new(tempfile::tempfile().unwrap());
    let kernel = RawImage::of_bytes(kernel());
    for (len, fits) in [((1 << 32) - (64 << 10), true), ((1 << 32) - 1, false), (1 << 40, false)] {
        file.set_len(len).unwrap();
        let initrd = RawImage::of_file(&file, 0, len);
        let content = UkiContent { os_release: "ID=x\n", cmdline: "", uname: None, initrd: &initrd, kernel: &kernel };
        match Uki::plan(&small_stub(0x8664), &amd64(), &content) {
            Ok(uki) => assert!(fits && uki.image.size() < 1 << 32),
            Err(UkiError::TooLarge(_)) => assert!(!fits),
            Err(error) => panic!("{len}: {error}"),
        }
    }
}

#[test]
fn damaged_stubs_are_refused_or_used_but_never_a_panic() {
    let kernel = RawImage::of_bytes(kernel());
    let content =
        UkiContent { os_release: "ID=x\n", cmdline: "", uname: None, initrd: &RawImage::new(0), kernel: &kernel };
    let whole = small_stub(0x8664);
    for at in 0..0x1c0 {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut stub = whole.clone();
            stub[at] = value;
            if let Ok(uki) = Uki::plan(&stub, &amd64(), &content) {
                bytes(&uki.image);
            }
        }
        assert!(Uki::plan(&whole[..at], &amd64(), &content).is_err());
    }
}
