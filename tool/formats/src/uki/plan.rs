//! Where each section lies, in the file and in memory, and the headers that say so.

use bootwright_oci::Platform;

use super::UkiError;
use crate::RawImage;
use crate::pe::{self, Pe, PeError, PeMachine, SECTION_LEN, Section};

/// What the end of a section of ours is a multiple of in the file, and its begin in memory.
const ALIGNMENT: u64 = 4096;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA` and `IMAGE_SCN_MEM_READ`: the stub gives the kernel to the firmware, as a program of its own.
const READ_ONLY_DATA: u32 = 0x4000_0040;
/// Bytes of a kernel in which its headers lie.
const KERNEL_HEAD: u64 = 4096;
/// `COMMAND_LINE_SIZE` of arm64, less the closing zero.
const COMMAND_LINE: u64 = 2047;
/// What a bzImage takes that does not say it (`Documentation/arch/x86/boot.rst`, `cmdline_size`).
const COMMAND_LINE_OLD: u64 = 255;

/// What goes into an image.
#[derive(Clone, Copy, Debug)]
pub struct UkiContent<'a> {
    /// What the machine is: [`os_release`](super::os_release).
    pub os_release: &'a str,
    /// The kernel's command line.
    pub cmdline: &'a str,
    /// The kernel's release, `uname -r`, where it is known.
    pub uname: Option<&'a str>,
    /// The initrd, beginning with the microcode (stubs before 254 know no section for it); of no bytes where there is none.
    pub initrd: &'a RawImage,
    /// The kernel: an EFI program itself.
    pub kernel: &'a RawImage,
}

/// A run of bytes of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset, a multiple of 4096.
    pub at: u64,
    /// Length in bytes.
    pub len: u64,
}

/// An image, and where in it a loader that knows nothing of EFI finds what it needs.
#[derive(Clone, Debug)]
pub struct Uki {
    /// The EFI program.
    pub image: RawImage,
    /// The kernel.
    pub linux: Span,
    /// The initrd; of no bytes where there is none.
    pub initrd: Span,
    /// The command line.
    pub cmdline: Span,
}

impl Uki {
    /// Lays out the image around a stub.
    ///
    /// # Errors
    ///
    /// Whatever would be an image that does not boot.
    pub fn plan(stub: &[u8], platform: &Platform, content: &UkiContent<'_>) -> Result<Self, UkiError> {
        let want = PeMachine::of(platform).ok_or_else(|| UkiError::Platform(platform.to_string()))?;
        let pe = Pe::read(&stub[..stub.len().min(pe::HEAD as usize)], stub.len() as u64).map_err(UkiError::Stub)?;
        if pe.machine != want {
            return Err(UkiError::StubMachine { got: pe.machine, want });
        }
        check_kernel(content, want)?;

        // An empty section would be as none, and then a stub takes its caller's words even under Secure Boot.
        let cmdline = if content.cmdline.is_empty() { " " } else { content.cmdline };
        // The kernel comes last: what unpacks itself in place writes behind itself.
        let sections = [
            (".osrel", RawImage::of_bytes(content.os_release.as_bytes())),
            (".cmdline", RawImage::of_bytes(cmdline.as_bytes())),
            (".uname", RawImage::of_bytes(content.uname.unwrap_or_default().as_bytes())),
            (".initrd", content.initrd.clone()),
            (".linux", content.kernel.clone()),
        ];
        let sections: Vec<_> = sections.into_iter().filter(|(_, data)| data.size() > 0).collect();
        let planned = place(&pe, &sections)?;

        let end = planned.last().map_or(0, |s| u64::from(s.raw_at) + u64::from(s.raw_len));
        let mut image = RawImage::new(end);
        let headers_len = pe.headers_len as usize;
        image.put(0, headers(&pe, &stub[..headers_len], &planned));
        let first = planned.first().map_or(headers_len, |s| s.raw_at as usize);
        image.put(headers_len as u64, &stub[headers_len..first]);
        let mut uki = Self { image, linux: Span::default(), initrd: Span::default(), cmdline: Span::default() };
        for ((name, data), section) in sections.iter().zip(&planned) {
            let span = Span { at: section.raw_at.into(), len: data.size() };
            uki.image.put_image(span.at, data);
            match *name {
                ".linux" => uki.linux = span,
                ".initrd" => uki.initrd = span,
                ".cmdline" => uki.cmdline = span,
                _ => {}
            }
        }
        Ok(uki)
    }
}

/// Refuses a kernel that cannot be started from an image, and a command line that it would not take.
fn check_kernel(content: &UkiContent<'_>, want: PeMachine) -> Result<(), UkiError> {
    let mut head = vec![0; content.kernel.size().min(KERNEL_HEAD) as usize];
    content.kernel.read_at(0, &mut head).map_err(UkiError::Read)?;
    let got = pe::machine(&head).map_err(UkiError::Kernel)?;
    if got != want {
        return Err(UkiError::KernelMachine { got, want });
    }
    if let Some(at) = content.cmdline.bytes().position(|byte| byte == 0) {
        return Err(UkiError::ZeroByte(at));
    }
    let limit = command_line_limit(&head);
    if content.cmdline.len() as u64 > limit {
        return Err(UkiError::CommandLine { len: content.cmdline.len(), limit });
    }
    Ok(())
}

/// Bytes of a command line that a kernel takes, by its first bytes.
fn command_line_limit(head: &[u8]) -> u64 {
    if head.get(0x202..0x206) == Some(b"HdrS") {
        let protocol = head.get(0x206..0x208).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        let stated = head.get(0x238..0x23c).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        return if protocol >= 0x206 { stated.into() } else { COMMAND_LINE_OLD };
    }
    COMMAND_LINE
}

/// Finds each section its place behind the stub's.
fn place(pe: &Pe, sections: &[(&'static str, RawImage)]) -> Result<Vec<Section>, UkiError> {
    let stub_error = |error| UkiError::Stub(error);
    if let Some((name, _)) = sections.iter().find(|(name, _)| pe.sections.iter().any(|s| s.name() == name.as_bytes())) {
        return Err(UkiError::Occupied(name));
    }
    // Whatever fills the space up to the first section: arm64's stub has instructions there that do nothing.
    let room = (pe.headers_len as usize - pe.table_end) / SECTION_LEN;
    if room < sections.len() {
        return Err(UkiError::NoRoom { room, needed: sections.len() });
    }
    let mut in_memory: Vec<_> =
        pe.sections.iter().map(|s| (u64::from(s.virtual_at), u64::from(s.virtual_len))).collect();
    in_memory.sort_unstable();
    if in_memory.windows(2).any(|pair| pair[0].0 + pair[0].1 > pair[1].0) {
        return Err(stub_error(PeError::Broken("sections overlap in memory")));
    }

    let mut at = u64::from(pe.sections_end().map_err(stub_error)?);
    if !at.is_multiple_of(pe.file_alignment.into()) || u64::from(pe.file_alignment) > ALIGNMENT {
        return Err(stub_error(PeError::Broken("sections are not aligned in the file")));
    }
    let mut memory = in_memory.last().map_or(0, |(at, len)| at + len);
    let total = sections.iter().map(|(_, data)| data.size()).sum();
    let too_large = |_| UkiError::TooLarge(total);
    let mut planned = Vec::new();
    for (name, data) in sections {
        // Only the first begins somewhere else than at a multiple, where the stub ends.
        let end = (at + data.size()).next_multiple_of(ALIGNMENT);
        memory = memory.next_multiple_of(ALIGNMENT.max(pe.section_alignment.into()));
        let mut section = Section {
            name: [0; 8],
            virtual_len: u32::try_from(data.size()).map_err(too_large)?,
            virtual_at: u32::try_from(memory).map_err(too_large)?,
            raw_len: u32::try_from(end - at).map_err(too_large)?,
            raw_at: u32::try_from(at).map_err(too_large)?,
        };
        section.name[..name.len()].copy_from_slice(name.as_bytes());
        planned.push(section);
        (at, memory) = (end, memory + data.size());
    }
    // The ends are 32-bit numbers as well: the size in memory stands in the headers, the size of the file in a signature's place.
    u32::try_from(memory.next_multiple_of(ALIGNMENT.max(pe.section_alignment.into()))).map_err(too_large)?;
    u32::try_from(at).map_err(too_large)?;
    Ok(planned)
}

/// The stub's headers with the sections added, and without what is true of the stub only.
fn headers(pe: &Pe, stub: &[u8], added: &[Section]) -> Vec<u8> {
    let mut headers = stub.to_vec();
    let mut set = |at: usize, bytes: &[u8]| headers[at..at + bytes.len()].copy_from_slice(bytes);
    for (index, section) in added.iter().enumerate() {
        set(pe.table_end + index * SECTION_LEN, &section.encode(READ_ONLY_DATA));
    }
    // A table has at most 96 sections, and 5 are added.
    set(pe.count_at(), &((pe.sections.len() + added.len()) as u16).to_le_bytes());
    let memory_end = added.last().map_or(0, |s| s.virtual_at + s.virtual_len);
    set(pe.image_len_at(), &memory_end.next_multiple_of(pe.section_alignment).to_le_bytes());
    let data: u32 = added.iter().map(|s| s.raw_len).sum();
    set(pe.initialized_len_at(), &(pe.initialized_len.saturating_add(data)).to_le_bytes());
    // Symbols lie behind the sections; the checksum is a signer's; a signature was the stub's.
    let symbols = pe.symbols_at();
    set(symbols.start, &[0; 8]);
    set(pe.checksum_at(), &[0; 4]);
    set(pe.certificates_at(), &[0; 8]);
    headers
}
