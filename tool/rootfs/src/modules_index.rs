//! depmod's text files, read and cut: who needs whom, who answers to what.
//!
//! Names are modules' as the kernel says them (underscores); files may end in `.ko`, `.ko.xz`, `.ko.zst` or `.ko.gz`.

use std::collections::{BTreeMap, BTreeSet};

use bootwright_bundle::{LeftOut, glob_match};

use crate::kmod_index::KmodIndex;
use crate::modules::means;

/// A module that is a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Module {
    /// Path below the modules' directory.
    pub(crate) path: String,
    /// All that must be loaded before it.
    pub(crate) needs: Vec<String>,
    /// Place in depmod's order, which decides among those that answer to one alias.
    position: u32,
}

/// What depmod knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    pub(crate) modules: BTreeMap<String, Module>,
    pub(crate) builtin: BTreeSet<String>,
    /// Pattern and module.
    aliases: Vec<(String, String)>,
    /// What a module asks for, by name or alias.
    soft: BTreeMap<String, Vec<String>>,
}

impl Index {
    /// Reads the files; a missing one is empty.
    pub(crate) fn parse(dep: &str, softdep: &str, alias: &str, builtin: &str, modinfo: &str) -> Self {
        let mut out = Self::default();
        for (line, position) in dep.lines().zip(0..) {
            let Some((path, needs)) = line.split_once(':') else { continue };
            let Some(name) = module_name(path.as_bytes()) else { continue };
            let needs = needs.split_ascii_whitespace().filter_map(|p| module_name(p.as_bytes())).collect();
            out.modules.insert(name, Module { path: path.trim().to_owned(), needs, position });
        }
        out.builtin = builtin.lines().filter_map(|path| module_name(path.trim().as_bytes())).collect();
        for entry in modinfo.split('\0') {
            // `module.alias=pattern`; what is built in needs no file, whatever name it is asked for by.
            if let Some((name, _)) = entry.split_once(".alias=") {
                out.builtin.insert(normal(name));
            }
        }
        out.aliases = alias.lines().filter_map(alias_line).map(|(p, m)| (p.to_owned(), m)).collect();
        for line in softdep.lines() {
            let mut words = line.split_ascii_whitespace();
            if let (Some("softdep"), Some(module)) = (words.next(), words.next()) {
                let names = words.filter(|w| !matches!(*w, "pre:" | "post:")).map(str::to_owned);
                out.soft.entry(normal(module)).or_default().extend(names);
            }
        }
        out
    }

    /// Modules that a word of the spec means.
    pub(crate) fn matching(&self, word: &str) -> BTreeSet<String> {
        let hit = |(name, module): &(&String, &Module)| means(word, name, &module.path);
        self.modules.iter().filter(hit).map(|(name, _)| name.clone()).collect()
    }

    /// Whether a word means something that is in the kernel itself.
    pub(crate) fn is_builtin(&self, word: &str) -> bool {
        self.builtin.iter().any(|name| means(word, name, name))
    }

    /// Everything that some modules need, they included.
    pub(crate) fn closure(&self, start: BTreeSet<String>) -> BTreeSet<String> {
        let mut pending: Vec<String> = start.into_iter().collect();
        let mut out = BTreeSet::new();
        while let Some(name) = pending.pop() {
            let Some(module) = self.modules.get(&name) else { continue };
            if !out.insert(name.clone()) {
                continue;
            }
            pending.extend(module.needs.iter().cloned());
            for asked in self.soft.get(&name).into_iter().flatten() {
                pending.extend(self.answering(asked));
            }
        }
        out
    }

    /// Modules that a name or alias loads.
    fn answering(&self, asked: &str) -> Vec<String> {
        let name = normal(asked);
        if self.modules.contains_key(&name) {
            return vec![name];
        }
        if self.builtin.contains(&name) {
            return Vec::new();
        }
        let hits = self.aliases.iter().filter(|(pattern, _)| glob_match(&normal(pattern), &name));
        hits.map(|(_, module)| module.clone()).collect()
    }

    /// A file of depmod's with only what is kept; none for files that stay as they are.
    pub(crate) fn rewrite(&self, file: &str, text: &str, kept: &BTreeSet<String>) -> Option<String> {
        let stays = |module: Option<String>| module.is_none_or(|m| kept.contains(&m));
        let keep: fn(&str) -> Option<String> = match file {
            "modules.dep" => |line| module_name(line.split(':').next()?.as_bytes()),
            "modules.order" => |line| module_name(line.as_bytes()),
            "modules.alias" | "modules.symbols" => |line| Some(alias_line(line)?.1),
            "modules.softdep" | "modules.weakdep" => |line| {
                let mut words = line.split_ascii_whitespace().filter(|w| !w.starts_with('#'));
                words.next().filter(|w| w.ends_with("dep")).and_then(|_| words.next()).map(normal)
            },
            "modules.devname" => {
                |line| line.split_ascii_whitespace().next().filter(|w| !w.starts_with('#')).map(normal)
            }
            _ => return None,
        };
        let lines = text.lines().filter(|line| stays(keep(line)));
        Some(lines.flat_map(|line| [line, "\n"]).collect())
    }

    /// The binary index of a text file that [`Self::rewrite`] made; none if that file has none.
    pub(crate) fn binary(&self, file: &str, text: &str) -> Option<Vec<u8>> {
        let mut index = KmodIndex::default();
        for line in text.lines() {
            let (key, value, module) = match file {
                "modules.dep" => {
                    let name = line.split(':').next().and_then(|path| module_name(path.as_bytes()));
                    let Some(name) = name else { continue };
                    (name.clone(), line.to_owned(), name)
                }
                "modules.alias" | "modules.symbols" => {
                    let Some((alias, module)) = alias_line(line) else { continue };
                    (normal_alias(alias), module.clone(), module)
                }
                _ => return None,
            };
            index.insert(&key, &value, self.modules.get(&module).map_or(0, |m| m.position));
        }
        Some(index.to_bytes())
    }

    /// What is not kept, and what it would have answered to. Aliases between modules (symbols, algorithms) are not asked
    /// for at boot and stay out; so do those of processors and of keyboard ports, which every machine has and which work
    /// without (frequency scaling, raw access).
    pub(crate) fn left_out(&self, kept: &BTreeSet<String>) -> LeftOut {
        let asked = |pattern: &str| {
            let inner = ["crypto-", "symbol:", "net-sched-", "ipt_", "ip6t_", "nft-", "nfct-helper-", "iptable_"];
            let bus = pattern.contains(':') || pattern.starts_with("fs-") || pattern.starts_with("net-pf-");
            let idle = ["cpu:", "acpi*:LNXCPU:", "acpi*:ACPI0007:", "serio:"];
            bus && !inner.iter().chain(&idle).any(|p| pattern.starts_with(p))
        };
        let gone = |module: &String| self.modules.contains_key(module) && !kept.contains(module);
        let mut aliases: Vec<(String, String)> =
            self.aliases.iter().filter(|(pattern, module)| asked(pattern) && gone(module)).cloned().collect();
        aliases.sort();
        aliases.dedup();
        let named: BTreeSet<&String> = aliases.iter().map(|(_, module)| module).collect();
        let modules = self.modules.keys().filter(|m| gone(m) && !named.contains(m)).cloned().collect();
        LeftOut { aliases, modules }
    }
}

/// `alias PATTERN MODULE`.
fn alias_line(line: &str) -> Option<(&str, String)> {
    let mut words = line.split_ascii_whitespace();
    (words.next() == Some("alias")).then_some(())?;
    Some((words.next()?, normal(words.next()?)))
}

/// A module's name from its file's; none if the file is no module.
pub(crate) fn module_name(path: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(path).ok()?.trim().rsplit('/').next()?;
    let stem = [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].iter().find_map(|end| name.strip_suffix(end))?;
    Some(normal(stem))
}

/// An alias as kmod compares it: dashes are underscores, but for those of a `[a-z]`.
fn normal_alias(alias: &str) -> String {
    let mut inside = false;
    let one = |c: char| {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            '-' if !inside => return '_',
            _ => {}
        }
        c
    };
    alias.chars().map(one).collect()
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}
