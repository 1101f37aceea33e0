//! The script of a network boot, for iPXE (<https://ipxe.org/scripting>, `core/exec.c`).

/// A word that iPXE would read as its own: it has no way to quote one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` on the command line is not a plain word to iPXE")]
pub struct IpxeError {
    /// The word.
    pub word: String,
}

/// A script that boots a kernel and an initrd, whose names are relative to where the script came from.
///
/// # Errors
///
/// The command line or a name has something in it that iPXE would take for a setting, a comment or an operator.
pub fn ipxe_script(kernel: &str, initrd: &str, cmdline: &str) -> Result<String, IpxeError> {
    let words: Vec<&str> = cmdline.split_ascii_whitespace().collect();
    for word in words.iter().copied().chain([kernel, initrd]) {
        let is_operator = matches!(word, "||" | "&&" | ";");
        // Everything from `#` on is a comment, where a word begins with it; `${NAME}` is a setting anywhere.
        if is_operator || word.starts_with('#') || word.contains("${") || word.contains(char::is_whitespace) {
            return Err(IpxeError { word: word.to_owned() });
        }
    }
    // Under EFI the kernel's stub asks for a file of the name in `initrd=`; under BIOS nobody looks at it.
    let words: String = words.iter().map(|word| format!(" {word}")).collect();
    Ok(format!("#!ipxe\nkernel {kernel} initrd=initrd.img{words}\ninitrd --name initrd.img {initrd}\nboot\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_loads_both_and_boots() {
        let script = ipxe_script("m-kernel", "m-initrd.img", " console=ttyS0\n quiet a#b $x ").expect("plain words");
        let want = "#!ipxe\nkernel m-kernel initrd=initrd.img console=ttyS0 quiet a#b $x\n\
                    initrd --name initrd.img m-initrd.img\nboot\n";
        assert_eq!(script, want);
    }

    #[test]
    fn what_ipxe_would_read_as_its_own_is_refused() {
        for word in ["#x", "a=${net0/mac}", "||", "&&", ";"] {
            let error = ipxe_script("k", "i", &format!("a {word} b")).expect_err(word);
            assert_eq!(error.to_string(), format!("`{word}` on the command line is not a plain word to iPXE"));
        }
        assert!(ipxe_script("a b", "i", "").is_err());
    }
}
