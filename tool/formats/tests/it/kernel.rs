//! `--decompress-kernel`, on small kernels of every form, made by the tools that the kernel's build uses.

use std::error::Error as _;

use bootwright_formats::{Format, Options};
use bootwright_oci::Content;

use crate::machine::{Builder, Place};
use crate::tools::run;

fn options() -> Options {
    Options { decompress_kernel: true, ..Options::default() }
}

/// An ELF file, as far as its first bytes go.
fn vmlinux() -> Vec<u8> {
    small_vmlinux(300_000)
}

fn small_vmlinux(size: u32) -> Vec<u8> {
    let body = (0..size).map(|i| (i.wrapping_mul(i) >> 7) as u8 & 0x1f);
    b"\x7fELF".iter().copied().chain(body).collect()
}

/// A bzImage around a payload.
fn bzimage(payload: &[u8], protocol: u16, setup_sectors: u8) -> Vec<u8> {
    let sectors = if setup_sectors == 0 { 4 } else { usize::from(setup_sectors) };
    let gap = 0x333;
    let mut image = vec![0; (sectors + 1) * 512 + gap];
    image[0x1f1] = setup_sectors;
    image[0x1fe..0x200].copy_from_slice(&0xaa55u16.to_le_bytes());
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&protocol.to_le_bytes());
    image[0x248..0x24c].copy_from_slice(&(gap as u32).to_le_bytes());
    image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    image.extend_from_slice(payload);
    image.extend_from_slice(b"what follows the payload");
    image
}

/// Appends the size, as the kernel's build does for all but gzip.
fn sized(mut payload: Vec<u8>, size: usize) -> Vec<u8> {
    payload.extend_from_slice(&(size as u32).to_le_bytes());
    payload
}

fn decompress(kernel: &[u8]) -> Result<Vec<u8>, String> {
    let place = Place::new();
    let mut machine = Builder::new(&[("init[0]", "i")]).file(0, "init", "i").0;
    machine.boot.kernel = Some(Content::inline(kernel));
    match place.build(&machine, &[Format::KernelInitrd], &options()) {
        Ok(_) => Ok(place.read("m-kernel")),
        Err(error) => {
            assert_eq!(error.to_string(), "cannot decompress the kernel");
            assert!(error.hint().unwrap().contains("without `--decompress-kernel`"));
            assert!(place.listing().is_empty());
            Err(error.source().unwrap().to_string())
        }
    }
}

#[test]
fn every_payload_gives_the_kernel_back() {
    let plain = vmlinux();
    let xz = ["--format=xz", "--check=crc32", "--x86", "--lzma2=preset=3", "-c"];
    let packed = [
        ("gzip", run("gzip", &["-n", "-9", "-c"], &plain)),
        ("zstd", sized(run("zstd", &["-q", "-19", "-c"], &plain), plain.len())),
        ("lz4", sized(run("lz4", &["-q", "-l", "-9", "-c"], &plain), plain.len())),
        ("xz", sized(run("xz", &xz, &plain), plain.len())),
        ("lzma", sized(run("xz", &["--format=lzma", "-3", "-c"], &plain), plain.len())),
        ("plain", plain.clone()),
    ];
    for (name, payload) in &packed {
        for (protocol, sectors) in [(0x20f, 27), (0x208, 0)] {
            assert!(decompress(&bzimage(payload, protocol, sectors)) == Ok(plain.clone()), "bzImage, {name}");
        }
    }
    // An `Image.gz`, and the like.
    for (program, arguments) in
        [("gzip", &["-n", "-c"][..]), ("zstd", &["-q", "-c"]), ("lz4", &["-q", "-l", "-c"]), ("xz", &["-c"])]
    {
        assert!(decompress(&run(program, arguments, &plain)) == Ok(plain.clone()), "{program}");
    }
    // EFI zboot: `MZ`, `zimg`, and where the payload lies.
    let gz = &packed[0].1;
    let mut zboot = vec![0; 4096];
    zboot[..8].copy_from_slice(b"MZ\0\0zimg");
    zboot[8..12].copy_from_slice(&4096u32.to_le_bytes());
    zboot[12..16].copy_from_slice(&(gz.len() as u32).to_le_bytes());
    zboot.extend_from_slice(gz);
    zboot.extend_from_slice(&[0; 64]);
    assert!(decompress(&zboot) == Ok(plain.clone()));
    // What is plain already stays.
    assert!(decompress(&plain) == Ok(plain.clone()));
    let mut image = vec![0; 100];
    image[56..60].copy_from_slice(b"ARM\x64");
    assert!(decompress(&image) == Ok(image.clone()));
}

#[test]
fn what_cannot_be_decompressed_is_refused_by_name() {
    let plain = vmlinux();
    let gz = run("gzip", &["-n", "-c"], &plain);
    let zst = run("zstd", &["-q", "-c"], &plain);
    let lz4 = run("lz4", &["-q", "-l", "-c"], &plain);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"something".to_vec(), "it is neither a bzImage, nor compressed, nor a kernel that is not compressed"),
        (Vec::new(), "it is neither a bzImage, nor compressed, nor a kernel that is not compressed"),
        (bzimage(&gz, 0x207, 4), "it is a bzImage of boot protocol 2.07; the payload's place is known since 2.08"),
        (
            bzimage(b"BZh91AY&SY rest", 0x20f, 4),
            "its payload is compressed with bzip2, which bootwright cannot decompress",
        ),
        (
            bzimage(b"\x89LZO\0 and so on", 0x20f, 4),
            "its payload is compressed with LZO, which bootwright cannot decompress",
        ),
        (bzimage(&gz[..gz.len() / 2], 0x20f, 4), "its gzip payload is broken"),
        (bzimage(&sized(zst[..zst.len() / 2].to_vec(), plain.len()), 0x20f, 4), "its zstd payload is broken"),
        (bzimage(&sized(lz4[..lz4.len() - 9].to_vec(), plain.len()), 0x20f, 4), "its lz4 payload is broken"),
        (
            bzimage(&sized(zst.clone(), 7), 0x20f, 4),
            "it decompresses to 300004 bytes, and says itself that it should be 7",
        ),
    ];
    for (kernel, want) in cases {
        assert_eq!(decompress(&kernel).unwrap_err(), want);
    }
    // A header that points out of the file.
    for (at, value) in [(0x248, u32::MAX), (0x24c, u32::MAX), (0x24c, 3)] {
        for payload in [&gz, &sized(lz4.clone(), plain.len()), &plain] {
            let mut kernel = bzimage(payload, 0x20f, 4);
            kernel[at..at + 4].copy_from_slice(&value.to_le_bytes());
            // gzip ends itself, wherever the header says that it would.
            if !(value == u32::MAX && at == 0x24c && payload == &gz) {
                assert!(decompress(&kernel).is_err(), "{at:#x} {value}");
            }
        }
    }
}

#[test]
fn a_kernel_that_grows_without_end_is_refused() {
    // 600 MiB of zeros; the bound is 512 MiB.
    let zeros = std::process::Command::new("sh")
        .args(["-c", "printf '\\177ELF' > /dev/null; head -c 629145600 /dev/zero | zstd -q -1 -c"])
        .output()
        .unwrap();
    assert!(zeros.status.success());
    assert_eq!(decompress(&zeros.stdout).unwrap_err(), "it decompresses to more than 512 MiB");
}

#[test]
fn it_is_decompressed_once() {
    let place = Place::new();
    let mut machine = Builder::new(&[("init[0]", "i")]).file(0, "init", "i").0;
    machine.boot.kernel = Some(Content::inline(run("gzip", &["-n", "-c"], &vmlinux())));
    place.build(&machine, &[Format::KernelInitrd, Format::Tar], &options()).unwrap();
    let kept = crate::machine::names(&place.dir.path().join("cache/kernel"));
    assert_eq!(kept.len(), 1);
    let file = place.dir.path().join("cache/kernel").join(&kept[0]);
    let before = std::fs::metadata(&file).unwrap().modified().unwrap();
    place.build(&machine, &[Format::KernelInitrd], &options()).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().modified().unwrap(), before);
    assert_eq!(
        run("tar", &["-xO", "--warning=no-unknown-keyword", "-f", "-", "boot/kernel"], &place.read("m.tar")),
        vmlinux()
    );
}

#[test]
fn damage_is_an_error_or_another_kernel_but_never_a_panic() {
    let plain = small_vmlinux(3000);
    let xz = ["--format=xz", "--check=crc32", "--x86", "--lzma2=preset=0", "-c"];
    let packed = [
        run("gzip", &["-n", "-c"], &plain),
        sized(run("zstd", &["-q", "-c"], &plain), plain.len()),
        sized(run("lz4", &["-q", "-l", "-c"], &plain), plain.len()),
        sized(run("xz", &xz, &plain), plain.len()),
        sized(run("xz", &["--format=lzma", "-0", "-c"], &plain), plain.len()),
    ];
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for payload in &packed {
        let whole = bzimage(payload, 0x20f, 4);
        for _ in 0..40 {
            let mut kernel = whole.clone();
            for _ in 0..=random(3) {
                // Mostly the payload, now and then the header.
                let start = if random(8) == 0 { 0x1f0 } else { whole.len() - 24 - payload.len() };
                let at = start + random(if start == 0x1f0 { 0x60 } else { payload.len() });
                kernel[at] = [0, 0xff, random(256) as u8][random(3)];
            }
            kernel.truncate(kernel.len() - random(2) * random(payload.len()));
            let _ = decompress(&kernel);
        }
    }
}
