//! What must hold of a binary that goes into an image: it is an ELF of the right machine and needs no interpreter.
//!
//! Fields and values are those of the System V ABI's ELF-64 header and program headers, little-endian.

/// A binary that will not run where it is meant to.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ElfError {
    /// No ELF header, or one that points outside the file.
    #[error("it is not a whole 64-bit little-endian ELF file")]
    Malformed,
    /// Another architecture.
    #[error("it is for ELF machine {found}, not {wanted}")]
    Machine {
        /// `e_machine` found.
        found: u16,
        /// `e_machine` wanted.
        wanted: u16,
    },
    /// It is linked dynamically.
    #[error("it is not static: it asks for the interpreter `{0}`")]
    Interpreter(String),
}

const PT_INTERP: u32 = 3;
const PROGRAM_HEADER_SIZE: usize = 56;

/// `e_machine` of one of Go's architectures.
pub(crate) fn machine(architecture: &str) -> Option<u16> {
    match architecture {
        "amd64" => Some(62),
        "arm64" => Some(183),
        "riscv64" => Some(243),
        _ => None,
    }
}

/// Checks that a binary is static and of a machine.
pub(crate) fn check_static(bytes: &[u8], wanted: u16) -> Result<(), ElfError> {
    if bytes.get(..6) != Some(b"\x7fELF\x02\x01") {
        return Err(ElfError::Malformed);
    }
    let found = u16::from_le_bytes(field(bytes, 18)?);
    if found != wanted {
        return Err(ElfError::Machine { found, wanted });
    }
    let table = offset(bytes, 32)?;
    let size = usize::from(u16::from_le_bytes(field(bytes, 54)?));
    let count = usize::from(u16::from_le_bytes(field(bytes, 56)?));
    if size < PROGRAM_HEADER_SIZE {
        return Err(ElfError::Malformed);
    }
    for index in 0..count {
        let at = table.checked_add(index * size).ok_or(ElfError::Malformed)?;
        if u32::from_le_bytes(field(bytes, at)?) == PT_INTERP {
            let start = offset(bytes, at + 8)?;
            let len = offset(bytes, at + 32)?;
            let end = start.checked_add(len).ok_or(ElfError::Malformed)?;
            let name = bytes.get(start..end).ok_or(ElfError::Malformed)?;
            let name = String::from_utf8_lossy(name);
            return Err(ElfError::Interpreter(name.trim_end_matches('\0').to_owned()));
        }
    }
    Ok(())
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], ElfError> {
    let end = at.checked_add(N).ok_or(ElfError::Malformed)?;
    bytes.get(at..end).and_then(|b| b.try_into().ok()).ok_or(ElfError::Malformed)
}

fn offset(bytes: &[u8], at: usize) -> Result<usize, ElfError> {
    usize::try_from(u64::from_le_bytes(field(bytes, at)?)).map_err(|_| ElfError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_binaries_are_told_apart() {
        let amd64 = machine(if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }).unwrap();
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(matches!(check_static(&own, amd64), Err(ElfError::Interpreter(name)) if name.contains("/ld-")));
        assert_eq!(check_static(&own, 8), Err(ElfError::Machine { found: amd64, wanted: 8 }));
        for cut in [0, 5, 20, 60, 70] {
            assert_eq!(check_static(&own[..cut], amd64), Err(ElfError::Malformed), "{cut}");
        }
    }

    #[test]
    fn headers_that_point_anywhere_are_refused_not_followed() {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[18] = 62;
        bytes[54] = 56;
        assert_eq!(check_static(&bytes, 62), Ok(()));
        bytes[56] = 1;
        bytes[32..40].fill(0xff);
        assert_eq!(check_static(&bytes, 62), Err(ElfError::Malformed));
    }
}
