//! The core image: kernel, modules and configuration, packed.

use std::collections::BTreeMap;
use std::io::Write;

use lzma_rust2::{LzmaOptions, LzmaWriter};

use crate::bios::BiosError;

/// What the configuration uses: disks by the BIOS, Linux' boot protocol, and a serial port to say errors on.
const MODULES: [&str; 3] = ["biosdisk", "linux", "serial"];
/// Where GRUB would look for more; there is none. That it names no device makes GRUB set `root` to the one it booted from.
const PREFIX: &[u8] = b"/boot/grub";

/// `struct grub_module_info32`: magic "mimg", offset of the first object, bytes of all.
const INFO_MAGIC: u32 = 0x676d_696d;
const INFO_BYTES: u32 = 12;
/// Types of `struct grub_module_header`, which is u32 type and u32 bytes with itself.
const ELF: u32 = 0;
const CONFIG: u32 = 2;
const PREFIX_OBJECT: u32 = 3;
/// In `lzma_decompress.img`: u32 bytes packed, u32 bytes unpacked.
const UNPACKER_SIZES: usize = 8;
/// Bytes of a core image at most: from 0x8200 to where the loaded kernel has its heap.
const MOST: usize = 0x70000;
/// The dictionary that `grub-mkimage` takes.
const DICTIONARY: u32 = 1 << 16;

/// The parts of a core image that are the same for every machine.
#[derive(Clone, Debug)]
pub(super) struct Core {
    unpacker: Vec<u8>,
    kernel: Vec<u8>,
    modules: Vec<u8>,
}

impl Core {
    pub(super) fn new(mut file: impl FnMut(&str) -> Result<Vec<u8>, BiosError>) -> Result<Self, BiosError> {
        let dependencies = file("moddep.lst")?;
        let dependencies = String::from_utf8(dependencies).map_err(|_| BiosError::Stage("moddep.lst"))?;
        let dependencies: BTreeMap<&str, Vec<&str>> = dependencies
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(module, needs)| (module, needs.split_ascii_whitespace().collect()))
            .collect();
        let mut order = Vec::new();
        for module in MODULES {
            place(module, &dependencies, &mut order);
        }
        let mut modules = Vec::new();
        for module in order {
            object(&mut modules, ELF, &file(&format!("{module}.mod"))?);
        }
        let unpacker = file("lzma_decompress.img")?;
        if unpacker.len() < UNPACKER_SIZES + 8 {
            return Err(BiosError::Stage("lzma_decompress.img"));
        }
        let kernel = loaded(&file("kernel.img")?).ok_or(BiosError::Stage("kernel.img"))?.to_vec();
        Ok(Self { unpacker, kernel, modules })
    }

    /// The core image with a configuration, without the sector that loads it.
    pub(super) fn pack(&self, config: &str) -> Result<Vec<u8>, BiosError> {
        let mut objects = self.modules.clone();
        object(&mut objects, CONFIG, &[config.as_bytes(), b"\0"].concat());
        object(&mut objects, PREFIX_OBJECT, &[PREFIX, b"\0"].concat());
        let size = u32::try_from(objects.len()).map_err(|_| BiosError::Stage("kernel.img"))? + INFO_BYTES;
        let mut plain = self.kernel.clone();
        for word in [INFO_MAGIC, INFO_BYTES, size] {
            plain.extend(word.to_le_bytes());
        }
        plain.extend(objects);

        let options = LzmaOptions { dict_size: DICTIONARY, lc: 3, lp: 0, pb: 2, ..LzmaOptions::with_preset(9) };
        let in_memory = "memory takes every byte";
        let mut packed = LzmaWriter::new_no_header(Vec::new(), &options, false).expect(in_memory);
        packed.write_all(&plain).expect(in_memory);
        let packed = packed.finish().expect(in_memory);
        let mut out = self.unpacker.clone();
        for (field, size) in [packed.len(), plain.len()].into_iter().enumerate() {
            let size = u32::try_from(size).map_err(|_| BiosError::Stage("kernel.img"))?;
            let at = UNPACKER_SIZES + 4 * field;
            out[at..at + 4].copy_from_slice(&size.to_le_bytes());
        }
        out.extend(packed);
        if out.len() > MOST {
            return Err(BiosError::Stage("kernel.img"));
        }
        Ok(out)
    }
}

/// Puts a module behind all that it needs, in the order of `grub-mkimage`.
fn place<'a>(module: &'a str, dependencies: &BTreeMap<&'a str, Vec<&'a str>>, order: &mut Vec<&'a str>) {
    if order.contains(&module) {
        return;
    }
    for needed in dependencies.get(module).into_iter().flatten().rev() {
        place(needed, dependencies, order);
    }
    order.push(module);
}

/// Adds an object, padded to a multiple of four.
fn object(objects: &mut Vec<u8>, kind: u32, bytes: &[u8]) {
    let padded = bytes.len().next_multiple_of(4);
    objects.extend(kind.to_le_bytes());
    objects.extend(u32::try_from(padded + 8).unwrap_or(u32::MAX).to_le_bytes());
    objects.extend(bytes);
    objects.resize(objects.len() + padded - bytes.len(), 0);
}

/// What of a 32-bit ELF program its first loadable segment takes from the file.
fn loaded(elf: &[u8]) -> Option<&[u8]> {
    let u16_at = |at: usize| Some(usize::from(u16::from_le_bytes(*elf.get(at..)?.first_chunk()?)));
    let u32_at = |at: usize| usize::try_from(u32::from_le_bytes(*elf.get(at..)?.first_chunk()?)).ok();
    elf.starts_with(b"\x7fELF\x01\x01").then_some(())?;
    let (table, entry, count) = (u32_at(28)?, u16_at(42)?, u16_at(44)?);
    let headers = (0..count).map(|n| table + n * entry);
    let load = headers.into_iter().find(|at| u32_at(*at) == Some(1))?;
    let (offset, bytes) = (u32_at(load + 4)?, u32_at(load + 16)?);
    elf.get(offset..offset.checked_add(bytes)?)
}
