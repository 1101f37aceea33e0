//! GRUB's core image, judged by what `grub-mkimage` makes of the same files.

use std::fs;
use std::path::Path;

use bootwright_formats::bios::{BiosError, Extent, Loader, Parameters};

use crate::tools::run;

/// Where `grub-pc-bin` has them.
const DIRECTORY: &str = "/usr/lib/grub/i386-pc";
/// Unpacks as many bytes as the image says, which has no end marker: `xz` would call it broken.
const UNPACK: &str = "
import lzma, sys
image = sys.stdin.buffer.read()
packed, plain = (int.from_bytes(image[at:at + 4], 'little') for at in (8, 12))
start = int(sys.argv[1])
filters = [{'id': lzma.FILTER_LZMA1, 'lc': 3, 'lp': 0, 'pb': 2, 'dict_size': 1 << 16}]
unpacker = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=filters)
out = unpacker.decompress(image[start:start + packed], plain)
assert len(out) == plain, (len(out), plain)
sys.stdout.buffer.write(out)
";

fn read(name: &str) -> Option<Vec<u8>> {
    fs::read(Path::new(DIRECTORY).join(name)).ok()
}

fn grub() -> Loader {
    Loader::grub(read).unwrap_or_else(|e| panic!("{DIRECTORY}: {e} (apt-get install grub-pc-bin)"))
}

fn parameters() -> Parameters {
    let initrds = vec![Extent { lba: 0x1_2345_6789, bytes: 5 << 20 }, Extent { lba: 7, bytes: 1 }];
    let cmdline = "console=ttyS0 dm-mod.create=\"root,,,ro,0 8 linear\"".to_owned();
    Parameters { kernel: Extent { lba: 987_654_321, bytes: 10 << 20 }, initrds, cmdline }
}

#[test]
fn the_core_image_is_what_grub_mkimage_makes() {
    let stage2 = grub().stage2(34, &parameters()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [config, core] = ["config", "core.img"].map(|name| dir.path().join(name));
    let text = "serial --unit=0 --speed=115200\nterminal_output console serial\n\
                linux ($root)987654321+20480 'console=ttyS0' 'dm-mod.create=root,,,ro,0 8 linear'\n\
                initrd ($root)4886718345+10240 ($root)7+1\nboot\n";
    fs::write(&config, text).unwrap();
    let paths = ["-c", config.to_str().unwrap(), "-o", core.to_str().unwrap()];
    let words = ["-O", "i386-pc", "-d", DIRECTORY, "-p", "/boot/grub", "biosdisk", "linux", "serial"];
    run("grub-mkimage", &[&paths[..], &words].concat(), &[]);
    let theirs = fs::read(core).unwrap();
    let unpacker = read("lzma_decompress.img").unwrap().len();
    let unpack = |image: &[u8]| run("python3", &["-c", UNPACK, &unpacker.to_string()], &image[512..]);
    assert!(unpack(&stage2) == unpack(&theirs), "what is packed differs");
    // But for both sizes of what is packed, the program that unpacks it is the same.
    assert_eq!(stage2[512 + 12..512 + unpacker], theirs[512 + 12..512 + unpacker]);
    // `diskboot.img` is as `grub-bios-setup` leaves it.
    let sectors = stage2.len() / 512 - 1;
    assert_eq!(stage2[..500], theirs[..500]);
    assert_eq!(stage2[500..512], [35, 0, 0, 0, 0, 0, 0, 0, sectors as u8, (sectors >> 8) as u8, 0x20, 8]);
}

#[test]
fn it_is_as_large_as_was_said() {
    let parameters = parameters();
    let sectors = grub().stage2_sectors(2, &parameters.cmdline).unwrap();
    assert_eq!(grub().stage2(34, &parameters).unwrap().len(), usize::from(sectors) * 512);
    assert!((200..300).contains(&sectors), "{sectors}");
}

#[test]
fn the_sectors_before_it_learn_where_it_is() {
    let plain = read("boot.img").unwrap();
    let code = grub().boot_code(0x1_0000_0022, 300);
    assert_eq!(code[0x5c..0x68], [0x22, 0, 0, 0, 1, 0, 0, 0, 0xff, plain[0x65], 0x90, 0x90]);
    assert_eq!((&code[..0x5c], &code[0x68..]), (&plain[..0x5c], &plain[0x68..440]));
    let image = grub().cd_boot_image(0x88, 300);
    // The sector before, and 300 units.
    assert_eq!(image[12..20], [0x21, 0, 0, 0, 0, 0x58, 2, 0]);
}

#[test]
fn the_package_takes_what_is_needed() {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pkg/grub/build.yml");
    let recipe = fs::read_to_string(recipe).unwrap();
    let taken = |name: &str| recipe.lines().any(|line| line.trim() == format!("- usr/lib/grub/i386-pc/{name}"));
    let mut asked = Vec::new();
    let found = Loader::grub(|name| {
        asked.push(name.to_owned());
        read(name).filter(|_| taken(name))
    });
    found.unwrap();
    let lines = recipe.lines().filter(|line| line.trim().starts_with("- usr/lib/grub/")).count();
    assert_eq!(asked.len(), lines, "and nothing else: {asked:?}");
}

#[test]
fn a_component_without_a_file_is_refused() {
    for (missing, error) in [
        ("kernel.img", BiosError::Missing("kernel.img".to_owned())),
        ("normal.mod", BiosError::Missing("normal.mod".to_owned())),
    ] {
        let found = Loader::grub(|name| read(name).filter(|_| name != missing));
        assert_eq!(found.map(drop), Err(error));
    }
    for broken in ["kernel.img", "boot.img", "cdboot.img", "diskboot.img", "lzma_decompress.img"] {
        let found =
            Loader::grub(|name| read(name).map(|bytes| if name == broken { b"\x7fELF".to_vec() } else { bytes }));
        assert_eq!(found.map(drop), Err(BiosError::Stage(broken)));
    }
}
