//! `modules.left-out`: what a machine would have had, had `kernel.modules` not left it out, so that init can name it.
//!
//! The file lies beside `modules.dep` of its kernel and is absent where nothing was left out. It is text in the syntax of
//! `modules.alias`, so that `grep` reads it, with a version in its first line:
//!
//! ```text
//! # bootwright left-out 1
//! alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000
//! alias fs-xfs xfs
//! module dummy
//! ```
//!
//! `alias PATTERN MODULE` holds every alias that the kernel or a mount can ask for by (those of buses, `fs-*`, `devname:`,
//! protocol families); `module NAME` names the modules that have no such alias. Sorted, underscores in module names.

use std::fmt;

use crate::glob_match;

/// File name, in `/lib/modules/VERSION`.
pub const LEFT_OUT: &str = "modules.left-out";

/// First line of the file.
const HEAD: &str = "# bootwright left-out 1";

/// The modules that a kernel has and this machine lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Pattern and module, sorted.
    pub aliases: Vec<(String, String)>,
    /// Modules without an alias that anything asks for, sorted.
    pub modules: Vec<String>,
}

impl LeftOut {
    /// Reads the file; lines that are not understood are passed over, an unknown version is an empty list.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut out = Self::default();
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return out;
        }
        for line in lines {
            let mut words = line.split_ascii_whitespace();
            match (words.next(), words.next(), words.next()) {
                (Some("alias"), Some(pattern), Some(module)) => out.aliases.push((pattern.into(), module.into())),
                (Some("module"), Some(module), None) => out.modules.push(module.into()),
                _ => {}
            }
        }
        out
    }

    /// The left-out modules that a modalias asks for, such as `pci:v00008086…`, in file order.
    pub fn for_alias<'a>(&'a self, alias: &'a str) -> impl Iterator<Item = &'a str> {
        self.aliases.iter().filter(move |(pattern, _)| glob_match(pattern, alias)).map(|(_, module)| module.as_str())
    }

    /// The left-out module of a filesystem type, as mount(2) names it.
    #[must_use]
    pub fn for_filesystem(&self, name: &str) -> Option<&str> {
        let alias = format!("fs-{name}");
        self.aliases.iter().find(|(pattern, _)| *pattern == alias).map(|(_, module)| module.as_str())
    }

    /// Whether a module of that name was left out; `-` and `_` are the same.
    #[must_use]
    pub fn has_module(&self, name: &str) -> bool {
        let name = name.replace('-', "_");
        self.modules.contains(&name) || self.aliases.iter().any(|(_, module)| *module == name)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        self.aliases.iter().try_for_each(|(pattern, module)| writeln!(f, "alias {pattern} {module}"))?;
        self.modules.iter().try_for_each(|module| writeln!(f, "module {module}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_found() {
        let list = LeftOut {
            aliases: vec![
                ("fs-xfs".into(), "xfs".into()),
                ("pci:v00008086d0000100Esv*sd*bc*sc*i*".into(), "e1000".into()),
            ],
            modules: vec!["dummy_hcd".into()],
        };
        let read = LeftOut::parse(&list.to_string());
        assert_eq!(read, list);
        let nic = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00";
        assert_eq!(read.for_alias(nic).collect::<Vec<_>>(), ["e1000"]);
        assert_eq!(read.for_filesystem("xfs"), Some("xfs"));
        assert_eq!(read.for_filesystem("ext4"), None);
        assert!(read.has_module("dummy-hcd") && read.has_module("e1000") && !read.has_module("virtio"));
    }

    #[test]
    fn an_unknown_version_and_broken_lines_are_passed_over() {
        assert_eq!(LeftOut::parse("# bootwright left-out 2\nmodule a\n"), LeftOut::default());
        assert_eq!(LeftOut::parse("# bootwright left-out 1\nalias a\nfoo\nmodule b\n").modules, ["b"]);
        assert_eq!(LeftOut::parse(""), LeftOut::default());
    }
}
