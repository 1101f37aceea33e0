//! Headers of PE32+ images, as far as adding sections and signing need them.
//!
//! Microsoft's "PE Format", <https://learn.microsoft.com/windows/win32/debug/pe-format>. Headers are foreign bytes: whatever
//! they say is checked before it is believed.

use std::fmt;
use std::ops::Range;

use bootwright_oci::Platform;

/// Bytes of an entry of the section table.
pub(crate) const SECTION_LEN: usize = 40;
/// So many bytes of an image hold its headers; those of EFI programs have some hundred.
pub(crate) const HEAD: u64 = 64 << 10;

/// Where the offset of the PE signature stands in the DOS header.
const PE_OFFSET: usize = 0x3c;
const DOS_MAGIC: &[u8] = b"MZ";
const PE_MAGIC: [u8; 4] = *b"PE\0\0";
/// `Magic` of an optional header with 64-bit addresses.
const PE32_PLUS: u16 = 0x20b;
/// Offset of the data directories in a PE32+ optional header.
const DIRECTORIES: usize = 112;
/// Which of the directories says where the certificate table lies, and bytes of each.
const CERTIFICATES: usize = 4;
const DIRECTORY_LEN: usize = 8;
/// The format's maximum of sections.
const MOST_SECTIONS: u16 = 96;

/// A PE image that cannot be worked with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeError {
    /// Another kind of file.
    #[error("it is no PE image (an EFI program is one)")]
    NotPe,
    /// A program for 32-bit processors.
    #[error("it is a PE image of the 32-bit form, and machines of today need the 64-bit form, PE32+")]
    Not64Bit,
    /// Headers that contradict themselves or end early.
    #[error("its PE headers are broken: {0}")]
    Broken(&'static str),
    /// Bytes that no section and no header has, between those that they have.
    #[error("its sections overlap or leave gaps in the file, which programs that check signatures read differently")]
    Gap,
}

/// Processor of a PE image, `Machine` of the COFF header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeMachine(pub u16);

impl PeMachine {
    /// Processors by the name that OCI gives them, and by the format's number.
    const KNOWN: [(&'static str, u16); 2] = [("amd64", 0x8664), ("arm64", 0xaa64)];

    /// A platform's, if we know its UEFI.
    #[must_use]
    pub fn of(platform: &Platform) -> Option<Self> {
        let known = Self::KNOWN.iter().find(|(name, _)| *name == platform.architecture);
        known.map(|(_, number)| Self(*number))
    }
}

impl fmt::Display for PeMachine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::KNOWN.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.write_str(name),
            None => write!(f, "machine {:#06x}", self.0),
        }
    }
}

/// Reads for which processor an image is, of its first bytes.
pub(crate) fn machine(head: &[u8]) -> Result<PeMachine, PeError> {
    machine_and_coff(head).map(|(machine, _)| machine)
}

const EARLY: PeError = PeError::Broken("they end early");

fn machine_and_coff(head: &[u8]) -> Result<(PeMachine, usize), PeError> {
    let pe = array_at(head, PE_OFFSET).map(u32::from_le_bytes).filter(|_| head.starts_with(DOS_MAGIC));
    let pe = pe.ok_or(PeError::NotPe)? as usize;
    if array_at(head, pe) != Some(PE_MAGIC) {
        return Err(PeError::NotPe);
    }
    let coff = pe + PE_MAGIC.len();
    Ok((PeMachine(array_at(head, coff).map(u16::from_le_bytes).ok_or(EARLY)?), coff))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// What an image's headers say.
#[derive(Clone, Debug)]
pub(crate) struct Pe {
    pub(crate) machine: PeMachine,
    pub(crate) section_alignment: u32,
    pub(crate) file_alignment: u32,
    pub(crate) headers_len: u32,
    /// Bytes of initialised data.
    pub(crate) initialized_len: u32,
    pub(crate) sections: Vec<Section>,
    /// Offset and length of the certificate table; zero without a signature.
    pub(crate) certificates: (u32, u32),
    /// Where the section table ends.
    pub(crate) table_end: usize,
    coff: usize,
}

/// An entry of the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) name: [u8; 8],
    pub(crate) virtual_len: u32,
    pub(crate) virtual_at: u32,
    pub(crate) raw_len: u32,
    pub(crate) raw_at: u32,
}

impl Pe {
    /// Reads the first bytes of an image of `len` bytes; [`HEAD`] are enough.
    pub(crate) fn read(head: &[u8], len: u64) -> Result<Self, PeError> {
        let u16_at = |at| array_at(head, at).map(u16::from_le_bytes).ok_or(EARLY);
        let u32_at = |at| array_at(head, at).map(u32::from_le_bytes).ok_or(EARLY);
        let (machine, coff) = machine_and_coff(head)?;
        let count = u16_at(coff + 2)?;
        let mut pe = Self {
            machine,
            coff,
            section_alignment: 0,
            file_alignment: 0,
            headers_len: 0,
            initialized_len: 0,
            sections: Vec::new(),
            certificates: (0, 0),
            table_end: 0,
        };
        let optional = pe.optional();
        match u16_at(optional)? {
            PE32_PLUS => {}
            0x10b => return Err(PeError::Not64Bit),
            _ => return Err(PeError::Broken("they are neither PE32 nor PE32+")),
        }
        pe.section_alignment = u32_at(optional + 32)?;
        pe.file_alignment = u32_at(optional + 36)?;
        pe.headers_len = u32_at(optional + 60)?;
        pe.initialized_len = u32_at(pe.initialized_len_at())?;
        let alignments = [pe.file_alignment, pe.section_alignment];
        if !alignments.iter().all(|a| a.is_power_of_two()) || pe.file_alignment > pe.section_alignment {
            return Err(PeError::Broken("their alignments are no powers of two in order"));
        }
        let directories = u32_at(optional + DIRECTORIES - 4)? as usize;
        let optional_len = usize::from(u16_at(coff + 16)?);
        if directories <= CERTIFICATES || optional_len < DIRECTORIES + (CERTIFICATES + 1) * DIRECTORY_LEN {
            return Err(PeError::Broken("they have no room for a signature's place"));
        }
        pe.certificates = (u32_at(pe.certificates_at())?, u32_at(pe.certificates_at() + 4)?);
        if count == 0 || count > MOST_SECTIONS {
            return Err(PeError::Broken("they name no sections, or more than there can be"));
        }
        let table = optional + optional_len;
        for entry in (0..usize::from(count)).map(|index| table + index * SECTION_LEN) {
            let section = Section {
                name: array_at(head, entry).ok_or(EARLY)?,
                virtual_len: u32_at(entry + 8)?,
                virtual_at: u32_at(entry + 12)?,
                raw_len: u32_at(entry + 16)?,
                raw_at: u32_at(entry + 20)?,
            };
            if u64::from(section.raw_at) + u64::from(section.raw_len) > len {
                return Err(PeError::Broken("a section lies outside of the file"));
            }
            pe.sections.push(section);
        }
        pe.table_end = table + usize::from(count) * SECTION_LEN;
        if (pe.headers_len as usize) < pe.table_end || u64::from(pe.headers_len) > len.min(HEAD) {
            return Err(PeError::Broken("their size does not cover them"));
        }
        Ok(pe)
    }

    /// Where the last section ends in the file. Each begins where another ends, the first behind the headers: only then do
    /// all programs that hash the image hash the same.
    pub(crate) fn sections_end(&self) -> Result<u32, PeError> {
        let mut runs: Vec<_> = self.sections.iter().filter(|s| s.raw_len > 0).map(|s| (s.raw_at, s.raw_len)).collect();
        runs.sort_unstable();
        runs.iter()
            .try_fold(self.headers_len, |end, (at, len)| if *at == end { Ok(at + len) } else { Err(PeError::Gap) })
    }

    /// Offset of the number of sections.
    pub(crate) fn count_at(&self) -> usize {
        self.coff + 2
    }

    /// Offsets of the pointer to the symbol table and of the number of its symbols.
    pub(crate) fn symbols_at(&self) -> Range<usize> {
        self.coff + 8..self.coff + 16
    }

    /// Offset of the optional header.
    fn optional(&self) -> usize {
        self.coff + 20
    }

    /// Offset of the size of initialised data.
    pub(crate) fn initialized_len_at(&self) -> usize {
        self.optional() + 8
    }

    /// Offset of the image's size in memory.
    pub(crate) fn image_len_at(&self) -> usize {
        self.optional() + 56
    }

    /// Offset of the checksum.
    pub(crate) fn checksum_at(&self) -> usize {
        self.optional() + 64
    }

    /// Offset of offset and length of the certificate table.
    pub(crate) fn certificates_at(&self) -> usize {
        self.optional() + DIRECTORIES + CERTIFICATES * DIRECTORY_LEN
    }
}

impl Section {
    /// The name, without the zeros that fill it up.
    pub(crate) fn name(&self) -> &[u8] {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        &self.name[..end]
    }

    /// The entry's bytes.
    pub(crate) fn encode(&self, characteristics: u32) -> [u8; SECTION_LEN] {
        let mut entry = [0; SECTION_LEN];
        entry[..8].copy_from_slice(&self.name);
        let fields = [self.virtual_len, self.virtual_at, self.raw_len, self.raw_at];
        for (bytes, field) in entry[8..24].chunks_exact_mut(4).zip(fields) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
        entry[36..].copy_from_slice(&characteristics.to_le_bytes());
        entry
    }
}
